//! Encodings of DOS and of the old Macintosh. No file states them and `chardetng` does not know them: it takes
//! their bytes for another encoding of one byte a letter, in which "Kündigung beträgt" becomes "Kndigung betr„gt"
//! or "KŸndigung betrŠgt".
//!
//! What gives that away in every language with Latin letters: signs, undefined bytes and capitals within words of
//! small letters. These are the *misfits* of a text. Dashes, apostrophes and daggers are none, although the letters of
//! Spanish become such signs ("se–ora"): English has them at words too.

use std::borrow::Cow;

use encoding_rs::MACINTOSH;

/// One byte a letter; the lower half is ASCII.
pub(super) struct OldEncoding {
    pub(super) name: &'static str,
    /// The upper half; `None`: that of the Macintosh, which `encoding_rs` knows.
    upper: Option<&'static str>,
}

const DOS_LATIN: OldEncoding = OldEncoding {
    name: "IBM850 (DOS)",
    upper: Some(
        "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜø£Ø×ƒáíóúñÑªº¿®¬½¼¡«»░▒▓│┤ÁÂÀ©╣║╗╝¢¥┐\
         └┴┬├─┼ãÃ╚╔╩╦╠═╬¤ðÐÊËÈıÍÎÏ┘┌█▄¦Ì▀ÓßÔÒõÕµþÞÚÛÙýÝ¯´\u{ad}±‗¾¶§÷¸°¨·¹³²■\u{a0}",
    ),
};
const DOS_US: OldEncoding = OldEncoding {
    name: "IBM437 (DOS)",
    upper: Some(
        "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐\
         └┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}",
    ),
};
const MAC: OldEncoding = OldEncoding {
    name: "macintosh",
    upper: None,
};

impl OldEncoding {
    pub(super) fn decode<'a>(&self, bytes: &'a [u8]) -> Cow<'a, str> {
        let Some(upper) = self.upper else {
            return MACINTOSH.decode_without_bom_handling(bytes).0;
        };
        let upper: Vec<char> = upper.chars().collect();
        let text = bytes.iter().map(|&byte| match byte.checked_sub(0x80) {
            None => char::from(byte),
            Some(idx) => upper.get(usize::from(idx)).copied().unwrap_or('\u{fffd}'),
        });
        Cow::Owned(text.collect())
    }
}

/// The old encoding that makes words of the bytes (a sample) where `guessed`, what the guess made of them, has
/// misfits.
pub(super) fn better(sample: &[u8], guessed: &str) -> Option<&'static OldEncoding> {
    let before = Fit::of(guessed);
    // A single misfit may be meant, but no text has a byte that means nothing.
    if before.misfits < 2 && before.undefined == 0 {
        return None;
    }
    // DOS ended its lines with two characters.
    let order = if sample.windows(2).any(|pair| pair == b"\r\n") {
        [&DOS_LATIN, &DOS_US, &MAC]
    } else {
        [&MAC, &DOS_LATIN, &DOS_US]
    };
    let fits = order.map(|encoding| (encoding, Fit::of(&encoding.decode(sample))));
    let (best, fit) = fits.into_iter().min_by_key(|(_, fit)| fit.misfits)?;
    let makes_words = fit.letters >= before.misfits && fit.letters >= 4 * fit.misfits;
    (makes_words && fit.misfits * 4 <= before.misfits).then_some(best)
}

/// How the characters beyond ASCII go with the ASCII letters beside them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fit {
    /// Letters that go with their words.
    letters: usize,
    misfits: usize,
    /// Misfits that stand for no character.
    undefined: usize,
}

impl Fit {
    fn of(text: &str) -> Self {
        let mut fit = Self::default();
        let mut before = ' ';
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let after = chars.peek().copied().unwrap_or(' ');
            if !c.is_ascii() {
                fit.add(before, c, after);
            }
            before = c;
        }
        fit
    }

    fn add(&mut self, before: char, c: char, after: char) {
        let is_within = before.is_alphabetic() && after.is_alphabetic();
        let is_beside = before.is_ascii_alphabetic() || after.is_ascii_alphabetic();
        // Letters by name, signs by use.
        let is_sign = !c.is_alphabetic() || matches!(c, 'ƒ' | 'º' | 'ª' | 'ⁿ');
        if c == '\u{fffd}' {
            self.misfits += 1;
            self.undefined += 1;
        } else if is_sign {
            // Apostrophes, dashes and the dot of Catalan stand within words.
            let joins = matches!(c, '’' | '‘' | '–' | '—' | '·' | '\u{ad}');
            self.misfits += usize::from(is_within && !joins);
        } else if is_beside {
            let is_odd_capital = c.is_uppercase() && before.is_alphabetic() && after.is_lowercase();
            self.misfits += usize::from(is_odd_capital);
            self.letters += usize::from(!is_odd_capital);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::decode;
    use super::*;

    const TEXTS: &[&str] = &[
        "Die Kündigungsfrist beträgt drei Monate. Für Überstunden gilt die Größe der Vergütung.",
        "Le délai court à compter de la réception; le créancier peut être payé après l’été déjà.",
        "El crédito se pagará después de treinta días; la señora también pagará la cuota del próximo año.",
        "Fristen på tre måneder gælder også for børn, når ansøgningen er prøvet.",
    ];

    fn encode(text: &str, encoding: &OldEncoding) -> Vec<u8> {
        let table: Vec<(String, u8)> = (0x80..=0xff)
            .map(|byte| (encoding.decode(&[byte]).into_owned(), byte))
            .collect();
        // DOS had no curved apostrophe.
        let text = if encoding.upper.is_some() {
            text.replace('’', "'")
        } else {
            text.to_owned()
        };
        text.chars()
            .map(|c| match u8::try_from(c) {
                Ok(byte) if byte.is_ascii() => byte,
                _ => {
                    let c = c.to_string();
                    table.iter().find(|(known, _)| *known == c).unwrap().1
                }
            })
            .collect()
    }

    #[test]
    fn the_tables_are_whole() {
        for encoding in [&DOS_LATIN, &DOS_US] {
            assert_eq!(encoding.upper.unwrap().chars().count(), 128);
        }
    }

    #[test]
    fn texts_of_dos_and_macintosh_are_told_by_their_words() {
        for text in TEXTS {
            for encoding in [&DOS_LATIN, &MAC] {
                let bytes = encode(text, encoding);
                let decoded = decode(&bytes, None).unwrap();
                assert_eq!(decoded.text.replace('’', "'"), text.replace('’', "'"));
                assert!(decoded.warnings[0].contains(encoding.name), "{text}");
            }
        }
    }

    #[test]
    fn texts_of_other_encodings_stay_what_they_are() {
        use encoding_rs::{ISO_8859_2, KOI8_R, WINDOWS_1250, WINDOWS_1251, WINDOWS_1252};
        let russian = "Срок оплаты счёта — тридцать дней, PDF-файл на 5 Mбайт";
        let czech = "Žádost se podává do třiceti dnů od doručení; příloha č. 2";
        let mut cases = vec![
            (WINDOWS_1251, russian),
            (KOI8_R, "Срок оплаты счёта тридцать дней"),
            (WINDOWS_1250, czech),
            (ISO_8859_2, czech),
            (WINDOWS_1252, "Preis: 5 €/m², 20 °C, „Größe“ – «Maß»"),
        ];
        cases.extend(TEXTS.iter().map(|text| (WINDOWS_1252, *text)));
        for (encoding, text) in cases {
            let (bytes, _, lost) = encoding.encode(text);
            assert!(!lost);
            assert_eq!(decode(&bytes, None).unwrap().text, text);
        }
    }
}
