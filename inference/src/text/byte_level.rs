//! The printable alphabet in which byte-level BPE vocabularies spell bytes (GPT-2, 2019).
//!
//! Printable Latin-1 bytes stand for themselves; the other 68 are spelled by the characters from
//! U+0100 on, in byte order. `Ġ` (U+0120) is therefore a space and `Ċ` (U+010A) a line feed.

use std::sync::OnceLock;

/// Returns the bytes that `spelled` stands for, or `None` if a character is outside the alphabet.
pub(super) fn bytes_of(spelled: &str) -> Option<Vec<u8>> {
    spelled.chars().map(byte_of).collect()
}

/// Returns the byte that `c` spells.
fn byte_of(c: char) -> Option<u8> {
    static BYTES: OnceLock<[Option<u8>; 0x144]> = OnceLock::new();
    let bytes = BYTES.get_or_init(|| {
        let mut table = [None; 0x144];
        for byte in 0..=u8::MAX {
            table[char_of(byte) as usize] = Some(byte);
        }
        table
    });
    bytes.get(c as usize).copied().flatten()
}

/// Returns the character that spells `byte`.
pub(super) fn char_of(byte: u8) -> char {
    static CHARS: OnceLock<[char; 256]> = OnceLock::new();
    CHARS.get_or_init(|| {
        let mut next_spare = '\u{100}'..;
        std::array::from_fn(|index| {
            let byte = index as u8;
            match byte {
                b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => byte as char,
                _ => next_spare.next().expect("68 characters follow U+0100"),
            }
        })
    })[usize::from(byte)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_own_character_and_back() {
        for byte in 0..=u8::MAX {
            assert_eq!(byte_of(char_of(byte)), Some(byte));
        }
    }

    #[test]
    fn known_spellings_are_those_of_gpt2() {
        assert_eq!(char_of(b' '), 'Ġ');
        assert_eq!(char_of(b'\n'), 'Ċ');
        assert_eq!(char_of(0xAD), '\u{143}');
        assert_eq!(bytes_of("Ġhi"), Some(b" hi".to_vec()));
        assert_eq!(
            bytes_of("a b"),
            None,
            "a bare space is outside the alphabet"
        );
    }
}
