//! Lines of a paragraph joined into one text: what becomes of the hyphens and blanks at line ends.
//!
//! A hyphen at a line's end either divides a word ("custo-" / "mers"), belongs to it ("non-" / "refundable") or stands
//! for a part left out ("Ein-" / "und Auszahlungen"). What it is shows in the rest of the document and in rules of
//! typesetting that hold for all languages; there is no dictionary here. Where nothing speaks for either, it counts what
//! the document's other line ends are: typesetters that divide words leave many whose whole form stands elsewhere,
//! others leave compounds only.

use std::collections::{HashMap, HashSet};

use super::lines::Line;
use crate::text::conjunctions::{AfterPart, after_part};
use crate::text::fold::normalise;
use crate::text::polarity::{Languages, is_function_word, languages_of};

/// So much of a document, in bytes, tells its languages.
const SAMPLE_BYTES: usize = 20_000;
/// Lines of running text have at least this many characters...
const MIN_LINE_CHARS: usize = 40;
/// ... and of those that are set with divided words at least this share ends in a hyphen: about 3 of 100 lines in English
/// set by TeX, which divides rarely; more in other languages and programs.
const DIVIDED_SHARE: f64 = 0.03;
/// A number of hyphens is too small for divided words if it would be as small in one of so many documents.
const UNLIKELY: f64 = 0.05;

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
    /// The beginning of the document, and the languages that it tells.
    sample: String,
    languages: Languages,
    /// Lines of running text.
    num_lines: usize,
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
        if self.sample.len() < SAMPLE_BYTES {
            self.sample.push_str(line);
            self.sample.push(' ');
        }
        self.num_lines += usize::from(line.chars().nth(MIN_LINE_CHARS).is_some());
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
        let (num_kept, num_divided) = (num_kept.count(), num_divided.count());
        // Where words are divided at all, many are.
        let expected = DIVIDED_SHARE * self.num_lines as f64;
        let are_few = num_divided == 0 && at_most(hard().count(), expected) < UNLIKELY;
        self.keeps_hyphens = has_soft || num_kept > num_divided || are_few;
        let sample: Vec<char> = normalise(&std::mem::take(&mut self.sample));
        self.languages = languages_of(&sample).unwrap_or_default();
    }

    fn count(&self, word: &str) -> usize {
        self.counts.get(word).copied().unwrap_or(0)
    }

    /// What to do with the hyphen between `head` and `tail`, the parts of a word.
    fn hyphen_between(&self, head: &str, tail: &str) -> Hyphen {
        let written = head;
        let (head, tail) = (&*head.to_lowercase(), &*tail.to_lowercase());
        // What was divided is the last part of a word with hyphens: "IT-Abtei-" / "lung".
        let last = head.rsplit('-').next().unwrap_or(head);
        for head in [head, last] {
            let compound = self.count(&format!("{head}-{tail}"));
            let joined = self.count(&format!("{head}{tail}"));
            if compound != joined {
                return if compound > joined {
                    Hyphen::Kept
                } else {
                    Hyphen::Divides
                };
            }
        }
        if self.leaves_out_a_part(last, tail) {
            return Hyphen::Suspended;
        }
        let letters = |word: &str| word.chars().count();
        // "up-to-" / "date": between hyphens a function word stands whole. With a capital it begins a noun: "US-In-" / "dustrie".
        let is_phrase = last.len() < head.len()
            && written.ends_with(last)
            && is_function_word(last, self.languages);
        // No one leaves a single letter behind when dividing words.
        let kept = letters(last) == 1
            || is_phrase
            || self.keeps_hyphens
            || (letters(head) > 2 && self.before_hyphen.contains(head))
            || (letters(tail) > 2 && self.after_hyphen.contains(tail))
            || (letters(last) > 2
                && letters(tail) > 2
                && self.count(last) > 0
                && self.count(tail) > 0);
        if kept { Hyphen::Kept } else { Hyphen::Divides }
    }

    /// Whether a part of a compound was left out between `head`, the beginning of another, and the word `tail`.
    fn leaves_out_a_part(&self, head: &str, tail: &str) -> bool {
        let is_known =
            || self.count(tail) > 0 || self.after_break.get(tail).is_some_and(|&times| times > 1);
        let is_told = self.languages != Languages::default();
        match after_part(tail, self.languages) {
            AfterPart::Sure => true,
            AfterPart::IfWhole => self.count(head) > 0,
            // Short words mean something else in every other language: the Slovene "in", the Dutch "en".
            AfterPart::Foreign => (!is_told || tail.chars().count() > 2) && is_known(),
            AfterPart::Never => false,
        }
    }
}

/// How likely a number of rare events is at most `most` where `expected` are usual (Poisson).
fn at_most(most: usize, expected: f64) -> f64 {
    let mut term = (-expected).exp();
    let mut sum = term;
    for number in 1..=most {
        term *= expected / number as f64;
        sum += term;
    }
    sum
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
    let hyphen = match words.hyphen_between(&last_word, &tail) {
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
            // A conjunction of the document's language need not stand elsewhere.
            (
                ["der Haupt-", "oder Nebensitz"],
                "das ist die Regel des Hauses",
                "der Haupt- oder Nebensitz",
            ),
            (
                ["die ein-", "bis zweimal"],
                "das ist die Regel des Hauses",
                "die ein- bis zweimal",
            ),
            (
                ["the short-", "or long-term"],
                "this is the rule of the house",
                "the short- or long-term",
            ),
            (
                ["the two-", "to threefold"],
                "this is one of the two",
                "the two- to threefold",
            ),
            (["a pho-", "to of"], "it is up to the two", "a photo of"),
            (["luki-", "ja tuli"], "hän on se ja ei ole", "lukija tuli"),
            // One of another language is a word of its own.
            (
                ["a plug-", "in for"],
                "this is in the house and it was in it",
                "a plugin for",
            ),
            // Function words between hyphens are whole, other parts may be divided.
            (
                ["an up-to-", "date plan"],
                "this is the rule of the house",
                "an up-to-date plan",
            ),
            (
                ["state-of-the-", "art of"],
                "this is the rule of the house",
                "state-of-the-art of",
            ),
            (
                ["die US-In-", "dustrie ist"],
                "das ist die Regel in dem Haus",
                "die US-Industrie ist",
            ),
            (
                ["die IT-Abtei-", "lung ist"],
                "eine Abteilung",
                "die IT-Abteilung ist",
            ),
            (["mit Vitamin-C-", "haltig"], "", "mit Vitamin-C-haltig"),
            (["hot water -", "not steam"], "", "hot water - not steam"),
            (["第一", "行"], "", "第一行"),
            (["one", "two"], "", "one two"),
        ] {
            assert_eq!(joined(&lines, &[rest]), want);
        }
    }

    #[test]
    fn a_hyphen_alone_among_many_lines_divides_nothing() {
        let line = "a line of running text that is long enough to be one";
        assert_eq!(
            joined(&["a long-", "term plan"], &[line; 90]),
            "a longterm plan"
        );
        assert_eq!(
            joined(&["a long-", "term plan"], &[line; 200]),
            "a long-term plan"
        );
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
