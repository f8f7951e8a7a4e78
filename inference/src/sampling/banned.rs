//! Texts and token sequences that may not appear in an answer.
//!
//! A token is forbidden when choosing it would complete a banned text: because the text stands inside the token, or
//! because the answer ends with its beginning and the token begins with the rest. So a banned text never appears,
//! whatever tokens spell it; its beginning may, and the model has to go on differently from there.
//! Texts of the prompt do not count.

use std::sync::Arc;

use super::{SamplingParams, Vocabulary, adjust::Adjust};

/// State of one sequence.
#[derive(Debug, Clone)]
pub struct Banned {
    strings: Vec<Vec<u8>>,
    vocabulary: Arc<Vocabulary>,
    /// Tokens that hold a banned text, ascending.
    always: Vec<u32>,
    /// End of the answer's text: one byte less than the longest banned text.
    tail: Vec<u8>,
    sequences: Vec<Vec<u32>>,
    /// End of the answer: one token less than the longest banned sequence.
    last_tokens: Vec<u32>,
}

impl Banned {
    /// Returns `None` when nothing is banned. Looks through the vocabulary once for each text: milliseconds.
    pub fn new(params: &SamplingParams, vocabulary: &Arc<Vocabulary>) -> Option<Self> {
        if params.banned_strings.is_empty() && params.banned_sequences.is_empty() {
            return None;
        }
        let strings: Vec<Vec<u8>> = params
            .banned_strings
            .iter()
            .map(|text| text.as_bytes().to_vec())
            .collect();
        let mut always: Vec<u32> = strings
            .iter()
            .flat_map(|string| vocabulary.containing(string))
            .collect();
        always.sort_unstable();
        always.dedup();
        Some(Self {
            strings,
            vocabulary: Arc::clone(vocabulary),
            always,
            tail: Vec::new(),
            sequences: params.banned_sequences.clone(),
            last_tokens: Vec::new(),
        })
    }

    /// Forbids the tokens that would complete something banned.
    pub(super) fn apply(&self, logits: &mut impl Adjust) {
        let mut forbid = |id: u32| logits.adjust(id, true, |_| f32::NEG_INFINITY);
        self.always.iter().copied().for_each(&mut forbid);
        for string in &self.strings {
            for begun in 1..string.len() {
                let (beginning, rest) = string.split_at(begun);
                if self.tail.ends_with(beginning) {
                    self.vocabulary
                        .starting_with(rest)
                        .iter()
                        .copied()
                        .for_each(&mut forbid);
                }
            }
        }
        for sequence in &self.sequences {
            if let Some((&last, beginning)) = sequence.split_last()
                && self.last_tokens.ends_with(beginning)
            {
                forbid(last);
            }
        }
    }

    /// Takes the chosen token into account.
    pub fn accept(&mut self, id: u32) {
        self.tail.extend_from_slice(self.vocabulary.bytes(id));
        keep_last(&mut self.tail, self.strings.iter().map(Vec::len).max());
        self.last_tokens.push(id);
        keep_last(
            &mut self.last_tokens,
            self.sequences.iter().map(Vec::len).max(),
        );
    }
}

/// Keeps one item less than `longest`.
fn keep_last<T>(items: &mut Vec<T>, longest: Option<usize>) {
    let needed = longest.unwrap_or(0).saturating_sub(1);
    items.drain(..items.len().saturating_sub(needed));
}
