//! Terms: the comparable units of a text, so that "15 players", "Fifteen Players" and "15 players" are the same.
//!
//! Text is normalised (NFKC, accents and case folded, one kind of dash and quote) and cut into words, names,
//! numbers and identifiers. Function words carry no meaning of their own and are dropped; a negator marks the
//! terms that it governs ([`crate::text::polarity`]). Words are reduced by a light English stemmer, which does no harm to other
//! languages because both sides of every comparison pass through it. Scripts without spaces become character bigrams
//! and numbers ([`crate::text::unspaced`]).
//!
//! Absent on purpose: offsets (a term only knows its key), dictionaries.

use std::collections::HashSet;

use unicode_normalization::char::is_combining_mark;

use super::{
    conjunctions::is_conjunction,
    fold::{normalise, stem},
    polarity::{
        Languages, Reach, is_function_word, languages_of, lifts_negation, negator,
        without_negating_prefix,
    },
    unspaced::{self, is_unspaced},
};

/// What kind of unit a term is; numbers and names are facts that must not be changed by a paraphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum TermKind {
    /// A content word.
    Word,
    /// A capitalised word that does not begin its sentence.
    Name,
    /// A number, or an identifier that has digits in it.
    Number,
    /// A number below ten written as a word, which a paraphrase may add ("the two causes").
    SmallNumber,
}

/// One comparable unit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Term {
    /// Normalised form; two terms mean the same when their keys are equal.
    pub key: String,
    /// What kind of unit it is.
    pub kind: TermKind,
    /// A negator governs it.
    pub negated: bool,
}

/// Terms a negator governs: "did not increase sharply" negates both words, not the rest of the sentence.
const NEGATION_REACH: usize = 2;

const STOP_WORDS: &str = "a about above after again all also although am an and any are as at be because been before being \
    between both but by can could did do does doing done during each either else ever every few for from further had has have \
    having he her here hers him his how however i if in into is it its itself just let like made many may me might more most much \
    must my of off on once one only or other our out over own per please same shall she should since so some such than that the \
    their them then there therefore these they this those though through thus to too under until up upon us very via was we were \
    what when where whether which while who whom whose why will with within would yes yet you your \
    der die das den dem des ein eine einer eines einem einen und oder ist sind war waren wird werden wurde wurden hat haben im in \
    am zu zum zur von vom mit auf für bei aus nach als auch es sie er wir ihr wie was wer wo wann welche welcher welches wieviele \
    le la les un une des du de et ou est sont était été dans par pour sur avec qui que quoi dont au aux ce cette ces il elle ils \
    el los las una unos unas y o es son fue fueron en por para con que del al se su sus lo quién qué cuándo cuál cuántos \
    il lo gli i uno di da che e della delle dei nel nella per con sono era stato \
    os um uma do dos das no na nos nas em foi mais het een van en met voor zijn werd";

const SMALL: &[&str] = &[
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
];
const ORDINALS: &[&str] = &[
    "zeroth", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth",
    "tenth",
];
const TEENS: &[&str] = &[
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: &[&str] = &[
    "", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
];
const MONTHS: &[&str] = &[
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// Returns the terms of `text` in order, function words left out; the text itself tells its language.
pub(crate) fn terms(text: &str) -> Vec<Term> {
    let languages = languages_of(&normalise(text)).unwrap_or_else(Languages::unknown);
    terms_in(text, languages)
}

/// Returns the terms of `text`, which is in one of `languages`: for sentences too short to tell.
pub(crate) fn terms_in(text: &str, languages: Languages) -> Vec<Term> {
    let chars = normalise(text);
    let mut scanner = Scanner {
        languages,
        chars: &chars,
        at: 0,
        found: Vec::new(),
        negation: 0,
        is_negator_last: false,
        is_after_conjunction: false,
        clause_start: 0,
        sentence_start: true,
    };
    scanner.run();
    scanner.found
}

/// Returns the keys of the terms of `text`.
pub(crate) fn term_keys(text: &str) -> HashSet<String> {
    terms(text).into_iter().map(|term| term.key).collect()
}

/// How well `word` is matched by `keys`: 1 for the same key, 0.8 for another form of the word, 0 otherwise.
pub(crate) fn match_strength(word: &Term, keys: &HashSet<String>) -> f32 {
    if keys.contains(&word.key) {
        return 1.0;
    }
    let fixed = matches!(word.kind, TermKind::Number | TermKind::SmallNumber);
    if !fixed && keys.iter().any(|key| same_family(&word.key, key)) {
        0.8
    } else {
        0.0
    }
}

/// Two words that share most of a long beginning: investigate and investigation, Poland and Polish do not.
fn same_family(a: &str, b: &str) -> bool {
    let common = a.chars().zip(b.chars()).take_while(|(x, y)| x == y).count();
    common >= 5 && common * 100 >= a.chars().count().max(b.chars().count()) * 65
}

/// Whether `text` reads as German, where every noun is capitalised and so a capital makes no name.
pub(crate) fn capitalises_nouns(text: &str) -> bool {
    let mut german = 0i32;
    for word in text.split(|c: char| !c.is_alphabetic()) {
        match word.to_lowercase().as_str() {
            "der" | "das" | "den" | "dem" | "und" | "ist" | "ein" | "eine" | "wurde" | "nicht"
            | "von" | "zu" | "im" | "mit" => german += 1,
            "the" | "of" | "and" | "is" | "was" | "were" | "to" | "a" => german -= 1,
            _ => {}
        }
    }
    german > 0
}

struct Scanner<'a> {
    chars: &'a [char],
    languages: Languages,
    at: usize,
    found: Vec<Term>,
    /// Content terms that the last negator still governs.
    negation: usize,
    /// A negator has come behind which its clause had nothing so far.
    is_negator_last: bool,
    /// The last word joined others.
    is_after_conjunction: bool,
    /// The first term of this clause.
    clause_start: usize,
    sentence_start: bool,
}

impl Scanner<'_> {
    fn run(&mut self) {
        while let Some(&c) = self.chars.get(self.at) {
            if c.is_numeric() || (c == '.' && self.digit_at(self.at + 1) && !self.digit_before()) {
                self.number();
            } else if is_unspaced(c) {
                self.bigrams();
            } else if c.is_alphabetic() {
                self.word();
            } else {
                let ends_sentence = matches!(c, '.' | '!' | '?' | ':' | '\n' | '|' | '。' | '।');
                self.sentence_start |= ends_sentence;
                if ends_sentence || matches!(c, ',' | ';' | '(' | ')' | '،') {
                    self.end_clause();
                }
                self.at += 1;
            }
        }
        self.end_clause();
    }

    /// A negator at the end of its clause denies all of it: "surgeons may park here, visitors may not".
    fn end_clause(&mut self) {
        if self.is_negator_last {
            for term in &mut self.found[self.clause_start..] {
                term.negated = true;
            }
        }
        self.is_negator_last = false;
        self.negation = 0;
        self.clause_start = self.found.len();
    }

    fn digit_at(&self, at: usize) -> bool {
        self.chars.get(at).is_some_and(char::is_ascii_digit)
    }

    fn digit_before(&self) -> bool {
        self.at > 0 && self.digit_at(self.at - 1)
    }

    fn push(&mut self, key: String, kind: TermKind) {
        let negated = self.negation > 0;
        self.is_negator_last = false;
        self.negation = self.negation.saturating_sub(1);
        self.sentence_start = false;
        self.found.push(Term { key, kind, negated });
    }

    /// A run of an unspaced script.
    fn bigrams(&mut self) {
        let start = self.at;
        while self.chars.get(self.at).is_some_and(|&c| is_unspaced(c)) {
            self.at += 1;
        }
        for unit in unspaced::units(&self.chars[start..self.at]) {
            match unit {
                unspaced::Unit::Text { key, negated } => {
                    self.push(key, TermKind::Word);
                    if let Some(term) = self.found.last_mut() {
                        term.negated |= negated;
                    }
                }
                unspaced::Unit::Number { value, counter } => {
                    let key = number_key(&value.to_string(), 1.0);
                    self.push_counted(key, counter);
                }
                unspaced::Unit::DeniesBefore => self.negate_before(),
            }
        }
    }

    /// A number and, as a number of its own, the same with its counter: of an unspaced script, where `5年` and `5月` have
    /// no word beside them that tells years from months.
    fn push_counted(&mut self, key: String, counter: Option<char>) {
        let counted = counter.map(|counter| format!("{key}{counter}"));
        self.push(key, TermKind::Number);
        if let Some(counted) = counted {
            self.push(counted, TermKind::Number);
        }
    }

    /// Marks the last terms of this clause as denied.
    fn negate_before(&mut self) {
        let from = self
            .found
            .len()
            .saturating_sub(NEGATION_REACH)
            .max(self.clause_start);
        for term in &mut self.found[from..] {
            term.negated = true;
        }
    }

    /// A run that begins with a digit: a number with separators, scale and unit, an ISO date, or an identifier such as `5a`.
    fn number(&mut self) {
        if self.iso_date() {
            return;
        }
        let start = self.at;
        let mut end = start;
        while end < self.chars.len() {
            let c = self.chars[end];
            let separator =
                matches!(c, '.' | ',' | '\'') || (c == ' ' && self.groups_of_three(start, end));
            if c.is_numeric() || (separator && self.digit_at(end + 1)) {
                end += 1;
            } else {
                break;
            }
        }
        let sign = if is_below_zero(self.chars, start) {
            "-"
        } else {
            ""
        };
        let digits: String = self.chars[start..end].iter().collect();
        let digits = format!("{sign}{digits}");
        let suffix: String = self.chars[end..]
            .iter()
            .copied()
            .take_while(|c| c.is_alphabetic() && !is_unspaced(*c))
            .take(12)
            .collect::<String>()
            .to_lowercase();
        self.at = end + suffix.chars().count();
        match suffix.as_str() {
            "" | "st" | "nd" | "rd" | "th" => {
                let scale = if suffix.is_empty() {
                    self.scale_word()
                } else {
                    1.0
                };
                let counter = self.chars.get(self.at).copied();
                let counter = counter.filter(|c| suffix.is_empty() && is_unspaced(*c));
                self.push_counted(number_key(&digits, scale), counter);
            }
            "k" => self.push(number_key(&digits, 1e3), TermKind::Number),
            "m" | "mn" | "mio" => {
                // `5m` is five million or five metres; both readings are kept apart from plain 5 by the unit word.
                self.push(number_key(&digits, 1.0), TermKind::Number);
                self.push("m".to_owned(), TermKind::Word);
            }
            "bn" | "b" => self.push(number_key(&digits, 1e9), TermKind::Number),
            "km" | "kg" | "g" | "cm" | "mm" | "h" | "s" | "min" | "ft" | "lb" | "mph" | "kw"
            | "kwh" | "mw" | "gb" | "mb" | "tb" | "c" | "f" | "v" | "hz" | "mhz" | "ghz" | "am"
            | "pm" => {
                self.push(number_key(&digits, 1.0), TermKind::Number);
                self.push(suffix, TermKind::Word);
            }
            "er" | "e" | "ers" => self.push(number_key(&digits, 1.0), TermKind::Number),
            _ => self.push(
                format!("{}{suffix}", digits.to_lowercase()),
                TermKind::Number,
            ),
        }
    }

    /// `1 234 567`: a space belongs to the number only between groups of three digits.
    fn groups_of_three(&self, start: usize, space: usize) -> bool {
        let three = (1..=3).all(|i| self.digit_at(space + i)) && !self.digit_at(space + 4);
        let head = self.chars[start..space]
            .iter()
            .rev()
            .take_while(|c| c.is_ascii_digit())
            .count();
        three
            && (1..=3).contains(&head)
            && self.chars[start..space]
                .iter()
                .all(|c| c.is_ascii_digit() || *c == ' ')
    }

    /// `2020-03-12` yields its numbers and the name of the month, so that it equals "12 March 2020".
    fn iso_date(&mut self) -> bool {
        let shape = |at: usize, length: usize| (0..length).all(|i| self.digit_at(at + i));
        let at = self.at;
        let dashes = self.chars.get(at + 4) == Some(&'-') && self.chars.get(at + 7) == Some(&'-');
        if !(dashes && shape(at, 4) && shape(at + 5, 2) && shape(at + 8, 2))
            || self.digit_at(at + 10)
        {
            return false;
        }
        let part =
            |from: usize, length: usize| self.chars[from..from + length].iter().collect::<String>();
        let (year, month, day) = (part(at, 4), part(at + 5, 2), part(at + 8, 2));
        self.at += 10;
        self.push(number_key(&year, 1.0), TermKind::Number);
        if let Some(name) = month
            .parse::<usize>()
            .ok()
            .and_then(|m| MONTHS.get(m.wrapping_sub(1)))
        {
            self.push(stem(name), TermKind::Word);
        }
        self.push(number_key(&day, 1.0), TermKind::Number);
        true
    }

    /// Consumes " million" and the like behind a number and returns its factor, 1 when there is none.
    fn scale_word(&mut self) -> f64 {
        let mut at = self.at;
        while self
            .chars
            .get(at)
            .is_some_and(|&c| c == ' ' || c == '-' || c == '\u{a0}')
        {
            at += 1;
        }
        if let Some(factor) = self.chars.get(at).and_then(|&c| unspaced::large_unit(c)) {
            self.at = at + 1;
            return factor;
        }
        let word: String = self.chars[at..]
            .iter()
            .copied()
            .take_while(|c| c.is_alphabetic())
            .take(12)
            .collect::<String>()
            .to_lowercase();
        let factor = match word.as_str() {
            "hundred" => 1e2,
            "thousand" | "tausend" => 1e3,
            "million" | "millions" | "millionen" | "millones" => 1e6,
            "billion" | "billions" | "milliarden" => 1e9,
            "trillion" | "trillions" => 1e12,
            _ => return 1.0,
        };
        self.at = at + word.chars().count();
        factor
    }

    fn word(&mut self) {
        let start = self.at;
        while let Some(&c) = self.chars.get(self.at) {
            let inner = c == '\''
                && self
                    .chars
                    .get(self.at + 1)
                    .is_some_and(|n| n.is_alphabetic());
            if (c.is_alphanumeric() && !is_unspaced(c)) || is_combining_mark(c) || inner {
                self.at += 1;
            } else {
                break;
            }
        }
        let raw: String = self.chars[start..self.at].iter().collect();
        let mut lower = raw.to_lowercase();
        if let Some(base) = lower.strip_suffix("'s") {
            lower.truncate(base.len());
        }
        if lower.chars().any(|c| c.is_ascii_digit()) {
            self.push(lower, TermKind::Number);
            return;
        }
        let is_after_conjunction =
            std::mem::replace(&mut self.is_after_conjunction, is_conjunction(&lower));
        if let Some(reach) = negator(&lower, self.languages) {
            // "No. 5" counts and "not only" adds.
            if !self.followed_by_stop() && !lifts_negation(&self.next_word(), self.languages) {
                self.negation = NEGATION_REACH;
                match reach {
                    Reach::Around => self.negate_before(),
                    // "Is it allowed or not?"
                    Reach::After => self.is_negator_last = !is_after_conjunction,
                }
            }
            self.sentence_start = false;
            return;
        }
        if self.number_word(&lower) {
            return;
        }
        if is_stop_word(&lower) || is_function_word(&lower, self.languages) {
            self.sentence_start = false;
            return;
        }
        let capital = raw.chars().next().is_some_and(char::is_uppercase);
        let acronym = capital && raw.chars().filter(|c| c.is_uppercase()).count() > 1;
        let kind = if acronym || (capital && !self.sentence_start) {
            TermKind::Name
        } else {
            TermKind::Word
        };
        let kind = if MONTHS.contains(&lower.as_str()) {
            TermKind::Word
        } else {
            kind
        };
        if let Some(denied) = without_negating_prefix(&lower, self.languages) {
            self.push(stem(denied), kind);
            if let Some(term) = self.found.last_mut() {
                term.negated = true;
            }
            return;
        }
        self.push(stem(&lower), kind);
    }

    /// Whether a full stop and a number come next, as in "No. 5".
    fn followed_by_stop(&self) -> bool {
        let mut rest = self.chars[self.at..].iter().filter(|c| !c.is_whitespace());
        rest.next() == Some(&'.') && rest.next().is_some_and(char::is_ascii_digit)
    }

    /// The word behind the white space that comes next, in lower case; empty where there is none.
    fn next_word(&self) -> String {
        let rest = self.chars[self.at..]
            .iter()
            .skip_while(|c| c.is_whitespace());
        let word: String = rest.take_while(|c| c.is_alphabetic()).take(16).collect();
        word.to_lowercase()
    }

    /// Reads "fifteen", "twenty-five", "two million", "third"; returns whether `word` was a number.
    fn number_word(&mut self, word: &str) -> bool {
        let position = |list: &[&str]| list.iter().position(|w| !w.is_empty() && *w == word);
        let (value, small) = if let Some(value) = position(SMALL) {
            (value, true)
        } else if let Some(value) = position(ORDINALS) {
            (value, true)
        } else if let Some(value) = position(TEENS) {
            (value + 10, false)
        } else if let Some(tens) = position(TENS) {
            (tens * 10 + self.unit_behind_dash(), false)
        } else {
            return false;
        };
        let factor = self.scale_word();
        if word == "one" && factor == 1.0 {
            // "one of the": an article more often than a count.
            self.sentence_start = false;
            return true;
        }
        let kind = if small && factor == 1.0 {
            TermKind::SmallNumber
        } else {
            TermKind::Number
        };
        self.push(number_key(&value.to_string(), factor), kind);
        true
    }

    /// The 5 of "twenty-five", consumed; 0 when there is none.
    fn unit_behind_dash(&mut self) -> usize {
        if self.chars.get(self.at) != Some(&'-') {
            return 0;
        }
        let word: String = self.chars[self.at + 1..]
            .iter()
            .copied()
            .take_while(|c| c.is_alphabetic())
            .collect::<String>()
            .to_lowercase();
        let unit = SMALL.iter().position(|w| *w == word).unwrap_or(0);
        if unit > 0 {
            self.at += 1 + word.chars().count();
        }
        unit
    }
}

pub(crate) fn is_stop_word(word: &str) -> bool {
    static WORDS: std::sync::OnceLock<HashSet<String>> = std::sync::OnceLock::new();
    WORDS
        .get_or_init(|| {
            STOP_WORDS
                .split_whitespace()
                .map(|w| normalise(w).into_iter().collect())
                .collect()
        })
        .contains(word)
}

/// The value of a number as text: `1,234.50` and `1234.5` give the same key.
///
/// A comma or a dot followed by exactly three digits groups thousands when it is a comma or occurs twice; otherwise
/// the last separator is the decimal point.
pub(crate) fn number_key(digits: &str, factor: f64) -> String {
    let ascii: String = digits
        .chars()
        .filter(|c| !matches!(c, '\'' | ' '))
        .map(ascii_digit)
        .collect();
    let commas = ascii.matches(',').count();
    let dots = ascii.matches('.').count();
    let comma_groups = commas > 0
        && ascii
            .split(',')
            .skip(1)
            .all(|g| g.split('.').next().is_some_and(|g| g.len() == 3));
    let plain = match (commas, dots) {
        (0, 0 | 1) => ascii,
        (0, _) => ascii.replace('.', ""),
        (_, 0 | 1) if comma_groups => ascii.replace(',', ""),
        (1, _) => ascii.replace('.', "").replace(',', "."),
        _ => ascii.replace(',', ""),
    };
    plain.parse::<f64>().map_or(plain, |value| {
        format!("#{}", (value * factor * 1e6).round() / 1e6)
    })
}

/// Whether the number at `at` has a minus sign: "-20", not the dash of "15-20" or of "- 20 chairs".
pub(crate) fn is_below_zero(chars: &[char], at: usize) -> bool {
    let before = |n: usize| at.checked_sub(n).map(|i| chars[i]);
    before(1) == Some('-')
        && before(2).is_none_or(|c| c.is_whitespace() || matches!(c, '(' | '|' | ':'))
}

/// Digits of the Arabic, Persian and Devanagari scripts as ASCII digits; everything else unchanged.
fn ascii_digit(c: char) -> char {
    [0x660, 0x6f0, 0x966]
        .into_iter()
        .find_map(|zero| (c as u32).checked_sub(zero).filter(|d| *d < 10))
        .and_then(|digit| char::from_digit(digit, 10))
        .unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(text: &str, expect: Expect) {
        let shown: Vec<String> = terms(text)
            .iter()
            .map(|t| {
                let kind = match t.kind {
                    TermKind::Word => "",
                    TermKind::Name => "^",
                    TermKind::Number => "",
                    TermKind::SmallNumber => "~",
                };
                format!("{}{kind}{}", if t.negated { "!" } else { "" }, t.key)
            })
            .collect();
        expect.assert_eq(&shown.join(" "));
    }

    #[test]
    fn numbers_have_one_form() {
        check(
            "1,234.50 1234.5 1.234,5 1 234.5",
            expect!["#1234.5 #1234.5 #1234.5 #1234.5"],
        );
        check(
            "15 million 15,000,000 15.000.000 $15bn 15k 15th 15% ١٥",
            expect!["#15000000 #15000000 #15000000 #15000000000 #15000 #15 #15 #15"],
        );
        check(
            "fifteen twenty-five five one third two million",
            expect!["#15 #25 ~#5 ~#3 #2000000"],
        );
        check(
            "6½ sacks, ½ cup, 5m, 1.5, A320 5a COVID-19 2019–2020",
            expect!["#6.5 sack #0.5 cup #5 m #1.5 a320 5a ^covid #19 #2019 #2020"],
        );
    }

    #[test]
    fn dates_have_one_form_where_the_order_is_certain() {
        check(
            "12 March 2020; March 12th, 2020; 2020-03-12",
            expect!["#12 march #2020 march #12 #2020 #2020 march #12"],
        );
    }

    #[test]
    fn words_are_folded_and_names_are_marked() {
        check(
            "The engineers' reports, Chopin’s Études and NASA won. Building boundaries stopped",
            expect!["engineer report ^chopin ^etud ^nasa win build boundari stop"],
        );
        check(
            "soft\u{ad}ware zero\u{200b}width ﬁnance",
            expect!["softwar zerowidth financ"],
        );
    }

    #[test]
    fn negators_reach_two_terms_inside_their_clause() {
        check(
            "It does not cover dental work, but vision. Not only staff. No. 5 valve",
            expect!["!cover !dental work vision staff #5 valv"],
        );
        check(
            "They don't pay. Er wurde nicht gewählt",
            expect!["!pai !gewahlt"],
        );
    }

    #[test]
    fn unspaced_scripts_become_bigrams() {
        check("会社は15人 東京", expect!["会社 社は #15 #15人 人 東京"]);
    }

    #[test]
    fn families_share_most_of_a_long_beginning() {
        for (a, b, same) in [
            ("investigat", "investigation", true),
            ("recycl", "recycler", true),
            ("internal", "international", false),
            ("poland", "polish", false),
        ] {
            assert_eq!(same_family(a, b), same, "{a} {b}");
        }
    }
}
