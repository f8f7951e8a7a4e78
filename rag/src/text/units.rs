//! What may stand beside a number: measures, currencies and the names of months, in many languages at once.
//!
//! `data/units.json` is made from Unicode CLDR by `scripts/make-units`. A word that means several things ("m", "$") is all of them.
//! Must not know: the language of a text, sentences, answers.

use std::{collections::HashMap, sync::OnceLock};

const DATA: &str = include_str!("../../data/units.json");

/// Units, one bit each; none is 0.
pub(crate) type Units = u128;

struct Lexicon {
    words: HashMap<String, Units>,
    date: Units,
    currencies: Units,
}

fn lexicon() -> &'static Lexicon {
    static LEXICON: OnceLock<Lexicon> = OnceLock::new();
    LEXICON.get_or_init(|| {
        let entries: HashMap<String, Vec<String>> =
            serde_json::from_str(DATA).expect("data/units.json is part of the program");
        let mut lexicon = Lexicon {
            words: HashMap::new(),
            date: 0,
            currencies: 0,
        };
        for (at, (unit, words)) in entries.into_iter().enumerate() {
            let bit = 1_u128.checked_shl(at as u32).expect("128 units at most");
            if unit == "date" {
                lexicon.date = bit;
            } else if unit.starts_with("currency-") {
                lexicon.currencies |= bit;
            }
            for word in words {
                *lexicon.words.entry(word).or_default() |= bit;
            }
        }
        lexicon
    })
}

/// What a word or sign means, normalised as terms are and in lower case.
pub(crate) fn of(word: &str) -> Units {
    lexicon().words.get(word).copied().unwrap_or(0)
}

/// The units that also stand before their number: "EUR 24", "December 24".
pub(crate) fn before_numbers() -> Units {
    lexicon().currencies | lexicon().date
}

/// Whether a word is the name of a month in any language.
pub(crate) fn is_month(word: &str) -> bool {
    of(&crate::text::fold::folded(word)) & lexicon().date != 0
}
