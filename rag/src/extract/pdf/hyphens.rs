//! Lines of a paragraph joined into one text: what becomes of the hyphens and blanks at line ends.
//!
//! A hyphen at a line's end either divides a word ("custo-" / "mers"), belongs to it ("non-" / "refundable") or stands
//! for a part left out ("Ein-" / "und Auszahlungen"). What it is shows in the rest of the document and in rules of
//! typesetting that hold for all languages; there is no dictionary here. Where nothing speaks for either, it counts what
//! the document's other line ends are: typesetters that divide words leave many whose whole form stands elsewhere,
//! others leave compounds only.

use std::collections::{HashMap, HashSet};

use super::lines::Line;
use crate::conjunctions::is_conjunction;

/// The words of a document as they stand within its lines, in lower case.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// Words, hyphenated ones whole, and how often they occur. Parts of words divided by a line's end are not in it.
    counts: HashMap<String, usize>,
    /// What stands before, after a hyphen within a line ("non" and "binding" of "non-binding").
    before_hyphen: HashSet<String>,
    after_hyphen: HashSet<String>,
    /// First words of lines after one that ends in a hyphen, and how often.
    after_break: HashMap<String, usize>,
    /// The two parts around each hyphen at a line's end, the first with its hyphen.
    breaks: Vec<(String, String)>,
    /// Whether hyphens without other evidence belong to their words.
    keeps_hyphens: bool,
}

impl Words {
    /// The words of `regions`, each the lines of one column in order.
    pub(super) fn of<'a>(regions: impl Iterator<Item = &'a Vec<Line>>) -> Self {
        let mut words = Self::default();
        for region in regions {
            let mut head = None;
            for line in region {
                let tables = line
                    .segments
                    .iter()
                    .filter_map(|segment| segment.table.as_ref());
                for cell in tables.flat_map(|table| table.rows.iter().flatten()) {
                    words.add_lines(cell.iter().map(String::as_str));
                }
                head = words.add(&line.text(), head);
            }
        }
        words.judge_breaks();
        words
    }

    #[cfg(test)]
    pub(super) fn of_texts(texts: &[&str]) -> Self {
        let mut words = Self::default();
        words.add_lines(texts.iter().copied());
        words.judge_breaks();
        words
    }

    fn add_lines<'a>(&mut self, lines: impl Iterator<Item = &'a str>) {
        let mut head = None;
        lines.for_each(|line| head = self.add(line, head.take()));
    }

    /// Adds the words of a line; `head` is the last word of the line before if it ends in a hyphen. Returns the same of
    /// this line.
    fn add(&mut self, line: &str, head: Option<String>) -> Option<String> {
        let line = line.trim();
        let mut parts = line
            .split(|c: char| !is_word_char(c))
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .peekable();
        if let Some(head) = head
            && let Some(tail) = parts.next()
        {
            *self.after_break.entry(tail.clone()).or_default() += 1;
            self.breaks.push((head, tail));
        }
        while let Some(word) = parts.next() {
            let is_last = parts.peek().is_none() && line.ends_with(['-', '\u{ad}']);
            if is_last && word.contains(char::is_alphabetic) {
                return Some(word);
            }
            if let Some((before, after)) = word.split_once('-').filter(|parts| !parts.1.is_empty())
            {
                self.before_hyphen.insert(before.to_owned());
                self.after_hyphen.insert(after.to_owned());
            }
            *self.counts.entry(word).or_default() += 1;
        }
        None
    }

    /// Decides what hyphens at line ends are in general.
    fn judge_breaks(&mut self) {
        let has_soft = self.breaks.iter().any(|(head, _)| {
            let stem = head.strip_suffix('\u{ad}');
            stem.is_some_and(|stem| stem.ends_with(char::is_alphabetic))
        });
        let hard = || {
            let pairs = self.breaks.iter();
            pairs.filter_map(|(head, tail)| Some((head.strip_suffix('-')?, tail)))
        };
        let num_kept = hard().filter(|(head, tail)| self.count(&format!("{head}-{tail}")) > 0);
        let num_divided = hard().filter(|(head, tail)| self.count(&format!("{head}{tail}")) > 0);
        // Where soft hyphens divide words, the other hyphens belong to theirs.
        self.keeps_hyphens = has_soft || num_kept.count() > num_divided.count();
    }

    fn count(&self, word: &str) -> usize {
        self.counts.get(word).copied().unwrap_or(0)
    }

    /// What to do with the hyphen between `head` and `tail`, the parts of a word in lower case.
    fn hyphen_between(&self, head: &str, tail: &str) -> Hyphen {
        let compound = self.count(&format!("{head}-{tail}"));
        let joined = self.count(&format!("{head}{tail}"));
        if compound != joined {
            return if compound > joined {
                Hyphen::Kept
            } else {
                Hyphen::Divides
            };
        }
        let is_known =
            || self.count(tail) > 0 || self.after_break.get(tail).is_some_and(|&times| times > 1);
        if is_conjunction(tail) && is_known() {
            return Hyphen::Suspended;
        }
        let letters = |word: &str| word.chars().count();
        // No one leaves a single letter behind when dividing words.
        let kept = letters(head) == 1
            || self.keeps_hyphens
            || (letters(head) > 2 && self.before_hyphen.contains(head))
            || (letters(tail) > 2 && self.after_hyphen.contains(tail))
            || (letters(head) > 2
                && letters(tail) > 2
                && self.count(head) > 0
                && self.count(tail) > 0);
        if kept { Hyphen::Kept } else { Hyphen::Divides }
    }
}

/// What a hyphen at the end of a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hyphen {
    /// It divides a word and goes.
    Divides,
    /// It belongs to the word.
    Kept,
    /// A part of a compound is left out, and a new word follows.
    Suspended,
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '\u{ad}') || is_combining(c)
}

/// Marks of scripts whose vowels are marks (Indic) and accents set apart.
fn is_combining(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}') || (c > '\u{8ff}' && c < '\u{e00}')
}

/// Joins the lines of a paragraph. Chinese and Japanese lines are joined without a space.
pub(super) fn join_lines(lines: &[String], words: &Words) -> String {
    let mut text = String::new();
    for line in lines {
        let line = line.trim();
        let Some(next) = line.chars().next() else {
            continue;
        };
        let Some(last) = text.chars().next_back() else {
            text.push_str(line);
            continue;
        };
        if last == '\u{ad}' {
            text.pop();
        } else if last == '-' {
            join_hyphen(&mut text, line, words);
        } else if !(is_cjk(last) && is_cjk(next)) {
            text.push(' ');
        }
        text.push_str(line);
    }
    text
}

/// Prepares `text`, which ends in a hyphen, for `line` to follow.
fn join_hyphen(text: &mut String, line: &str, words: &Words) {
    let stem = &text[..text.len() - 1];
    let last_word: String = {
        let start = stem
            .char_indices()
            .rev()
            .take_while(|&(_, c)| is_word_char(c))
            .last()
            .map_or(stem.len(), |(at, _)| at);
        stem[start..].to_owned()
    };
    let tail: String = line.chars().take_while(|&c| is_word_char(c)).collect();
    if last_word.is_empty() {
        // A dash between words, or a minus sign at the start.
        if stem.ends_with(char::is_whitespace) {
            text.push(' ');
        }
        return;
    }
    let divides_letters = last_word
        .chars()
        .next_back()
        .is_some_and(char::is_alphabetic)
        && tail.chars().next().is_some_and(char::is_lowercase);
    if !divides_letters {
        return;
    }
    // "PDF-" / "reader": a word in capitals goes on in capitals.
    let capitals = last_word.chars().filter(|c| c.is_uppercase()).count();
    let in_capitals =
        capitals >= 2 && capitals == last_word.chars().filter(|c| c.is_alphabetic()).count();
    let hyphen = match words.hyphen_between(&last_word.to_lowercase(), &tail.to_lowercase()) {
        Hyphen::Divides if in_capitals => Hyphen::Kept,
        hyphen => hyphen,
    };
    match hyphen {
        Hyphen::Divides => text.truncate(text.len() - 1),
        Hyphen::Kept => {}
        Hyphen::Suspended => text.push(' '),
    }
}

fn is_cjk(c: char) -> bool {
    matches!(c, '\u{2e80}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{ff00}'..='\u{ffef}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(lines: &[&str], rest: &[&str]) -> String {
        let words = Words::of_texts(&[rest, lines].concat());
        join_lines(
            &lines.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>(),
            &words,
        )
    }

    #[test]
    fn hyphens_at_line_ends_go_unless_something_speaks_for_them() {
        for (lines, rest, want) in [
            (["infor-", "mation here"], "information", "information here"),
            (["custo-", "mers of"], "", "customers of"),
            (
                ["a long-", "term plan"],
                "a long-term aim",
                "a long-term plan",
            ),
            (
                ["price-", "determining"],
                "the price is determining",
                "price-determining",
            ),
            (
                ["non-", "refundable"],
                "a non-binding offer",
                "non-refundable",
            ),
            (
                ["alcohol-", "free beer"],
                "a fat-free milk",
                "alcohol-free beer",
            ),
            (["of n-", "tridecanal"], "", "of n-tridecanal"),
            (["the PDF-", "reader"], "", "the PDF-reader"),
            (["Smith-", "Jones"], "", "Smith-Jones"),
            (["pump P-", "101. It"], "", "pump P-101. It"),
            (["pages 3-", "4"], "", "pages 3-4"),
            (["cross-\u{ad}", "sectional"], "", "cross-sectional"),
            (["syl\u{ad}", "lable"], "", "syllable"),
            (
                ["Ein-", "und Auszahlungen"],
                "mit und ohne",
                "Ein- und Auszahlungen",
            ),
            (["in-", "en uitvoer"], "brood en melk", "in- en uitvoer"),
            (["die Frau-", "en sind"], "und wir", "die Frauen sind"),
            (["hot water -", "not steam"], "", "hot water - not steam"),
            (["第一", "行"], "", "第一行"),
            (["one", "two"], "", "one two"),
        ] {
            assert_eq!(joined(&lines, &[rest]), want);
        }
    }

    #[test]
    fn the_parts_of_a_divided_word_prove_nothing() {
        assert_eq!(
            joined(&["the con-", "struct and the con-", "struct"], &[]),
            "the construct and the construct"
        );
    }

    #[test]
    fn where_soft_hyphens_divide_words_the_others_stay() {
        assert_eq!(
            joined(&["a syl\u{ad}", "lable of a well-", "known word"], &[]),
            "a syllable of a well-known word"
        );
    }

    #[test]
    fn other_line_ends_tell_whether_words_are_divided_at_all() {
        let lines = ["a short-", "term plan of a well-", "known"];
        assert_eq!(
            joined(&lines, &["short-term"]),
            "a short-term plan of a well-known"
        );
        assert_eq!(
            joined(&lines, &["shortterm"]),
            "a shortterm plan of a wellknown"
        );
    }
}
