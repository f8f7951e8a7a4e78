//! The expressions of pre-tokenizers as functions.
//!
//! A matcher gets the rest of a text (not empty) and says whether its expression matches right at the
//! start. Each reads a character at most twice over a whole text.

use std::sync::OnceLock;

use crate::text::char_class::{CharClass, CharSet};

/// What a matcher says of the start of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The expression matches this many bytes.
    Match(usize),
    /// No match starts within this many bytes (at least one character).
    Nothing(usize),
}

/// Looks for a match at the start of a text.
pub(super) type Matcher = fn(&str) -> Found;

/// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
pub(super) fn gpt2_word(text: &str) -> Found {
    if let Some(len) = contraction_len(text, |byte| byte) {
        return Found::Match(len);
    }
    let space = usize::from(text.starts_with(' '));
    let word = &text[space..];
    let len = match CharClass::of_first(word) {
        None | Some(CharClass::Space) => whitespace_word(text),
        Some(class @ (CharClass::Letter | CharClass::Number)) => space + class_run_len(word, class),
        Some(_) => space + run_len(word, |c| is_symbol(c, false)),
    };
    Found::Match(len)
}

/// The family of expressions that began with GPT-4's: letters with one leading symbol, groups of digits,
/// symbols with what follows them, blanks up to a line break.
pub(super) struct Modern {
    /// Whether `'s` and its like are words before anything else is tried.
    pub contractions: bool,
    /// Length of the letters at the start of a text, 0 if there are none.
    pub letters: fn(&str) -> usize,
    /// Whether `\p{M}` counts among the letters.
    pub marks_are_letters: bool,
    /// Whether `'s` and its like belong to the letters before them.
    pub suffix: bool,
    pub max_digits: usize,
    /// Characters that stay with the symbols before them.
    pub tail: &'static str,
}

impl Modern {
    /// Matches a word; some alternative matches any text.
    pub(super) fn word(&self, text: &str) -> Found {
        Found::Match(self.word_len(text))
    }

    fn word_len(&self, text: &str) -> usize {
        if self.contractions
            && let Some(len) = contraction_len(text, |byte| byte.to_ascii_lowercase())
        {
            return len;
        }
        let Some(first) = text.chars().next() else {
            return 0;
        };
        if CharClass::of(first) == CharClass::Number {
            let digits = text
                .chars()
                .take_while(|&c| CharClass::of(c) == CharClass::Number);
            return digits.take(self.max_digits).map(char::len_utf8).sum();
        }
        if let Some(len) = self.letters_len(text, first) {
            return len;
        }
        let space = usize::from(first == ' ');
        let symbols = space + run_len(&text[space..], |c| is_symbol(c, self.marks_are_letters));
        if symbols > space {
            return symbols + run_len(&text[symbols..], |c| self.tail.contains(c));
        }
        let blank = &text[..class_run_len(text, CharClass::Space)];
        match blank.rfind(is_line_break) {
            Some(last_line_break) => last_line_break + 1,
            None => whitespace_word(text),
        }
    }

    /// `[^\r\n\p{L}\p{N}]?` and letters, and what may follow them.
    fn letters_len(&self, text: &str, first: char) -> Option<usize> {
        let mut len = (self.letters)(text);
        if len == 0 && !is_line_break(first) {
            let lead = first.len_utf8();
            len = match (self.letters)(&text[lead..]) {
                0 => 0,
                letters => lead + letters,
            };
        }
        if len == 0 {
            return None;
        }
        let suffix = if self.suffix {
            contraction_len(&text[len..], |byte| byte.to_ascii_lowercase()).unwrap_or(0)
        } else {
            0
        };
        Some(len + suffix)
    }
}

/// `\p{L}+`
pub(super) fn letters(text: &str) -> usize {
    class_run_len(text, CharClass::Letter)
}

/// `[\p{L}\p{M}]+`
pub(super) fn letters_and_marks(text: &str) -> usize {
    run_len(text, is_letter_or_mark)
}

/// `U*W+|U+W*`, where U are the letters but `a-z`, and W the letters but `A-Z`: a capital starts a word.
/// Letters outside ASCII are both.
pub(super) fn cased_letters(text: &str) -> usize {
    let is_letter = |c| CharClass::of(c) == CharClass::Letter;
    let not_lower = |c: char| is_letter(c) && !c.is_ascii_lowercase();
    let not_upper = |c: char| is_letter(c) && !c.is_ascii_uppercase();
    let capitals = run_len(text, not_lower);
    let rest = run_len(&text[capitals..], not_upper);
    if rest > 0 {
        return capitals + rest;
    }
    // `W+` must match something: the last of the capitals that it may take, else the second alternative.
    let last = text[..capitals]
        .char_indices()
        .rfind(|&(_, c)| not_upper(c));
    last.map_or(capitals, |(index, c)| index + c.len_utf8())
}

/// `[!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
pub(super) fn deepseek_v3_word(text: &str) -> Found {
    let Some(first) = text.chars().next() else {
        return Found::Nothing(0);
    };
    let first_len = first.len_utf8();
    if first.is_ascii_punctuation() {
        let latin = run_len(&text[1..], |c| c.is_ascii_alphabetic());
        if latin > 0 {
            return Found::Match(1 + latin);
        }
    }
    let is_mark = |c| matches!(CharClass::of(c), CharClass::Punctuation | CharClass::Symbol);
    let may_lead = !is_line_break(first) && !is_mark(first);
    let after = letters_and_marks(&text[first_len..]);
    if is_letter_or_mark(first) || (may_lead && after > 0) {
        return Found::Match(first_len + after);
    }
    let space = usize::from(first == ' ');
    let marks = space + run_len(&text[space..], is_mark);
    if marks > space {
        return Found::Match(marks + run_len(&text[marks..], is_line_break));
    }
    let blank = &text[..class_run_len(text, CharClass::Space)];
    match blank.rfind(is_line_break) {
        Some(last_line_break) => Found::Match(last_line_break + 1),
        None if blank.is_empty() => Found::Nothing(first_len),
        None => Found::Match(whitespace_word(text)),
    }
}

/// `\p{N}`
pub(super) fn number(text: &str) -> Found {
    numbers(text, 1)
}

/// `\p{N}{1,3}`
pub(super) fn number_triple(text: &str) -> Found {
    numbers(text, 3)
}

/// `\p{N}+`
pub(super) fn number_run(text: &str) -> Found {
    numbers(text, usize::MAX)
}

fn numbers(text: &str, most: usize) -> Found {
    let is_number = |c: char| CharClass::of(c) == CharClass::Number;
    match text
        .chars()
        .take_while(|&c| is_number(c))
        .take(most)
        .map(char::len_utf8)
        .sum()
    {
        0 => Found::Nothing(run_len(text, |c| !is_number(c))),
        len => Found::Match(len),
    }
}

/// `[0-9][0-9][0-9]`
pub(super) fn digit_triple(text: &str) -> Found {
    let digits = text.bytes().take(3).take_while(u8::is_ascii_digit).count();
    match digits {
        3 => Found::Match(3),
        0 => Found::Nothing(run_len(text, |c| !c.is_ascii_digit())),
        fewer => Found::Nothing(fewer),
    }
}

/// `[\r\n]`
pub(super) fn line_break(text: &str) -> Found {
    if text.starts_with(is_line_break) {
        Found::Match(1)
    } else {
        Found::Nothing(run_len(text, |c| !is_line_break(c)))
    }
}

/// `[^\n]+|[\n]+`
pub(super) fn line_run(text: &str) -> Found {
    let breaks = text.starts_with('\n');
    Found::Match(run_len(text, |c| (c == '\n') == breaks))
}

/// `[\p{P}\$\+<=>\^~\|`]+`
pub(super) fn falcon_punctuation(text: &str) -> Found {
    run(text, |c| {
        CharClass::of(c) == CharClass::Punctuation || "$+<=>^~|`".contains(c)
    })
}

/// `[\p{P}\$\+<=>\^~\|]+`
pub(super) fn old_punctuation(text: &str) -> Found {
    run(text, |c| {
        CharClass::of(c) == CharClass::Punctuation || "$+<=>^~|".contains(c)
    })
}

/// `\s?\p{L}+`
pub(super) fn letters_after_space(text: &str) -> Found {
    run_after_space(text, |c| CharClass::of(c) == CharClass::Letter)
}

/// `\s?\p{P}+`
pub(super) fn punctuation_after_space(text: &str) -> Found {
    run_after_space(text, |c| CharClass::of(c) == CharClass::Punctuation)
}

/// `\s?` and letters of the alphabets that have capitals, as of the Unicode version that the expression was
/// written with.
pub(super) fn deepseek_letters(text: &str) -> Found {
    static SET: OnceLock<CharSet> = OnceLock::new();
    let set = SET.get_or_init(|| CharSet::new(CASED_LETTERS));
    run_after_space(text, |c| set.contains(c))
}

/// `\s?[!-/:-~！-／：-～‘-‟　-。]+`
pub(super) fn deepseek_punctuation(text: &str) -> Found {
    static SET: OnceLock<CharSet> = OnceLock::new();
    let set = SET.get_or_init(|| {
        CharSet::new(
            r"[!-/:-~\u{FF01}-\u{FF0F}\u{FF1A}-\u{FF5E}\u{2018}-\u{201F}\u{3000}-\u{3002}]",
        )
    });
    run_after_space(text, |c| set.contains(c))
}

/// `\s+$`
pub(super) fn trailing_blanks(text: &str) -> Found {
    match class_run_len(text, CharClass::Space) {
        0 => Found::Nothing(run_len(text, |c| CharClass::of(c) != CharClass::Space)),
        blank if blank == text.len() => Found::Match(blank),
        blank => Found::Nothing(blank),
    }
}

/// `[一-龥ࠀ-一가-퟿]+`
pub(super) fn east_asian_run(text: &str) -> Found {
    let listed = |c| matches!(c, '\u{800}'..='\u{9FA5}' | '\u{AC00}'..='\u{D7FF}');
    run(text, |c| listed(c) && CharClass::of(c) != CharClass::Space)
}

/// `[一-龥぀-ゟ゠-ヿ]+`
pub(super) fn kana_or_han_run(text: &str) -> Found {
    run(
        text,
        |c| matches!(c, '\u{4E00}'..='\u{9FA5}' | '\u{3040}'..='\u{30FF}'),
    )
}

/// ` ?[^(\s|.,!?…。，、।۔،)]+`
pub(super) fn sentence_word(text: &str) -> Found {
    let is_word = |c| CharClass::of(c) != CharClass::Space && !"(|.,!?…。，、।۔،)".contains(c);
    let space = usize::from(text.starts_with(' '));
    match run_len(&text[space..], is_word) {
        0 => Found::Nothing(text.chars().next().map_or(0, char::len_utf8)),
        len => Found::Match(space + len),
    }
}

/// Matches a run of the characters that `belongs` accepts.
fn run(text: &str, belongs: impl Fn(char) -> bool) -> Found {
    match run_len(text, &belongs) {
        0 => Found::Nothing(run_len(text, |c| !belongs(c))),
        len => Found::Match(len),
    }
}

/// Matches such a run with one blank before it, if there is one.
fn run_after_space(text: &str, belongs: impl Fn(char) -> bool) -> Found {
    let first = text.chars().next().unwrap_or_default();
    let blank = if CharClass::of(first) == CharClass::Space {
        first.len_utf8()
    } else {
        0
    };
    match run_len(&text[blank..], belongs) {
        0 => Found::Nothing(first.len_utf8()),
        len => Found::Match(blank + len),
    }
}

/// Returns the length in bytes of the run of characters at the start of `text` that `belongs` accepts.
fn run_len(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

fn class_run_len(text: &str, class: CharClass) -> usize {
    run_len(text, |c| CharClass::of(c) == class)
}

fn is_line_break(c: char) -> bool {
    matches!(c, '\r' | '\n')
}

fn is_letter_or_mark(c: char) -> bool {
    matches!(CharClass::of(c), CharClass::Letter | CharClass::Mark)
}

/// `[^\s\p{L}\p{N}]`, or `[^\s\p{L}\p{M}\p{N}]`.
fn is_symbol(c: char, marks_are_letters: bool) -> bool {
    match CharClass::of(c) {
        CharClass::Letter | CharClass::Number | CharClass::Space => false,
        CharClass::Mark => !marks_are_letters,
        CharClass::Other | CharClass::Punctuation | CharClass::Symbol => true,
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

/// Letters with case, from DeepSeek LLM's published tokenizer.
const CASED_LETTERS: &str = r"[A-Za-z\u{B5}\u{C0}-\u{D6}\u{D8}-\u{F6}\u{F8}-\u{1BA}\u{1BC}-\u{1BF}\u{1C4}-\u{293}\u{295}-\u{2AF}\u{370}-\u{373}\u{376}\u{377}\u{37B}-\u{37D}\u{37F}\u{386}\u{388}-\u{38A}\u{38C}\u{38E}-\u{3A1}\u{3A3}-\u{3F5}\u{3F7}-\u{481}\u{48A}-\u{52F}\u{531}-\u{556}\u{10A0}-\u{10C5}\u{13A0}-\u{13F5}\u{13F8}-\u{13FD}\u{1C90}-\u{1CBA}\u{1CBD}-\u{1CBF}\u{1D00}-\u{1D2B}\u{1D6B}-\u{1D77}\u{1D79}-\u{1D9A}\u{1E00}-\u{1F15}\u{1F18}-\u{1F1D}\u{1F20}-\u{1F45}\u{1F48}-\u{1F4D}\u{1F50}-\u{1F57}\u{1F59}\u{1F5B}\u{1F5D}\u{1F5F}-\u{1F7D}\u{1F80}-\u{1FB4}\u{1FB6}-\u{1FBC}\u{1FBE}\u{1FC2}-\u{1FC4}\u{1FC6}-\u{1FCC}\u{1FD0}-\u{1FD3}\u{1FD6}-\u{1FDB}\u{1FE0}-\u{1FEC}\u{1FF2}-\u{1FF4}\u{1FF6}-\u{1FFC}\u{2102}\u{2107}\u{210A}-\u{2113}\u{2115}\u{2119}-\u{211D}\u{2124}\u{2126}\u{2128}\u{212A}-\u{212D}\u{212F}-\u{2134}\u{2139}\u{213C}-\u{213F}\u{2145}-\u{2149}\u{214E}\u{2183}\u{2184}\u{2C00}-\u{2C7B}\u{2C7E}-\u{2CE4}\u{2CEB}-\u{2CEE}\u{2CF2}\u{2CF3}\u{A640}-\u{A66D}\u{A680}-\u{A69B}\u{A722}-\u{A76F}\u{A771}-\u{A787}\u{A78B}-\u{A78E}\u{AB70}-\u{ABBF}\u{FB00}-\u{FB06}\u{FB13}-\u{FB17}\u{FF21}-\u{FF3A}\u{FF41}-\u{FF5A}\u{10400}-\u{1044F}\u{104B0}-\u{104D3}\u{104D8}-\u{104FB}\u{10C80}-\u{10CB2}\u{10CC0}-\u{10CF2}\u{118A0}-\u{118DF}\u{1E900}-\u{1E943}]";
