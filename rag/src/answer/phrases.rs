//! How models speak about the passages they were given, in many languages: `data/wording.json`, one entry a language.
//!
//! An entry has `names` (what a model calls a passage: "passage 2"), `marks` (what else stands in a citation marker: "[ref 2]"), `joins`
//! (what joins the numbers in one: "[1 and 3]"; narrower than [`crate::text::conjunctions`], because "1 of 3" is Dutch for "1 or 3"),
//! `see` (what stands before one: "(see [2])"), `meta` (words about passages that claim nothing: "according to"), and for sentences that
//! say that the documents do not answer `sources` (what speaks of the documents), `silent` (what denies that they say it; `…` is
//! a gap), `alone` (enough on its own) and `ending` (enough at the end: "The price is not mentioned.").
//!
//! All languages are looked for at once, because a model may answer in another language than the question's. Text is folded as
//! terms are. Must not know: passages, questions.

use std::{
    collections::{BTreeMap, HashSet},
    sync::OnceLock,
};

use serde::Deserialize;

use crate::text::fold::{folded, stem};

const DATA: &str = include_str!("../../data/wording.json");

/// Separates the parts of a phrase that has a gap.
const GAP: &str = " … ";

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Entry {
    names: Vec<String>,
    marks: Vec<String>,
    joins: Vec<String>,
    see: Vec<String>,
    meta: Vec<String>,
    sources: Vec<String>,
    silent: Vec<String>,
    alone: Vec<String>,
    ending: Vec<String>,
}

#[derive(Default)]
struct Phrases {
    names: HashSet<String>,
    /// `names` and `marks`.
    marker_names: HashSet<String>,
    joins: HashSet<String>,
    see: HashSet<String>,
    /// Stems.
    meta: HashSet<String>,
    sources: Vec<String>,
    /// The parts of each phrase, in order.
    silent: Vec<Vec<String>>,
    alone: Vec<String>,
    ending: Vec<String>,
}

fn phrases() -> &'static Phrases {
    static PHRASES: OnceLock<Phrases> = OnceLock::new();
    PHRASES.get_or_init(|| {
        let entries: BTreeMap<String, Entry> =
            serde_json::from_str(DATA).expect("data/wording.json is part of the program");
        let mut phrases = Phrases::default();
        for entry in entries.into_values() {
            let fold = |words: &[String]| words.iter().map(|w| folded(w)).collect::<Vec<_>>();
            phrases.names.extend(fold(&entry.names));
            phrases.marker_names.extend(fold(&entry.names));
            phrases.marker_names.extend(fold(&entry.marks));
            // Not folded: "é" is no "e".
            phrases.joins.extend(entry.joins);
            phrases.see.extend(fold(&entry.see));
            phrases
                .meta
                .extend(fold(&entry.meta).iter().map(|w| stem(w)));
            phrases.sources.extend(fold(&entry.sources));
            let silent = entry.silent.iter();
            phrases
                .silent
                .extend(silent.map(|p| p.split(GAP).map(folded).collect()));
            phrases.alone.extend(fold(&entry.alone));
            phrases.ending.extend(fold(&entry.ending));
        }
        phrases
    })
}

/// Whether a sentence says that the documents do not hold the answer.
pub(crate) fn denies_answer(sentence: &str) -> bool {
    let text = folded(sentence);
    let text = text.trim_matches(|c: char| {
        c.is_whitespace() || matches!(c, '.' | '!' | '"' | '*' | '。' | '！')
    });
    let Phrases {
        sources,
        silent,
        alone,
        ending,
        ..
    } = phrases();
    let any = |list: &[String]| list.iter().any(|phrase| text.contains(phrase));
    any(alone)
        || ending.iter().any(|phrase| text.ends_with(phrase))
        || (any(sources) && silent.iter().any(|parts| holds_in_order(text, parts)))
}

fn holds_in_order(mut text: &str, parts: &[String]) -> bool {
    for part in parts {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    true
}

/// Whether a word names a passage: "passage 2", "sources 1 and 3".
pub(crate) fn is_passage_name(word: &str) -> bool {
    phrases().names.contains(&folded(word))
}

/// Whether a word joins the numbers of passages.
pub(crate) fn is_join(word: &str) -> bool {
    phrases().joins.contains(&word.to_lowercase())
}

/// Whether a term speaks of the passages and claims nothing.
pub(crate) fn is_meta(key: &str) -> bool {
    phrases().meta.contains(key)
}

/// What a word inside the brackets of a citation marker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MarkerWord {
    /// "Passage", "ref".
    Name,
    /// "and", "or".
    Join,
    /// "see".
    See,
}

/// Reads a word inside the brackets of a marker.
pub(crate) fn marker_word(word: &str) -> Option<MarkerWord> {
    if is_join(word) {
        return Some(MarkerWord::Join);
    }
    let word = folded(word);
    let phrases = phrases();
    if phrases.marker_names.contains(&word) {
        Some(MarkerWord::Name)
    } else {
        phrases.see.contains(&word).then_some(MarkerWord::See)
    }
}

/// Whether a word may become one of a marker when more of it arrives.
pub(crate) fn begins_marker_word(word: &str) -> bool {
    let (lower, word) = (word.to_lowercase(), folded(word));
    let phrases = phrases();
    let mut names = phrases.marker_names.iter().chain(&phrases.see);
    let mut joins = phrases.joins.iter();
    names.any(|known| known.starts_with(&word)) || joins.any(|known| known.starts_with(&lower))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denials_are_told_from_statements_with_a_not_in_them() {
        let table = [
            ("Not in the documents.", true),
            ("I'm sorry, but I don't have that information.", true),
            ("The passages do not mention the price of the pump.", true),
            ("The provided text doesn’t specify a date.", true),
            ("The number of players is not mentioned.", true),
            ("There is no information about the merger.", true),
            ("Der Preis wird in den Dokumenten nicht erwähnt.", true),
            ("Die Dokumente enthalten keine Angaben zum Preis.", true),
            ("Das geht aus den Textstellen nicht hervor.", true),
            ("Les passages ne mentionnent pas le prix.", true),
            (
                "Les documents ne contiennent aucune information sur le prix.",
                true,
            ),
            ("El texto no menciona el precio.", true),
            ("I documenti non specificano il prezzo.", true),
            ("Os documentos não mencionam o preço.", true),
            ("O documento não menciona o preço.", true),
            (
                "De documenten bevatten geen informatie over de prijs.",
                true,
            ),
            ("Dokumenty nie zawierają ceny.", true),
            ("Dokument nie zawiera ceny pompy.", true),
            ("В документах цена не указана.", true),
            ("文档中没有提到价格。", true),
            ("資料に価格は記載されていません。", true),
            ("문서에는 가격이 언급되지 않았습니다.", true),
            ("The warranty does not cover batteries.", false),
            ("The valve must not be opened.", false),
            ("Nobody knows where the passage leads.", false),
            ("The committee did not provide funds for the bridge.", false),
            ("Das Ventil darf nicht geöffnet werden.", false),
            ("Die Garantie gilt nicht für Batterien.", false),
            ("La garantie ne couvre pas les piles.", false),
            ("Unfortunately the pump costs 500 euros.", false),
            ("К сожалению, насос стоит 500 евро.", false),
            ("保修不包括电池。", false),
        ];
        let wrong: Vec<_> = table
            .iter()
            .filter(|(sentence, expected)| denies_answer(sentence) != *expected)
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn every_language_has_all_that_a_denial_needs() {
        let entries: BTreeMap<String, Entry> = serde_json::from_str(DATA).unwrap();
        for (code, entry) in entries {
            for list in [&entry.names, &entry.sources, &entry.silent, &entry.alone] {
                assert!(!list.is_empty(), "{code}");
            }
        }
    }
}
