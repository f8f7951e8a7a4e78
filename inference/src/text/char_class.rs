//! Unicode classes of characters, as the expressions of pre-tokenizers distinguish them.

use std::sync::OnceLock;

use regex_syntax::hir::{Class, HirKind};

/// The classes the expressions distinguish; everything else, unassigned included, is `Other`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum CharClass {
    Other,
    /// `\p{L}`
    Letter,
    /// `\p{M}`
    Mark,
    /// `\p{N}`
    Number,
    /// `\p{P}`
    Punctuation,
    /// `\s`
    Space,
    /// `\p{S}`
    Symbol,
}

impl CharClass {
    pub(super) fn of(c: char) -> Self {
        // One byte a code point: 1.1 MB once, no branches after.
        static TABLE: OnceLock<Box<[CharClass]>> = OnceLock::new();
        TABLE.get_or_init(build_class_table)[c as usize]
    }

    /// The class of the first character, if there is one.
    pub(super) fn of_first(text: &str) -> Option<Self> {
        text.chars().next().map(Self::of)
    }
}

/// Characters that Unicode added after 15.1 stay `Other`, as in llama.cpp: a newer table would split their
/// digits otherwise than the vocabularies were trained on.
fn build_class_table() -> Box<[CharClass]> {
    let mut table = vec![CharClass::Other; char::MAX as usize + 1].into_boxed_slice();
    for (expression, class) in [
        (r"[\p{L}&&\p{Age=15.1}]", CharClass::Letter),
        (r"[\p{M}&&\p{Age=15.1}]", CharClass::Mark),
        (r"[\p{N}&&\p{Age=15.1}]", CharClass::Number),
        (r"[\p{P}&&\p{Age=15.1}]", CharClass::Punctuation),
        (r"[\p{S}&&\p{Age=15.1}]", CharClass::Symbol),
        (r"\s", CharClass::Space),
    ] {
        for (first, last) in class_ranges(expression) {
            table[first as usize..=last as usize].fill(class);
        }
    }
    table
}

/// Characters that an expression lists one by one or in ranges, blanks excepted: llama.cpp hides blanks
/// outside ASCII from such lists.
pub(super) struct CharSet(Vec<(u32, u32)>);

impl CharSet {
    /// Reads a class such as `[a-z]`, written in this crate.
    pub(super) fn new(class: &str) -> Self {
        Self(class_ranges(class))
    }

    pub(super) fn contains(&self, c: char) -> bool {
        let code = c as u32;
        let after = self.0.partition_point(|&(first, _)| first <= code);
        after > 0 && code <= self.0[after - 1].1 && CharClass::of(c) != CharClass::Space
    }
}

/// Returns the ranges of a Unicode class in ascending order.
fn class_ranges(expression: &str) -> Vec<(u32, u32)> {
    let hir = regex_syntax::parse(expression).expect("the expression is a Unicode class");
    let HirKind::Class(Class::Unicode(ranges)) = hir.kind() else {
        unreachable!("{expression} is a Unicode class");
    };
    let ranges = ranges.ranges().iter();
    ranges
        .map(|range| (range.start().into(), range.end().into()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_has_the_class_of_unicode_15_1() {
        for (c, class) in [
            ('a', CharClass::Letter),
            ('漢', CharClass::Letter),
            ('\u{301}', CharClass::Mark),
            ('½', CharClass::Number),
            ('$', CharClass::Symbol),
            ('、', CharClass::Punctuation),
            ('\u{3000}', CharClass::Space),
            ('\0', CharClass::Other),
            ('\u{10D40}', CharClass::Other),
        ] {
            assert_eq!(CharClass::of(c), class, "{c:?}");
        }
    }

    #[test]
    fn a_set_holds_what_it_lists_but_no_blanks() {
        let set = CharSet::new("[!-/\u{3000}-\u{3002}]");
        let inside =
            ['!', '/', '+', '\u{3001}', '0', ' ', '\u{3000}', '\u{3003}'].map(|c| set.contains(c));
        assert_eq!(inside, [true, true, true, true, false, false, false, false]);
    }
}
