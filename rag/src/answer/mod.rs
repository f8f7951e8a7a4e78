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

pub(crate) mod context;
mod entity;
mod form;
pub(crate) mod history;
mod marker;
mod notices;
mod objection;
pub(crate) mod pack;
mod phrases;
pub(crate) mod prompt;
mod quantity;
pub(crate) mod quote_only;
mod ranking;
pub(crate) mod refusal;
pub(crate) mod support;
pub(crate) mod table;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod tracker;
#[cfg(test)]
mod truth;
pub(crate) mod types;
mod window;
mod wording;
#[cfg(test)]
mod xquad;
