//! Tests of sampling: examples, each step against llama.cpp and against a naive reference, and draws against their
//! distribution.

mod examples;
mod from_candidates;
mod golden;
mod properties;
mod reference;
mod statistics;

use std::sync::Arc;

use super::{SamplingParams, Vocabulary};

/// Token texts that overlap, cross each other's borders and include one without text.
pub const TEXTS: [&str; 16] = [
    "a", "b", "ab", "ba", "c", "abc", " ", "\n", "bc", "x:", "", "aa", "cab", "é", "d", "da",
];

pub fn vocabulary() -> Arc<Vocabulary> {
    Arc::new(Vocabulary::new(TEXTS.map(str::as_bytes)))
}

pub fn warm() -> SamplingParams {
    SamplingParams {
        temperature: 1.0,
        seed: Some(3),
        ..Default::default()
    }
}
