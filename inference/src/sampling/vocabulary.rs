//! The texts of all tokens, and which tokens begin with given bytes.

use std::ops::Range;

/// Token texts of one model; shared by all its requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vocabulary {
    /// All texts one after another; `ends[id]` is where that of `id` ends.
    texts: Vec<u8>,
    ends: Vec<usize>,
    /// Ids in the order of their texts.
    sorted: Vec<u32>,
}

impl Vocabulary {
    /// Builds the index from the text of each token in the order of the ids. Some milliseconds for 150,000 tokens.
    pub fn new<'a>(tokens: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let (mut texts, mut ends) = (Vec::new(), Vec::new());
        for token in tokens {
            texts.extend_from_slice(token);
            ends.push(texts.len());
        }
        let mut vocabulary = Self {
            texts,
            sorted: (0..ends.len() as u32).collect(),
            ends,
        };
        let mut sorted = std::mem::take(&mut vocabulary.sorted);
        sorted.sort_by(|&a, &b| vocabulary.bytes(a).cmp(vocabulary.bytes(b)));
        vocabulary.sorted = sorted;
        vocabulary
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns the text of a token: nothing for a control token and outside the vocabulary.
    pub fn bytes(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let end = self.ends.get(id).copied().unwrap_or(0);
        let start = if id == 0 {
            0
        } else {
            self.ends.get(id - 1).copied().unwrap_or(0)
        };
        self.texts.get(start..end).unwrap_or(&[])
    }

    /// Returns the tokens whose text begins with `prefix`.
    pub fn starting_with(&self, prefix: &[u8]) -> &[u32] {
        let start = self.sorted.partition_point(|&id| self.bytes(id) < prefix);
        let rest = &self.sorted[start..];
        &rest[..rest.partition_point(|&id| self.bytes(id).starts_with(prefix))]
    }

    /// Returns the tokens whose text contains `part`.
    pub fn containing(&self, part: &[u8]) -> Vec<u32> {
        let ids: Range<u32> = 0..self.len() as u32;
        ids.filter(|&id| {
            self.bytes(id)
                .windows(part.len().max(1))
                .any(|window| window == part)
        })
        .collect()
    }
}
