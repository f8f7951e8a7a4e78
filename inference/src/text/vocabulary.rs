//! The tokens of a vocabulary: what each is for, what it prints, which of them end a generation.

use super::byte_level;
use super::tokenizer::{TokenizerError, TokenizerSource};

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
    "<｜fim▁begin｜>",
    "<PRE>",
    "▁<PRE>",
    "<|code_prefix|>",
    "<|prefix|>",
    "<|fim_suffix|>",
    "<fim-suffix>",
    "<fim_suffix>",
    "<｜fim▁hole｜>",
    "<SUF>",
    "▁<SUF>",
    "<|code_suffix|>",
    "<|suffix|>",
    "<|fim_middle|>",
    "<fim-middle>",
    "<fim_middle>",
    "<｜fim▁end｜>",
    "<MID>",
    "▁<MID>",
    "<|code_middle|>",
    "<|middle|>",
];

/// The character that stands for a space in SentencePiece vocabularies.
pub(super) const SPM_SPACE: char = '▁';

/// What a token is for; the value of `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    Normal,
    Unknown,
    /// Structures a prompt; neither produced from text nor printed.
    Control,
    /// Text that the vocabulary wants whole: matched before merging, and printed.
    UserDefined,
    Unused,
    /// One byte, `<0x0A>`, for characters that no other token spells.
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

    /// Whether it must not come from text and is not printed.
    pub(super) fn is_hidden(self) -> bool {
        matches!(self, Self::Control | Self::Unknown)
    }

    /// Whether it is cut out of a text before merging, where it is recognised at all.
    pub(super) fn is_special(self) -> bool {
        self.is_hidden() || self == Self::UserDefined
    }

    /// Whether merging may produce it. Byte tokens come from bytes, not from the text `<0x0A>`.
    pub(super) fn is_merged(self) -> bool {
        matches!(self, Self::Normal | Self::UserDefined)
    }
}

/// How the vocabulary spells text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// In the printable alphabet of GPT-2.
    ByteLevel,
    /// As it is, with `▁` for spaces.
    Spm,
}

#[derive(Debug)]
pub(super) struct Token {
    /// The vocabulary's spelling.
    pub text: Box<str>,
    /// What the token adds to decoded text; empty if it is hidden.
    pub bytes: Box<[u8]>,
    pub kind: TokenKind,
    /// Whether blanks after the token belong to it. Only Phi-3's markers are so.
    pub swallows_blanks: bool,
}

/// Builds the tokens in order of id.
///
/// # Errors
/// No tokens, more than `u32` counts, or fewer types than tokens.
pub(super) fn build_tokens(
    source: &TokenizerSource,
    spelling: Spelling,
) -> Result<Vec<Token>, TokenizerError> {
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
    let types = source.token_types.as_deref();
    if let Some(types) = types.filter(|types| types.len() < num_tokens) {
        let reason = format!("{} types for {num_tokens} tokens", types.len());
        return Err(TokenizerError::Malformed {
            key: "tokenizer.ggml.token_type",
            reason,
        });
    }
    let kind_of =
        |id: usize| types.map_or(TokenKind::Normal, |types| TokenKind::from_ggml(types[id]));
    let tokens = source.tokens.iter().enumerate();
    let mut tokens: Vec<Token> = tokens
        .map(|(id, text)| build_token(text, kind_of(id), spelling))
        .collect();
    if is_phi3(source) {
        for token in &mut tokens {
            let keeps = matches!(&*token.text, "<unk>" | "<s>" | "<|endoftext|>");
            token.swallows_blanks = token.kind.is_special() && !keeps;
        }
    }
    Ok(tokens)
}

/// The GGUF format has no key for this property of a token; llama.cpp goes by the name of the model.
fn is_phi3(source: &TokenizerSource) -> bool {
    let name = source.model_name.as_deref().unwrap_or_default();
    let name = name.to_ascii_lowercase();
    name.contains("phi-3") || name.contains("phi3")
}

fn build_token(text: &str, declared: TokenKind, spelling: Spelling) -> Token {
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
    let as_written = || text.as_bytes().to_vec();
    let bytes = match kind {
        TokenKind::Control | TokenKind::Unknown | TokenKind::Unused => Vec::new(),
        TokenKind::UserDefined => as_written(),
        TokenKind::Normal => match spelling {
            Spelling::ByteLevel => byte_level::bytes_of(text).unwrap_or_else(as_written),
            Spelling::Spm => text.replace(SPM_SPACE, " ").into_bytes(),
        },
        TokenKind::Byte => parse_byte_token(text).map_or_else(as_written, |byte| vec![byte]),
    };
    Token {
        text: text.into(),
        bytes: bytes.into(),
        kind,
        swallows_blanks: false,
    }
}

/// Parses `<0x0A>`.
pub(super) fn parse_byte_token(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    let is_byte = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_byte
        .then(|| u8::from_str_radix(digits, 16).ok())
        .flatten()
}

/// Returns the tokens that end a generation, in ascending order.
pub(super) fn end_token_ids(tokens: &[Token], declared: &[Option<u32>]) -> Vec<u32> {
    let named = tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| {
            END_TOKEN_NAMES.contains(&&*token.text) || FIM_END_TOKEN_NAMES.contains(&&*token.text)
        })
        .map(|(id, _)| id as u32);
    let mut ids: Vec<u32> = named.chain(declared.iter().flatten().copied()).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_tokens_have_two_hexadecimal_digits() {
        for (text, byte) in [
            ("<0x0A>", Some(10)),
            ("<0xff>", Some(255)),
            ("<0x+1>", None),
            ("<0x1>", None),
            ("<0x100>", None),
            ("0x0A", None),
        ] {
            assert_eq!(parse_byte_token(text), byte, "{text}");
        }
    }
}
