//! The document model that every extractor produces and everything else reads.
//!
//! A *block* is the smallest unit an extractor keeps apart: a heading, a paragraph, a list item, a
//! table, a piece of code. A *document text* is the blocks' texts joined by [`BLOCK_SEPARATOR`];
//! every offset in this crate (passages, quotes, highlights) counts Unicode scalar values
//! (`char`s) of that text, never bytes.
//!
//! Invariants (checked by `tests` here and by the property tests of [`crate::passage`]):
//! - no block of an [`Extracted`] that came from [`crate::extract::extract_file`] is empty;
//! - `DocumentText::slice(span.start, span.end)` equals the text of the block the span stands for.
//!
//! Absent on purpose: files, formats, tokens.

use std::fmt;
use std::ops::Range;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// What stands between two blocks in a [`DocumentText`].
pub const BLOCK_SEPARATOR: &str = "\n\n";

/// How many chars lie between two entries of the char-to-byte index of a [`DocumentText`]: a lookup
/// walks at most this many chars, and the index costs 8 bytes per 512 chars.
const INDEX_STRIDE: usize = 512;

/// What a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockKind {
    /// The title of the whole document; at most one, before every heading.
    Title,
    /// A heading; [`Block::level`] says which.
    Heading,
    Paragraph,
    /// One item of a list, with its marker ("- ", "3. ") and two spaces per nesting level in front.
    ListItem,
    /// A table as Markdown rows `| a | b |`; a second line of dashes follows the header row if there is one.
    Table,
    /// Preformatted text, line breaks kept.
    Code,
}

impl BlockKind {
    /// The name used in JSON and in the catalogue, e.g. `list_item`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Title => "title",
            Self::Heading => "heading",
            Self::Paragraph => "paragraph",
            Self::ListItem => "list_item",
            Self::Table => "table",
            Self::Code => "code",
        }
    }

    /// The inverse of [`BlockKind::as_str`].
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "title" => Self::Title,
            "heading" => Self::Heading,
            "paragraph" => Self::Paragraph,
            "list_item" => Self::ListItem,
            "table" => Self::Table,
            "code" => Self::Code,
            _ => return None,
        })
    }

    /// Whether the block opens a section rather than filling one.
    #[must_use]
    pub fn is_heading(self) -> bool {
        matches!(self, Self::Title | Self::Heading)
    }
}

/// One block of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    pub kind: BlockKind,
    /// Plain text without markup; tables and list items as described at [`BlockKind`]. Never empty.
    pub text: String,
    /// Page on which the block starts, from 1; `None` for formats without pages.
    pub page: Option<u32>,
    /// What the document itself calls that page ("iv", "102"), where that is not `page`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_label: Option<String>,
    /// Texts of the headings above, outermost first. A heading block does not list itself.
    pub heading: Vec<String>,
    /// Heading level from 1; 0 for everything that is not a heading.
    pub level: u8,
}

/// What an extractor made of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extracted {
    /// Title as the document states it (metadata, title block or first heading).
    pub title: Option<String>,
    /// Number of pages, `None` for formats without pages.
    pub pages: Option<u32>,
    pub blocks: Vec<Block>,
    /// What was left out and why, one sentence each ("pages 3-4 are images without text").
    #[serde(deserialize_with = "first_warnings")]
    pub warnings: Vec<String>,
}

/// Longest title, in characters: it is in the header of every passage and in every list of documents.
const MAX_TITLE_CHARS: usize = 300;
/// Most warnings of a document, and the longest, in characters.
const MAX_WARNINGS: usize = 100;
const MAX_WARNING_CHARS: usize = 500;

impl Extracted {
    /// The same with what stands outside of the text cut to a length that people can read. A reader may be deceived by its
    /// file, so nothing that it says is taken at any length.
    #[must_use]
    pub(crate) fn bounded(mut self) -> Self {
        if let Some(title) = &mut self.title {
            cut(title, MAX_TITLE_CHARS);
        }
        self.warnings.truncate(MAX_WARNINGS);
        for warning in &mut self.warnings {
            cut(warning, MAX_WARNING_CHARS);
        }
        self
    }
}

/// Cuts a text to `max_chars` characters, the last of which says so.
pub(crate) fn cut(text: &mut String, max_chars: usize) {
    if let Some((at, _)) = text.char_indices().nth(max_chars) {
        let before = text[..at].char_indices().next_back();
        text.truncate(before.map_or(0, |(at, _)| at));
        text.push('…');
    }
}

/// Reads as many warnings as are kept; those behind take no memory.
fn first_warnings<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct First;
    impl<'de> Visitor<'de> for First {
        type Value = Vec<String>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a list of sentences")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
            let mut kept = Vec::new();
            while kept.len() < MAX_WARNINGS {
                match list.next_element()? {
                    Some(warning) => kept.push(warning),
                    None => return Ok(kept),
                }
            }
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(kept)
        }
    }
    deserializer.deserialize_seq(First)
}

/// Where one block lies in a [`DocumentText`], in chars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockSpan {
    pub start: usize,
    pub end: usize,
}

/// The text of a document and where each block lies in it.
#[derive(Debug, Clone)]
pub struct DocumentText {
    pub text: String,
    /// One span per block, in block order.
    pub spans: Vec<BlockSpan>,
    len_chars: usize,
    /// Byte offset of every `INDEX_STRIDE`-th char.
    index: Vec<usize>,
}

impl DocumentText {
    /// Joins the blocks of `extracted`.
    #[must_use]
    pub fn build(extracted: &Extracted) -> Self {
        let mut text = String::new();
        let mut spans = Vec::with_capacity(extracted.blocks.len());
        let mut at = 0;
        for (block_idx, block) in extracted.blocks.iter().enumerate() {
            if block_idx > 0 {
                text.push_str(BLOCK_SEPARATOR);
                at += BLOCK_SEPARATOR.chars().count();
            }
            let start = at;
            text.push_str(&block.text);
            at += block.text.chars().count();
            spans.push(BlockSpan { start, end: at });
        }
        Self::with_spans(text, spans)
    }

    /// Wraps a stored text whose spans are known.
    #[must_use]
    pub fn with_spans(text: String, spans: Vec<BlockSpan>) -> Self {
        let mut index = Vec::with_capacity(text.len() / INDEX_STRIDE + 1);
        let mut len_chars = 0;
        for (byte, _) in text.char_indices() {
            if len_chars % INDEX_STRIDE == 0 {
                index.push(byte);
            }
            len_chars += 1;
        }
        Self {
            text,
            spans,
            len_chars,
            index,
        }
    }

    /// Length in chars.
    #[must_use]
    pub fn len_chars(&self) -> usize {
        self.len_chars
    }

    /// Byte offset of char number `at`; the text's length for `at >= len_chars()`.
    #[must_use]
    pub fn byte_offset(&self, at: usize) -> usize {
        if at >= self.len_chars {
            return self.text.len();
        }
        let base = self.index[at / INDEX_STRIDE];
        let rest = at % INDEX_STRIDE;
        self.text[base..]
            .char_indices()
            .nth(rest)
            .map_or(self.text.len(), |(byte, _)| base + byte)
    }

    /// The text between two char offsets; clamped to the text.
    #[must_use]
    pub fn slice(&self, start: usize, end: usize) -> &str {
        if start >= end {
            return "";
        }
        &self.text[self.byte_offset(start)..self.byte_offset(end)]
    }

    /// Indices of the blocks that overlap `range` (chars).
    #[must_use]
    pub fn blocks_in(&self, range: &Range<usize>) -> Range<usize> {
        let first = self.spans.partition_point(|span| span.end <= range.start);
        let last = self.spans.partition_point(|span| span.start < range.end);
        first..last.max(first)
    }
}

/// The part of `text` between two char offsets, for callers without a [`DocumentText`]. Linear in `end`.
#[must_use]
pub fn char_slice(text: &str, start: usize, end: usize) -> &str {
    if start >= end {
        return "";
    }
    let mut offsets = text
        .char_indices()
        .map(|(byte, _)| byte)
        .chain(std::iter::once(text.len()));
    let Some(from) = offsets.by_ref().nth(start) else {
        return "";
    };
    let to = offsets.nth(end - start - 1).unwrap_or(text.len());
    &text[from..to]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_outside_of_the_text_has_a_bounded_length() {
        let extracted = Extracted {
            title: Some("ä".repeat(1_000)),
            warnings: vec!["w".repeat(1_000)],
            ..Extracted::default()
        }
        .bounded();
        let title = extracted.title.unwrap();
        assert_eq!(title.chars().count(), MAX_TITLE_CHARS);
        assert!(title.ends_with("ä…"));
        assert_eq!(extracted.warnings[0].chars().count(), MAX_WARNING_CHARS);
        let list = format!("[{}\"last\"]", "\"w\",".repeat(10_000));
        let answer = format!("{{\"title\":null,\"pages\":null,\"blocks\":[],\"warnings\":{list}}}");
        let read: Extracted = serde_json::from_str(&answer).unwrap();
        assert_eq!(read.warnings.len(), MAX_WARNINGS);
        let short = Extracted {
            title: Some("Title".to_owned()),
            ..Extracted::default()
        };
        assert_eq!(short.clone().bounded(), short);
    }

    fn paragraph(text: &str) -> Block {
        Block {
            kind: BlockKind::Paragraph,
            text: text.into(),
            page: None,
            page_label: None,
            heading: vec![],
            level: 0,
        }
    }

    #[test]
    fn spans_are_char_offsets_of_the_joined_blocks() {
        let long = "ü€𝄞".repeat(1000);
        let extracted = Extracted {
            blocks: vec![paragraph("naïve"), paragraph(&long), paragraph("end")],
            ..Default::default()
        };
        let text = DocumentText::build(&extracted);
        for (block, span) in extracted.blocks.iter().zip(&text.spans) {
            assert_eq!(text.slice(span.start, span.end), block.text);
            assert_eq!(char_slice(&text.text, span.start, span.end), block.text);
        }
        assert_eq!(text.len_chars(), text.text.chars().count());
        assert_eq!(
            text.slice(text.len_chars() - 3, text.len_chars() + 10),
            "end"
        );
        assert_eq!(text.blocks_in(&(0..6)), 0..1);
        assert_eq!(text.blocks_in(&(4..9)), 0..2);
        assert_eq!(text.blocks_in(&(5..7)), 1..1);
    }

    #[test]
    fn kind_names_round_trip_and_equal_the_json_names() {
        for kind in [
            BlockKind::Title,
            BlockKind::Heading,
            BlockKind::Paragraph,
            BlockKind::ListItem,
            BlockKind::Table,
            BlockKind::Code,
        ] {
            assert_eq!(BlockKind::parse(kind.as_str()), Some(kind));
            assert_eq!(
                serde_json::to_string(&kind).unwrap(),
                format!("\"{}\"", kind.as_str())
            );
        }
    }
}
