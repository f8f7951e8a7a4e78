//! Which encoding a file of text has, and its text: for plain text, Markdown and HTML alike.
//!
//! In this order: a byte order mark; UTF-16 and UTF-32 by their zero bytes; what the file states itself
//! (only HTML and XML can); UTF-8 where the bytes are UTF-8; else a guess from the pairs of letters, the signs and the
//! words ([`choice`]), or an encoding of DOS or the old Macintosh ([`old`]). A statement that the
//! bytes contradict is not followed. Whatever was guessed or repaired is told in a warning, and bytes that mean
//! nothing leave a mark (U+FFFD), so that wrong letters are never silent.
//!
//! Also what is no text at all ([`is_text`]) and the control sequences of terminals.

mod choice;
mod misfits;
mod old;

use std::borrow::Cow;

use encoding_rs::{Encoding, ISO_2022_JP, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// How much of a file is looked at to decide what it is; more of the same tells nothing new.
const SAMPLE_BYTES: usize = 1 << 20;

/// A file's text and what has to be said about it.
#[derive(Debug, PartialEq)]
pub(super) struct Decoded<'a> {
    pub(super) text: Cow<'a, str>,
    /// Whole sentences, for [`crate::document::Extracted::warnings`].
    pub(super) warnings: Vec<String>,
}

impl<'a> Decoded<'a> {
    fn new(text: Cow<'a, str>) -> Self {
        Self {
            text,
            warnings: vec![],
        }
    }

    fn warning(mut self, sentence: impl Into<String>) -> Self {
        self.warnings.push(sentence.into());
        self
    }
}

/// Decodes text of which `stated` is the encoding that it names itself, if any. `None` if the bytes are
/// not text.
pub(super) fn decode<'a>(
    bytes: &'a [u8],
    stated: Option<&'static Encoding>,
) -> Option<Decoded<'a>> {
    let decoded = decode_bytes(bytes, stated)?;
    let odd = is_text(&decoded.text)?;
    let mut decoded = match odd {
        0 => decoded,
        _ => decoded.warning(
            "the file holds control characters that text does not have; they were left out",
        ),
    };
    if let Some(text) = without_padding(&decoded.text) {
        decoded.text = Cow::Owned(text);
    }
    if decoded.text.contains(['\x1b', '\u{9b}', '\x08']) {
        decoded.text = Cow::Owned(without_terminal_controls(&decoded.text));
    }
    Some(decoded)
}

fn decode_bytes<'a>(bytes: &'a [u8], stated: Option<&'static Encoding>) -> Option<Decoded<'a>> {
    if let Some(text) = utf32(bytes) {
        return Some(Decoded::new(Cow::Owned(text)));
    }
    if let Some((encoding, bom_len)) = Encoding::for_bom(bytes) {
        return Some(Decoded::new(whole(encoding, &bytes[bom_len..]).0));
    }
    // Letters of UTF-16 are no UTF-8: their bytes are not in its order.
    if !is_mostly_utf8(bytes)
        && let Some(encoding) = utf16_without_bom(bytes)
    {
        return Some(Decoded::new(whole(encoding, bytes).0));
    }
    // A page that can be read as ASCII to find its statement is not UTF-16, whatever it states.
    let stated = stated.map(|encoding| {
        if encoding == UTF_16LE || encoding == UTF_16BE {
            UTF_8
        } else {
            encoding
        }
    });
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Some(decode_valid_utf8(text, stated));
    }
    match stated {
        Some(stated) if stated != UTF_8 => {
            let (text, num_errors) = whole(stated, bytes);
            if num_errors == 0 && !is_latin_soup(&text) {
                return Some(Decoded::new(text));
            }
            Some(decode_contradicted(bytes, stated, text, num_errors))
        }
        Some(stated) if !is_mostly_utf8(bytes) => {
            let guessed = guessed(bytes);
            let warning = contradicted(stated, guessed.name);
            Some(guessed.decoded(warning))
        }
        _ if is_mostly_utf8(bytes) => Some(decode_mixed(bytes)),
        _ => {
            let guessed = guessed(bytes);
            let warning = format!(
                "the file does not state its encoding; it was read as {}, which may be wrong: save it as \
                 UTF-8 if letters look odd",
                guessed.name
            );
            Some(guessed.decoded(warning))
        }
    }
}

/// Valid UTF-8 speaks for itself, except that seven-bit Japanese is valid ASCII.
fn decode_valid_utf8<'a>(text: &'a str, stated: Option<&'static Encoding>) -> Decoded<'a> {
    let bytes = text.as_bytes();
    if text.is_ascii() {
        if bytes.contains(&0x1b)
            && (stated == Some(ISO_2022_JP) || guess(bytes) == ISO_2022_JP)
            && let (text, 0) = whole(ISO_2022_JP, bytes)
        {
            return Decoded::new(text);
        }
        return Decoded::new(Cow::Borrowed(text));
    }
    match stated {
        Some(stated) if stated != UTF_8 => {
            Decoded::new(Cow::Borrowed(text)).warning(contradicted(stated, UTF_8.name()))
        }
        _ => Decoded::new(Cow::Borrowed(text)),
    }
}

/// The bytes are not what they are stated to be: the guess, if that fits better.
fn decode_contradicted<'a>(
    bytes: &'a [u8],
    stated: &'static Encoding,
    text: Cow<'a, str>,
    num_errors: usize,
) -> Decoded<'a> {
    if is_mostly_utf8(bytes) {
        let decoded = decode_mixed(bytes);
        return decoded.warning(contradicted(stated, UTF_8.name()));
    }
    let guess = guess(bytes);
    let (guessed, guessed_errors) = whole(guess, bytes);
    let is_better = guess != stated
        && (guessed_errors < num_errors
            || (guessed_errors == num_errors && !is_latin_soup(&guessed)));
    if is_better {
        Decoded::new(guessed).warning(contradicted(stated, guess.name()))
    } else if num_errors > 0 {
        Decoded::new(text).warning(format!(
            "the file states the encoding {}, but {num_errors} of its characters are not of it and are missing",
            stated.name()
        ))
    } else {
        Decoded::new(text)
    }
}

fn contradicted(stated: &'static Encoding, used: &str) -> String {
    format!(
        "the file states the encoding {}, which it does not have; it was read as {}",
        stated.name(),
        used
    )
}

/// Text of which the encoding was guessed.
struct Guessed<'a> {
    text: Cow<'a, str>,
    num_errors: usize,
    name: &'static str,
}

impl<'a> Guessed<'a> {
    fn decoded(self, warning: String) -> Decoded<'a> {
        let decoded = Decoded::new(self.text).warning(warning);
        match self.num_errors {
            0 => decoded,
            num_errors => decoded.warning(format!(
                "{num_errors} characters mean nothing in that encoding; each is marked \u{fffd}"
            )),
        }
    }
}

fn guessed(bytes: &[u8]) -> Guessed<'_> {
    let encoding = guess(bytes);
    let (text, num_errors) = whole(encoding, bytes);
    if encoding.is_single_byte() {
        let sample = sample(bytes);
        if let Some(old) = old::better(sample, &whole(encoding, sample).0) {
            return Guessed {
                text: old.decode(bytes),
                num_errors: 0,
                name: old.name,
            };
        }
    }
    Guessed {
        text,
        num_errors,
        name: encoding.name(),
    }
}

/// The whole text, without looking for a byte order mark, and how many characters could not be decoded.
///
/// A byte that an encoding of one byte a letter does not define becomes the mark U+FFFD, where the standard
/// has a control character that nobody would see. Line ends and terminals have control characters of their own.
fn whole<'a>(encoding: &'static Encoding, bytes: &'a [u8]) -> (Cow<'a, str>, usize) {
    let (mut text, mut had_errors) = encoding.decode_without_bom_handling(bytes);
    let is_undefined =
        |c: char| ('\u{80}'..='\u{9f}').contains(&c) && !matches!(c, '\u{85}' | '\u{9b}');
    if encoding.is_single_byte() && text.contains(is_undefined) {
        text = Cow::Owned(text.replace(is_undefined, "\u{fffd}"));
        had_errors = true;
    }
    let num_errors = if had_errors {
        text.matches('\u{fffd}').count()
    } else {
        0
    };
    (text, num_errors)
}

/// Letters may come late; what stands before them is the same in all encodings.
fn sample(bytes: &[u8]) -> &[u8] {
    let start = Encoding::ascii_valid_up_to(bytes).saturating_sub(SAMPLE_BYTES / 2);
    &bytes[start..bytes.len().min(start + SAMPLE_BYTES)]
}

fn guess(bytes: &[u8]) -> &'static Encoding {
    let sample = sample(bytes);
    let is_whole = sample.as_ptr_range().end == bytes.as_ptr_range().end;
    choice::guess(sample, is_whole)
}

/// UTF-32 by its byte order mark (the one of little endian begins as that of UTF-16).
fn utf32(bytes: &[u8]) -> Option<String> {
    let read: fn([u8; 4]) -> u32 = match bytes {
        [0xff, 0xfe, 0, 0, ..] => u32::from_le_bytes,
        [0, 0, 0xfe, 0xff, ..] => u32::from_be_bytes,
        _ => return None,
    };
    let (units, _) = bytes.as_chunks::<4>();
    units
        .iter()
        .skip(1)
        .map(|unit| char::from_u32(read(*unit)))
        .collect()
}

/// UTF-16 without a byte order mark: there are zeros (the high bytes of blanks, digits and line ends), and of
/// the two byte orders at least one gives text. A file of one-byte letters with stray zeros is nearly all ASCII.
fn utf16_without_bom(bytes: &[u8]) -> Option<&'static Encoding> {
    let sample = &bytes[..bytes.len().min(SAMPLE_BYTES) & !1];
    let num_zeros = sample.iter().filter(|&&byte| byte == 0).count();
    let num_plain = sample
        .iter()
        .filter(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t'))
        .count();
    let is_ascii_with_zeros =
        num_zeros * 10 < sample.len() && (num_plain + num_zeros) * 20 >= sample.len() * 19;
    if num_zeros == 0 || is_ascii_with_zeros || is_padded(sample) {
        return None;
    }
    let score = |encoding| utf16_score(&whole(encoding, sample));
    match (score(UTF_16LE), score(UTF_16BE)) {
        (None, None) => None,
        (little, big) if little >= big => Some(UTF_16LE),
        _ => Some(UTF_16BE),
    }
}

/// Whether most zeros come in rows, as what fills up lines and fields; in UTF-16 nearly every other byte is one.
fn is_padded(sample: &[u8]) -> bool {
    let rows = sample
        .split(|&byte| byte != 0)
        .filter(|row| !row.is_empty());
    let (long, single): (Vec<&[u8]>, Vec<&[u8]>) = rows.partition(|row| row.len() > 1);
    long.len() > single.len()
}

/// How many ASCII characters and separators of words a text has that was read as UTF-16, or `None` if it is no
/// text: letters of one byte give controls, private characters, unpaired surrogates, and no blanks.
fn utf16_score((text, num_errors): &(Cow<'_, str>, usize)) -> Option<usize> {
    let (mut num_chars, mut num_odd, mut num_ascii, mut num_separators) = (0, 0, 0, 0);
    for c in text.chars() {
        let is_odd = (c.is_control() && !c.is_whitespace() && c != '\x1b')
            || ('\u{e000}'..='\u{f8ff}').contains(&c);
        num_chars += 1;
        num_odd += usize::from(is_odd);
        num_ascii += usize::from(c.is_ascii());
        // Blanks, line ends, and the comma and full stop of scripts without blanks.
        num_separators += usize::from(c.is_whitespace() || matches!(c, '\u{3001}' | '\u{3002}'));
    }
    // A sample cut within a surrogate pair has one error.
    let is_clean = num_chars > 1 && *num_errors <= 1 && num_odd * 50 <= num_chars;
    let has_words = num_ascii * 2 > num_chars || num_separators * 50 >= num_chars;
    (is_clean && has_words).then_some(num_ascii + num_separators)
}

/// Whether at least four of five non-ASCII sequences are valid UTF-8.
fn is_mostly_utf8(bytes: &[u8]) -> bool {
    let (mut valid, mut invalid) = (0usize, 0usize);
    for chunk in bytes.utf8_chunks() {
        valid += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
        invalid += usize::from(!chunk.invalid().is_empty());
    }
    valid > 0 && valid >= 4 * invalid
}

/// UTF-8 into which words of another encoding were pasted: those words alone are guessed.
fn decode_mixed(bytes: &[u8]) -> Decoded<'static> {
    let words: Vec<&[u8]> = bytes
        .split_inclusive(|byte| byte.is_ascii_whitespace())
        .collect();
    // A character that is cut off (at the end of the file) is not of another encoding.
    let is_foreign =
        |word: &[u8]| std::str::from_utf8(word).is_err_and(|error| error.error_len().is_some());
    let foreign: Vec<u8> = words
        .iter()
        .filter(|word| is_foreign(word))
        .flat_map(|word| word.iter().copied())
        .collect();
    let encoding = match guess(&foreign) {
        guess if guess.is_single_byte() => guess,
        // A few words of many bytes each are hardly a sample.
        _ => WINDOWS_1252,
    };
    let mut text = String::with_capacity(bytes.len());
    for word in words {
        if is_foreign(word) {
            text.push_str(&whole(encoding, word).0);
        } else {
            text.push_str(&String::from_utf8_lossy(word));
        }
    }
    let decoded = Decoded::new(Cow::Owned(text));
    if foreign.is_empty() {
        decoded.warning("a character at the end of the file is cut off")
    } else {
        decoded.warning(format!(
            "some words are not in the encoding of the rest (UTF-8) and were read as {}",
            encoding.name()
        ))
    }
}

/// Whether the words with letters beyond ASCII consist of such Latin letters: "Ñðîê îïëàòû" is Russian
/// read as Western European. In every language written in Latin letters most letters are plain.
///
/// Signs of ASCII end a word, so that the tags of a page are not taken for letters of the words beside them;
/// an apostrophe does not ("l'été"). Words of one letter ("à", "é") tell nothing.
fn is_latin_soup(text: &str) -> bool {
    let (mut plain, mut other) = (0usize, 0usize);
    let sample = text.chars().take(SAMPLE_BYTES);
    let mut word = (0usize, 0usize);
    for c in sample.chain([' ']) {
        match c {
            'a'..='z' | 'A'..='Z' => word.0 += 1,
            '\u{80}'..='\u{24f}' if c.is_alphabetic() => word.1 += 1,
            '\'' => {}
            c if !c.is_ascii() && !c.is_whitespace() => {}
            _ => {
                if word.1 > 0 && word.0 + word.1 > 1 {
                    plain += word.0;
                    other += word.1;
                }
                word = (0, 0);
            }
        }
    }
    other > 2 * plain
}

/// How many things a text has that texts do not have (control characters; a run of NULs counts once, it
/// pads), or `None` if there are too many of them for a text.
fn is_text(text: &str) -> Option<usize> {
    let (mut odd, mut num_nul_runs, mut undecoded) = (0usize, 0usize, 0usize);
    let (mut num_chars, mut num_of_words) = (0usize, 0usize);
    let mut previous = ' ';
    for c in text.chars().take(SAMPLE_BYTES) {
        num_chars += usize::from(c != '\0' || previous != '\0');
        num_of_words += usize::from(c.is_alphanumeric() || c.is_whitespace());
        match c {
            '\0' => num_nul_runs += usize::from(previous != '\0'),
            '\t' | '\n' | '\r' | '\x0b' | '\x0c' | '\x1b' | '\x08' | '\x07' => {}
            c if c.is_control() && !('\u{80}'..='\u{9f}').contains(&c) => odd += 1,
            '\u{fffd}' => undecoded += 1,
            _ => {}
        }
        previous = c;
    }
    // NULs that fill up lines or the fields of records stand between words; what is binary has other controls too.
    let is_padded = odd == 0 && num_nul_runs * 3 <= num_of_words && num_of_words * 2 >= num_chars;
    odd += num_nul_runs;
    // Three odd characters do not make a note a binary file, unless it consists of them.
    let few = is_padded || odd * 50 <= num_chars || (odd <= 3 && odd * 4 <= num_chars);
    (few && undecoded * 10 <= num_chars).then_some(odd)
}

/// The text with blanks for the NULs that fill up the fields of records, so that these stay apart and in columns;
/// `None` if there are none. Single NULs are strays, and those at the end of a file are the rest of its last block.
fn without_padding(text: &str) -> Option<String> {
    text.trim_end_matches('\0')
        .contains("\0\0")
        .then(|| text.replace('\0', " "))
}

/// The text as a terminal shows it: escape sequences (colours, titles, cursor movements) are gone whole,
/// and a backspace takes back the character before it (bold and underlined type of printed manuals).
fn without_terminal_controls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\x08' => {
                if out.ends_with(|last: char| !last.is_whitespace()) {
                    out.pop();
                }
            }
            '\u{9b}' => skip_control_sequence(&mut chars),
            '\x1b' => match chars.peek() {
                Some('[') => {
                    chars.next();
                    skip_control_sequence(&mut chars);
                }
                // A string (title of the window, address of a link) up to BEL or ESC \.
                Some(']' | 'P' | 'X' | '^' | '_') => {
                    while let Some(c) = chars.next_if(|&c| c != '\n') {
                        if c == '\x07' || (c == '\x1b' && chars.next_if_eq(&'\\').is_some()) {
                            break;
                        }
                    }
                }
                _ => {
                    while chars.next_if(|c| (' '..='/').contains(c)).is_some() {}
                    chars.next_if(|c| ('0'..='~').contains(c));
                }
            },
            c => out.push(c),
        }
    }
    out
}

/// Parameters, intermediates and the final letter of a sequence that begins with `ESC [` (ECMA-48 §5.4).
fn skip_control_sequence(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while chars.next_if(|c| (' '..='?').contains(c)).is_some() {}
    chars.next_if(|c| ('@'..='~').contains(c));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(bytes: &[u8]) -> Option<String> {
        decode(bytes, None).map(|decoded| decoded.text.into_owned())
    }

    #[test]
    fn decodes_each_encoding_and_refuses_bytes() {
        let utf16: Vec<u8> = "Grüße".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let with_bom: Vec<u8> = [0xfe, 0xff]
            .into_iter()
            .chain("Grüße".encode_utf16().flat_map(u16::to_be_bytes))
            .collect();
        let russian: Vec<u8> = "Срок оплаты\n"
            .encode_utf16()
            .flat_map(u16::to_be_bytes)
            .collect();
        let utf32: Vec<u8> = "\u{feff}Grüße"
            .chars()
            .flat_map(|c| u32::from(c).to_le_bytes())
            .collect();
        let cases: &[(&[u8], Option<&str>)] = &[
            ("Grüße".as_bytes(), Some("Grüße")),
            (b"\xef\xbb\xbfGr\xc3\xbc\xc3\x9fe", Some("Grüße")),
            (&with_bom, Some("Grüße")),
            (&utf16, Some("Grüße")),
            (&russian, Some("Срок оплаты\n")),
            (&utf32, Some("Grüße")),
            (b"Gr\xfc\xdfe", Some("Grüße")),
            (b"\x93quoted\x94", Some("“quoted”")),
            (b"one\0two", Some("one\0two")),
            (
                b"padded\0\0\0\0\0\0\0\0\0\0\0\0",
                Some("padded\0\0\0\0\0\0\0\0\0\0\0\0"),
            ),
            (b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0>\0", None),
            (&[7, 200, 3, 1, 9, 255, 17, 2, 3, 4, 5, 6], None),
        ];
        for (bytes, want) in cases {
            assert_eq!(text_of(bytes).as_deref(), *want, "{bytes:?}");
        }
    }

    #[test]
    fn zeros_in_text_are_told_from_utf16_and_from_binaries() {
        let utf16 =
            |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
        let bitmap: Vec<u8> = (0..400u16)
            .map(|i| if i % 3 == 0 { 0 } else { (i % 32) as u8 })
            .collect();
        let cases: &[(&[u8], Option<&str>)] = &[
            (
                "Смета на ремонт\0 склада\nСрок: май".as_bytes(),
                Some("Смета на ремонт\0 склада\nСрок: май"),
            ),
            (
                "# Prüfung\n\nMaß\0 5 mm\n".as_bytes(),
                Some("# Prüfung\n\nMaß\0 5 mm\n"),
            ),
            (
                "Tür 1\0\0\0\nTür 20\0\0\n".as_bytes(),
                Some("Tür 1   \nTür 20  \n"),
            ),
            (
                b"NAME\0\0CITY\0\0\nOlsen\0Oslo\0\0\n",
                Some("NAME  CITY  \nOlsen Oslo  \n"),
            ),
            (
                b"Pump 4 ok\0\0\0\0\nPump 5 ok\0\0\0\0\n",
                Some("Pump 4 ok    \nPump 5 ok    \n"),
            ),
            (
                &utf16("合同期限为三年，自签字之日起计算。 1"),
                Some("合同期限为三年，自签字之日起计算。 1"),
            ),
            (&utf16("Tür 5"), Some("Tür 5")),
            (&utf16("Смета на май"), Some("Смета на май")),
            (&bitmap, None),
            (b"\0\0\x01\0.text\0.data\0\x02\0\0\x03\0", None),
        ];
        for (bytes, want) in cases {
            assert_eq!(text_of(bytes).as_deref(), *want, "{bytes:?}");
        }
    }

    #[test]
    fn undeclared_encodings_are_guessed_and_told() {
        let texts: &[(&'static Encoding, &str)] = &[
            (
                encoding_rs::WINDOWS_1251,
                "Срок оплаты составляет тридцать дней со дня получения счёта.",
            ),
            (
                encoding_rs::KOI8_R,
                "Срок оплаты составляет тридцать дней со дня получения счёта.",
            ),
            (
                encoding_rs::SHIFT_JIS,
                "点検は毎月第一月曜日に行い、結果を報告する。",
            ),
            (
                encoding_rs::EUC_JP,
                "点検は毎月第一月曜日に行い、結果を報告する。",
            ),
            (ISO_2022_JP, "点検は毎月第一月曜日に行い、結果を報告する。"),
            (encoding_rs::GB18030, "合同期限为三年，自签字之日起计算。"),
            (encoding_rs::BIG5, "合約期限為三年，自簽字之日起計算。"),
            (encoding_rs::EUC_KR, "점검은 매월 첫째 월요일에 실시한다."),
            (
                encoding_rs::WINDOWS_1250,
                "Žádost podává zaměstnanec vedoucímu oddělení čtrnáct dní předem.",
            ),
            (
                encoding_rs::WINDOWS_1253,
                "Η προθεσμία πληρωμής είναι τριάντα ημέρες.",
            ),
            (
                encoding_rs::WINDOWS_1255,
                "תקופת התשלום היא שלושים יום מיום קבלת החשבון.",
            ),
        ];
        for (encoding, text) in texts {
            let (bytes, _, lost) = encoding.encode(text);
            assert!(!lost);
            let decoded = decode(&bytes, None).unwrap();
            assert_eq!(decoded.text, *text, "{}", encoding.name());
            let tells = decoded
                .warnings
                .iter()
                .any(|warning| warning.contains("encoding"));
            assert!(tells || *encoding == ISO_2022_JP, "{}", encoding.name());
        }
        assert_eq!(decode("Grüße".as_bytes(), None).unwrap().warnings, [""; 0]);
    }

    #[test]
    fn a_wrong_statement_is_not_followed() {
        let (russian, ..) =
            encoding_rs::WINDOWS_1251.encode("Срок оплаты составляет тридцать дней");
        let decoded = decode(&russian, Some(WINDOWS_1252)).unwrap();
        assert_eq!(decoded.text, "Срок оплаты составляет тридцать дней");
        assert_eq!(decoded.warnings.len(), 1);
        let french = b"Le d\xe9lai est de trente jours \xe0 compter du re\xe7u.";
        let decoded = decode(french, Some(WINDOWS_1252)).unwrap();
        assert_eq!(
            decoded.text,
            "Le délai est de trente jours à compter du reçu."
        );
        assert_eq!(decoded.warnings, [""; 0]);
        let decoded = decode(french, Some(UTF_8)).unwrap();
        assert_eq!(
            decoded.text,
            "Le délai est de trente jours à compter du reçu."
        );
        assert_eq!(decoded.warnings.len(), 1);
    }

    #[test]
    fn markup_and_signs_do_not_hide_or_feign_a_wrong_statement() {
        // (encoding of the bytes, text, whether it is warned about where Western European is stated)
        let texts = [
            (
                encoding_rs::WINDOWS_1251,
                "<html><body><p>Срок «оплаты» счёта</p></body></html>",
                true,
            ),
            (
                encoding_rs::WINDOWS_1253,
                "<p>Η προθεσμία <b>πληρωμής</b> είναι τριάντα ημέρες</p>",
                true,
            ),
            (
                encoding_rs::SHIFT_JIS,
                "<td>点検は毎月第一月曜日に行い、結果を報告する</td>",
                true,
            ),
            (WINDOWS_1252, "<p>À l'été</p>", false),
            (WINDOWS_1252, "<p>© 2026 «Rue» § 5, 20 °C</p>", false),
            (WINDOWS_1252, "<p>Größe: 5 m² für Öl</p>", false),
        ];
        for (encoding, text, warned) in texts {
            let (bytes, _, lost) = encoding.encode(text);
            assert!(!lost);
            let decoded = decode(&bytes, Some(WINDOWS_1252)).unwrap();
            assert_eq!(decoded.text, text);
            assert_eq!(!decoded.warnings.is_empty(), warned, "{text}");
        }
    }

    #[test]
    fn words_of_another_encoding_in_utf8_are_repaired() {
        let mixed = [
            "Größe und Maß der Körbe. ".repeat(9).as_bytes(),
            b"Caf\xe9 Z\xfcrich",
        ]
        .concat();
        let decoded = decode(&mixed, None).unwrap();
        assert!(decoded.text.starts_with("Größe und Maß der Körbe. Größe"));
        assert!(decoded.text.ends_with("Café Zürich"), "{}", decoded.text);
        assert_eq!(decoded.warnings.len(), 1);
    }

    #[test]
    fn terminal_controls_go_whole() {
        let cases = [
            ("\x1b[31mERROR\x1b[0m disk", "ERROR disk"),
            ("\x1b[38;5;196mred\x1b[m", "red"),
            ("\u{9b}1mbold", "bold"),
            ("\x1b]0;title\x07text", "text"),
            (
                "\x1b]8;;https://a.example\x1b\\link\x1b]8;;\x1b\\.",
                "link.",
            ),
            ("\x1b(Bplain\x1b7", "plain"),
            ("N\x08NA\x08AM\x08ME\x08E _\x08x", "NAME x"),
            ("cut \x1b[", "cut "),
        ];
        for (text, want) in cases {
            assert_eq!(without_terminal_controls(text), want, "{text:?}");
        }
    }
}
