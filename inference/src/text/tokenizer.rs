//! Byte-level BPE tokenizer of a GGUF file: text to token ids and back.
//!
//! The ids equal llama.cpp's. Three steps: special tokens are cut out of the text (longest first),
//! the text between them is split into words ([`PreTokenizer`]), each word is merged ([`Bpe`]).
//!
//! A *control* token (`<|im_end|>`) structures a prompt and is never produced by [`Tokenizer::encode`],
//! whatever the text says, nor printed by [`Tokenizer::decode`]. A *user-defined* token is plain text
//! that the vocabulary wants whole, so it is matched in any text and printed.
//!
//! The merge loop is ours rather than that of the `tokenizers` crate: that one keeps pieces of the
//! text in caches of each thread and allocates a string for each token. Tests compare the two.

use std::collections::HashMap;
use std::ops::Range;

use super::bpe::{Bpe, Scratch};
use super::byte_level;
use super::pre_tokenizer::PreTokenizer;
use crate::gguf::GgufFile;

/// Names of tokens that end a generation whatever `eos_token_id` says. Files often name one of several
/// (Llama 3: `<|end_of_text|>` and `<|eot_id|>`). Such a token is a control token even where its type
/// says otherwise.
const END_TOKEN_NAMES: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<｜end▁of▁sentence｜>",
];

/// Fill-in-the-middle tokens that end a generation: padding, and the start of another file.
const FIM_END_TOKEN_NAMES: &[&str] = &[
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<PAD>",
    "[PAD]",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
    "<|file_sep|>",
];

/// Fill-in-the-middle tokens that are control tokens even where their type says otherwise.
const FIM_CONTROL_TOKEN_NAMES: &[&str] = &[
    "<|fim_prefix|>",
    "<fim-prefix>",
    "<fim_prefix>",
    "<PRE>",
    "<|code_prefix|>",
    "<|fim_suffix|>",
    "<fim-suffix>",
    "<fim_suffix>",
    "<SUF>",
    "<|code_suffix|>",
    "<|fim_middle|>",
    "<fim-middle>",
    "<fim_middle>",
    "<MID>",
    "<|code_middle|>",
];

/// Why a vocabulary cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// `tokenizer.ggml.model` is not byte-level BPE.
    #[error(
        "tokenizer model `{model}` is not supported (supported: gpt2, which is byte-level BPE)"
    )]
    UnsupportedModel { model: String },
    /// `tokenizer.ggml.pre` is unknown or absent; guessing would change the token ids silently.
    #[error(
        "pre-tokenizer `{pre}` is not supported (supported: {})",
        PreTokenizer::SUPPORTED
    )]
    UnsupportedPreTokenizer { pre: String },
    /// A metadata key that the vocabulary needs is absent.
    #[error("metadata key `{key}` is missing")]
    MissingKey { key: &'static str },
    /// A metadata value contradicts itself or another.
    #[error("metadata key `{key}` is malformed: {reason}")]
    Malformed { key: &'static str, reason: String },
}

/// Whether [`Tokenizer::encode`] adds the tokens with which the model's prompts start and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddSpecial {
    No,
    /// BOS before and EOS after, each only if the file asks for it.
    Yes,
}

/// What a token is for; the value of `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

impl TokenKind {
    fn from_ggml(value: u32) -> Self {
        match value {
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            6 => Self::Byte,
            1 => Self::Normal,
            _ => Self::Unused,
        }
    }

    /// Whether [`Tokenizer::encode`] must not produce it and [`Tokenizer::decode`] must not print it.
    fn is_hidden(self) -> bool {
        matches!(self, Self::Control | Self::Unknown)
    }
}

/// The metadata of a vocabulary, as GGUF files carry it under `tokenizer.ggml.`.
#[derive(Debug, Clone, Default)]
pub struct TokenizerSource {
    /// `model`: must be `gpt2`.
    pub model: String,
    /// `pre`: see [`PreTokenizer::from_name`].
    pub pre: Option<String>,
    /// `tokens`: the vocabulary in order of id, spelled in the byte-level alphabet.
    pub tokens: Vec<String>,
    /// `token_type`: as long as `tokens`; absent means that all are normal.
    pub token_types: Option<Vec<u32>>,
    /// `merges`: `left right`, in order of rank.
    pub merges: Vec<String>,
    pub bos_token_id: Option<u32>,
    pub eos_token_id: Option<u32>,
    pub eot_token_id: Option<u32>,
    pub eom_token_id: Option<u32>,
    pub add_bos_token: Option<bool>,
    pub add_eos_token: Option<bool>,
}

/// A byte-level BPE vocabulary. Immutable; `Send + Sync`.
pub struct Tokenizer {
    pre_tokenizer: PreTokenizer,
    bpe: Bpe,
    tokens: Vec<Token>,
    /// Control, unknown and user-defined tokens, longest text first.
    special_ids: Vec<u32>,
    eos_ids: Vec<u32>,
    bos_id: Option<u32>,
    eos_id: Option<u32>,
    add_bos: bool,
    add_eos: bool,
}

struct Token {
    text: Box<str>,
    /// What the token adds to decoded text; empty if it is hidden.
    bytes: Box<[u8]>,
    kind: TokenKind,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("pre_tokenizer", &self.pre_tokenizer)
            .field("vocab_size", &self.tokens.len())
            .field("eos_ids", &self.eos_ids)
            .finish_non_exhaustive()
    }
}

impl TokenizerSource {
    /// Reads the vocabulary of a GGUF file.
    ///
    /// # Errors
    /// [`TokenizerError::MissingKey`] where a key is absent or of another type.
    pub fn from_gguf(file: &GgufFile) -> Result<Self, TokenizerError> {
        let missing = |key| TokenizerError::MissingKey { key };
        let model = file
            .get_str("tokenizer.ggml.model")
            .ok_or(missing("tokenizer.ggml.model"))?
            .to_owned();
        let strings = |key| {
            file.get_arr_str(key)
                .map(<[String]>::to_vec)
                .ok_or(missing(key))
        };
        Ok(Self {
            pre: file.get_str("tokenizer.ggml.pre").map(str::to_owned),
            tokens: strings("tokenizer.ggml.tokens")?,
            token_types: token_types(file)?,
            // Other kinds of vocabulary have no merges; they are refused by name, not for lack of them.
            merges: if model == "gpt2" {
                strings("tokenizer.ggml.merges")?
            } else {
                Vec::new()
            },
            bos_token_id: file.get_u32("tokenizer.ggml.bos_token_id"),
            eos_token_id: file.get_u32("tokenizer.ggml.eos_token_id"),
            eot_token_id: file.get_u32("tokenizer.ggml.eot_token_id"),
            eom_token_id: file.get_u32("tokenizer.ggml.eom_token_id"),
            add_bos_token: file.get_bool("tokenizer.ggml.add_bos_token"),
            add_eos_token: file.get_bool("tokenizer.ggml.add_eos_token"),
            model,
        })
    }
}

impl Tokenizer {
    /// Builds the tokenizer of a GGUF file.
    ///
    /// # Errors
    /// As [`TokenizerSource::from_gguf`] and [`Tokenizer::new`].
    pub fn from_gguf(file: &GgufFile) -> Result<Self, TokenizerError> {
        Self::new(TokenizerSource::from_gguf(file)?)
    }

    /// Builds a tokenizer from metadata.
    ///
    /// # Errors
    /// A vocabulary that is not byte-level BPE, an unknown pre-tokenizer, ids or lengths that do not fit.
    pub fn new(source: TokenizerSource) -> Result<Self, TokenizerError> {
        if source.model != "gpt2" {
            return Err(TokenizerError::UnsupportedModel {
                model: source.model,
            });
        }
        let pre_name = source.pre.as_deref().unwrap_or("(none given)");
        let pre_tokenizer = PreTokenizer::from_name(pre_name).ok_or_else(|| {
            TokenizerError::UnsupportedPreTokenizer {
                pre: pre_name.to_owned(),
            }
        })?;
        let tokens = build_tokens(&source)?;
        for (key, id) in [
            ("tokenizer.ggml.bos_token_id", source.bos_token_id),
            ("tokenizer.ggml.eos_token_id", source.eos_token_id),
            ("tokenizer.ggml.eot_token_id", source.eot_token_id),
            ("tokenizer.ggml.eom_token_id", source.eom_token_id),
        ] {
            if let Some(id) = id.filter(|&id| id as usize >= tokens.len()) {
                let reason = format!("token {id} of {}", tokens.len());
                return Err(TokenizerError::Malformed { key, reason });
            }
        }
        let add_bos = source
            .add_bos_token
            .unwrap_or(pre_tokenizer.adds_bos_by_default());
        if add_bos && source.bos_token_id.is_none() {
            return Err(TokenizerError::MissingKey {
                key: "tokenizer.ggml.bos_token_id",
            });
        }
        let add_eos = source.add_eos_token.unwrap_or(false);
        if add_eos && source.eos_token_id.is_none() {
            return Err(TokenizerError::MissingKey {
                key: "tokenizer.ggml.eos_token_id",
            });
        }
        Ok(Self {
            pre_tokenizer,
            bpe: build_bpe(&tokens, &source.merges)?,
            special_ids: special_ids(&tokens),
            eos_ids: end_token_ids(&tokens, &source),
            tokens,
            bos_id: source.bos_token_id,
            eos_id: source.eos_token_id,
            add_bos,
            add_eos,
        })
    }

    /// Returns the tokens of `text`. Text that looks like a control token is text: use this for
    /// everything that a person or a document wrote.
    ///
    /// A byte that no token spells is dropped, as in llama.cpp; SmolLM2 lacks six control characters
    /// (U+0004, U+0006, U+0013, U+0014, U+0016, U+001D).
    pub fn encode(&self, text: &str, add_special: AddSpecial) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 2);
        if add_special == AddSpecial::Yes && self.add_bos {
            ids.extend(self.bos_id);
        }
        self.encode_fragments(text, ControlTokens::AreText, &mut ids);
        if add_special == AddSpecial::Yes && self.add_eos {
            ids.extend(self.eos_id);
        }
        ids
    }

    /// Returns the tokens of `text` with control tokens recognised, for text that is trusted to
    /// contain them. Adds neither BOS nor EOS.
    pub fn encode_with_special(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 2);
        self.encode_fragments(text, ControlTokens::AreParsed, &mut ids);
        ids
    }

    /// Returns the text of `ids`. Control tokens and ids outside the vocabulary add nothing; bytes
    /// that are not UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids
            .iter()
            .flat_map(|&id| self.token_bytes(id))
            .copied()
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Returns the bytes that `id` adds to decoded text; none for a control token and for an id
    /// outside the vocabulary.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        self.tokens
            .get(id as usize)
            .map_or(&[], |token| &token.bytes)
    }

    /// Returns the vocabulary's spelling of `id` (`Ġword`, `<|im_end|>`), or `None` outside the vocabulary.
    pub fn token_text(&self, id: u32) -> Option<&str> {
        self.tokens.get(id as usize).map(|token| &*token.text)
    }

    /// Returns the special token that is spelled `text`.
    pub fn special_id(&self, text: &str) -> Option<u32> {
        self.special_ids
            .iter()
            .copied()
            .find(|&id| &*self.tokens[id as usize].text == text)
    }

    /// Tokens that end a generation, in ascending order; EOS alone misses the end of a chat turn in
    /// some files.
    pub fn eos_ids(&self) -> &[u32] {
        &self.eos_ids
    }

    /// Whether `id` ends a generation.
    pub fn is_eos(&self, id: u32) -> bool {
        self.eos_ids.binary_search(&id).is_ok()
    }

    /// The token that starts a text, if the vocabulary names one.
    pub fn bos_id(&self) -> Option<u32> {
        self.bos_id
    }

    /// The token that the file names as EOS; see [`Tokenizer::eos_ids`] for all that end a generation.
    pub fn eos_id(&self) -> Option<u32> {
        self.eos_id
    }

    /// Whether prompts of this model start with BOS.
    pub fn adds_bos(&self) -> bool {
        self.add_bos
    }

    /// Number of tokens; every id is smaller. A model's logits may have more rows.
    pub fn vocab_size(&self) -> usize {
        self.tokens.len()
    }

    /// Whether `id` is a control token: it structures a prompt and is not text.
    pub fn is_control(&self, id: u32) -> bool {
        self.tokens
            .get(id as usize)
            .is_some_and(|token| token.kind == TokenKind::Control)
    }

    /// How this vocabulary cuts text into words.
    pub fn pre_tokenizer(&self) -> PreTokenizer {
        self.pre_tokenizer
    }

    /// Texts of the tokens that must not come from a message: all that `encode` never produces.
    pub(super) fn hidden_texts(&self) -> impl Iterator<Item = &str> {
        self.special_ids
            .iter()
            .map(|&id| &self.tokens[id as usize])
            .filter(|token| token.kind.is_hidden())
            .map(|token| &*token.text)
    }

    /// Texts of all tokens that are matched before merging.
    pub(super) fn special_texts(&self) -> impl Iterator<Item = &str> {
        self.special_ids
            .iter()
            .map(|&id| &*self.tokens[id as usize].text)
    }

    /// Cuts the special tokens out of `text`: the longest token first everywhere, each from left to right.
    pub(super) fn fragments(&self, text: &str, control_tokens: ControlTokens) -> Vec<Fragment> {
        let mut fragments = vec![Fragment::Text(0..text.len())];
        for &id in &self.special_ids {
            let token = &self.tokens[id as usize];
            if control_tokens == ControlTokens::AreText && token.kind.is_hidden() {
                continue;
            }
            // Most special tokens occur nowhere; look before copying the list.
            let occurs = |fragment: &Fragment| matches!(fragment, Fragment::Text(range) if text[range.clone()].contains(&*token.text));
            if !fragments.iter().any(occurs) {
                continue;
            }
            let mut cut = Vec::with_capacity(fragments.len() + 2);
            for fragment in fragments {
                match fragment {
                    Fragment::Text(range) => cut_token(text, range, id, &token.text, &mut cut),
                    token => cut.push(token),
                }
            }
            fragments = cut;
        }
        fragments.retain(|fragment| !matches!(fragment, Fragment::Text(range) if range.is_empty()));
        fragments
    }

    fn encode_fragments(&self, text: &str, control_tokens: ControlTokens, ids: &mut Vec<u32>) {
        let mut scratch = Scratch::default();
        for fragment in self.fragments(text, control_tokens) {
            match fragment {
                Fragment::Token(id) => ids.push(id),
                Fragment::Text(range) => self.encode_text(&text[range], &mut scratch, ids),
            }
        }
    }

    fn encode_text(&self, text: &str, scratch: &mut Scratch, ids: &mut Vec<u32>) {
        self.pre_tokenizer.split(text, |word| {
            let whole = if self.pre_tokenizer.ignores_merges() {
                self.bpe.token(word.as_bytes())
            } else {
                None
            };
            match whole {
                Some(id) => ids.push(id),
                None => self.bpe.encode_word(word.as_bytes(), scratch, ids),
            }
        });
    }
}

/// Whether the spelling of a control token stands for the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ControlTokens {
    AreText,
    AreParsed,
}

/// A stretch of a text after special tokens were cut out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fragment {
    Text(Range<usize>),
    Token(u32),
}

fn cut_token(text: &str, range: Range<usize>, id: u32, spelling: &str, cut: &mut Vec<Fragment>) {
    let mut start = range.start;
    for (offset, matched) in text[range.clone()].match_indices(spelling) {
        let at = range.start + offset;
        if start < at {
            cut.push(Fragment::Text(start..at));
        }
        cut.push(Fragment::Token(id));
        start = at + matched.len();
    }
    if start < range.end {
        cut.push(Fragment::Text(start..range.end));
    }
}

fn build_tokens(source: &TokenizerSource) -> Result<Vec<Token>, TokenizerError> {
    let num_tokens = source.tokens.len();
    if num_tokens == 0 {
        return Err(TokenizerError::MissingKey {
            key: "tokenizer.ggml.tokens",
        });
    }
    if u32::try_from(num_tokens).is_err() {
        let reason = format!("{num_tokens} tokens");
        return Err(TokenizerError::Malformed {
            key: "tokenizer.ggml.tokens",
            reason,
        });
    }
    if let Some(types) = source
        .token_types
        .as_ref()
        .filter(|types| types.len() < num_tokens)
    {
        let reason = format!("{} types for {num_tokens} tokens", types.len());
        return Err(TokenizerError::Malformed {
            key: "tokenizer.ggml.token_type",
            reason,
        });
    }
    let kind_of = |id: usize| {
        source
            .token_types
            .as_ref()
            .map_or(TokenKind::Normal, |types| TokenKind::from_ggml(types[id]))
    };
    Ok(source
        .tokens
        .iter()
        .enumerate()
        .map(|(id, text)| build_token(text, kind_of(id)))
        .collect())
}

fn build_token(text: &str, declared: TokenKind) -> Token {
    let is_control_by_name = [
        END_TOKEN_NAMES,
        FIM_END_TOKEN_NAMES,
        FIM_CONTROL_TOKEN_NAMES,
    ]
    .iter()
    .any(|names| names.contains(&text));
    let kind = if is_control_by_name {
        TokenKind::Control
    } else {
        declared
    };
    let bytes = match kind {
        TokenKind::Control | TokenKind::Unknown | TokenKind::Unused => Vec::new(),
        TokenKind::UserDefined => text.as_bytes().to_vec(),
        TokenKind::Normal => byte_level::bytes_of(text).unwrap_or_else(|| text.as_bytes().to_vec()),
        TokenKind::Byte => {
            parse_byte_token(text).map_or_else(|| text.as_bytes().to_vec(), |byte| vec![byte])
        }
    };
    Token {
        text: text.into(),
        bytes: bytes.into(),
        kind,
    }
}

/// Reads the token types; without them control tokens would be taken for text, so an unreadable array is
/// not taken for an absent one.
fn token_types(file: &GgufFile) -> Result<Option<Vec<u32>>, TokenizerError> {
    const KEY: &str = "tokenizer.ggml.token_type";
    match (file.get(KEY), file.get_arr_u32(KEY)) {
        (Some(_), None) => {
            let reason = "not an array of small numbers".into();
            Err(TokenizerError::Malformed { key: KEY, reason })
        }
        (_, types) => Ok(types),
    }
}

/// Parses `<0x0A>`.
fn parse_byte_token(text: &str) -> Option<u8> {
    u8::from_str_radix(text.strip_prefix("<0x")?.strip_suffix('>')?, 16).ok()
}

fn build_bpe(tokens: &[Token], merges: &[String]) -> Result<Bpe, TokenizerError> {
    let words: HashMap<Box<[u8]>, u32> = tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| !token.kind.is_hidden())
        .filter_map(|(id, token)| Some((byte_level::bytes_of(&token.text)?.into(), id as u32)))
        .collect();
    let mut pairs = Vec::with_capacity(merges.len());
    for merge in merges {
        let malformed = || TokenizerError::Malformed {
            key: "tokenizer.ggml.merges",
            reason: format!("`{merge}`"),
        };
        let (left, right) = merge.split_once(' ').ok_or_else(malformed)?;
        let (Some(left), Some(right)) = (byte_level::bytes_of(left), byte_level::bytes_of(right))
        else {
            return Err(malformed());
        };
        if left.is_empty() || right.is_empty() {
            return Err(malformed());
        }
        pairs.push((left, right));
    }
    Ok(Bpe::new(tokens.len(), words, pairs.into_iter()))
}

/// Returns the tokens that are matched before merging, longest first.
///
/// A control token of a single character is left out: it could not be told from text that contains the
/// character (see `chat_template`), and no known vocabulary has one.
fn special_ids(tokens: &[Token]) -> Vec<u32> {
    let is_special = |token: &Token| match token.kind {
        TokenKind::UserDefined => !token.text.is_empty(),
        kind => kind.is_hidden() && token.text.chars().nth(1).is_some(),
    };
    let mut ids: Vec<u32> = (0..tokens.len() as u32)
        .filter(|&id| is_special(&tokens[id as usize]))
        .collect();
    ids.sort_by_key(|&id| std::cmp::Reverse(tokens[id as usize].text.len()));
    ids
}

fn end_token_ids(tokens: &[Token], source: &TokenizerSource) -> Vec<u32> {
    let named = tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| {
            END_TOKEN_NAMES.contains(&&*token.text) || FIM_END_TOKEN_NAMES.contains(&&*token.text)
        })
        .map(|(id, _)| id as u32);
    let declared = [
        source.eos_token_id,
        source.eot_token_id,
        source.eom_token_id,
    ];
    let mut ids: Vec<u32> = named.chain(declared.into_iter().flatten()).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[cfg(test)]
#[path = "tokenizer_tests.rs"]
mod tests;
