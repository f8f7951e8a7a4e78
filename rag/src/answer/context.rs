//! The context of one answer: the passages that the model reads, and quotes of them.
//!
//! Document text is data: what looks like a citation marker in it is rewritten for the model, and invisible characters are
//! removed. Quotes keep the original.

use crate::library::search::Hit;
use crate::text::fold::is_invisible;
use crate::text::sentence::Span;

/// A passage as the model reads it: a window of one document's text.
#[derive(Debug, Clone, PartialEq)]
pub struct ContextPassage {
    /// Number in the prompt, from 1.
    pub n: usize,
    /// The best hit inside the window.
    pub hit: Hit,
    /// The window: characters `start..end` of the document text, verbatim.
    pub text: String,
    /// First character of the window in the document text.
    pub start: usize,
    /// One past the last character of the window in the document text.
    pub end: usize,
    /// The header row of the table in which the window begins, where that row is above the window.
    pub table_head: Option<String>,
    /// Where pages begin inside the window: (first character in the document text, page), ascending.
    pub pages: Vec<(usize, u32)>,
    /// Where sections begin inside the window, ascending; none where only the hit's own headings are known.
    pub sections: Vec<Section>,
    /// The title is the heading of a section, so it says nothing of the others.
    pub title_is_heading: bool,
}

/// The beginning of a section: what stands below other headings than what was before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// First character in the document text.
    pub start: usize,
    /// The headings, outermost first.
    pub heading: Vec<String>,
}

impl ContextPassage {
    /// The page on which a character of the document text stands, as far as it is known.
    pub fn page_at(&self, at: usize) -> Option<u32> {
        let page = self
            .pages
            .iter()
            .rev()
            .find(|(start, _)| *start <= at)
            .map(|(_, page)| *page);
        page.or(self.hit.page)
    }
}

/// A quote: characters `span` of the window of passage `passage_idx`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quote {
    /// Index into the context, from 0.
    pub passage_idx: usize,
    /// Characters of [`ContextPassage::text`].
    pub span: Span,
}

/// `[n] title > heading > heading`, the line above a passage.
pub(crate) fn passage_header(n: usize, hit: &Hit) -> String {
    let mut parts: Vec<&str> = vec![hit.title.trim()];
    parts.extend(
        hit.heading
            .iter()
            .map(|h| h.trim())
            .filter(|h| !h.is_empty()),
    );
    parts.dedup();
    let header = harmless(&parts.join(" > ")).replace('\n', " ");
    format!("[{n}] {}", header.chars().take(160).collect::<String>())
}

/// Document text as the model may read it: no invisible characters and no citation markers.
pub(crate) fn harmless(text: &str) -> String {
    let visible: String = text.chars().filter(|c| !is_invisible(*c)).collect();
    rewrite_brackets(&visible, |inner| format!("({inner})"))
}

/// Replaces `[digits]` by what `rewrite` makes of the digits.
pub(crate) fn rewrite_brackets(text: &str, rewrite: impl Fn(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('[') {
        out.push_str(&rest[..open]);
        let inner = &rest[open + 1..];
        let digits = inner.bytes().take_while(u8::is_ascii_digit).count();
        if (1..=3).contains(&digits) && inner[digits..].starts_with(']') {
            out.push_str(&rewrite(&inner[..digits]));
            rest = &inner[digits + 1..];
        } else {
            out.push('[');
            rest = inner;
        }
    }
    out.push_str(rest);
    out
}
