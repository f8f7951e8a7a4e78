//! The context of one answer: which passages the model gets to read, under a budget of tokens.
//!
//! A *window* is a range of one document's text, verbatim, so that a quote found in it has exact offsets. Windows are
//! made from the best hits: near duplicates are left out, hits that touch become one window, and a short window grows
//! over the neighbouring blocks of its section while the budget lasts. Order and numbers follow the hits' order.
//!
//! Invariants (checked by the tests): `text` is the characters `start..end` of the document; windows of one document
//! do not overlap; the tokens of all windows with their headers stay within the budget.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use crate::access::{AccessScope, DocumentId};
use crate::answer::context::{ContextPassage, Section, passage_header};
use crate::answer::table::head_above;
use crate::error::LibraryError;
use crate::library::Library;
use crate::library::search::Hit;
use crate::records::{DocumentRecord, StoredBlock};
use crate::text::sentence::split_sentences;
use crate::text::terms::term_keys;

/// Two passages that share this much of their terms say the same; the second one costs time and adds nothing.
const NEAR_DUPLICATE: f32 = 0.85;

/// A window of fewer tokens grows over its neighbours: a short passage often leaves out what its pronouns stand for.
const SHORT_WINDOW_TOKENS: usize = 120;

/// Most characters between two passages that still become one window.
const MAX_GAP_CHARS: usize = 4;

/// How much context an answer may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContextBudget {
    /// LLM tokens of all passages together, headers included. More is slower to the first word: two CPU cores read
    /// about a hundred tokens a second.
    pub max_tokens: usize,
    /// Most passages. On XQuAD the right one is among the first four for 99.5 % of the questions, and small models
    /// lose the thread with more.
    pub max_passages: usize,
}

impl Default for ContextBudget {
    fn default() -> Self {
        Self {
            max_tokens: 900,
            max_passages: 4,
        }
    }
}

/// Chooses the windows that the model reads, best first, at most `budget`.
///
/// `hits` come best first; `count_tokens` counts tokens of the language model. Documents that vanished since the search
/// are left out. The first window is cut at a sentence if it alone exceeds the budget.
///
/// # Errors
/// [`LibraryError`] if the catalogue cannot be read.
pub fn pack_context(
    library: &Library,
    scope: &AccessScope,
    hits: &[Hit],
    budget: &ContextBudget,
    count_tokens: &dyn Fn(&str) -> usize,
) -> Result<Vec<ContextPassage>, LibraryError> {
    let mut read = |id| match library.document(scope, id) {
        Ok(record) => Ok(Some(record)),
        Err(LibraryError::UnknownDocument { .. }) => Ok(None),
        Err(error) => Err(error),
    };
    let mut packer = Packer {
        budget,
        count_tokens,
        documents: HashMap::new(),
        windows: Vec::new(),
        tokens: 0,
    };
    packer.choose(hits, &mut read)?;
    packer.widen();
    Ok(packer.finish())
}

type ReadDocument<'a> = dyn FnMut(DocumentId) -> Result<Option<DocumentRecord>, LibraryError> + 'a;

struct Packer<'a> {
    budget: &'a ContextBudget,
    count_tokens: &'a dyn Fn(&str) -> usize,
    documents: HashMap<DocumentId, Option<Document>>,
    windows: Vec<Window>,
    /// Of all windows.
    tokens: usize,
}

struct Document {
    chars: Vec<char>,
    blocks: Vec<StoredBlock>,
}

struct Window {
    hit: Hit,
    start: usize,
    end: usize,
    tokens: usize,
    keys: HashSet<String>,
}

impl Document {
    /// The sections that have something between two characters.
    fn sections(&self, start: usize, end: usize) -> Vec<Section> {
        let mut sections: Vec<Section> = Vec::new();
        for block in self
            .blocks
            .iter()
            .filter(|b| b.start < end && start < b.end)
        {
            let mut heading = block.heading.clone();
            if block.level > 0 {
                heading.push(self.slice(block.start, block.end));
            }
            if sections.last().is_none_or(|last| last.heading != heading) {
                let start = block.start.max(start);
                sections.push(Section { start, heading });
            }
        }
        sections
    }

    /// Whether a section has this heading.
    fn is_heading(&self, text: &str) -> bool {
        let mut headings = self.blocks.iter().filter(|block| block.level > 0);
        headings.any(|block| self.slice(block.start, block.end) == text)
    }

    fn begins_in_table(&self, start: usize) -> bool {
        let first = self.chars.iter().skip(start).find(|c| !c.is_whitespace());
        first == Some(&'|')
    }

    fn slice(&self, start: usize, end: usize) -> String {
        self.chars[start.min(self.chars.len())..end.min(self.chars.len())]
            .iter()
            .collect()
    }
}

impl Packer<'_> {
    fn choose(&mut self, hits: &[Hit], read: &mut ReadDocument) -> Result<(), LibraryError> {
        for hit in hits {
            if let Entry::Vacant(slot) = self.documents.entry(hit.document) {
                slot.insert(read(hit.document)?.map(|record| Document {
                    chars: record.text.chars().collect(),
                    blocks: record.blocks,
                }));
            }
            let Some(Some(document)) = self.documents.get(&hit.document) else {
                continue;
            };
            if hit.end > document.chars.len() || hit.start >= hit.end {
                continue;
            }
            if self.join(hit) || self.windows.len() == self.budget.max_passages {
                continue;
            }
            let keys = term_keys(&hit.text);
            if self
                .windows
                .iter()
                .any(|w| similarity(&w.keys, &keys) >= NEAR_DUPLICATE)
            {
                continue;
            }
            let mut window = Window {
                hit: hit.clone(),
                start: hit.start,
                end: hit.end,
                tokens: 0,
                keys,
            };
            window.tokens = self.count(hit, hit.start, hit.end);
            if self.tokens + window.tokens > self.budget.max_tokens {
                if !self.windows.is_empty() {
                    continue;
                }
                let Some(end) = self.longest_prefix(hit) else {
                    continue;
                };
                window.end = end;
                window.tokens = self.count(hit, hit.start, end);
            }
            self.tokens += window.tokens;
            self.windows.push(window);
        }
        Ok(())
    }

    /// Tokens of a window as it stands in the prompt.
    fn count(&self, hit: &Hit, start: usize, end: usize) -> usize {
        let Some(Some(document)) = self.documents.get(&hit.document) else {
            return 0;
        };
        (self.count_tokens)(&format!(
            "{}\n{}\n\n",
            passage_header(1, hit),
            document.slice(start, end)
        ))
    }

    /// Grows a window that `hit` touches or overlaps; returns whether the hit is dealt with.
    fn join(&mut self, hit: &Hit) -> bool {
        let touching = |w: &Window| {
            w.hit.document == hit.document
                && hit.start <= w.end + MAX_GAP_CHARS
                && w.start <= hit.end + MAX_GAP_CHARS
        };
        let Some(at) = self.windows.iter().position(touching) else {
            return false;
        };
        let (start, end) = (
            self.windows[at].start.min(hit.start),
            self.windows[at].end.max(hit.end),
        );
        let grown = self.grow(at, start, end);
        // An overlapping hit that does not fit must not become a window of its own either.
        grown || (hit.start < self.windows[at].end && self.windows[at].start < hit.end)
    }

    /// Sets the range of a window if the budget allows it and no other window is in the way.
    fn grow(&mut self, at: usize, start: usize, end: usize) -> bool {
        let window = &self.windows[at];
        let blocked = self.windows.iter().enumerate().any(|(i, w)| {
            i != at && w.hit.document == window.hit.document && start < w.end && w.start < end
        });
        let tokens = self.count(&window.hit, start, end);
        let total = self.tokens - window.tokens + tokens;
        if blocked || total > self.budget.max_tokens {
            return false;
        }
        self.tokens = total;
        let window = &mut self.windows[at];
        (window.start, window.end, window.tokens) = (start, end, tokens);
        true
    }

    /// The end of the longest run of whole sentences of `hit` that fits the budget alone.
    fn longest_prefix(&self, hit: &Hit) -> Option<usize> {
        let fits = |end: &usize| self.count(hit, hit.start, *end) <= self.budget.max_tokens;
        split_sentences(&hit.text)
            .iter()
            .rev()
            .map(|span| hit.start + span.end)
            .find(fits)
    }

    /// Lets short windows grow over the blocks of their own section, what follows before what precedes.
    fn widen(&mut self) {
        for at in 0..self.windows.len() {
            for forward in [true, false, true] {
                let window = &self.windows[at];
                if window.tokens >= SHORT_WINDOW_TOKENS {
                    break;
                }
                let Some(Some(document)) = self.documents.get(&window.hit.document) else {
                    break;
                };
                let in_section = |b: &&StoredBlock| b.level == 0 && b.heading == window.hit.heading;
                let block = if forward {
                    document
                        .blocks
                        .iter()
                        .find(|b| b.end > window.end)
                        .filter(in_section)
                } else {
                    document
                        .blocks
                        .iter()
                        .rev()
                        .find(|b| b.start < window.start)
                        .filter(in_section)
                };
                if let Some(block) = block {
                    let (start, end) = (window.start.min(block.start), window.end.max(block.end));
                    self.grow(at, start, end);
                }
            }
        }
    }

    fn finish(self) -> Vec<ContextPassage> {
        let mut context = Vec::with_capacity(self.windows.len());
        for window in self.windows {
            let Some(Some(document)) = self.documents.get(&window.hit.document) else {
                continue;
            };
            let mut pages: Vec<(usize, u32)> = Vec::new();
            for block in document
                .blocks
                .iter()
                .filter(|b| b.start < window.end && window.start < b.end)
            {
                if let Some(page) = block
                    .page
                    .filter(|page| pages.last().is_none_or(|(_, last)| last != page))
                {
                    pages.push((block.start.max(window.start), page));
                }
            }
            let title = &window.hit.title;
            context.push(ContextPassage {
                n: context.len() + 1,
                sections: document.sections(window.start, window.end),
                title_is_heading: document.is_heading(title),
                text: document.slice(window.start, window.end),
                table_head: document
                    .begins_in_table(window.start)
                    .then(|| head_above(&document.chars, window.start))
                    .flatten(),
                hit: window.hit,
                start: window.start,
                end: window.end,
                pages,
            });
        }
        context
    }
}

/// Jaccard similarity: terms in both over terms in either.
fn similarity(a: &HashSet<String>, b: &HashSet<String>) -> f32 {
    let common = a.intersection(b).count();
    let all = a.union(b).count();
    if all == 0 {
        0.0
    } else {
        common as f32 / all as f32
    }
}

#[cfg(test)]
mod tests;
