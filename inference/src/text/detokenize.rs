//! Turning tokens into text one at a time.
//!
//! Invariant: what [`Detokenizer::push`] returned, followed by [`Detokenizer::finish`], is
//! [`Tokenizer::decode`] of all tokens. A character is returned with the token that completes it, so
//! at most three bytes are ever held back.
//!
//! SentencePiece vocabularies put a space before a text that starts a prompt or follows a special token.
//! Whether the space that a token prints is that one depends on the token before it, so the state lives
//! here and a token alone has no text.

use super::Tokenizer;

/// Decodes a stream of tokens; a token may end inside a character, the returned text does not.
#[derive(Debug, Clone)]
pub struct Detokenizer {
    /// Start of a character whose end has not arrived.
    pending: Vec<u8>,
    /// Whether the next text is one that the tokenizer would have put a space before.
    at_text_start: bool,
}

impl Default for Detokenizer {
    fn default() -> Self {
        Self::new()
    }
}

impl Detokenizer {
    /// Returns a decoder at the start of a text.
    pub fn new() -> Self {
        Self {
            pending: Vec::new(),
            at_text_start: true,
        }
    }

    /// Returns a decoder of what follows `prompt`: after text the first space is the model's own and stays.
    pub fn after(tokenizer: &Tokenizer, prompt: &[u32]) -> Self {
        let last = prompt.last();
        Self {
            pending: Vec::new(),
            at_text_start: last.is_none_or(|&id| tokenizer.is_special(id)),
        }
    }

    /// Returns the text that `id` completes, possibly none. Bytes that cannot become UTF-8 are U+FFFD.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> String {
        let bytes = self.next_bytes(tokenizer, id);
        self.push_bytes(bytes)
    }

    /// Returns U+FFFD if the text ended inside a character, else nothing.
    pub fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        text
    }

    /// Returns the bytes that `id` adds after the tokens so far.
    pub(super) fn next_bytes<'t>(&mut self, tokenizer: &'t Tokenizer, id: u32) -> &'t [u8] {
        let bytes = tokenizer.token_bytes(id);
        if tokenizer.is_special(id) {
            self.at_text_start = true;
            return bytes;
        }
        if bytes.is_empty() {
            return bytes;
        }
        let is_first = std::mem::replace(&mut self.at_text_start, false);
        match bytes.strip_prefix(b" ") {
            Some(rest) if is_first && tokenizer.adds_space_prefix() => rest,
            _ => bytes,
        }
    }

    fn push_bytes(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.pending.len());
        let mut consumed = 0;
        for chunk in self.pending.utf8_chunks() {
            text.push_str(chunk.valid());
            consumed += chunk.valid().len();
            let invalid = chunk.invalid();
            let is_last = consumed + invalid.len() == self.pending.len();
            let waits = is_last && may_continue(invalid);
            if !invalid.is_empty() && !waits {
                text.push(char::REPLACEMENT_CHARACTER);
                consumed += invalid.len();
            }
        }
        self.pending.drain(..consumed);
        text
    }
}

/// Whether `bytes`, which are not a character, may be the start of one.
fn may_continue(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode_in_pieces(pieces: &[Vec<u8>]) -> String {
        let mut detokenizer = Detokenizer::new();
        let mut text: String = pieces
            .iter()
            .map(|piece| detokenizer.push_bytes(piece))
            .collect();
        text.push_str(&detokenizer.finish());
        text
    }

    #[test]
    fn a_character_arrives_with_its_last_byte() {
        let mut detokenizer = Detokenizer::new();
        assert_eq!(detokenizer.push_bytes(b"a\xF0\x9F"), "a");
        assert_eq!(detokenizer.push_bytes(b"\xA6"), "");
        assert_eq!(detokenizer.push_bytes(b"\x80b"), "🦀b");
        assert_eq!(detokenizer.finish(), "");
    }

    #[test]
    fn a_broken_character_is_replaced_as_soon_as_it_is_known_to_be_broken() {
        let mut detokenizer = Detokenizer::new();
        assert_eq!(detokenizer.push_bytes(b"\xE2\x82"), "");
        assert_eq!(detokenizer.push_bytes(b"x"), "\u{FFFD}x");
        assert_eq!(detokenizer.push_bytes(b"\xFF"), "\u{FFFD}");
        assert_eq!(detokenizer.push_bytes(b"\xE2"), "");
        assert_eq!(detokenizer.finish(), "\u{FFFD}");
    }

    proptest! {
        #[test]
        fn pieces_decode_to_what_the_whole_decodes_to(text in ".{0,40}", noise in proptest::collection::vec(any::<u8>(), 0..20), cut in 1usize..6) {
            for bytes in [text.clone().into_bytes(), [text.as_bytes(), &noise].concat(), [&noise, text.as_bytes()].concat()] {
                let pieces: Vec<Vec<u8>> = bytes.chunks(cut).map(<[u8]>::to_vec).collect();
                prop_assert_eq!(decode_in_pieces(&pieces), String::from_utf8_lossy(&bytes));
            }
        }
    }
}
