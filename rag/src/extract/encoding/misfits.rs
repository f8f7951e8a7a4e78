//! *Misfits*: what stands in a text that was read in the wrong encoding and no language writes. Of letters: one alone
//! beside digits, a capital after small letters, a neighbour of another script. Of signs: one within a word, an accent
//! without a letter, the sign of a currency before a word.
//!
//! Only characters beyond ASCII are looked at; the others are the same in all encodings.

/// Small letters that are words by themselves in some language.
const WORDS_OF_ONE_LETTER: &str = "àáâèéêíìóòôöøåőįúù";

/// How many misfits a text has; those that cannot be meant count more than once.
pub(super) fn misfits(text: &str) -> usize {
    let mut num_misfits = 0;
    let mut before = ' ';
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let after = chars.peek().copied().unwrap_or(' ');
        if !c.is_ascii() {
            num_misfits += misfit(before, c, after);
        }
        before = c;
    }
    num_misfits
}

fn misfit(before: char, c: char, after: char) -> usize {
    let beside = [before, after];
    let is_beside_letter = beside.iter().any(|c| c.is_alphabetic());
    let is_beside_digit = beside.iter().any(|c| c.is_ascii_digit());
    match c {
        '\u{fffd}' => 3,
        // Accents without a letter; one of them serves as an apostrophe.
        '´' => usize::from(!before.is_alphabetic()),
        '¨' | '¯' | '¸' | 'ˇ' | '˘' | '˙' | '˛' | '˝' | 'ˆ' | '˜' => 2,
        // Letters by name, signs by use.
        'µ' | 'º' | 'ª' | 'ƒ' => 0,
        'Ø' if !is_beside_letter => 0,
        c if c.is_alphabetic() => {
            letter_misfit(before, c, after, is_beside_letter, is_beside_digit)
        }
        '’' | '‘' | '–' | '—' | '·' | '\u{ad}' | '…' | '°' => 0,
        _ if before.is_alphabetic() && after.is_alphabetic() => 2,
        // Signs of money stand at numbers, fractions after them.
        '£' | '¥' | '¤' | '¢' | '€' => usize::from(after.is_alphabetic()),
        '¼' | '½' | '¾' | '¹' | '²' | '³' => {
            usize::from(after.is_alphabetic() && !before.is_ascii_digit())
        }
        '±' | '¶' | '¦' | '¬' => usize::from(is_beside_letter),
        '¿' | '¡' => usize::from(before.is_alphabetic()),
        _ => 0,
    }
}

fn letter_misfit(
    before: char,
    c: char,
    after: char,
    is_beside_letter: bool,
    is_beside_digit: bool,
) -> usize {
    let is_latin = |c: char| matches!(c, 'A'..='Z' | 'a'..='z' | '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}');
    let is_foreign = |beside: char| beside.is_alphabetic() && is_latin(beside) != is_latin(c);
    if is_foreign(before) || is_foreign(after) {
        return 2;
    }
    if is_beside_letter {
        let is_odd_capital = c.is_uppercase() && before.is_lowercase();
        let is_odd_small = c.is_lowercase()
            && after.is_uppercase()
            && (before.is_uppercase() || !before.is_alphabetic());
        return usize::from(is_odd_capital || is_odd_small);
    }
    let is_word = !is_latin(c) || WORDS_OF_ONE_LETTER.contains(c) || matches!(after, '.' | ')');
    usize::from(is_beside_digit || !is_word)
}
