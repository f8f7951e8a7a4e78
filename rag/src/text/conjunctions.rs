//! Words for "and" and "or" in many languages, and others before which a part of a compound may be left out; where they
//! come from is said in `data/conjunctions.txt`.

use std::{collections::HashMap, sync::LazyLock};

use super::polarity::Languages;

/// What a word joins, by language.
#[derive(Debug, Default)]
struct Conjunction {
    /// Whether it is "and" or "or" in one of the languages.
    is_plain: bool,
    /// Languages in which it follows a part of a compound, and those of them whose words may end like it.
    languages: Languages,
    ending: Languages,
}

static CONJUNCTIONS: LazyLock<HashMap<&'static str, Conjunction>> =
    LazyLock::new(|| parse(include_str!("../../data/conjunctions.txt")));

fn parse(table: &'static str) -> HashMap<&'static str, Conjunction> {
    let mut conjunctions: HashMap<&str, Conjunction> = HashMap::new();
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let Some((codes, words)) = line.split_once(':') else {
            continue;
        };
        let languages = codes
            .split_whitespace()
            .map(Languages::of_code)
            .fold(Languages::default(), Languages::or);
        let (plain, others) = words.split_once('+').unwrap_or((words, ""));
        let plain = plain.split_whitespace().map(|word| (word, true));
        let others = others.split_whitespace().map(|word| (word, false));
        for (word, is_plain) in plain.chain(others) {
            let bare = word.trim_end_matches('-');
            let conjunction = conjunctions.entry(bare).or_default();
            conjunction.is_plain |= is_plain;
            conjunction.languages = conjunction.languages.or(languages);
            if word != bare {
                conjunction.ending = conjunction.ending.or(languages);
            }
        }
    }
    conjunctions
}

/// Whether a word, in lower case, joins others in any of the languages.
pub(crate) fn is_conjunction(word: &str) -> bool {
    CONJUNCTIONS
        .get(word)
        .is_some_and(|conjunction| conjunction.is_plain)
}

/// How sure it is that a word, in lower case, follows a part of a compound ("Ein- und Ausgang").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AfterPart {
    /// It joins in the language, and words do not end like it.
    Sure,
    /// It joins in the language, and words end like it.
    IfWhole,
    /// It joins in another language.
    Foreign,
    Never,
}

/// Whether a word, in lower case, may follow a part of a compound in a text in `languages`.
pub(crate) fn after_part(word: &str, languages: Languages) -> AfterPart {
    match CONJUNCTIONS.get(word) {
        None => AfterPart::Never,
        Some(conjunction) if conjunction.ending.overlaps(languages) => AfterPart::IfWhole,
        Some(conjunction) if conjunction.languages.overlaps(languages) => AfterPart::Sure,
        Some(conjunction) if conjunction.is_plain => AfterPart::Foreign,
        Some(_) => AfterPart::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_join_in_their_languages() {
        let german = Languages::of_code("de");
        for (word, want, plain) in [
            ("und", AfterPart::Sure, true),
            ("bis", AfterPart::Sure, false),
            ("wie", AfterPart::IfWhole, false),
            ("and", AfterPart::Foreign, true),
            ("in", AfterPart::Foreign, true),
            ("to", AfterPart::Never, false),
            ("haus", AfterPart::Never, false),
        ] {
            assert_eq!(after_part(word, german), want, "{word}");
            assert_eq!(is_conjunction(word), plain, "{word}");
        }
    }
}
