//! What Cloister itself says in an answer, in the language of the question: `data/notices.json`, one entry a language.
//!
//! The language is that for which most words of the question speak: those of [`crate::text::polarity`], and `asks` (words that ask).
//! An entry has `refusal` (the documents do not answer), `closest_in` (where the closest passages are; `{}` stands for the
//! titles) and `closest_says` (stands before a verbatim quote). A question in another language, or of which no word tells
//! its language, is answered in English.
//!
//! Must not know: passages, answers, the check.

use std::{collections::BTreeMap, sync::OnceLock};

use serde::Deserialize;

use crate::text::polarity::language_counts;

const DATA: &str = include_str!("../../data/notices.json");

/// The language of a question that does not tell its own.
const DEFAULT: &str = "en";

/// Stands for the titles in `closest_in`.
const TITLES: &str = "{}";

/// Cloister's own sentences in one language.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Notices {
    /// The documents do not answer the question.
    pub refusal: String,
    closest_in: String,
    /// Stands before a verbatim quote, with its space.
    pub closest_says: String,
    asks: Vec<String>,
}

impl Notices {
    /// The sentences in the language of `question`. `passages` decides between languages that the question's words speak
    /// for alike.
    pub fn for_question<'a>(
        question: &str,
        passages: impl IntoIterator<Item = &'a str>,
    ) -> &'static Self {
        let all = notices();
        let code = language_of_script(question)
            .or_else(|| language_of_words(question, passages))
            .unwrap_or(DEFAULT);
        &all[code]
    }

    /// The refusal, and where the closest passages are; the refusal alone without titles.
    pub fn refusal_with_titles(&self, titles: &[&str]) -> String {
        if titles.is_empty() {
            return self.refusal.clone();
        }
        let space = if self.refusal.ends_with('。') {
            ""
        } else {
            " "
        };
        let closest_in = self.closest_in.replace(TITLES, &titles.join("; "));
        format!("{}{space}{closest_in}", self.refusal)
    }
}

fn notices() -> &'static BTreeMap<String, Notices> {
    static NOTICES: OnceLock<BTreeMap<String, Notices>> = OnceLock::new();
    NOTICES.get_or_init(|| {
        serde_json::from_str(DATA).expect("data/notices.json is part of the program")
    })
}

/// The language that a script belongs to, of scripts without spaces or words that tell.
fn language_of_script(text: &str) -> Option<&'static str> {
    let count = |is_of: fn(char) -> bool| text.chars().filter(|c| is_of(*c)).count();
    let letters = count(char::is_alphabetic);
    let kana = count(|c| matches!(c, '\u{3041}'..='\u{30ff}'));
    let han = count(|c| matches!(c, '\u{3400}'..='\u{9fff}'));
    let hangul = count(|c| matches!(c, '\u{ac00}'..='\u{d7a3}'));
    if letters == 0 || 2 * (kana + han + hangul) < letters {
        None
    } else if hangul > kana + han {
        Some("ko")
    } else if kana > 0 {
        Some("ja")
    } else {
        Some("zh")
    }
}

/// How many words of a question speak for each language. A letter beside a digit is part of a name: the "V" of "V3" is no word.
fn words_that_speak(question: &str) -> Vec<(&'static str, usize)> {
    let words = question.split(|c: char| !c.is_alphanumeric());
    let words: Vec<&str> = words
        .filter(|word| word.chars().all(char::is_alphabetic))
        .collect();
    let mut counts = language_counts(&words.join(" "));
    let asked: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
    for (code, count) in &mut counts {
        let asks = notices().get(*code).map_or(&[][..], |n| n.asks.as_slice());
        *count += asked.iter().filter(|word| asks.contains(word)).count();
    }
    counts
}

/// The language, of those that there are notices in, that most words of `question` speak for.
fn language_of_words<'a>(
    question: &str,
    passages: impl IntoIterator<Item = &'a str>,
) -> Option<&'static str> {
    let all = notices();
    let mut counts = words_that_speak(question);
    let most = counts.iter().map(|(_, count)| *count).max()?;
    counts.retain(|(_, count)| *count == most && most > 0);
    if !counts.iter().any(|(code, _)| all.contains_key(*code)) {
        return None;
    }
    counts.retain(|(code, _)| all.contains_key(*code));
    if let [(code, _)] = counts[..] {
        return Some(code);
    }
    let text = passages.into_iter().collect::<Vec<_>>().join("\n");
    let spoken = language_counts(&text);
    let of_passages = |code: &str| {
        spoken
            .iter()
            .find(|(c, _)| *c == code)
            .map_or(0, |(_, n)| *n)
    };
    // The first of equals is English where it is among them.
    let tied = counts
        .iter()
        .map(|(code, _)| (of_passages(code), *code == DEFAULT, *code));
    tied.max().map(|(.., code)| code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_are_in_the_language_of_the_question() {
        let cases = [
            ("What does AX-4401/B cost?", "en"),
            ("Price of AX-4401/B", "en"),
            ("AX-4401/B?", "en"),
            ("Wie schwer ist die C-310?", "de"),
            ("Quel est le prix de la pompe ?", "fr"),
            ("¿Cuál es el precio de la bomba?", "es"),
            ("Qual è il prezzo della pompa?", "it"),
            ("Qual é o preço da bomba?", "pt"),
            ("Wat is de prijs van het onderdeel?", "nl"),
            ("Jaka jest cena pompy i czy jest w magazynie?", "pl"),
            ("Сколько стоит насос и что в комплекте?", "ru"),
            ("Vad är priset på pumpen?", "sv"),
            ("Mikä on pumpun hinta?", "fi"),
            ("水泵的价格是多少？", "zh"),
            ("ポンプの価格はいくらですか。", "ja"),
            ("펌프의 가격은 얼마입니까?", "ko"),
            ("ما هو سعر المضخة في الكتالوج؟", "ar"),
            ("What is the part 泵 called?", "en"),
            ("Quanto pesa la V3?", "it"),
            ("Was kostet der Messkoffer M1?", "de"),
            ("Who was the captain?", "en"),
        ];
        let wrong: Vec<_> = cases
            .iter()
            .filter(|(question, code)| {
                let found = Notices::for_question(question, []);
                found.refusal != notices()[*code].refusal
            })
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn the_passages_decide_between_languages_that_share_a_question() {
        // "har" and "en" are Danish and Norwegian and Swedish.
        let found = |passage| &Notices::for_question("Har pumpen en garanti?", [passage]).refusal;
        assert_eq!(
            *found("Pumpen er på lageret, og der er ikke noget, som mangler af det."),
            notices()["da"].refusal
        );
        assert_eq!(
            *found("Pumpen är inte på lagret, och det är något som saknas."),
            notices()["sv"].refusal
        );
    }

    #[test]
    fn titles_stand_in_their_place_in_every_language() {
        for (code, notices) in notices() {
            assert_eq!(notices.closest_in.matches(TITLES).count(), 1, "{code}");
            assert!(notices.closest_says.ends_with([' ', '：']), "{code}");
            let text = notices.refusal_with_titles(&["A", "B"]);
            assert!(
                text.starts_with(&notices.refusal) && text.contains("A; B"),
                "{code}"
            );
            assert_eq!(notices.refusal_with_titles(&[]), notices.refusal);
        }
    }
}
