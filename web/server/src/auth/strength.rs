//! Which new passwords are too easy to guess.
//!
//! A guess at the door is slow (see `throttle`), so what matters are passwords that are among the first that anybody tries:
//! common ones, words with a year, rows of keys, the account's own address (NIST SP 800-63B asks for such a list). `zxcvbn`
//! estimates the number of guesses; what is refused needs fewer than 10^8. In scripts that its lists do not know it counts
//! characters, which is generous and never refuses for the language.

use zxcvbn::Score;

/// Characters that are looked at: the estimate's time grows with their square, and so many are never easy unless all are.
const MOST_CHARS: usize = 100;
const WEAKEST: Score = Score::Three;

/// Why a password is too easy and what helps, as sentences; `None` when it is not.
///
/// `known` is what everybody knows of the account: its address, the server's name. A password made of it is easy.
pub(super) fn weakness(password: &str, known: &[&str]) -> Option<String> {
    let password: String = password.chars().take(MOST_CHARS).collect();
    let known: Vec<String> = known.iter().flat_map(|text| parts(text)).collect();
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

    const KNOWN: [&str; 2] = [
        "ada.lovelace@analytical.example",
        "cloister.analytical.example",
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
