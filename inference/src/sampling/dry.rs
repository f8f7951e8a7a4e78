//! DRY: the penalty for continuing a repetition.
//!
//! When the last `n` tokens occurred before and were followed by token `t`, choosing `t` would make the repetition
//! longer: its logit is lowered by `multiplier * base ^ (n - allowed_length)`, with the longest such `n`. A repetition
//! does not reach back over a *sequence breaker*, and a token that itself holds one is never penalised.

use std::{collections::HashMap, sync::Arc};

use super::{Vocabulary, adjust::Adjust, params};

/// State of one sequence.
#[derive(Debug, Clone)]
pub struct Dry {
    params: params::Dry,
    vocabulary: Arc<Vocabulary>,
    /// Prompt and answer.
    history: Vec<u32>,
    breakers: Breakers,
    /// Buffer: for each distance back, how many of the last tokens stand there too.
    matches: Vec<usize>,
    /// Buffer: the longest repetition that each token would continue.
    longest: HashMap<u32, usize>,
}

impl Dry {
    /// Returns `None` when the multiplier is 0.
    pub fn new(params: &params::Dry, prompt: &[u32], vocabulary: &Arc<Vocabulary>) -> Option<Self> {
        if !params.is_on() {
            return None;
        }
        let mut dry = Self {
            breakers: Breakers::new(&params.sequence_breakers),
            params: params.clone(),
            vocabulary: Arc::clone(vocabulary),
            history: Vec::with_capacity(prompt.len()),
            matches: Vec::new(),
            longest: HashMap::new(),
        };
        for &id in prompt {
            dry.accept(id);
        }
        Some(dry)
    }

    /// Lowers the logits of the tokens that would continue a repetition.
    pub(super) fn apply(&mut self, logits: &mut impl Adjust) {
        let window = self
            .history
            .len()
            .min(self.params.last_n.unwrap_or(usize::MAX));
        let recent = &self.history[self.history.len() - window..];
        match_suffixes(recent, &mut self.matches);
        self.longest.clear();
        for (distance, &matching) in self.matches.iter().enumerate().skip(1) {
            let length = matching.min(self.breakers.tokens_since);
            if length >= self.params.allowed_length {
                // What followed the earlier occurrence, and would now continue it.
                let longest = self.longest.entry(recent[window - distance]).or_default();
                *longest = length.max(*longest);
            }
        }
        for (&id, &length) in &self.longest {
            if self.breakers.are_in(self.vocabulary.bytes(id)) {
                continue;
            }
            let exponent = (length - self.params.allowed_length) as f32;
            let penalty = self.params.multiplier * self.params.base.powf(exponent);
            // A long repetition must not become minus infinity: that would forbid the token.
            let penalty = penalty.min(f32::MAX / 2.0);
            logits.adjust(id, true, |logit| logit - penalty);
        }
    }

    /// Takes the next token of the prompt or the chosen one into account.
    pub fn accept(&mut self, id: u32) {
        self.history.push(id);
        self.breakers.push(self.vocabulary.bytes(id));
    }
}

/// Fills `matches[d]`, for `d` from 1, with how many of the last tokens equal those `d` before them.
///
/// Linear in the number of tokens: the Z-algorithm (Gusfield 1997, §1.4) on the reversed tokens.
fn match_suffixes(tokens: &[u32], matches: &mut Vec<usize>) {
    let len = tokens.len();
    let back = |index: usize| tokens[len - 1 - index];
    matches.clear();
    matches.resize(len, 0);
    // `[start, end)` is the match that reaches furthest.
    let (mut start, mut end) = (0, 0);
    for distance in 1..len {
        let known = if distance < end {
            matches[distance - start].min(end - distance)
        } else {
            0
        };
        let mut length = known;
        while distance + length < len && back(length) == back(distance + length) {
            length += 1;
        }
        matches[distance] = length;
        if distance + length > end {
            (start, end) = (distance, distance + length);
        }
    }
}

/// Finds sequence breakers in a stream of token texts, also across tokens.
#[derive(Debug, Clone)]
struct Breakers {
    breakers: Vec<Vec<u8>>,
    /// One byte less than the longest breaker: what a breaker may have begun in.
    tail: Vec<u8>,
    longest: usize,
    /// Whole tokens after the one in which the last breaker ended.
    tokens_since: usize,
}

impl Breakers {
    fn new(texts: &[String]) -> Self {
        let texts = texts.iter().filter(|text| !text.is_empty());
        let breakers: Vec<Vec<u8>> = texts.map(|text| text.as_bytes().to_vec()).collect();
        let longest = breakers.iter().map(Vec::len).max().unwrap_or(0);
        Self {
            breakers,
            tail: Vec::new(),
            longest,
            tokens_since: 0,
        }
    }

    fn push(&mut self, text: &[u8]) {
        let before = self.tail.len();
        self.tail.extend_from_slice(text);
        let ends_here = self.breakers.iter().any(|breaker| {
            // From where the breaker would end in the first byte of this token.
            let from = (before + 1).saturating_sub(breaker.len());
            holds(&self.tail[from..], breaker)
        });
        self.tokens_since = if ends_here { 0 } else { self.tokens_since + 1 };
        let excess = self
            .tail
            .len()
            .saturating_sub(self.longest.saturating_sub(1));
        self.tail.drain(..excess);
    }

    fn are_in(&self, text: &[u8]) -> bool {
        self.breakers.iter().any(|breaker| holds(text, breaker))
    }
}

/// Whether `part`, which is not empty, stands in `text`.
fn holds(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn suffix_matches_are_what_comparing_one_by_one_finds(tokens in proptest::collection::vec(0u32..3, 0..60)) {
            let mut matches = Vec::new();
            match_suffixes(&tokens, &mut matches);
            for distance in 1..tokens.len() {
                let (later, earlier) = (tokens.iter().rev(), tokens[..tokens.len() - distance].iter().rev());
                let naive = later.zip(earlier).take_while(|(a, b)| a == b).count();
                prop_assert_eq!(matches[distance], naive);
            }
        }
    }
}
