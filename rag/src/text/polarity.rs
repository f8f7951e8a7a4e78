//! Words that affirm and deny, in many languages: `data/polarity.json`, one entry a language.
//!
//! An entry has `yes` and `no` (answers, and what a cell of a table says; CLDR's `yesstr` and `nostr` with common
//! variants), `before` (negators that deny what follows), `around` (negators that deny what stands on either side of
//! them, as in "deckt die Reise nicht"), `prefix` and `suffix` (negation inside a word), `unless` (what makes "not" no
//! denial: "not only"), `but` (what opposes two clauses; `unspaced_but` is characters), `denying` (words that deny without a negator), `function` (frequent words by which the language is
//! recognised), and for scripts without spaces `unspaced_before`, `unspaced_after` and `unspaced_not` (words that only look
//! like a denial). `symbols` holds signs that no language owns.
//!
//! A word such as `no` denies in Spanish and is "in the" in Portuguese, so negators count only in the languages that
//! [`languages_of`] recognises in a text. Absent on purpose: verb forms that deny by their ending (Turkish `-mez`).

use std::{
    collections::{HashMap, HashSet},
    sync::OnceLock,
};

use serde::Deserialize;

use super::fold::{folded, normalise, stem};

const DATA: &str = include_str!("../../data/polarity.json");

/// Languages that a text without any function word is taken to be in: too short to tell.
const WHEN_UNKNOWN: &[&str] = &["en", "de", "fr", "es", "it"];

/// A language counts as recognised with this share of the function words of the most likely one: cognates share words.
const LIKELY: f32 = 0.8;

/// Which side of a negator is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// What follows.
    After,
    /// What stands before and what follows.
    Around,
}

/// A set of languages, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Languages(u64);

impl Languages {
    /// What a text is taken to be in that is too short to tell.
    pub fn unknown() -> Self {
        Self(lexicon().when_unknown)
    }

    /// The language with that code; empty for one that is not in the data.
    pub fn of_code(code: &str) -> Self {
        let known = lexicon().codes.iter().position(|known| known == code);
        Self(known.map_or(0, |at| 1 << at))
    }

    pub fn overlaps(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    yes: Vec<String>,
    no: Vec<String>,
    function: Vec<String>,
    before: Vec<String>,
    around: Vec<String>,
    prefix: Vec<String>,
    suffix: Vec<String>,
    unless: Vec<String>,
    denying: Vec<String>,
    but: Vec<String>,
    unspaced_but: Vec<String>,
    unspaced_before: Vec<String>,
    unspaced_after: Vec<String>,
    unspaced_not: Vec<String>,
}

/// Words of all languages; a value has the bit of each language that the word belongs to.
#[derive(Default)]
struct Lexicon {
    yes: HashSet<String>,
    no: HashSet<String>,
    function: HashMap<String, u64>,
    /// Words by which a language is told: function words, negators, answers.
    telling: HashMap<String, u64>,
    before: HashMap<String, u64>,
    around: HashMap<String, u64>,
    unless: HashMap<String, u64>,
    prefix: Vec<(String, u64)>,
    suffix: Vec<(String, u64)>,
    denying: HashSet<String>,
    /// With a space on either side.
    but: Vec<String>,
    unspaced_but: Vec<char>,
    /// Stems of `unless`.
    restricting: HashSet<String>,
    unspaced_before: Vec<Vec<char>>,
    unspaced_after: Vec<Vec<char>>,
    unspaced_not: Vec<Vec<char>>,
    when_unknown: u64,
    /// The same words as they are spelt, with their accents.
    spelt: HashMap<String, u64>,
    /// Codes of the languages, in the order of their bits.
    codes: Vec<String>,
}

/// A denial inside a run of an unspaced script: the characters `start..end` are the negator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnspacedDenial {
    pub start: usize,
    pub end: usize,
    /// What stands before is denied, not what follows.
    pub backwards: bool,
}

fn lexicon() -> &'static Lexicon {
    static LEXICON: OnceLock<Lexicon> = OnceLock::new();
    LEXICON.get_or_init(|| {
        let entries: HashMap<String, Entry> =
            serde_json::from_str(DATA).expect("data/polarity.json is part of the program");
        let mut codes: Vec<&String> = entries.keys().collect();
        codes.sort();
        let mut lexicon = Lexicon::default();
        for (i, code) in codes.into_iter().enumerate() {
            let bit = 1u64.checked_shl(i as u32).expect("64 languages at most");
            if WHEN_UNKNOWN.contains(&code.as_str()) {
                lexicon.when_unknown |= bit;
            }
            lexicon.add(&entries[code], bit);
            lexicon.codes.push(code.clone());
        }
        lexicon
    })
}

impl Lexicon {
    fn add(&mut self, entry: &Entry, bit: u64) {
        self.yes.extend(entry.yes.iter().map(|w| w.to_lowercase()));
        self.no.extend(entry.no.iter().map(|w| w.to_lowercase()));
        let lists = [
            &entry.function,
            &entry.before,
            &entry.around,
            &entry.yes,
            &entry.no,
        ];
        for word in lists.into_iter().flatten() {
            *self.telling.entry(folded(word)).or_default() |= bit;
            *self.spelt.entry(word.to_lowercase()).or_default() |= bit;
        }
        for (words, map) in [
            (&entry.function, &mut self.function),
            (&entry.before, &mut self.before),
            (&entry.around, &mut self.around),
            (&entry.unless, &mut self.unless),
        ] {
            for word in words {
                *map.entry(folded(word)).or_default() |= bit;
            }
        }
        let with_bit = |words: &[String]| -> Vec<(String, u64)> {
            words.iter().map(|w| (folded(w), bit)).collect()
        };
        self.prefix.extend(with_bit(&entry.prefix));
        self.suffix.extend(with_bit(&entry.suffix));
        self.but
            .extend(entry.but.iter().map(|w| format!(" {} ", folded(w))));
        let unspaced = entry.unspaced_but.iter().flat_map(|w| w.chars());
        self.unspaced_but.extend(unspaced);
        self.denying
            .extend(entry.denying.iter().map(|w| stem(&folded(w))));
        self.restricting
            .extend(entry.unless.iter().map(|w| stem(&folded(w))));
        for (words, list) in [
            (&entry.unspaced_before, &mut self.unspaced_before),
            (&entry.unspaced_after, &mut self.unspaced_after),
            (&entry.unspaced_not, &mut self.unspaced_not),
        ] {
            list.extend(words.iter().map(|w| normalise(w)));
        }
    }
}

/// The languages that the words of a normalised text speak for; `None` where no word tells.
pub(crate) fn languages_of(chars: &[char]) -> Option<Languages> {
    let counts = telling_counts(chars);
    let most = counts.iter().copied().max().unwrap_or(0);
    if most == 0 {
        return None;
    }
    let likely = |count: &u32| *count as f32 >= LIKELY * most as f32;
    let bits = counts.iter().enumerate().filter(|(_, count)| likely(count));
    Some(Languages(bits.fold(0, |set, (i, _)| set | 1 << i)))
}

/// How many words of a normalised text tell each language.
fn telling_counts(chars: &[char]) -> [u32; 64] {
    let lexicon = lexicon();
    let mut counts = [0; 64];
    let is_letter = |c: &char| c.is_alphabetic() || *c == '\'';
    for word in chars
        .split(|c| !is_letter(c))
        .filter(|w| !w.is_empty() && w.len() <= 12)
    {
        let lower = word.iter().collect::<String>().to_lowercase();
        let Some(mut bits) = lexicon.telling.get(&lower).copied() else {
            continue;
        };
        while bits != 0 {
            counts[bits.trailing_zeros() as usize] += 1;
            bits &= bits - 1;
        }
    }
    counts
}

/// How many words of a text, as it is spelt, are among those by which each language is told; by its code.
pub(crate) fn language_counts(text: &str) -> Vec<(&'static str, usize)> {
    let lexicon = lexicon();
    let mut counts: Vec<(&str, usize)> = lexicon
        .codes
        .iter()
        .map(|code| (code.as_str(), 0))
        .collect();
    for word in text.split(|c: char| !c.is_alphabetic()) {
        let mut bits = lexicon
            .spelt
            .get(&word.to_lowercase())
            .copied()
            .unwrap_or(0);
        while bits != 0 {
            counts[bits.trailing_zeros() as usize].1 += 1;
            bits &= bits - 1;
        }
    }
    counts
}

/// Whether a lower-case word denies in one of the languages, and what.
pub(crate) fn negator(word: &str, languages: Languages) -> Option<Reach> {
    let lexicon = lexicon();
    let has =
        |map: &HashMap<String, u64>| map.get(word).is_some_and(|bits| bits & languages.0 != 0);
    if has(&lexicon.around) {
        return Some(Reach::Around);
    }
    let suffixed = lexicon
        .suffix
        .iter()
        .any(|(suffix, _)| word.len() > suffix.len() && word.ends_with(suffix.as_str()));
    (has(&lexicon.before) || suffixed).then_some(Reach::After)
}

/// Whether a lower-case word is a function word of one of the languages.
pub(crate) fn is_function_word(word: &str, languages: Languages) -> bool {
    let bits = lexicon().function.get(word).copied().unwrap_or(0);
    bits & languages.0 != 0
}

/// Whether a lower-case word behind a negator makes it no denial: the "only" of "not only".
pub(crate) fn lifts_negation(word: &str, languages: Languages) -> bool {
    let bits = lexicon().unless.get(word).copied().unwrap_or(0);
    bits & languages.0 != 0
}

/// The word that a negating prefix denies: `hradi` of the Czech `nehradi`.
pub(crate) fn without_negating_prefix(word: &str, languages: Languages) -> Option<&str> {
    /// Shorter rests are other words ("nebo", or).
    const MIN_REST: usize = 4;
    lexicon().prefix.iter().find_map(|(prefix, bit)| {
        let rest = word.strip_prefix(prefix.as_str())?;
        // "nej" is the superlative.
        let fits = bit & languages.0 != 0 && rest.chars().count() >= MIN_REST;
        (fits && !rest.starts_with('j')).then_some(rest)
    })
}

/// The clauses of a sentence: what stands between commas, semicolons and words such as "but".
pub(crate) fn clauses(sentence: &str) -> Vec<String> {
    let lexicon = lexicon();
    let mut text = folded(sentence);
    for but in &lexicon.but {
        text = text.replace(but, " ; ");
    }
    let is_end =
        |c: char| matches!(c, ',' | ';' | '，' | '；' | '、') || lexicon.unspaced_but.contains(&c);
    text.split(is_end).map(str::to_owned).collect()
}

/// Whether a term's key denies without a negator ("prohibited").
pub(crate) fn is_denying(key: &str) -> bool {
    lexicon().denying.contains(key)
}

/// The same without words that only restrict ("only"): a yes may stand beside those.
pub(crate) fn is_forbidding(key: &str) -> bool {
    is_denying(key) && !lexicon().restricting.contains(key)
}

/// What a whole cell of a table says, if it says yes or no.
pub(crate) fn cell(text: &str) -> Option<bool> {
    let bare =
        text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '*' | '_' | '.' | '。' | '!'));
    word_of_answer(bare)
}

/// The yes or no at the beginning of a sentence, set off by punctuation, and the rest of the sentence.
pub(crate) fn leading_answer(sentence: &str) -> Option<(bool, &str)> {
    let text = sentence.trim_start_matches(|c: char| {
        c.is_whitespace() || matches!(c, '*' | '_' | '"' | '“' | '¡')
    });
    let is_stop = |c: char| {
        matches!(
            c,
            ',' | '.'
                | ';'
                | ':'
                | '!'
                | '…'
                | '、'
                | '，'
                | '。'
                | '！'
                | '：'
                | '،'
                | '؛'
                | '।'
                | '–'
                | '—'
                | '*'
                | '('
                | '\n'
        )
    };
    let dash = text.find(" - ");
    let end = text
        .find(is_stop)
        .unwrap_or(text.len())
        .min(dash.unwrap_or(text.len()));
    let says = word_of_answer(text[..end].trim())?;
    let rest =
        text[end..].trim_start_matches(|c: char| is_stop(c) || c.is_whitespace() || c == '-');
    Some((says, rest))
}

fn word_of_answer(text: &str) -> Option<bool> {
    if text.is_empty() || text.len() > 32 {
        return None;
    }
    let lower = text.to_lowercase();
    let lexicon = lexicon();
    if lexicon.yes.contains(&lower) {
        Some(true)
    } else if lexicon.no.contains(&lower) {
        Some(false)
    } else {
        None
    }
}

/// The denials in a run of characters of an unspaced script, in order.
pub(crate) fn unspaced_denials(run: &[char]) -> Vec<UnspacedDenial> {
    let lexicon = lexicon();
    let longest = |list: &[Vec<char>], at: usize| {
        let fits = list.iter().filter(|w| run[at..].starts_with(w));
        fits.map(Vec::len).max()
    };
    let mut found = Vec::new();
    let mut at = 0;
    while at < run.len() {
        if let Some(length) = longest(&lexicon.unspaced_not, at) {
            at += length;
            continue;
        }
        let forwards = longest(&lexicon.unspaced_before, at).map(|length| (length, false));
        let backwards = longest(&lexicon.unspaced_after, at).map(|length| (length, true));
        let Some((length, backwards)) = backwards.or(forwards) else {
            at += 1;
            continue;
        };
        found.push(UnspacedDenial {
            start: at,
            end: at + length,
            backwards,
        });
        at += length;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_cells_are_read_in_many_languages() {
        let table = [
            ("Yes, it is.", Some(true)),
            ("No. It is not.", Some(false)),
            ("**No**, never", Some(false)),
            ("Ja, das gilt.", Some(true)),
            ("Nein – nie", Some(false)),
            ("Oui.", Some(true)),
            ("Sí, claro", Some(true)),
            ("Não, nunca", Some(false)),
            ("Nee, dat mag niet", Some(false)),
            ("Tak, można", Some(true)),
            ("Ne, není", Some(false)),
            ("Нет, нельзя", Some(false)),
            ("Όχι, δεν", Some(false)),
            ("Hayır, değil", Some(false)),
            ("نعم، هذا صحيح", Some(true)),
            ("नहीं, यह", Some(false)),
            ("不是，它", Some(false)),
            ("是的。", Some(true)),
            ("いいえ、違います", Some(false)),
            ("아니요, 안 됩니다", Some(false)),
            ("No gloves are required.", None),
            ("No contrato, o prazo é de três anos.", None),
            ("Ja-Nein-Fragen", None),
            ("The answer is yes.", None),
        ];
        for (sentence, says) in table {
            assert_eq!(
                leading_answer(sentence).map(|(says, _)| says),
                says,
                "{sentence}"
            );
        }
        for (text, says) in [
            ("no", Some(false)),
            (" Ja ", Some(true)),
            ("**non**", Some(false)),
            ("нет", Some(false)),
            ("否", Some(false)),
            ("無", Some(false)),
            ("✓", Some(true)),
            ("hayır", Some(false)),
            ("none of them", None),
            ("12", None),
            ("", None),
        ] {
            assert_eq!(cell(text), says, "{text}");
        }
    }

    #[test]
    fn no_word_says_both_yes_and_no() {
        let lexicon = lexicon();
        assert!(lexicon.yes.len() > 40 && lexicon.no.len() > 40);
        assert_eq!(lexicon.yes.intersection(&lexicon.no).count(), 0);
    }

    #[test]
    fn a_word_denies_only_in_its_own_language() {
        let of = |text: &str| languages_of(&normalise(text)).unwrap();
        assert_eq!(
            negator("no", of("The plan is for all of the staff")),
            Some(Reach::After)
        );
        assert_eq!(
            negator(
                "no",
                of("O prazo está no contrato e não muda para os outros")
            ),
            None
        );
        assert_eq!(
            negator("en", of("De vergoeding en het loon zijn in de lijst")),
            None
        );
        assert_eq!(
            negator("nicht", of("Die Kasse deckt das nicht")),
            Some(Reach::Around)
        );
        assert_eq!(
            negator("не", of("Это не входит в договор")),
            Some(Reach::After)
        );
    }

    #[test]
    fn denials_of_unspaced_scripts_are_told_from_words_that_look_like_them() {
        let found = |text: &str| unspaced_denials(&text.chars().collect::<Vec<_>>());
        assert_eq!(found("甘油不易燃").len(), 1);
        assert_eq!(found("不锈钢管").len(), 0);
        assert!(found("可燃性ではない")[0].backwards);
        assert_eq!(found("少ない").len(), 0);
        assert_eq!(found("ไม่ติดไฟ").len(), 1);
    }
}
