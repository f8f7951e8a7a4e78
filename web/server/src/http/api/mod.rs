//! `/api/*`: what the page uses, and `/api/ask-docs`.

pub(super) mod account;
pub(super) mod answers;
pub(super) mod ask_docs;
pub(super) mod collections;
pub(super) mod conversations;
pub(super) mod documents;
mod fields;

use super::error::Failure;

/// Any other path under `/api/`.
pub(super) async fn not_found() -> Failure {
    Failure::not_found("address under /api/")
}

/// An id of a path. What is not a number is an id that does not exist.
fn numeric_id(text: &str, what: &str) -> Result<i64, Failure> {
    text.parse().map_err(|_| Failure::not_found(what))
}
