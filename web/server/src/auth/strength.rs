//! Which new passwords are too easy to guess.
//!
//! A guess at the door is slow (see `throttle`), so what matters are passwords that are among the first that anybody tries:
//! common ones, words with a year, rows of keys, the account's own address (NIST SP 800-63B asks for such a list). Three rules:
//!
//! - `zxcvbn` estimates the number of guesses; what needs fewer than 10^10 is refused. In scripts that its lists do not know it
//!   counts characters, which is generous and never refuses for the language.
//! - What everybody knows of the account (the names in its address, the server's, the product's) and a few digits and signs are
//!   no secret: letters have to be left without them.
//! - One short word, with digits or signs around it, is refused in every language, because its lists know English words only. A
//!   word is a run of letters of which some have two cases; elsewhere a character may be a word.

use zxcvbn::Score;

/// Characters that are looked at: the estimate's time grows with their square, and so many are never easy unless all are.
const MOST_CHARS: usize = 100;
const WEAKEST: Score = Score::Four;
/// What everybody knows of every server.
const PRODUCT: &str = "cloister";
/// Fewest letters that are left without what is known.
const FEWEST_LETTERS_LEFT: usize = 4;
/// So many letters are more than one common word, or were drawn at random.
const LONG_RUN: usize = 14;
/// A year, and two signs. More digits are a secret of their own, which the estimate counts.
const MOST_AROUND: usize = 6;
/// The same beside several names, with signs between them.
const MOST_BESIDE_NAMES: usize = 8;

/// Why a password is too easy and what helps, as sentences; `None` when it is not.
///
/// `known` is what everybody knows of the account: its address, the server's name. A password made of it is easy.
pub(super) fn weakness(password: &str, known: &[&str]) -> Option<String> {
    let password: String = password.chars().take(MOST_CHARS).collect();
    let known = known.iter().flat_map(|text| parts(text));
    let known: Vec<String> = known.chain([PRODUCT.to_owned()]).collect();
    if is_known(&password, &known) {
        return Some(
            "It is made of names that belong to the account. Use a few uncommon words.".to_owned(),
        );
    }
    if is_one_word(&password) {
        return Some(
            "One word is easy to guess, with digits and signs around it, too. Use a few uncommon words.".to_owned(),
        );
    }
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let estimate = zxcvbn::zxcvbn(&password, &known);
    if estimate.score() >= WEAKEST {
        return None;
    }
    let feedback = estimate.feedback();
    let why = feedback
        .and_then(|feedback| feedback.warning())
        .map_or_else(
            || "It is among the first that are tried.".to_owned(),
            |warning| warning.to_string(),
        );
    let mut help: Vec<String> = feedback
        .map(|feedback| feedback.suggestions())
        .unwrap_or_default()
        .iter()
        .map(ToString::to_string)
        .collect();
    if help.is_empty() {
        help.push("Use a few uncommon words.".to_owned());
    }
    Some(format!("{why} {}", help.join(" ")))
}

/// Whether hardly a letter is left without the words that are known, and few other characters are there.
fn is_known(password: &str, known: &[String]) -> bool {
    let letters = |text: &str| -> String {
        let letters = text.chars().filter(|character| character.is_alphabetic());
        letters.flat_map(char::to_lowercase).collect()
    };
    let all = letters(password);
    let mut words: Vec<String> = known.iter().map(|word| letters(word)).collect();
    // The longest first, because it may contain others.
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    let mut rest = all.clone();
    for word in words.iter().filter(|word| !word.is_empty()) {
        rest = rest.replace(word.as_str(), "");
    }
    let others = password
        .chars()
        .filter(|character| !character.is_alphabetic());
    rest.len() < all.len()
        && rest.chars().count() < FEWEST_LETTERS_LEFT
        && others.count() <= MOST_BESIDE_NAMES
}

/// Whether it is one word that is not long, and at most a few other characters before and after it.
fn is_one_word(password: &str) -> bool {
    let word = password.trim_matches(|character: char| !character.is_alphabetic());
    let around = password.chars().count() - word.chars().count();
    let has_two_cases = word
        .chars()
        .any(|character| character.is_lowercase() || character.is_uppercase());
    let is_run = word.chars().all(char::is_alphabetic);
    // Words are joined with one capital inside; more of them were drawn at random.
    let characters: Vec<char> = word.chars().collect();
    let rises = characters
        .windows(2)
        .filter(|pair| pair[0].is_lowercase() && pair[1].is_uppercase());
    has_two_cases
        && is_run
        && characters.len() < LONG_RUN
        && around <= MOST_AROUND
        && rises.count() < 2
}

/// The text and its words, each as somebody would put it into a password.
fn parts(text: &str) -> Vec<String> {
    let whole = text.to_lowercase();
    let words = whole
        .split(|character: char| !character.is_alphanumeric())
        .filter(|word| word.chars().count() > 2)
        .map(str::to_owned);
    words.chain([whole.clone()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 3] = [
        "ada.lovelace@analytical.example",
        "cloister.analytical.example",
        "ada.lovelace@firma.de",
    ];

    #[test]
    fn passwords_that_are_tried_first_are_refused_with_a_reason() {
        let refused = [
            "aaaaaaaaaa",
            "password12",
            "1234567890",
            "qwertyuiop",
            "Password123!",
            "p@ssw0rd2026",
            "ada.lovelace@analytical.example",
            "analytical2026",
            "Lovelace1815",
            "abcdefghijkl",
            "iloveyou2025",
            "passwort1234",
            "Winter2025!!",
            "Sommer2026!",
            "Willkommen1!",
            "Passwort2026!",
            "Admin@12345",
            "Cloister2026!",
            "firma2026!!",
            "Ada.Lovelace2026!",
            "2026-Ada-Lovelace",
            "Ada+Cloister#1815",
            "Monday2026!!",
            "Hauptbahnhof1!",
            "!Geheimnis99",
            "SommerWind1!",
            "Понедельник1",
            "thisisalongpassword",
        ];
        for password in refused {
            let why = weakness(password, &KNOWN);
            let why = why.unwrap_or_else(|| panic!("{password} was taken"));
            assert!(why.ends_with('.') && why.len() > 20, "{password}: {why}");
            assert!(!why.contains(password), "{why}");
        }
    }

    #[test]
    fn a_few_words_in_any_language_are_enough() {
        let taken = [
            "a long enough password",
            "correct horse battery",
            "blauer Kessel am Fenster",
            "Чайник на подоконнике",
            "窓辺の青いやかんと猫と雨の日",
            "kettle-Ottawa-91-moss",
            "xK7#pq!vT2mZ",
            "orbit mango velvet tunnel",
            "orbitmangovelvettunnel",
            "Orbit-Mango-Velvet-7",
            "qzhfbmwkxtrplvnc",
            "hQzrTkWmXpLs",
            "Donaudampfschiff2026!",
            "Adas Kessel pfeift im Winter",
            "Ada 8831 9922 4417",
            // The lists have its four words and not the sentence of the comic that they are from.
            "correcthorsebatterystaple",
        ];
        for password in taken {
            assert_eq!(weakness(password, &KNOWN), None, "{password}");
        }
    }

    #[test]
    fn a_very_long_password_is_judged_in_little_time() {
        let started = std::time::Instant::now();
        let _ = weakness(&"p@ssw0rd".repeat(128), &KNOWN);
        assert!(started.elapsed() < std::time::Duration::from_secs(2));
    }
}
