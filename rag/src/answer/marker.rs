//! Citation markers as models write them: `[1]`, `[1, 2]`, `[Passage 3]`, `【1】`, `(2)`.

use std::iter;

use super::phrases::{MarkerWord, begins_marker_word, marker_word};

/// Longest marker that is waited for, in characters.
const MAX_MARKER_CHARS: usize = 32;

/// What stands at the beginning of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Marker {
    /// A marker of `length` characters that names these passages.
    Found {
        /// Characters of the marker, leading spaces included.
        length: usize,
        /// Passage numbers; may be out of range.
        numbers: Vec<usize>,
    },
    /// Something else.
    Absent,
    /// The beginning of what may become a marker.
    Partial,
}

/// Reads a marker at the beginning of `text`, spaces before it included.
///
/// Round brackets are also ordinary prose ("one (1) year"): with a bare number they are a marker only where a
/// sentence ends behind them and the number is one of `num_passages`.
pub(crate) fn read_marker(text: &[char], num_passages: usize, at_end: bool) -> Marker {
    let partial = if at_end {
        Marker::Absent
    } else {
        Marker::Partial
    };
    let spaces = text
        .iter()
        .take_while(|&&c| c == ' ' || c == '\t' || c == '\u{a0}')
        .count();
    let Some(&open) = text.get(spaces) else {
        return if spaces > 0 { partial } else { Marker::Absent };
    };
    let close = match open {
        '[' => ']',
        '【' => '】',
        '(' => ')',
        _ => return Marker::Absent,
    };
    let inner = &text[spaces + 1..];
    let Some(length) = inner
        .iter()
        .take(MAX_MARKER_CHARS)
        .position(|&c| c == close)
    else {
        let may_grow = inner.len() < MAX_MARKER_CHARS && may_become_marker(inner);
        return if may_grow { partial } else { Marker::Absent };
    };
    let Some((numbers, named)) = read_inner(&inner[..length]) else {
        return Marker::Absent;
    };
    let end = spaces + length + 2;
    if open == '(' && !named {
        if numbers.iter().any(|n| *n == 0 || *n > num_passages) {
            return Marker::Absent;
        }
        match text.get(end) {
            None if !at_end => return Marker::Partial,
            Some(c) if !matches!(c, '.' | '!' | '?' | '\n' | '。') => return Marker::Absent,
            _ => {}
        }
    }
    Marker::Found {
        length: end,
        numbers,
    }
}

/// Reads `1, 2`, `Passage 3`, `1-3`, `1†source`; tells whether a name was there.
fn read_inner(inner: &[char]) -> Option<(Vec<usize>, bool)> {
    let text: String = inner.iter().collect();
    let text = text.trim();
    let text = text.split('†').next().unwrap_or_default();
    let mut numbers = Vec::new();
    // "(see [2])": the inner bracket says that the number is a passage's.
    let bracketed = text.contains('[');
    let mut named = bracketed;
    let mut range = false;
    for token in tokens(text) {
        match marker_word(token) {
            Some(MarkerWord::Name) => named = true,
            Some(MarkerWord::Join) => {}
            Some(MarkerWord::See) if bracketed => {}
            _ if is_dash(token) => range = true,
            _ => {
                let number = read_number(token)?;
                match numbers.last().copied().filter(|_| range) {
                    Some(low) => push_range(&mut numbers, low + 1, number),
                    None => numbers.push(number),
                }
                range = false;
            }
        }
    }
    (!numbers.is_empty()).then_some((numbers, named))
}

/// The words, numbers and dashes between the separators: "来源2-3" has four of them.
fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let kind = |c: char| (c.is_ascii_digit(), matches!(c, '-' | '–'));
    text.split(|c: char| c.is_whitespace() || is_separator(c))
        .flat_map(move |part| {
            let mut rest = part;
            iter::from_fn(move || {
                let first = rest.chars().next()?;
                let end = rest.find(|c| kind(c) != kind(first)).unwrap_or(rest.len());
                let (token, behind) = rest.split_at(end);
                rest = behind;
                Some(token)
            })
        })
}

fn is_dash(token: &str) -> bool {
    matches!(token, "-" | "–")
}

/// What stands between the numbers of a marker.
fn is_separator(c: char) -> bool {
    matches!(c, ',' | ';' | '&' | ':' | '#' | '^' | '[' | ']')
}

/// A passage number has at most two digits; `[2019]` and `[108]` are text.
fn read_number(text: &str) -> Option<usize> {
    let short = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    short.then(|| text.parse().ok()).flatten()
}

fn push_range(numbers: &mut Vec<usize>, low: usize, high: usize) {
    numbers.extend((low..=high).take(8));
}

/// Whether an unclosed bracket still looks like a marker: names, digits and separators only.
fn may_become_marker(inner: &[char]) -> bool {
    let text: String = inner.iter().collect();
    tokens(&text).all(|token| {
        let is_number = token.starts_with(|c: char| c.is_ascii_digit());
        is_number || is_dash(token) || token.starts_with('†') || begins_marker_word(token)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_read_in_all_their_spellings() {
        let table: &[(&str, &[usize])] = &[
            ("[1]", &[1]),
            (" [1, 2]", &[1, 2]),
            ("[1,2 and 4]", &[1, 2, 4]),
            ("[Passage 3]", &[3]),
            ("[passages 1-3]", &[1, 2, 3]),
            ("[1 – 2]", &[1, 2]),
            ("【2】", &[2]),
            ("【1†source】", &[1]),
            ("(Source: 2)", &[2]),
            ("(2).", &[2]),
            ("[#1]", &[1]),
            ("(see [2])", &[2]),
            (" (see [Passage 1] and [3])", &[1, 3]),
            ("[9]", &[9]),
            ("[Quelle 2]", &[2]),
            ("[Textstellen 1 und 3]", &[1, 3]),
            ("(Quelle: 2)", &[2]),
            ("[extrait 2]", &[2]),
            ("[来源2]", &[2]),
            ("[来源1和3]", &[1, 3]),
            ("【出典1】", &[1]),
            ("(siehe [2])", &[2]),
        ];
        for (text, expected) in table {
            let chars: Vec<char> = text.chars().collect();
            match read_marker(&chars, 4, true) {
                Marker::Found { numbers, .. } => assert_eq!(&numbers, expected, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn ordinary_brackets_are_text() {
        for text in [
            "[2019]",
            "[a]",
            "[citation needed]",
            "(1) year",
            "(15).",
            "(see 2).",
            "[]",
            "[1 of 3]",
            "[x](y)",
            "(1998).",
            "[108]",
        ] {
            let chars: Vec<char> = text.chars().collect();
            assert_eq!(read_marker(&chars, 4, true), Marker::Absent, "{text}");
        }
    }

    #[test]
    fn only_what_may_become_a_marker_is_held() {
        for (text, partial) in [
            ("[", true),
            (" ", true),
            ("[1", true),
            ("[Pass", true),
            ("[1, ", true),
            ("[Part", false),
            ("[Que", true),
            ("[来", true),
            ("[not", false),
            ("(2)", true),
            ("x", false),
        ] {
            let chars: Vec<char> = text.chars().collect();
            assert_eq!(
                read_marker(&chars, 4, false) == Marker::Partial,
                partial,
                "{text}"
            );
        }
    }
}
