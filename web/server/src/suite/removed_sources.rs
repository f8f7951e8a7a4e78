//! What becomes of stored answers when their documents are removed.
//!
//! A *claim* is a piece of an answer that ends behind its markers (`[1][2]`), at the end of a line or at the border of a
//! sentence without support. In an answer that refers to a removed document, a claim stays only if a quote of a document
//! that is still there supports it; every other one is overwritten by [`REMOVED`], those without any quote included, because
//! nothing says that they were not made from the removed text. Quotes, titles, paths and snippets of the document go too.
//! The question is its author's and stays.
//!
//! The catalogue is the truth about which documents exist, so the same comparison serves deletions on the page, those of the
//! command line, files that left an ingested folder, and whatever a crash left undone, which the next start finds.

use std::collections::HashSet;
use std::sync::Arc;

use rag::LibraryError;
use web_api::{Message, Span};

use super::{Suite, join};
use crate::db::{DatabaseError, messages, sources};

/// Stands where the words of removed documents were: on screen, in search, in later prompts.
pub const REMOVED: &str = "(source was removed)";

/// Longest number that is taken for a marker.
const MAX_MARKER_DIGITS: usize = 3;

/// Why the answers could not be looked through.
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    /// The documents cannot be listed.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// The answers cannot be changed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl Suite {
    /// Takes the words of documents that are gone out of all stored answers, and empties the logs of both databases. Returns
    /// how many answers changed.
    ///
    /// # Errors
    /// [`ForgetError`]; what is left is done by the next call.
    pub(crate) async fn forget_removed_documents(self: &Arc<Self>) -> Result<usize, ForgetError> {
        let suite = Arc::clone(self);
        join(tokio::task::spawn_blocking(move || suite.forget_removed_documents_blocking()).await)
    }

    /// [`Self::forget_removed_documents`] for callers that may block.
    ///
    /// # Errors
    /// [`ForgetError`]; what is left is done by the next call.
    pub(crate) fn forget_removed_documents_blocking(&self) -> Result<usize, ForgetError> {
        let referred = self.database.read_blocking(sources::all_documents)?;
        let gone: HashSet<i64> = self
            .library
            .missing_documents(&referred)?
            .into_iter()
            .collect();
        let mut changed = 0;
        for document in &gone {
            changed += self.database.write_blocking(|transaction| {
                let found = sources::messages_of(transaction, *document)?;
                let count = found.len();
                for (user, message) in found {
                    messages::update(transaction, user, &without_documents(message, &gone))?;
                }
                Ok(count)
            })?;
        }
        if !gone.is_empty() {
            // Their events hold the words, too; the stored message serves late listeners.
            self.answers.forget_finished();
            self.database.forget_blocking()?;
            tracing::info!(
                documents = gone.len(),
                answers = changed,
                "answers lost the words of removed documents"
            );
        }
        Ok(changed)
    }

    /// Does the same for an answer that was just stored, because a document may have been removed while it was written.
    /// Returns the documents that are gone.
    pub(crate) async fn forget_if_removed(
        self: &Arc<Self>,
        message: &Message,
    ) -> Result<HashSet<i64>, ForgetError> {
        let documents: Vec<i64> = sources::documents_of(message).into_iter().collect();
        let gone = self
            .with_library(move |library| library.missing_documents(&documents))
            .await?;
        if !gone.is_empty() {
            self.forget_removed_documents().await?;
        }
        Ok(gone.into_iter().collect())
    }
}

/// The message without anything of the documents in `gone`.
pub fn without_documents(message: Message, gone: &HashSet<i64>) -> Message {
    let is_gone = |document: i64| gone.contains(&document);
    if !sources::documents_of(&message).into_iter().any(is_gone) {
        return message;
    }
    let known: HashSet<usize> = message
        .citations
        .iter()
        .map(|citation| citation.n)
        .collect();
    let left: HashSet<usize> = message
        .citations
        .iter()
        .filter(|citation| !is_gone(citation.document))
        .map(|citation| citation.n)
        .collect();
    let answer = overwrite(&message.answer, &message.unsupported, &known, &left);
    Message {
        answer,
        // A sentence without support is a claim without a citation, so none is left.
        unsupported: Vec::new(),
        citations: message
            .citations
            .into_iter()
            .filter(|citation| !is_gone(citation.document))
            .collect(),
        sources: message
            .sources
            .into_iter()
            .filter(|source| !is_gone(source.document))
            .collect(),
        ..message
    }
}

/// The answer in which claims without a citation of `left` are overwritten. `known` are the numbers that are markers.
fn overwrite(
    text: &str,
    unsupported: &[Span],
    known: &HashSet<usize>,
    left: &HashSet<usize>,
) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut written = Written::default();
    for claim in claims(&chars, unsupported, known) {
        match claim {
            Claim::Space(range) => written.space.extend(&chars[range]),
            Claim::Text { range, numbers } if numbers.iter().any(|n| left.contains(n)) => {
                written.keep(&chars[range], known, left);
            }
            Claim::Text { range, .. } => written.overwrite(&chars[range]),
        }
    }
    written.text
}

/// A piece of an answer.
enum Claim {
    /// White space between claims.
    Space(std::ops::Range<usize>),
    /// Text up to the end of its markers.
    Text {
        range: std::ops::Range<usize>,
        numbers: Vec<usize>,
    },
}

fn claims(chars: &[char], unsupported: &[Span], known: &HashSet<usize>) -> Vec<Claim> {
    let borders: HashSet<usize> = unsupported
        .iter()
        .flat_map(|span| [span.start, span.end])
        .collect();
    let mut claims = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let start = at;
        while at < chars.len() && chars[at].is_whitespace() {
            at += 1;
        }
        if at > start {
            claims.push(Claim::Space(start..at));
            continue;
        }
        let mut numbers = Vec::new();
        while at < chars.len() && chars[at] != '\n' && (at == start || !borders.contains(&at)) {
            match marker_at(chars, at).filter(|(n, _)| known.contains(n)) {
                Some((n, length)) => {
                    numbers.push(n);
                    at += length;
                }
                // Behind the markers only what closes the sentence belongs to it.
                None if !numbers.is_empty() && !is_closing(chars, at) => break,
                None => at += 1,
            }
        }
        claims.push(Claim::Text {
            range: start..at,
            numbers,
        });
    }
    claims
}

/// Whether a sentence that has its markers goes on here: with white space before another marker, or with punctuation.
fn is_closing(chars: &[char], at: usize) -> bool {
    let space = chars[at..].iter().take_while(|c| **c == ' ').count();
    if space > 0 {
        return marker_at(chars, at + space).is_some();
    }
    !chars[at].is_alphanumeric() && !chars[at].is_whitespace() && chars[at] != '['
}

/// `[12]` at `at`: its number and its length.
fn marker_at(chars: &[char], at: usize) -> Option<(usize, usize)> {
    if chars.get(at) != Some(&'[') {
        return None;
    }
    let digits: String = chars[at + 1..]
        .iter()
        .take(MAX_MARKER_DIGITS)
        .take_while(|c| c.is_ascii_digit())
        .collect();
    let number = digits.parse().ok()?;
    (chars.get(at + 1 + digits.len()) == Some(&']')).then_some((number, digits.len() + 2))
}

/// The answer as far as it is written again.
#[derive(Default)]
struct Written {
    text: String,
    /// White space that is written before the next claim.
    space: String,
    /// Whether the last claim was overwritten; further ones of the same paragraph say nothing more.
    is_overwritten: bool,
}

impl Written {
    fn keep(&mut self, claim: &[char], known: &HashSet<usize>, left: &HashSet<usize>) {
        self.text.push_str(&std::mem::take(&mut self.space));
        self.is_overwritten = false;
        let mut at = 0;
        while at < claim.len() {
            match marker_at(claim, at) {
                Some((n, length)) if known.contains(&n) && !left.contains(&n) => {
                    at += length;
                    if claim.get(at) != Some(&'[') {
                        self.text.truncate(self.text.trim_end_matches(' ').len());
                    }
                }
                _ => {
                    self.text.push(claim[at]);
                    at += 1;
                }
            }
        }
    }

    fn overwrite(&mut self, claim: &[char]) {
        let space = std::mem::take(&mut self.space);
        if self.is_overwritten && !space.contains('\n') {
            return;
        }
        self.text.push_str(&space);
        self.text.extend(list_mark(claim));
        self.text.push_str(REMOVED);
        self.is_overwritten = true;
    }
}

/// The mark of a list item or heading at the beginning of a line (`- `, `1. `, `## `), so that the rest keeps its form.
fn list_mark(claim: &[char]) -> &[char] {
    let mark = claim
        .iter()
        .take_while(|c| {
            matches!(c, '-' | '*' | '+' | '#' | '>')
                || c.is_ascii_digit()
                || **c == '.'
                || **c == ')'
        })
        .count();
    let digits = claim[..mark].iter().filter(|c| c.is_ascii_digit()).count();
    // `30 days` and `2026. ` are no numbers of items.
    let is_item = digits == 0 || digits <= 2 && matches!(claim[mark - 1], '.' | ')');
    if mark > 0 && claim.get(mark) == Some(&' ') && is_item && mark <= 6 {
        &claim[..=mark]
    } else {
        &[]
    }
}

#[cfg(test)]
mod tests {
    use web_api::{AskRequest, Citation};

    use super::*;

    /// A message whose citation `n` is of document `n`.
    fn message(answer: &str, cited: usize, unsupported: &[&str]) -> Message {
        let request = AskRequest {
            question: "What?".to_owned(),
            collections: Vec::new(),
            quote_only: false,
        };
        let citations = (1..=cited).map(|n| Citation {
            n,
            document: n as i64,
            path: format!("{n}.txt"),
            title: format!("Title {n}"),
            page: None,
            quote: format!("quote {n}"),
            start: 0,
            end: 7,
        });
        let spans = unsupported.iter().map(|sentence| {
            let start = answer[..answer.find(sentence).unwrap()].chars().count();
            Span {
                start,
                end: start + sentence.chars().count(),
            }
        });
        Message {
            answer: answer.to_owned(),
            citations: citations.collect(),
            unsupported: spans.collect(),
            ..Message::running(String::new(), String::new(), &request, 0)
        }
    }

    #[test]
    fn a_claim_stays_only_with_a_quote_of_a_document_that_is_there() {
        let table: &[(&str, &[&str], &[i64], &str)] = &[
            (
                "Alpha [1]. Beta [2].",
                &[],
                &[1],
                "(source was removed) Beta [2].",
            ),
            (
                "Alpha [1]. Beta [2].",
                &[],
                &[2],
                "Alpha [1]. (source was removed)",
            ),
            ("Alpha [1]. Beta [2].", &[], &[1, 2], "(source was removed)"),
            (
                "Alpha. [1] Beta. [2]",
                &[],
                &[2],
                "Alpha. [1] (source was removed)",
            ),
            ("Both say so [1][2].", &[], &[1], "Both say so [2]."),
            ("Both say so [1] [2].", &[], &[2], "Both say so [1]."),
            (
                "Fünf Größen [1]。Übel [2]。",
                &[],
                &[1],
                "(source was removed)Übel [2]。",
            ),
            (
                "Guessed. Beta [2].",
                &["Guessed."],
                &[1],
                "(source was removed) Beta [2].",
            ),
            (
                "Beta [2]. Guessed.",
                &["Guessed."],
                &[1],
                "Beta [2]. (source was removed)",
            ),
            (
                "- Alpha [1]\n- Beta [2]\n1. Gamma [1]",
                &[],
                &[1],
                "- (source was removed)\n- Beta [2]\n1. (source was removed)",
            ),
            ("No marker at all.", &[], &[1], "(source was removed)"),
            (
                "Array x[7] and [9] of Beta [2]",
                &[],
                &[1],
                "Array x[7] and [9] of Beta [2]",
            ),
            ("30 days [1].", &[], &[1], "(source was removed)"),
            ("", &[], &[1], ""),
            (
                "Guessed. Beta [2].",
                &["Guessed."],
                &[9],
                "Guessed. Beta [2].",
            ),
        ];
        for (answer, unsupported, gone, expected) in table {
            let gone: HashSet<i64> = gone.iter().copied().collect();
            let before = message(answer, 2, unsupported);
            let after = without_documents(before, &gone);
            assert_eq!(after.answer, *expected, "{answer:?} without {gone:?}");
            assert!(
                after
                    .citations
                    .iter()
                    .all(|citation| !gone.contains(&citation.document))
            );
            assert_eq!(after.question, "What?");
            // What was done once changes nothing when it is done again.
            assert_eq!(
                without_documents(after.clone(), &gone)
                    .answer
                    .matches("source")
                    .count(),
                expected.matches("source").count()
            );
        }
    }
}
