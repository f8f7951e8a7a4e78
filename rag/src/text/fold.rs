//! The forms in which words are compared: normalised, folded, reduced to their stems.
//!
//! Must not know: languages, what a word means.

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// Irregular forms that a paraphrase often changes; "found" is left out because it also is "to found".
const IRREGULAR: &[(&str, &str)] = &[
    ("won", "win"),
    ("built", "build"),
    ("led", "lead"),
    ("held", "hold"),
    ("became", "become"),
    ("began", "begin"),
    ("begun", "begin"),
    ("wrote", "write"),
    ("written", "write"),
    ("took", "take"),
    ("taken", "take"),
    ("gave", "give"),
    ("given", "give"),
    ("sold", "sell"),
    ("bought", "buy"),
    ("spent", "spend"),
    ("met", "meet"),
    ("paid", "pay"),
    ("said", "say"),
    ("sent", "send"),
    ("kept", "keep"),
    ("lost", "lose"),
    ("grew", "grow"),
    ("grown", "grow"),
    ("fell", "fall"),
    ("fallen", "fall"),
    ("rose", "rise"),
    ("risen", "rise"),
    ("chose", "choose"),
    ("chosen", "choose"),
    ("drew", "draw"),
    ("drawn", "draw"),
    ("flew", "fly"),
    ("flown", "fly"),
    ("known", "know"),
    ("knew", "know"),
    ("shown", "show"),
    ("spoke", "speak"),
    ("spoken", "speak"),
    ("taught", "teach"),
    ("thought", "think"),
    ("brought", "bring"),
    ("came", "come"),
    ("went", "go"),
    ("gone", "go"),
    ("ran", "run"),
    ("saw", "see"),
    ("seen", "see"),
    ("stood", "stand"),
    ("struck", "strike"),
    ("caught", "catch"),
    ("fought", "fight"),
    ("broke", "break"),
    ("broken", "break"),
    ("children", "child"),
    ("men", "man"),
    ("women", "woman"),
    ("people", "person"),
    ("feet", "foot"),
];

/// NFKC, accents folded, one kind of dash, apostrophe and space, vulgar fractions as decimals, invisible characters gone.
pub(crate) fn normalise(text: &str) -> Vec<char> {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        let fraction = match c {
            '½' => ".5",
            '¼' => ".25",
            '¾' => ".75",
            _ => {
                plain.push(c);
                continue;
            }
        };
        if !plain.ends_with(|last: char| last.is_ascii_digit()) {
            plain.push('0');
        }
        plain.push_str(fraction);
    }
    plain
        .nfkd()
        .filter(|&c| !is_combining_mark(c) || !folds_away(c))
        .filter(|&c| !is_invisible(c))
        .nfc()
        .map(|c| match c {
            '‐' | '‑' | '‒' | '–' | '—' | '−' | '⁃' => '-',
            '’' | '‘' | 'ʼ' | '`' | '´' => '\'',
            _ => c,
        })
        .collect()
}

/// [`normalise`], in lower case: how words of data files and of texts are compared.
pub(crate) fn folded(text: &str) -> String {
    let text: String = normalise(text).into_iter().collect();
    text.to_lowercase()
}

/// Accents of Latin, Greek and Cyrillic fold; the vowel signs of Indic and other scripts are letters and stay.
fn folds_away(mark: char) -> bool {
    matches!(mark, '\u{300}'..='\u{36f}')
}

/// Zero-width, direction and tag characters, which documents can use to hide or split words.
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// Light English stemmer: plural, -ed, -ing, -ly, final e and y.
pub(crate) fn stem(word: &str) -> String {
    if let Some((_, base)) = IRREGULAR.iter().find(|(form, _)| *form == word) {
        return stem(base);
    }
    let mut stem = word.to_owned();
    let len = word.chars().count();
    if len > 4 && word.ends_with("ies") {
        stem.truncate(word.len() - 3);
        stem.push('y');
    } else if len > 4
        && ["sses", "shes", "ches", "xes", "zes"]
            .iter()
            .any(|s| word.ends_with(s))
    {
        stem.truncate(word.len() - 2);
    } else if len > 3
        && word.ends_with('s')
        && !["ss", "us", "is"].iter().any(|s| word.ends_with(s))
    {
        stem.truncate(word.len() - 1);
    }
    for suffix in ["ing", "ed"] {
        if let Some(base) = stem
            .strip_suffix(suffix)
            .filter(|b| b.chars().count() >= 3 && b.contains(['a', 'e', 'i', 'o', 'u', 'y']))
        {
            stem.truncate(base.len());
            let mut ends = stem.chars().rev();
            let (last, before) = (ends.next(), ends.next());
            if last == before && last.is_some_and(|c| !matches!(c, 'l' | 's' | 'z' | 'e' | 'o')) {
                stem.pop();
            }
            break;
        }
    }
    if stem.chars().count() > 5 && stem.ends_with("ly") {
        stem.truncate(stem.len() - 2);
    }
    if stem.chars().count() > 3 && stem.ends_with('e') {
        stem.pop();
    }
    if stem.chars().count() > 2 && stem.ends_with('y') {
        stem.pop();
        stem.push('i');
    }
    stem
}
