//! Passages: the units that are embedded, searched and quoted.
//!
//! A *passage* is a contiguous part of one *section* (what stands under one heading path), small enough for the
//! embedding model to read whole. It is made of *units* (paragraphs, sentences, table rows) that are never cut
//! unless one alone is too long. Its *header* says where it stands (`title > chapter > section`) and, for
//! the later parts of a long table, repeats the table's header row; the header is put in front of the text
//! for embedding and word search and is not part of the document's text.
//!
//! Invariants (checked by the property tests):
//! - `text.slice(start, end) == passage.text`; passages rise and do not overlap;
//! - no passage is longer than `max_tokens`, no header longer than its share;
//! - every word of the document is in a passage or is a heading in the header of one.
//!
//! Absent on purpose: embedding, storage, overlap between passages (the context packer widens hits instead).

use serde::{Deserialize, Serialize};

use crate::document::{Block, BlockKind, DocumentText, Extracted};
use crate::extract::is_table_rule;
use crate::text::sentence::split_sentences;

/// Share of `max_tokens` at which a passage ends with the paragraph it is in: paragraphs shorter than half a
/// passage are kept together, longer ones stay alone.
const FULL_ENOUGH: f32 = 0.5;
/// What is longer than this for each token that it may have is cut without being counted. Words have 4 to 6 characters a
/// token, and a piece of a vocabulary is hardly ever longer than 20; what is longer is one unknown piece, like the data of
/// a picture.
const MAX_CHARS_OF_TOKEN: usize = 40;
/// Stands between the parts of a header.
const PATH_SEPARATOR: &str = " > ";

/// Sizes of passages, in tokens of the embedding model.
#[derive(Debug, Clone)]
pub struct PassageLimits {
    /// Largest passage without its header. Default 200: `MiniLM` reads 256 pieces, header included, and ignores the rest.
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
    /// Char offset of the first char; `text.slice(start, end)` is the passage's text.
    pub start: usize,
    /// Char offset behind the last char.
    pub end: usize,
    /// Page on which the passage starts, from 1.
    pub page: Option<u32>,
    /// Heading path of the section.
    pub heading: Vec<String>,
    /// `title > H1 > H2`, and on a second line the header row for the later parts of a split table. To be put in
    /// front of `text` for embedding and word search; no offset counts it.
    pub header: String,
    pub text: String,
}

/// The smallest part that is not cut: char offsets into the document text, and its tokens.
#[derive(Debug, Clone, Copy)]
struct Unit {
    start: usize,
    end: usize,
    tokens: usize,
}

/// Splits a document into passages, in document order.
///
/// `text` is the document text of `extracted`; `count_tokens` counts the embedding model's tokens without its
/// special ones. Calls it about twice for every word. A heading is not repeated in the text of the
/// passages below it; a heading without anything below it is text of the section it stands in.
#[must_use]
pub fn split_passages(
    extracted: &Extracted,
    text: &DocumentText,
    count_tokens: &dyn Fn(&str) -> usize,
    limits: &PassageLimits,
) -> Vec<Passage> {
    let splitter = Splitter {
        extracted,
        text,
        count_tokens,
        limits,
        passages: Vec::new(),
        last_header: LastHeader::default(),
    };
    splitter.split()
}

struct Splitter<'a> {
    extracted: &'a Extracted,
    text: &'a DocumentText,
    count_tokens: &'a dyn Fn(&str) -> usize,
    limits: &'a PassageLimits,
    passages: Vec<Passage>,
    last_header: LastHeader,
}

/// The header that was made last: all passages of a section, or of a table, have the same.
#[derive(Default)]
struct LastHeader {
    heading: Vec<String>,
    row: String,
    header: String,
}

impl Splitter<'_> {
    fn split(mut self) -> Vec<Passage> {
        let blocks = &self.extracted.blocks;
        let content: Vec<usize> = (0..blocks.len())
            .filter(|&block_idx| self.is_content(block_idx))
            .collect();
        let same_section = |a: &usize, b: &usize| {
            blocks[*a].heading == blocks[*b].heading && !self.heading_between(*a, *b)
        };
        let sections: Vec<&[usize]> = content.chunk_by(same_section).collect();
        for section in sections {
            self.split_section(section);
        }
        for (passage, index) in self.passages.iter_mut().zip(0..) {
            passage.index = index;
        }
        self.passages
    }

    /// Whether a block is text of its section rather than a heading that later blocks carry in their path.
    fn is_content(&self, block_idx: usize) -> bool {
        let blocks = &self.extracted.blocks;
        let block = &blocks[block_idx];
        match block.kind {
            BlockKind::Title => blocks.len() == 1,
            BlockKind::Heading => {
                let depth = block.heading.len();
                !blocks.get(block_idx + 1).is_some_and(|next| {
                    // Paths shorten very long headings, so the start decides.
                    next.heading.len() > depth
                        && block.text.starts_with(next.heading[depth].as_str())
                })
            }
            _ => true,
        }
    }

    fn heading_between(&self, a: usize, b: usize) -> bool {
        (a + 1..b).any(|block_idx| {
            self.extracted.blocks[block_idx].kind.is_heading() && !self.is_content(block_idx)
        })
    }

    /// Splits the content blocks of one section.
    fn split_section(&mut self, section: &[usize]) {
        let first_passage = self.passages.len();
        let full_enough = (self.limits.max_tokens as f32 * FULL_ENOUGH) as usize;
        let mut open: Vec<Unit> = Vec::new();
        let mut page = None;
        for &block_idx in section {
            let block = &self.extracted.blocks[block_idx];
            let block_page = block.page;
            let tokens = sum(&open);
            // A citation names the page of the passage's start, so passages cross pages only to avoid crumbs.
            if tokens >= full_enough || (tokens >= self.limits.min_tokens && block_page != page) {
                self.close(section[0], &mut open, "");
            }
            if open.is_empty() {
                page = block_page;
            }
            let units = self.units(block_idx);
            let block_tokens = sum(&units);
            if sum(&open) + block_tokens <= self.limits.max_tokens {
                open.extend(units);
            } else if block.kind == BlockKind::Table {
                self.close(section[0], &mut open, "");
                self.split_table(section[0], block, &units);
            } else {
                if sum(&open) >= self.limits.min_tokens {
                    self.close(section[0], &mut open, "");
                }
                self.split_evenly(section[0], &mut open, &units);
            }
        }
        self.close(section[0], &mut open, "");
        self.merge_crumbs(first_passage);
    }

    /// Closes passages of about equal size while `units` last; what is open goes in front, the last part stays open.
    fn split_evenly(&mut self, section_block: usize, open: &mut Vec<Unit>, units: &[Unit]) {
        let total = sum(open) + sum(units);
        let num_parts = total.div_ceil(self.limits.max_tokens.max(1)).max(1);
        let target = total.div_ceil(num_parts);
        for &unit in units {
            let tokens = sum(open);
            // The unit goes where it leaves the part closer to its size.
            let full = tokens >= target || (tokens > 0 && tokens + unit.tokens / 2 > target);
            if !open.is_empty() && (full || tokens + unit.tokens > self.limits.max_tokens) {
                self.close(section_block, open, "");
            }
            open.push(unit);
        }
    }

    /// Closes passages of whole rows and about equal size; all but the first carry the header rows in their header.
    fn split_table(&mut self, section_block: usize, block: &Block, rows: &[Unit]) {
        let lines: Vec<&str> = block.text.lines().collect();
        let header_len = lines
            .iter()
            .position(|line| is_table_rule(line))
            .unwrap_or(0);
        let header_row = lines[..header_len].join("\n");
        let total = sum(rows);
        let num_parts = total.div_ceil(self.limits.max_tokens.max(1)).max(1);
        let target = total.div_ceil(num_parts);
        let mut open: Vec<Unit> = Vec::new();
        let mut part = 0;
        for &row in rows {
            let tokens = sum(&open);
            if !open.is_empty()
                && (tokens >= target || tokens + row.tokens > self.limits.max_tokens)
            {
                self.close(
                    section_block,
                    &mut open,
                    if part > 0 { &header_row } else { "" },
                );
                part += 1;
            }
            open.push(row);
        }
        self.close(
            section_block,
            &mut open,
            if part > 0 { &header_row } else { "" },
        );
    }

    /// The units of a block. Their tokens add up to at least the block's.
    fn units(&self, block_idx: usize) -> Vec<Unit> {
        let block = &self.extracted.blocks[block_idx];
        let span = self.text.spans[block_idx];
        if block.kind != BlockKind::Table {
            let (start, end) = self.trimmed(span.start, span.end);
            if start < end && !self.is_surely_too_long(start, end) {
                let whole = self.unit(start, end);
                if whole.tokens <= self.limits.max_tokens {
                    return vec![whole];
                }
            }
        }
        let ranges: Vec<(usize, usize)> = match block.kind {
            BlockKind::Table | BlockKind::Code => line_ranges(&block.text),
            _ => sentence_ranges(&block.text),
        };
        let mut units = Vec::new();
        for (start, end) in ranges {
            self.push_unit(span.start + start, span.start + end, &mut units);
        }
        if units.is_empty() {
            self.push_unit(span.start, span.end, &mut units);
        }
        units
    }

    /// Adds a unit; one that is too long is cut at a space near its middle, and at its middle if it has none.
    fn push_unit(&self, start: usize, end: usize, units: &mut Vec<Unit>) {
        let (start, end) = self.trimmed(start, end);
        if start >= end {
            return;
        }
        if !self.is_surely_too_long(start, end) {
            let unit = self.unit(start, end);
            if unit.tokens <= self.limits.max_tokens || end - start < 2 {
                return units.push(unit);
            }
        }
        let chars: Vec<char> = self.text.slice(start, end).chars().collect();
        let middle = chars.len() / 2;
        let space = (0..middle / 2).find_map(|distance| {
            [middle - distance, middle + distance]
                .into_iter()
                .find(|&at| chars.get(at).is_some_and(|c| c.is_whitespace()))
        });
        let cut = start + space.unwrap_or(middle);
        self.push_unit(start, cut, units);
        self.push_unit(cut, end, units);
    }

    /// The range without the blanks at its ends.
    fn trimmed(&self, start: usize, end: usize) -> (usize, usize) {
        let text = self.text.slice(start, end);
        let before = text.chars().take_while(|c| c.is_whitespace()).count();
        let after = text.chars().rev().take_while(|c| c.is_whitespace()).count();
        (
            (start + before).min(end),
            end.saturating_sub(after).max(start),
        )
    }

    fn is_surely_too_long(&self, start: usize, end: usize) -> bool {
        end - start > self.limits.max_tokens.max(1) * MAX_CHARS_OF_TOKEN
    }

    fn unit(&self, start: usize, end: usize) -> Unit {
        Unit {
            start,
            end,
            tokens: (self.count_tokens)(self.text.slice(start, end)),
        }
    }

    /// Makes a passage of the open units, if there are any. `section_block` is any content block of the section.
    fn close(&mut self, section_block: usize, open: &mut Vec<Unit>, header_row: &str) {
        let (Some(first), Some(last)) = (open.first(), open.last()) else {
            return;
        };
        let (start, end) = (first.start, last.end);
        open.clear();
        let heading = self.extracted.blocks[section_block].heading.clone();
        let block_idx = self.text.blocks_in(&(start..start + 1)).start;
        let header = self.known_header(&heading, header_row);
        self.passages.push(Passage {
            index: 0,
            start,
            end,
            page: self
                .extracted
                .blocks
                .get(block_idx)
                .and_then(|block| block.page),
            header,
            heading,
            text: self.text.slice(start, end).to_owned(),
        });
    }

    /// Merges passages below `min_tokens` with the one behind or before them if the two fit into one.
    fn merge_crumbs(&mut self, first_passage: usize) {
        let mut at = first_passage;
        while at + 1 < self.passages.len() {
            let (a, b) = (&self.passages[at], &self.passages[at + 1]);
            let (a_tokens, b_tokens) = ((self.count_tokens)(&a.text), (self.count_tokens)(&b.text));
            let crumb = a_tokens.min(b_tokens) < self.limits.min_tokens;
            if crumb && a_tokens + b_tokens <= self.limits.max_tokens && a.header == b.header {
                let end = b.end;
                self.passages.remove(at + 1);
                let merged = &mut self.passages[at];
                merged.end = end;
                merged.text = self.text.slice(merged.start, end).to_owned();
            } else {
                at += 1;
            }
        }
    }

    fn known_header(&mut self, heading: &[String], header_row: &str) -> String {
        let last = &self.last_header;
        if self.passages.is_empty() || last.heading != heading || last.row != header_row {
            self.last_header = LastHeader {
                heading: heading.to_vec(),
                row: header_row.to_owned(),
                header: self.header(heading, header_row),
            };
        }
        self.last_header.header.clone()
    }

    /// `title > H1 > H2` within its share of the tokens: inner headings are left out first, then the title, and at
    /// last words at the end of the last heading.
    fn header(&self, heading: &[String], header_row: &str) -> String {
        let budget = (self.limits.max_tokens as f32 * self.limits.header_max_fraction) as usize;
        let mut path: Vec<&str> = Vec::new();
        for part in self.extracted.title.iter().chain(heading) {
            if !path
                .last()
                .is_some_and(|last| last.eq_ignore_ascii_case(part))
            {
                path.push(part);
            }
        }
        let fits = |header: &str| (self.count_tokens)(header) <= budget;
        while path.len() > 1 && !fits(&path.join(PATH_SEPARATOR)) {
            path.remove(usize::from(path.len() > 2));
        }
        let header = self.shortened(&path.join(PATH_SEPARATOR), budget);
        if header_row.is_empty() {
            return header;
        }
        let left = budget.saturating_sub((self.count_tokens)(&header));
        let row = self.shortened(header_row, left);
        if row.is_empty() {
            header
        } else {
            format!("{header}\n{row}").trim_start().to_owned()
        }
    }

    /// As many words of `text` as fit into `budget` tokens.
    fn shortened(&self, text: &str, budget: usize) -> String {
        // A word has a token at least, and what is longer than that has too many.
        let end = text.char_indices().nth(budget * MAX_CHARS_OF_TOKEN);
        let mut shortened = match end {
            Some((end, _)) => &text[..end],
            None => text,
        };
        let mut words = shortened.char_indices().filter(|(at, c)| {
            let before = shortened[..*at].chars().next_back();
            c.is_whitespace() && before.is_some_and(|c| !c.is_whitespace())
        });
        if let Some((end, _)) = words.nth(budget) {
            shortened = &shortened[..end];
        }
        while (self.count_tokens)(shortened) > budget {
            let Some((shorter, _)) = shortened.trim_end().rsplit_once(char::is_whitespace) else {
                return String::new();
            };
            shortened = shorter;
        }
        shortened.to_owned()
    }
}

fn sum(units: &[Unit]) -> usize {
    units.iter().map(|unit| unit.tokens).sum()
}

/// Char ranges of the sentences of `text`. They meet: what stands between two sentences goes with the second.
fn sentence_ranges(text: &str) -> Vec<(usize, usize)> {
    let mut start = 0;
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for sentence in split_sentences(text) {
        ranges.push((start, sentence.end));
        start = sentence.end;
    }
    if let Some((_, end)) = ranges.last_mut() {
        *end = text.chars().count();
    }
    ranges
}

/// Char ranges of the lines of `text`, without their line ends.
fn line_ranges(text: &str) -> Vec<(usize, usize)> {
    let mut start = 0;
    let mut ranges = Vec::new();
    for line in text.split('\n') {
        let length = line.chars().count();
        ranges.push((start, start + length));
        start += length + 1;
    }
    ranges
}
