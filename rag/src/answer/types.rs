//! A finished answer and what happens while it streams.

use serde::{Deserialize, Serialize};

use super::context::{ContextPassage, Quote};
use super::table::{head_above, is_row};
use crate::access::DocumentId;

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
    /// The header row of the table that the quote is a row of: an answer reads the row with its words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_head: Option<String>,
}

impl Citation {
    /// The citation of a quote: verbatim text, its place in the document, its page.
    pub(crate) fn of(n: usize, passage: &ContextPassage, quote: Quote) -> Self {
        let length = quote.span.end - quote.span.start;
        let start = passage.start + quote.span.start;
        Self {
            n,
            document: passage.hit.document,
            path: passage.hit.path.clone(),
            title: passage.hit.title.clone(),
            page: passage.page_at(start),
            quote: passage
                .text
                .chars()
                .skip(quote.span.start)
                .take(length)
                .collect(),
            start,
            end: start + length,
            table_head: table_head_of(passage, quote),
        }
    }
}

/// The header row above a quote that is a row of a table, which may be above the window.
fn table_head_of(passage: &ContextPassage, quote: Quote) -> Option<String> {
    let chars: Vec<char> = passage.text.chars().collect();
    let start = quote.span.start;
    if chars.get(start) != Some(&'|') {
        return None;
    }
    let above: String = chars[..start].iter().collect();
    let begins_in_this_table = || {
        let mut lines = above.lines();
        lines.all(|line| is_row(line) || line.trim().is_empty())
    };
    head_above(&chars, start).or_else(|| {
        let head = passage.table_head.clone();
        head.filter(|_| begins_in_this_table())
    })
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
