//! Answers: what the model wrote, with every sentence checked against the passages.
//!
//! A *marker* is the `[n]` in the text; a *citation* is what it stands for: a quote, verbatim, with its place in a
//! document. A sentence is *supported* when the quote check ([`support`]) finds a quote for it. The check also decides
//! about the markers that the model itself wrote, because small models forget or misplace half of them. A statement that
//! is not supported is withheld: the model is asked once more with the closest sentences alone, and what is then still
//! not supported gives way to a verbatim quote.
//!
//! Invariants (checked by the tests of the tracker): a citation's `quote` is the characters `start..end` of the
//! document text; the joined deltas are the answer's text; the cut of the stream into pieces changes nothing.
//!
//! Absent on purpose: the language model, the network, the screen.

mod entity;
mod form;
mod marker;
mod objection;
mod phrases;
mod quantity;
pub(crate) mod support;
pub(crate) mod table;
#[cfg(test)]
pub(crate) mod tests;
mod tracker;
#[cfg(test)]
mod truth;
mod window;
mod wording;
#[cfg(test)]
mod xquad;

use serde::{Deserialize, Serialize};

pub use tracker::AnswerTracker;
pub(crate) use tracker::make_citation;

use crate::DocumentId;

/// A quoted piece of a document that supports a sentence of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Citation {
    /// The number shown in the answer as `[n]`; one number per quote, in order of first appearance.
    pub n: usize,
    /// Document the quote is from.
    pub document: DocumentId,
    /// Path of the document in its collection.
    pub path: String,
    /// Title of the document.
    pub title: String,
    /// Page of the passage, from 1, where the format has pages.
    pub page: Option<u32>,
    /// Verbatim text: characters `start..end` of the document text.
    pub quote: String,
    /// First character of the quote in the document text.
    pub start: usize,
    /// One past the last character of the quote in the document text.
    pub end: usize,
}

/// A finished answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// What is shown, `[n]` markers included.
    pub text: String,
    /// The documents do not answer the question.
    pub refused: bool,
    /// In order of `n`.
    pub citations: Vec<Citation>,
    /// Character ranges of `text` that no passage supports.
    pub unsupported: Vec<(usize, usize)>,
    /// Statements of the model that no passage supports and that a quote or a second answer took the place of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<String>,
}

/// What happened to the answer while it streamed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerEvent {
    /// Text to append; `[n]` markers included.
    Delta(String),
    /// A citation; comes before the delta that shows its marker.
    Citation(Citation),
    /// No passage supports this character range of the answer so far.
    Unsupported {
        /// First character.
        start: usize,
        /// One past the last character.
        end: usize,
    },
}
