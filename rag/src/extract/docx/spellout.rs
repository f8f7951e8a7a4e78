//! Numbers spelt out in the language of a document, as Word writes them in front of paragraphs: "Article One".
//!
//! The rules are those of Unicode CLDR (rule-based number format), in `data/spellout.json`, made by
//! `scripts/make-spellout`. A *set* has rules; the last one that begins at the number or before it applies. In its text
//! `←←` stands for the number divided by the rule's divisor (the greatest power of its base that is not above where the
//! rule begins), `→→` for the rest, `=%set=` for the number in another set, and what is in brackets goes where there is
//! no rest. Absent on purpose: fractions, negative numbers, and numbers from 1000 on.

use std::collections::HashMap;
use std::sync::OnceLock;

use serde::Deserialize;

const DATA: &str = include_str!("../../../data/spellout.json");
/// The rules are cut off there.
const LIMIT: u64 = 1000;
/// A text that uses sets deeper than this goes round in circles.
const MAX_DEPTH: usize = 20;

/// From which number it holds, the base of its divisor (0: ten), and its text.
#[derive(Debug, Deserialize)]
struct Rule(u64, u64, String);

/// How one language spells numbers out.
#[derive(Debug, Deserialize)]
pub(super) struct Spellout {
    /// Names of sets.
    cardinal: String,
    ordinal: Option<String>,
    sets: HashMap<String, Vec<Rule>>,
    /// How many last letters of the word follow the digits of an ordinal number, where they do.
    letters: Option<usize>,
}

impl Spellout {
    /// The rules of a language tag ("en-US"); `None` if there are none.
    pub(super) fn of_language(tag: &str) -> Option<&'static Self> {
        static ALL: OnceLock<HashMap<String, Spellout>> = OnceLock::new();
        let all = ALL.get_or_init(|| {
            serde_json::from_str(DATA).expect("data/spellout.json is part of the program")
        });
        let code = tag.split(['-', '_']).next().unwrap_or("");
        all.get(&code.to_ascii_lowercase())
    }

    /// "Twenty-one", with a capital as Word has it; `None` if the language has no rule for it.
    pub(super) fn cardinal(&self, number: u64) -> Option<String> {
        self.spell(&self.cardinal, number, 0).map(capitalised)
    }

    /// "Twenty-first".
    pub(super) fn ordinal(&self, number: u64) -> Option<String> {
        let word = self.spell(self.ordinal.as_ref()?, number, 0)?;
        Some(capitalised(word))
    }

    /// "21st".
    pub(super) fn ordinal_in_digits(&self, number: u64) -> Option<String> {
        let word = self.ordinal(number)?;
        let num_before = word.chars().count().checked_sub(self.letters?)?;
        let end: String = word.chars().skip(num_before).collect();
        Some(format!("{number}{end}"))
    }

    fn spell(&self, set: &str, number: u64, depth: usize) -> Option<String> {
        if depth > MAX_DEPTH || number >= LIMIT {
            return None;
        }
        let rules = self.sets.get(set)?;
        let Rule(base, radix, text) = rules.iter().rev().find(|rule| rule.0 <= number)?;
        let radix = if *radix == 0 { 10 } else { *radix };
        let powers = std::iter::successors(Some(1), |power| Some(power * radix));
        let divisor = powers.take_while(|power| power <= base).last().unwrap_or(1);
        let has_rest = !number.is_multiple_of(divisor);
        let mut out = String::new();
        // An apostrophe keeps the blank behind it.
        let mut rest = text.strip_prefix('\'').unwrap_or(text);
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            match c {
                '[' if !has_rest => rest = rest.split_once(']').map_or("", |(_, rest)| rest),
                '[' | ']' => {}
                '←' | '→' | '=' => {
                    let (name, behind) = rest.split_once(c)?;
                    rest = behind;
                    let part = match c {
                        '←' => number / divisor,
                        '→' => number % divisor,
                        _ => number,
                    };
                    let name = if name.is_empty() { set } else { name };
                    out.push_str(&self.spell(name, part, depth + 1)?);
                }
                c => out.push(c),
            }
        }
        Some(out)
    }
}

fn capitalised(word: String) -> String {
    let mut chars = word.chars();
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    first.chain(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spelt_as_each_language_does() {
        let cases = [
            ("en-US", 1, "One", "First", "1st"),
            ("en", 2, "Two", "Second", "2nd"),
            ("en-GB", 13, "Thirteen", "Thirteenth", "13th"),
            ("en", 23, "Twenty-three", "Twenty-third", "23rd"),
            ("en", 40, "Forty", "Fortieth", "40th"),
            (
                "en",
                111,
                "One hundred eleven",
                "One hundred eleventh",
                "111th",
            ),
            ("nl-NL", 21, "Eenentwintig", "Eenentwintigste", "21e"),
            ("de-DE", 21, "Einundzwanzig", "Einundzwanzigste", ""),
            ("fr-FR", 71, "Soixante-et-onze", "Soixante-et-onzième", ""),
            ("es-ES", 22, "Veintidós", "Vigésimo segundo", ""),
            ("it-IT", 23, "Ventitré", "Ventitreesimo", ""),
            ("ru-RU", 3, "Три", "Третий", ""),
            ("cs-CZ", 2, "Dva", "", ""),
            ("en", 1000, "", "", ""),
        ];
        for (tag, number, cardinal, ordinal, digits) in cases {
            let spellout = Spellout::of_language(tag).unwrap();
            let or_none = |word: Option<String>| word.unwrap_or_default();
            assert_eq!(or_none(spellout.cardinal(number)), cardinal, "{tag}");
            assert_eq!(or_none(spellout.ordinal(number)), ordinal, "{tag}");
            if !digits.is_empty() {
                assert_eq!(or_none(spellout.ordinal_in_digits(number)), digits, "{tag}");
            }
        }
        assert!(Spellout::of_language("ja-JP").is_none());
    }

    #[test]
    fn every_number_of_a_list_has_a_cardinal_in_every_language() {
        let codes = [
            "af", "ca", "cs", "da", "de", "en", "es", "et", "fi", "fr", "hr", "hu", "id", "is",
            "it", "lt", "lv", "ms", "nb", "nl", "pl", "pt", "ro", "ru", "sk", "sl", "sq", "sr",
            "sv", "tr", "uk",
        ];
        for code in codes {
            let spellout = Spellout::of_language(code).unwrap();
            let words: Vec<String> = (1..LIMIT).filter_map(|n| spellout.cardinal(n)).collect();
            assert_eq!(words.len(), 999, "{code}");
            let plain = |word: &String| {
                word.chars()
                    .all(|c| c.is_alphabetic() || " -'’ʼ\u{a0}".contains(c))
            };
            assert!(words.iter().all(plain), "{code}: {words:?}");
        }
    }
}
