//! Tokenizer of a GGUF file: text to token ids and back.
//!
//! The ids equal llama.cpp's. Special tokens are cut out of the text (longest first); what lies between
//! them is merged, by one of two methods:
//! - byte-level BPE (`gpt2`): split into words ([`PreTokenizer`]), each word merged by rank ([`Bpe`]);
//! - SentencePiece (`llama`): the whole stretch merged by score ([`Spm`]), with a space before it.
//!
//! A *control* token (`<|im_end|>`) structures a prompt and is never produced by [`Tokenizer::encode`],
//! whatever the text says, nor printed by [`Tokenizer::decode`]. A *user-defined* token is plain text
//! that the vocabulary wants whole, so it is matched in any text and printed. llama.cpp can merge plain
//! text into a control token if a vocabulary spells one by pieces; this does not, and that is the only
//! intended difference.
//!
//! The merge loops are ours rather than those of the `tokenizers` crate: that one keeps pieces of the
//! text in caches of each thread and allocates a string for each token. Tests compare the two.

use std::collections::HashMap;

use super::bpe::{Bpe, Scratch};
use super::byte_level;
use super::detokenize::Detokenizer;
use super::pre_tokenizer::PreTokenizer;
use super::special::{ControlTokens, Fragment, SpecialTokens};
use super::spm::Spm;
use super::vocabulary::{Spelling, Token, TokenKind, build_tokens, end_token_ids};
use crate::gguf::{Array, GgufFile, Value};

/// The split that llama.cpp uses where a file names none.
const PRE_OF_OLD_FILES: &str = "default";

/// Why a vocabulary cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// `tokenizer.ggml.model` is neither byte-level BPE nor SentencePiece.
    #[error(
        "tokenizer model `{model}` is not supported (supported: gpt2, which is byte-level BPE, and llama, which is SentencePiece)"
    )]
    UnsupportedModel { model: String },
    /// `tokenizer.ggml.pre` is unknown; guessing would change the token ids silently.
    #[error(
        "pre-tokenizer `{pre}` is not supported (supported: {})",
        PreTokenizer::supported().collect::<Vec<_>>().join(", ")
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

/// The metadata of a vocabulary, as GGUF files carry it under `tokenizer.ggml.`.
#[derive(Debug, Clone, Default)]
pub struct TokenizerSource {
    /// `model`: `gpt2` or `llama`.
    pub model: String,
    /// `pre`: see [`PreTokenizer::from_name`]; of no meaning to `llama`.
    pub pre: Option<String>,
    /// `tokens`: the vocabulary in order of id; that of `gpt2` is spelled in the byte-level alphabet.
    pub tokens: Vec<String>,
    /// `scores`: as long as `tokens`; only `llama` uses them.
    pub scores: Option<Vec<f32>>,
    /// `token_type`: as long as `tokens`; absent means that all are normal.
    pub token_types: Option<Vec<u32>>,
    /// `merges`: `left right`, in order of rank; only `gpt2` uses them.
    pub merges: Vec<String>,
    /// Absent means 1 for `llama`, none for `gpt2`.
    pub bos_token_id: Option<u32>,
    /// Absent means 2 for `llama`, none for `gpt2`.
    pub eos_token_id: Option<u32>,
    pub eot_token_id: Option<u32>,
    pub eom_token_id: Option<u32>,
    /// Absent means 0 for `llama`.
    pub unknown_token_id: Option<u32>,
    /// Absent means yes for `llama` and for the pre-tokenizers that say so.
    pub add_bos_token: Option<bool>,
    /// Absent means no.
    pub add_eos_token: Option<bool>,
    /// Absent means yes for `llama`; of no meaning to `gpt2`.
    pub add_space_prefix: Option<bool>,
    /// `general.name`.
    pub model_name: Option<String>,
}

/// A vocabulary and its way of merging. Immutable; `Send + Sync`.
pub struct Tokenizer {
    method: Method,
    tokens: Vec<Token>,
    special: SpecialTokens,
    eos_ids: Vec<u32>,
    bos_id: Option<u32>,
    eos_id: Option<u32>,
    add_bos: bool,
    add_eos: bool,
    warnings: Vec<String>,
}

/// How text between special tokens becomes tokens.
enum Method {
    ByteLevel {
        pre_tokenizer: PreTokenizer,
        bpe: Bpe,
    },
    Spm {
        spm: Spm,
        space_prefix: bool,
    },
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let method = match &self.method {
            Method::ByteLevel { pre_tokenizer, .. } => pre_tokenizer.name().to_owned(),
            Method::Spm { spm, .. } => format!("spm of {} pieces", spm.num_pieces()),
        };
        f.debug_struct("Tokenizer")
            .field("method", &method)
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
            scores: scores(file)?,
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
            unknown_token_id: file.get_u32("tokenizer.ggml.unknown_token_id"),
            add_bos_token: file.get_bool("tokenizer.ggml.add_bos_token"),
            add_eos_token: file.get_bool("tokenizer.ggml.add_eos_token"),
            add_space_prefix: file.get_bool("tokenizer.ggml.add_space_prefix"),
            model_name: file.get_str("general.name").map(str::to_owned),
            model,
        })
    }

    /// Fills in the ids that SentencePiece vocabularies have where a file names none.
    fn with_spm_defaults(mut self) -> Self {
        let in_range = |id: u32| Some(id).filter(|&id| (id as usize) < self.tokens.len());
        self.unknown_token_id = self.unknown_token_id.or(in_range(0));
        self.bos_token_id = self.bos_token_id.or(in_range(1));
        self.eos_token_id = self.eos_token_id.or(in_range(2));
        self
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

    /// Builds a tokenizer from metadata. What is odd about the vocabulary goes to the log and to
    /// [`Tokenizer::warnings`].
    ///
    /// # Errors
    /// A vocabulary of another kind, an unknown pre-tokenizer, ids or lengths that do not fit.
    pub fn new(source: TokenizerSource) -> Result<Self, TokenizerError> {
        let tokenizer = match source.model.as_str() {
            "gpt2" => Self::byte_level(&source),
            "llama" => Self::spm(&source.with_spm_defaults()),
            _ => Err(TokenizerError::UnsupportedModel {
                model: source.model,
            }),
        }?;
        for warning in &tokenizer.warnings {
            tracing::warn!("{warning}");
        }
        Ok(tokenizer)
    }

    fn byte_level(source: &TokenizerSource) -> Result<Self, TokenizerError> {
        let mut warnings = Vec::new();
        let name = source.pre.as_deref().unwrap_or_else(|| {
            warnings.push(format!(
                "the file names no pre-tokenizer (tokenizer.ggml.pre): `{PRE_OF_OLD_FILES}` is assumed, and answers \
                 are worse if the model was trained with another; convert the model again with a newer program"
            ));
            PRE_OF_OLD_FILES
        });
        let pre_tokenizer = PreTokenizer::from_name(name).ok_or_else(|| {
            TokenizerError::UnsupportedPreTokenizer {
                pre: name.to_owned(),
            }
        })?;
        let tokens = build_tokens(source, Spelling::ByteLevel)?;
        let method = Method::ByteLevel {
            pre_tokenizer,
            bpe: build_bpe(&tokens, &source.merges)?,
        };
        let adds_bos = pre_tokenizer.adds_bos_by_default();
        Self::assemble(source, tokens, method, adds_bos, warnings)
    }

    fn spm(source: &TokenizerSource) -> Result<Self, TokenizerError> {
        let tokens = build_tokens(source, Spelling::Spm)?;
        let method = Method::Spm {
            spm: Spm::new(&tokens, source.scores.as_deref(), source.unknown_token_id)?,
            space_prefix: source.add_space_prefix.unwrap_or(true),
        };
        let mut warnings = Vec::new();
        if source.scores.is_none() {
            warnings.push(
                "the file has no tokenizer.ggml.scores: pieces are merged from left to right"
                    .to_owned(),
            );
        }
        Self::assemble(source, tokens, method, true, warnings)
    }

    fn assemble(
        source: &TokenizerSource,
        tokens: Vec<Token>,
        method: Method,
        adds_bos_by_default: bool,
        warnings: Vec<String>,
    ) -> Result<Self, TokenizerError> {
        for (key, id) in [
            ("tokenizer.ggml.bos_token_id", source.bos_token_id),
            ("tokenizer.ggml.eos_token_id", source.eos_token_id),
            ("tokenizer.ggml.eot_token_id", source.eot_token_id),
            ("tokenizer.ggml.eom_token_id", source.eom_token_id),
            ("tokenizer.ggml.unknown_token_id", source.unknown_token_id),
        ] {
            if let Some(id) = id.filter(|&id| id as usize >= tokens.len()) {
                let reason = format!("token {id} of {}", tokens.len());
                return Err(TokenizerError::Malformed { key, reason });
            }
        }
        let add_bos = source.add_bos_token.unwrap_or(adds_bos_by_default);
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
        let declared_ends = [
            source.eos_token_id,
            source.eot_token_id,
            source.eom_token_id,
        ];
        Ok(Self {
            method,
            special: SpecialTokens::new(&tokens),
            eos_ids: end_token_ids(&tokens, &declared_ends),
            tokens,
            bos_id: source.bos_token_id,
            eos_id: source.eos_token_id,
            add_bos,
            add_eos,
            warnings,
        })
    }

    /// Returns the tokens of `text`. Text that looks like a control token is text: use this for
    /// everything that a person or a document wrote.
    ///
    /// A byte that no token spells is dropped, as in llama.cpp; SmolLM2 lacks six control characters
    /// (U+0004, U+0006, U+0013, U+0014, U+0016, U+001D). A SentencePiece vocabulary cannot tell `▁` from a
    /// space, and one without byte tokens yields its unknown token instead.
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
    /// that are not UTF-8 become U+FFFD. The space that encoding puts before a text is not part of it.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut detokenizer = Detokenizer::new();
        let bytes: Vec<u8> = ids
            .iter()
            .flat_map(|&id| detokenizer.next_bytes(self, id))
            .copied()
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Returns the bytes that `id` adds to decoded text inside a text; none for a control token and for an
    /// id outside the vocabulary.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        self.tokens
            .get(id as usize)
            .map_or(&[], |token| &token.bytes)
    }

    /// Returns the vocabulary's spelling of `id` (`Ġword`, `▁word`, `<|im_end|>`), or `None` outside the vocabulary.
    pub fn token_text(&self, id: u32) -> Option<&str> {
        self.tokens.get(id as usize).map(|token| &*token.text)
    }

    /// Returns the special token that is spelled `text`.
    pub fn special_id(&self, text: &str) -> Option<u32> {
        let ids = self.special.ids().iter().copied();
        ids.into_iter()
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

    /// Whether encoding puts a space before a text, which decoding removes.
    pub fn adds_space_prefix(&self) -> bool {
        matches!(
            self.method,
            Method::Spm {
                space_prefix: true,
                ..
            }
        )
    }

    /// Number of tokens; every id is smaller. A model's logits may have more rows.
    pub fn vocab_size(&self) -> usize {
        self.tokens.len()
    }

    /// Whether `id` is a control token: it structures a prompt and is not text.
    pub fn is_control(&self, id: u32) -> bool {
        self.kind(id) == Some(TokenKind::Control)
    }

    /// Whether `id` is cut out of a text before merging: a control, unknown or user-defined token.
    pub(super) fn is_special(&self, id: u32) -> bool {
        self.kind(id).is_some_and(TokenKind::is_special)
    }

    /// What `id` is for, or `None` outside the vocabulary.
    pub fn kind(&self, id: u32) -> Option<TokenKind> {
        self.tokens.get(id as usize).map(|token| token.kind)
    }

    /// How this vocabulary cuts text into words; `None` for SentencePiece, which does not.
    pub fn pre_tokenizer(&self) -> Option<PreTokenizer> {
        match self.method {
            Method::ByteLevel { pre_tokenizer, .. } => Some(pre_tokenizer),
            Method::Spm { .. } => None,
        }
    }

    /// What had to be guessed about the vocabulary, as sentences for the person who installed the model.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Texts of the tokens that must not come from a message: all that `encode` never produces.
    pub(super) fn hidden_texts(&self) -> impl Iterator<Item = &str> {
        self.special
            .ids()
            .iter()
            .map(|&id| &self.tokens[id as usize])
            .filter(|token| token.kind.is_hidden())
            .map(|token| &*token.text)
    }

    /// Texts of all tokens that are matched before merging.
    pub(super) fn special_texts(&self) -> impl Iterator<Item = &str> {
        self.special
            .ids()
            .iter()
            .map(|&id| &*self.tokens[id as usize].text)
    }

    /// Cuts the special tokens out of `text`.
    pub(super) fn fragments(&self, text: &str, control_tokens: ControlTokens) -> Vec<Fragment> {
        self.special.fragments(&self.tokens, text, control_tokens)
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

    /// Encodes a stretch of text that starts a prompt or follows a special token.
    fn encode_text(&self, text: &str, scratch: &mut Scratch, ids: &mut Vec<u32>) {
        match &self.method {
            Method::Spm { spm, space_prefix } => spm.encode(text, *space_prefix, ids),
            Method::ByteLevel { pre_tokenizer, bpe } => pre_tokenizer.split(text, |word| {
                let whole = if pre_tokenizer.ignores_merges() {
                    bpe.token(word.as_bytes())
                } else {
                    None
                };
                match whole {
                    Some(id) => ids.push(id),
                    None => bpe.encode_word(word.as_bytes(), scratch, ids),
                }
            }),
        }
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

/// Reads the scores, which are floats, or integers in some files.
fn scores(file: &GgufFile) -> Result<Option<Vec<f32>>, TokenizerError> {
    const KEY: &str = "tokenizer.ggml.scores";
    match file.get(KEY) {
        None => Ok(None),
        Some(Value::Array(Array::F32(scores))) => Ok(Some(scores.clone())),
        Some(Value::Array(Array::I32(scores))) => {
            Ok(Some(scores.iter().map(|&score| score as f32).collect()))
        }
        Some(_) => Err(TokenizerError::Malformed {
            key: KEY,
            reason: "not an array of F32 or I32".into(),
        }),
    }
}

fn build_bpe(tokens: &[Token], merges: &[String]) -> Result<Bpe, TokenizerError> {
    let words: HashMap<Box<[u8]>, u32> = tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| token.kind.is_merged())
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

#[cfg(test)]
#[path = "tokenizer_tests.rs"]
mod tests;
