//! Holds the log-probabilities of tokens back until the text that they belong to is sent.
//!
//! A token belongs to the text from where its own text begins; a token that only continues a character belongs to
//! that character. Then the reported tokens are the fewest whose text covers what was sent, and a stop string that is
//! cut off takes its tokens with it.

use std::collections::VecDeque;

use super::event::TokenLogprobs;

/// Tokens that wait for their text.
#[derive(Debug, Default)]
pub(super) struct HeldLogprobs {
    /// Each with the length of the text before it.
    held: VecDeque<(usize, TokenLogprobs)>,
    /// Text of all tokens so far, in bytes.
    decoded_len: usize,
    /// Text sent so far, in bytes.
    sent_len: usize,
}

impl HeldLogprobs {
    /// Takes the next token; `text_len` is the length of the text that it completes.
    pub fn push(&mut self, logprobs: Option<TokenLogprobs>, text_len: usize) {
        self.held
            .extend(logprobs.map(|logprobs| (self.decoded_len, logprobs)));
        self.decoded_len += text_len;
    }

    /// Returns the tokens that `text_len` more bytes of sent text cover.
    pub fn release(&mut self, text_len: usize) -> Vec<TokenLogprobs> {
        self.sent_len += text_len;
        let covered = self
            .held
            .iter()
            .take_while(|(start, _)| *start < self.sent_len)
            .count();
        self.held
            .drain(..covered)
            .map(|(_, logprobs)| logprobs)
            .collect()
    }

    /// Returns all that is left, for an answer that did not end at a stop string.
    pub fn release_all(&mut self) -> Vec<TokenLogprobs> {
        self.held.drain(..).map(|(_, logprobs)| logprobs).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::event::ScoredToken;

    fn token(id: u32) -> Option<TokenLogprobs> {
        let chosen = ScoredToken {
            id,
            bytes: Vec::new(),
            logprob: 0.0,
        };
        Some(TokenLogprobs {
            chosen,
            top: Vec::new(),
        })
    }

    /// Pushes tokens of the given text lengths, releases the given lengths, and returns the ids of each release.
    fn released(tokens: &[usize], releases: &[usize]) -> Vec<Vec<u32>> {
        let mut held = HeldLogprobs::default();
        for (&text_len, id) in tokens.iter().zip(0..) {
            held.push(token(id), text_len);
        }
        let ids =
            |released: Vec<TokenLogprobs>| released.iter().map(|token| token.chosen.id).collect();
        releases
            .iter()
            .map(|&text_len| ids(held.release(text_len)))
            .collect()
    }

    /// Text lengths of tokens, lengths of sent text, and the tokens reported with each.
    type Case = (
        &'static [usize],
        &'static [usize],
        &'static [&'static [u32]],
    );

    #[test]
    fn a_token_is_reported_with_the_first_byte_of_its_text() {
        // Whole tokens; a character of three tokens (0, 0, 4); a token of which a stop string cuts the end off.
        let table: [Case; 4] = [
            (&[2, 3, 1], &[2, 3, 1], &[&[0], &[1], &[2]]),
            (&[1, 0, 0, 4, 1], &[1, 4], &[&[0], &[1, 2, 3]]),
            (&[3, 2], &[2], &[&[0]]),
            (&[2, 2], &[0, 3], &[&[], &[0, 1]]),
        ];
        for (tokens, releases, want) in table {
            assert_eq!(released(tokens, releases), want, "{tokens:?} {releases:?}");
        }
    }
}
