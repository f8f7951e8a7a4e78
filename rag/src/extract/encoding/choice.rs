//! Which of the encodings with one byte a letter a text has, where the detector has too little to go by.
//!
//! `chardetng` weighs pairs of letters. In "the fee is £120" there are none, and whichever encoding has a letter for
//! that byte ("Ł120") wins. Here the text is read in each encoding that comes into question and three things are
//! weighed: *misfits*, which no language writes (a letter alone beside digits, a sign within a word, a capital after
//! small letters, an accent without a letter); the languages that its frequent words speak for; and what the detector
//! takes it for, the more the more letters it had. Where nothing tells, a text is Western European: most are.

use std::borrow::Cow;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{
    Encoding, ISO_8859_2, ISO_8859_4, ISO_8859_13, WINDOWS_1250, WINDOWS_1252, WINDOWS_1254,
    WINDOWS_1257, WINDOWS_1258,
};

use super::misfits::misfits;
use super::whole;
use crate::text::polarity::language_counts;

/// Languages by the encoding of Windows that has their letters, and a domain by which the detector knows it. Not
/// named are those with other letters than Latin ones; their words are recognised after decoding only.
static GROUPS: [Group; 5] = [
    Group {
        encodings: &[WINDOWS_1252],
        domain: "de",
        languages: &[
            "af", "ca", "da", "de", "en", "es", "eu", "fi", "fr", "gl", "id", "is", "it", "ms",
            "nb", "nl", "pt", "sq", "sv", "sw",
        ],
    },
    Group {
        encodings: &[WINDOWS_1250, ISO_8859_2],
        domain: "pl",
        languages: &["cs", "hr", "hu", "pl", "ro", "sk", "sl"],
    },
    Group {
        encodings: &[WINDOWS_1257, ISO_8859_13],
        domain: "lt",
        languages: &["et", "lt", "lv"],
    },
    Group {
        encodings: &[WINDOWS_1254],
        domain: "tr",
        languages: &["az", "tr"],
    },
    Group {
        encodings: &[WINDOWS_1258],
        domain: "vn",
        languages: &["vi"],
    },
];
/// How much of a text is weighed.
const SAMPLE_BYTES: usize = 1 << 16;

/// What a misfit costs, beside which the other evidence is measured.
const MISFIT_COST: usize = 4;
/// What it costs if there are so many frequent words of a language of another encoding: one is soon there by chance,
/// and even of many "Ł. Nowak" and "ø 8" may be meant.
const LANGUAGE_COSTS: [usize; 4] = [0, 2, 5, 5];
/// What each word costs in which another encoding has other letters than the detector's. The pairs of letters of
/// three words outweigh that a text is written in another language: these are names, or the language is not known.
const WORD_COST: usize = 2;

struct Group {
    encodings: &'static [&'static Encoding],
    domain: &'static str,
    languages: &'static [&'static str],
}

/// The encoding of a sample of text that is not UTF-8.
pub(super) fn guess(sample: &[u8], is_whole: bool) -> &'static Encoding {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    detector.feed(sample, is_whole);
    let detected = detector.guess(None, Utf8Detection::Allow);
    if !detected.is_single_byte() && !has_only_lone_bytes(sample) {
        return detected;
    }
    // The languages of the Baltic are not written in ISO-8859-4 any more.
    let detected = if detected.is_single_byte() && detected != ISO_8859_4 {
        detected
    } else {
        WINDOWS_1252
    };
    let sample = around_first_letter(sample);
    let of_groups = GROUPS.iter().filter_map(|group| {
        let encoding = detector.guess(Some(group.domain.as_bytes()), Utf8Detection::Deny);
        group.encodings.contains(&encoding).then_some(encoding)
    });
    let mut candidates: Vec<Candidate<'_>> = vec![];
    for encoding in [detected, WINDOWS_1252].into_iter().chain(of_groups) {
        if candidates.iter().all(|known| known.encoding != encoding) {
            candidates.push(Candidate::of(encoding, sample));
        }
    }
    let most_words = candidates
        .iter()
        .map(|candidate| candidate.num_any_words)
        .max()
        .unwrap_or(0);
    let detected_text = candidates[0].text.clone();
    // An encoding that neither the detector chose nor most texts have must be that of the language.
    let is_likely = |candidate: &&Candidate<'_>| {
        [detected, WINDOWS_1252].contains(&candidate.encoding)
            || (candidate.num_own_words > 0 && candidate.num_own_words == most_words)
    };
    let cost = |candidate: &&Candidate<'_>| {
        let language = most_words - candidate.num_own_words;
        let apart = num_words_apart(&candidate.text, &detected_text);
        MISFIT_COST * misfits(&candidate.text)
            + LANGUAGE_COSTS[language.min(LANGUAGE_COSTS.len() - 1)]
            + WORD_COST * apart
    };
    // The first one of equals is the detector's.
    let best = candidates.iter().filter(is_likely).min_by_key(cost);
    best.map_or(WINDOWS_1252, |candidate| candidate.encoding)
}

/// An encoding and what it makes of the sample.
struct Candidate<'a> {
    encoding: &'static Encoding,
    text: Cow<'a, str>,
    /// How many of the words are frequent ones of the most likely language that is written in this encoding.
    num_own_words: usize,
    /// Of the most likely language of all.
    num_any_words: usize,
}

impl<'a> Candidate<'a> {
    fn of(encoding: &'static Encoding, sample: &'a [u8]) -> Self {
        let text = whole(encoding, sample).0;
        let group_of = |code: &str| {
            GROUPS
                .iter()
                .position(|group| group.languages.contains(&code))
        };
        let own_group = GROUPS
            .iter()
            .position(|group| group.encodings.contains(&encoding));
        let counts = language_counts(&text);
        let own = counts
            .iter()
            .filter(|(code, _)| group_of(code) == own_group);
        let num_own_words = own.map(|(_, count)| *count).max().unwrap_or(0);
        let num_any_words = counts.iter().map(|(_, count)| *count).max().unwrap_or(0);
        Self {
            encoding,
            text,
            num_own_words,
            num_any_words,
        }
    }
}

/// What is weighed: the text around the first byte that is not ASCII.
fn around_first_letter(sample: &[u8]) -> &[u8] {
    let start = Encoding::ascii_valid_up_to(sample).saturating_sub(SAMPLE_BYTES / 2);
    &sample[start..sample.len().min(start + SAMPLE_BYTES)]
}

/// Whether each byte beyond ASCII stands alone, and few of them are the next but one to another: the characters of
/// Chinese, Japanese and Korean have two bytes, of which the second may be ASCII, and come in rows.
fn has_only_lone_bytes(sample: &[u8]) -> bool {
    let is_beyond = |idx: usize| sample.get(idx).is_some_and(|byte| !byte.is_ascii());
    let (mut num_beyond, mut num_in_rows) = (0, 0);
    for idx in (0..sample.len()).filter(|idx| is_beyond(*idx)) {
        if is_beyond(idx + 1) {
            return false;
        }
        num_beyond += 1;
        num_in_rows += usize::from(is_beyond(idx + 2));
    }
    num_beyond > 0 && num_in_rows * 2 < num_beyond
}

/// How many words `detected` has other letters in than `text`; both have one character a byte.
fn num_words_apart(text: &str, detected: &str) -> usize {
    let detected: Vec<char> = detected.chars().collect();
    let is_letter = |idx: usize| detected.get(idx).is_some_and(|c| c.is_alphabetic());
    let are_quotes = text.matches('«').count() == text.matches('»').count();
    let (mut num_words, mut is_apart) = (0, false);
    for (idx, c) in text.chars().enumerate() {
        if !is_letter(idx) {
            is_apart = false;
            continue;
        }
        let is_within = is_letter(idx + 1) || (idx > 0 && is_letter(idx - 1));
        let is_sign = is_power(c, &detected[..idx]) || (are_quotes && matches!(c, '«' | '»'));
        if detected[idx] != c && is_within && !is_apart && !is_sign {
            num_words += 1;
            is_apart = true;
        }
    }
    num_words
}

/// Whether the character is the power of a unit, such as m³.
fn is_power(c: char, before: &[char]) -> bool {
    let num_letters = before
        .iter()
        .rev()
        .take_while(|c| c.is_ascii_lowercase())
        .count();
    matches!(c, '²' | '³') && (1..=2).contains(&num_letters)
}

#[cfg(test)]
mod tests {
    use super::super::decode;
    use super::*;

    #[test]
    fn signs_beside_digits_are_no_letters() {
        let texts = [
            "The yearly fee is £120 and must be paid before May.",
            "Price £50 – net",
            "Pipe;3,20;½\"",
            "Bore Ø 12 mm ± 0.1",
            "Coating of 5 µm",
            "¥900 per day",
            "The fee is “£5” for members.",
            "See ¶ 4 and § 9.",
            "¹ see note",
            "naïve £",
            "Die Bohrung hat Ø 12 mm und wird geschlichtet.",
            "Gerät Ø 5",
            "Mehl\t1½ kg\t3,20 €\nSalz\t¼ kg\t0,80 €",
            "Die Abweichung ist ± 0,1 mm.",
            "Le prix est de £40 – £60 pour les membres.",
            "El tubo de ½ pulgada está en el almacén.",
            "Il volume è di 3 m³.",
            "De buis is Ø 40 mm.",
            "Röret är Ø 40 mm.",
            "Røret er Ø 40 mm og koster £5.",
            "O tubo é de ¾.",
            "Putki on Ø 40 mm ja maksaa £5.",
        ];
        for text in texts {
            check(WINDOWS_1252, text);
        }
    }

    #[test]
    fn letters_stay_letters_also_in_short_texts() {
        let texts: &[(&'static Encoding, &[&str])] = &[
            (
                WINDOWS_1250,
                &[
                    "Łódź",
                    "Jan Żak, ul. Długa 7",
                    "Wpłata 50 zł, § 5",
                    "mąż",
                    "Š. Novák",
                    "Dvořák",
                    "Příloha č. 2",
                    "Őszi ár: 120 Ft / fő",
                    "Nő",
                    "Preţ 120 lei, str. Ştefan 5",
                ],
            ),
            (
                ISO_8859_2,
                &[
                    "Łódź",
                    "Cena: 120 zł",
                    "Šablóna dokumentu",
                    "Vnútorne preskúmať potomka",
                ],
            ),
            (WINDOWS_1257, &["Į viršų", "Lietuvių", "Rīga"]),
            (WINDOWS_1254, &["Bu ışık için ödeme yapılır."]),
            (
                encoding_rs::WINDOWS_1251,
                &["Счёт № 7", "ул. Мира, 5", "Компания Acme"],
            ),
            (
                encoding_rs::WINDOWS_1253,
                &["Αθήνα", "Πρότυπο έγγραφο Word 2007"],
            ),
            (encoding_rs::WINDOWS_1255, &["אמהרית (EZ+)"]),
            (
                encoding_rs::SHIFT_JIS,
                &["マップデータベース", "Python バイトコード"],
            ),
            (encoding_rs::BIG5, &["德語 (qwerty 配置)"]),
            (
                WINDOWS_1252,
                &[
                    "Zürich",
                    "Ærø",
                    "på",
                    "één",
                    "Où êtes-vous? À Nîmes, c’est «ça»",
                    "¿Cuándo? Mañana, señor.",
                ],
            ),
        ];
        for (encoding, texts) in texts {
            for text in *texts {
                check(encoding, text);
            }
        }
    }

    fn check(encoding: &'static Encoding, text: &str) {
        let (bytes, _, lost) = encoding.encode(text);
        assert!(!lost, "{text}");
        let decoded = decode(&bytes, None).unwrap();
        assert_eq!(decoded.text, text, "{:?}", decoded.warnings);
    }
}
