//! Files in, blocks out: one module per format, the decision which one, and the limited process
//! in which it runs.
//!
//! [`extract_file`] does the work in this process. Documents come from people we do not know, and
//! parsers are what such documents attack, so the suite calls [`Extractor::extract`] instead: it
//! starts a *child process* of limited memory, CPU time, files and no network, and turns whatever
//! happens to it into an [`ExtractError`].
//!
//! The format is decided by content; the extension must agree with it ([`sniff`]).

mod child;
mod docx;
mod error;
mod html;
mod markdown;
mod outline;
mod pdf;
mod sniff;
mod table;
mod text;

use std::path::Path;

pub(crate) use table::is_rule as is_table_rule;

pub use child::{Extractor, Limits, extract_child_main};
pub use error::ExtractError;

use crate::document::Extracted;
use sniff::Format;

/// Largest file that is read at all. Above it the extractors' memory would exceed the child's limit.
pub const MAX_FILE_BYTES: u64 = 256 << 20;

/// Extensions (lower case, without the dot) that some extractor takes.
pub const SUPPORTED_EXTENSIONS: &[&str] = &[
    "txt", "text", "log", "md", "markdown", "html", "htm", "xhtml", "pdf", "docx",
];

/// Extracts the blocks of the file at `path` in this process.
///
/// No limit but [`MAX_FILE_BYTES`] holds here; see [`Extractor`] for files of unknown origin.
///
/// # Errors
/// The reason why there is no text, one of [`ExtractError`].
pub fn extract_file(path: &Path) -> Result<Extracted, ExtractError> {
    extract_bytes(&read_file(path)?, &extension_of(path))
}

/// Extracts the blocks of a file's content whose name ends in `extension` (lower case, no dot).
///
/// A panic of a parser is the file's fault as far as the caller can tell: [`ExtractError::Corrupt`].
///
/// # Errors
/// As [`extract_file`].
pub fn extract_bytes(bytes: &[u8], extension: &str) -> Result<Extracted, ExtractError> {
    let format = sniff::detect(bytes, extension)?;
    let extract = || match format {
        Format::Text => text::extract(bytes),
        Format::Markdown => markdown::extract(bytes),
        Format::Html => html::extract(bytes),
        Format::Pdf => pdf::extract(bytes),
        Format::Docx => docx::extract(bytes),
    };
    let mut extracted = std::panic::catch_unwind(extract)
        .unwrap_or_else(|_| Err(ExtractError::corrupt("the reader gave up on it")))?;
    extracted
        .blocks
        .retain(|block| block.text.contains(char::is_alphanumeric));
    if extracted.blocks.is_empty() {
        return Err(ExtractError::Empty);
    }
    Ok(extracted)
}

fn extension_of(path: &Path) -> String {
    path.extension()
        .map(|extension| extension.to_string_lossy().to_lowercase())
        .unwrap_or_default()
}

fn read_file(path: &Path) -> Result<Vec<u8>, ExtractError> {
    // A FIFO or a device would block or never end, so the kind is looked at before the file is opened.
    let metadata = std::fs::metadata(path).map_err(ExtractError::unreadable)?;
    if !metadata.is_file() {
        return Err(ExtractError::unreadable("not a regular file"));
    }
    if metadata.len() > MAX_FILE_BYTES {
        return Err(ExtractError::TooLarge {
            what: "bytes".into(),
            got: metadata.len(),
            limit: MAX_FILE_BYTES,
        });
    }
    let bytes = std::fs::read(path).map_err(ExtractError::unreadable)?;
    if bytes.is_empty() {
        Err(ExtractError::Empty)
    } else {
        Ok(bytes)
    }
}
