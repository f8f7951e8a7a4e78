//! The formats that have a reader.

/// A format that has an extractor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Markdown,
    Html,
    Pdf,
    Docx,
}
