//! Words and sentences of every language: what is compared, and by which data.
//!
//! Useful for extraction, splitting and answers. Must not know: documents, passages, questions.

pub(crate) mod conjunctions;
pub(crate) mod fold;
pub(crate) mod polarity;
pub mod sentence;
pub(crate) mod terms;
pub(crate) mod units;
pub(crate) mod unspaced;
