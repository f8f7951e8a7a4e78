//! What belongs to the form of a sentence and not to what it says: list marks, reference marks, names of passages.

use std::collections::BTreeSet;

use super::phrases::{is_join, is_passage_name};
use crate::text::terms::Term;

/// A document's own `[12]` are no numbers of its sentence.
pub(crate) fn without_reference_marks(text: &str) -> String {
    let mut parts = text.split('[');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let mark = (1..=3).contains(&digits) && part[digits..].starts_with(']');
        out.push(' ');
        out.push_str(if mark { &part[digits + 1..] } else { part });
    }
    out
}

/// Keeps the first of equal keys; it is negated only if all of them are.
pub(crate) fn unique(terms: Vec<Term>) -> Vec<Term> {
    let mut found: Vec<Term> = Vec::with_capacity(terms.len());
    for term in terms {
        match found.iter_mut().find(|t| t.key == term.key) {
            Some(known) => known.negated &= term.negated,
            None => found.push(term),
        }
    }
    found
}

/// A sentence without the `-` or `2.` of its list item.
pub(crate) fn without_item_mark(sentence: &str) -> &str {
    let text = sentence.trim_start();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let numbered = (1..=3)
        .contains(&digits)
        .then(|| text[digits..].strip_prefix(['.', ')']))
        .flatten();
    let rest = numbered
        .or_else(|| text.strip_prefix(['-', '*', '•', '+']))
        .unwrap_or(text);
    if rest.starts_with(char::is_whitespace) {
        rest
    } else {
        text
    }
}

/// Removes "passage 2", "sources 1 and 3" from a sentence; their numbers are claims about passages, not about the world.
pub(crate) fn strip_passage_names(
    sentence: &str,
    num_passages: usize,
    claimed: &mut BTreeSet<usize>,
) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut after_name = false;
    for word in sentence.split_whitespace() {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        let number = bare
            .parse::<usize>()
            .ok()
            .filter(|n| (1..=num_passages).contains(n));
        let name = is_passage_name(bare);
        match number {
            Some(n) if after_name => {
                claimed.insert(n);
            }
            _ => {
                kept.push(word);
                after_name = name || (after_name && (bare.is_empty() || is_join(bare)));
            }
        }
    }
    kept.join(" ")
}

/// A quote as it reads on screen: the line breaks of the document are white space.
pub(crate) fn on_one_line(quote: &str) -> String {
    quote.split_whitespace().collect::<Vec<_>>().join(" ")
}
