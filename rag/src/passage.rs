//! Passages: the units that are embedded, searched and quoted.

use serde::{Deserialize, Serialize};

use crate::document::{DocumentText, Extracted};

/// Sizes of passages, in tokens of the embedding model.
#[derive(Debug, Clone)]
pub struct PassageLimits {
    /// Largest passage without its header. Default 200: MiniLM reads 256 pieces, header included.
    pub max_tokens: usize,
    /// Shorter passages are merged with what follows in the same section. Default 60.
    pub min_tokens: usize,
    /// Largest share of `max_tokens` that the header may take. Default 0.25.
    pub header_max_fraction: f32,
}

impl Default for PassageLimits {
    fn default() -> Self {
        Self {
            max_tokens: 200,
            min_tokens: 60,
            header_max_fraction: 0.25,
        }
    }
}

/// A contiguous part of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage {
    /// Position among the document's passages, from 0.
    pub index: u32,
    /// Char offsets into the document text; `text[start..end]` is the passage's text.
    pub start: usize,
    pub end: usize,
    /// Page on which the passage starts, from 1.
    pub page: Option<u32>,
    /// Heading path of the passage's first block.
    pub heading: Vec<String>,
    /// `title > H1 > H2`, and the header row for the later parts of a split table. To be put in front
    /// of `text` for embedding and word search; no offset counts it.
    pub header: String,
    pub text: String,
}

/// Splits a document into passages.
pub fn split_passages(
    extracted: &Extracted,
    text: &DocumentText,
    _count_tokens: &dyn Fn(&str) -> usize,
    _limits: &PassageLimits,
) -> Vec<Passage> {
    extracted
        .blocks
        .iter()
        .zip(&text.spans)
        .zip(0..)
        .map(|((block, span), index)| Passage {
            index,
            start: span.start,
            end: span.end,
            page: block.page,
            heading: block.heading.clone(),
            header: String::new(),
            text: block.text.clone(),
        })
        .collect()
}
