//! Splitting text into the words that BPE may merge within.
//!
//! Each variant is one published regular expression, written out by hand: the expressions need a
//! look-ahead (`\s+(?!\S)`), and a backtracking engine takes quadratic time, or gives up, on a
//! megabyte of one character. Every function here reads each character at most twice.
//!
//! | variant | expression |
//! |---|---|
//! | `gpt-2` | `'s\|'t\|'re\|'ve\|'m\|'ll\|'d\| ?\p{L}+\| ?\p{N}+\| ?[^\s\p{L}\p{N}]+\|\s+(?!\S)\|\s+` |
//! | `smollm` | every `\p{N}` alone, then `gpt-2` on the text between |
//! | `qwen2` | `(?i:'s\|'t\|'re\|'ve\|'m\|'ll\|'d)\|[^\r\n\p{L}\p{N}]?\p{L}+\|\p{N}\| ?[^\s\p{L}\p{N}]+[\r\n]*\|\s*[\r\n]+\|\s+(?!\S)\|\s+` |
//! | `llama-bpe` | as `qwen2`, with `\p{N}{1,3}` |
//!
//! In `(?i:'s)` only ASCII letters match, as in llama.cpp; the long s `ſ` does not.

use std::sync::OnceLock;

use regex_syntax::hir::{Class, HirKind};

/// How text is cut into words before merging; the value of `tokenizer.ggml.pre`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreTokenizer {
    /// `gpt-2`
    Gpt2,
    /// `smollm`: SmolLM and SmolLM2
    SmolLm,
    /// `qwen2`: Qwen2, Qwen2.5, Qwen3 and their derivatives
    Qwen2,
    /// `llama-bpe`: Llama 3 and later
    LlamaBpe,
}

impl PreTokenizer {
    /// Returns the pre-tokenizer that GGUF files call `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "gpt-2" => Some(Self::Gpt2),
            "smollm" => Some(Self::SmolLm),
            "qwen2" | "deepseek-r1-qwen" => Some(Self::Qwen2),
            "llama-bpe" | "llama3" | "llama-v3" => Some(Self::LlamaBpe),
            _ => None,
        }
    }

    /// Names accepted by [`PreTokenizer::from_name`], for error messages.
    pub(super) const SUPPORTED: &'static str = "gpt-2, smollm, qwen2, llama-bpe";

    /// Whether a word that is a vocabulary entry is taken whole, whatever the merges say.
    pub(super) fn ignores_merges(self) -> bool {
        self == Self::LlamaBpe
    }

    /// Whether a BOS token starts a prompt when the file does not say.
    pub(super) fn adds_bos_by_default(self) -> bool {
        self == Self::LlamaBpe
    }

    /// Calls `word` with each word of `text` in order; the words joined are `text`.
    pub(super) fn split<'t>(self, text: &'t str, mut word: impl FnMut(&'t str)) {
        match self {
            Self::Gpt2 => split_by(text, gpt2_word, &mut word),
            Self::Qwen2 => split_by(text, |rest| modern_word(rest, 1), &mut word),
            Self::LlamaBpe => split_by(text, |rest| modern_word(rest, 3), &mut word),
            Self::SmolLm => {
                let mut start = 0;
                for (index, c) in text.char_indices() {
                    if CharClass::of(c) == CharClass::Number {
                        split_by(&text[start..index], gpt2_word, &mut word);
                        start = index + c.len_utf8();
                        word(&text[index..start]);
                    }
                }
                split_by(&text[start..], gpt2_word, &mut word);
            }
        }
    }
}

fn split_by<'t>(
    mut rest: &'t str,
    word_len: impl Fn(&str) -> usize,
    word: &mut impl FnMut(&'t str),
) {
    while !rest.is_empty() {
        let (head, tail) = rest.split_at(word_len(rest));
        word(head);
        rest = tail;
    }
}

/// The classes the expressions distinguish; everything else, unassigned included, is `Other`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum CharClass {
    Other,
    Letter,
    Number,
    Space,
}

impl CharClass {
    fn of(c: char) -> Self {
        // One byte a code point: 1.1 MB once, no branches after.
        static TABLE: OnceLock<Box<[CharClass]>> = OnceLock::new();
        TABLE.get_or_init(build_class_table)[c as usize]
    }

    fn of_first(text: &str) -> Option<Self> {
        text.chars().next().map(Self::of)
    }
}

/// Characters that Unicode added after 15.1 stay `Other`, as in llama.cpp: a newer table would split their
/// digits otherwise than the vocabularies were trained on.
fn build_class_table() -> Box<[CharClass]> {
    let mut table = vec![CharClass::Other; char::MAX as usize + 1].into_boxed_slice();
    for (expression, class) in [
        (r"[\p{L}&&\p{Age=15.1}]", CharClass::Letter),
        (r"[\p{N}&&\p{Age=15.1}]", CharClass::Number),
        (r"\s", CharClass::Space),
    ] {
        let hir = regex_syntax::parse(expression).expect("the expression is a Unicode class");
        let HirKind::Class(Class::Unicode(ranges)) = hir.kind() else {
            unreachable!("{expression} is a Unicode class");
        };
        for range in ranges.ranges() {
            table[range.start() as usize..=range.end() as usize].fill(class);
        }
    }
    table
}

/// Returns the length in bytes of the run of characters at the start of `text` that `belongs` accepts.
fn run_len(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

fn class_run_len(text: &str, class: CharClass) -> usize {
    run_len(text, |c| CharClass::of(c) == class)
}

/// Returns the length of the word at the start of `text` (not empty) by the GPT-2 expression.
fn gpt2_word(text: &str) -> usize {
    if let Some(len) = contraction_len(text, |byte| byte) {
        return len;
    }
    let space = usize::from(text.starts_with(' '));
    match CharClass::of_first(&text[space..]) {
        None | Some(CharClass::Space) => whitespace_word(text),
        Some(class) => space + class_run_len(&text[space..], class),
    }
}

/// Returns the length of the word at the start of `text` (not empty) by the Qwen2 and Llama 3
/// expressions, which differ in how many digits make a word.
fn modern_word(text: &str, max_digits: usize) -> usize {
    if let Some(len) = contraction_len(text, |byte| byte.to_ascii_lowercase()) {
        return len;
    }
    let mut chars = text.chars();
    let first = chars.next().expect("the text is not empty");
    let class = CharClass::of(first);
    let after_first = chars.as_str();
    let is_newline = |c| matches!(c, '\r' | '\n');

    if class == CharClass::Number {
        let is_number = |c: &char| CharClass::of(*c) == CharClass::Number;
        return text
            .chars()
            .take(max_digits)
            .take_while(is_number)
            .map(char::len_utf8)
            .sum();
    }
    let letters_follow = CharClass::of_first(after_first) == Some(CharClass::Letter);
    if class == CharClass::Letter || (letters_follow && !is_newline(first)) {
        return first.len_utf8() + class_run_len(after_first, CharClass::Letter);
    }
    let space = usize::from(first == ' ');
    if CharClass::of_first(&text[space..]) == Some(CharClass::Other) {
        let symbols = space + class_run_len(&text[space..], CharClass::Other);
        return symbols + run_len(&text[symbols..], is_newline);
    }
    let blank = &text[..class_run_len(text, CharClass::Space)];
    match blank.rfind(is_newline) {
        Some(last_newline) => last_newline + 1,
        None => whitespace_word(text),
    }
}

/// Matches `'s|'t|'re|'ve|'m|'ll|'d` after `fold` of each byte.
fn contraction_len(text: &str, fold: impl Fn(u8) -> u8) -> Option<usize> {
    let mut bytes = text.bytes();
    if bytes.next() != Some(b'\'') {
        return None;
    }
    match (bytes.next().map(&fold)?, bytes.next().map(&fold)) {
        (b's' | b't' | b'm' | b'd', _) => Some(2),
        (b'r' | b'v', Some(b'e')) | (b'l', Some(b'l')) => Some(3),
        _ => None,
    }
}

/// Matches `\s+(?!\S)|\s+`: the last blank before a word is left to that word.
fn whitespace_word(text: &str) -> usize {
    let run = class_run_len(text, CharClass::Space);
    let last = text[..run].chars().next_back().map_or(0, char::len_utf8);
    if run < text.len() && run > last {
        run - last
    } else {
        run
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(pre: PreTokenizer, text: &str) -> Vec<&str> {
        let mut words = Vec::new();
        pre.split(text, |word| words.push(word));
        assert_eq!(words.concat(), text);
        words
    }

    #[test]
    fn gpt2_keeps_a_space_with_the_word_that_follows() {
        assert_eq!(
            words(PreTokenizer::Gpt2, "I'll  say 'S \t it's 42%\n\n x "),
            [
                "I", "'ll", " ", " say", " '", "S", " \t", " it", "'s", " 42", "%", "\n\n", " x",
                " "
            ]
        );
    }

    #[test]
    fn smollm_takes_digits_one_by_one_and_does_not_look_past_them() {
        assert_eq!(
            words(PreTokenizer::SmolLm, "a  12½ b"),
            ["a", "  ", "1", "2", "½", " b"]
        );
    }

    #[test]
    fn qwen2_attaches_one_symbol_to_letters_and_newlines_to_symbols() {
        assert_eq!(
            words(PreTokenizer::Qwen2, "it'S (ok);\n\n  \n  foo\tbar 1234\r\n"),
            [
                "it", "'S", " (", "ok", ");\n\n", "  \n", " ", " foo", "\tbar", " ", "1", "2", "3",
                "4", "\r\n"
            ]
        );
    }

    #[test]
    fn llama_bpe_groups_three_digits() {
        assert_eq!(
            words(PreTokenizer::LlamaBpe, "12345 x"),
            ["123", "45", " x"]
        );
    }

    #[test]
    fn unknown_names_are_not_mistaken_for_another() {
        assert_eq!(PreTokenizer::from_name("tekken"), None);
        assert_eq!(PreTokenizer::from_name("default"), None);
    }
}
