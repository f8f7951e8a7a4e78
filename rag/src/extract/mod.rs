//! Files in, blocks out: one module per format, the decision which one, and the limited process
//! in which it runs.
//!
//! [`extract_file`] does the work in this process. Documents come from people we do not know, and
//! parsers are what such documents attack, so the suite calls [`Extractor::extract_open`] instead: it
//! starts a *child process* of limited memory and CPU time that can reach nothing else ([`confine`]), and turns
//! whatever happens to it into an [`ExtractError`].
//!
//! The format is decided by content; the extension must agree with it ([`sniff`]).

mod child;
mod clean;
pub mod confine;
mod docx;
mod encoding;
mod error;
mod format;
mod html;
mod markdown;
mod outline;
mod pdf;
pub(crate) mod readers;
mod sniff;
mod symbols;
mod table;
mod text;

use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use unicode_normalization::UnicodeNormalization;

pub(crate) use table::is_rule as is_table_rule;

pub use child::{Extractor, Limits, extract_child_main};
pub use confine::Protection;
pub use error::ExtractError;

use crate::document::Extracted;
use format::Format;

/// Largest file that is read at all. Above it the extractors' memory would exceed the child's limit.
pub const MAX_FILE_BYTES: u64 = 256 << 20;

/// Extracts the blocks of the file at `path` in this process.
///
/// No limit but [`MAX_FILE_BYTES`] holds here; see [`Extractor`] for files of unknown origin.
///
/// # Errors
/// The reason why there is no text, one of [`ExtractError`].
pub fn extract_file(path: &Path) -> Result<Extracted, ExtractError> {
    extract_open_file(&open_file(path)?, path)
}

/// [`extract_file`] of a file that is open for reading; of `name` only the extension counts.
pub(crate) fn extract_open_file(mut file: &File, name: &Path) -> Result<Extracted, ExtractError> {
    check_file(file)?;
    let mut bytes = Vec::new();
    file.rewind()
        .and_then(|()| file.read_to_end(&mut bytes))
        .map_err(ExtractError::unreadable)?;
    extract_bytes(&bytes, &extension_of(name))
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
    compose(&mut extracted);
    Ok(extracted)
}

/// Puts all text into Unicode's composed form (NFC), in which it is embedded, searched and quoted: the same word
/// may come as "é" or as "e" and an accent. Offsets are counted in what is made here, so nothing is shifted.
fn compose(extracted: &mut Extracted) {
    let headings_and_texts = extracted
        .blocks
        .iter_mut()
        .flat_map(|block| block.heading.iter_mut().chain([&mut block.text]));
    for text in headings_and_texts.chain(&mut extracted.title) {
        if !unicode_normalization::is_nfc(text) {
            *text = text.nfc().collect();
        }
    }
}

/// The extension of a file's name, lower case and without the dot; empty for none.
pub(crate) fn extension_of(path: &Path) -> String {
    path.extension()
        .map(|extension| extension.to_string_lossy().to_lowercase())
        .unwrap_or_default()
}

/// Opens a file of unknown kind for reading: a FIFO or a device neither blocks nor becomes the controlling terminal.
fn open_file(path: &Path) -> Result<File, ExtractError> {
    File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(ExtractError::unreadable)
}

/// Checks that an open file is one that can be read at all, before anything is done with it.
fn check_file(file: &File) -> Result<(), ExtractError> {
    let metadata = file.metadata().map_err(ExtractError::unreadable)?;
    if !metadata.is_file() {
        return Err(ExtractError::unreadable("not a regular file"));
    }
    match metadata.len() {
        0 => Err(ExtractError::Empty),
        len if len > MAX_FILE_BYTES => Err(too_large(len)),
        _ => Ok(()),
    }
}

/// Where `needle`, which is not empty, first stands in `haystack`.
fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

pub(crate) fn too_large(got: u64) -> ExtractError {
    ExtractError::TooLarge {
        what: "bytes".into(),
        got,
        limit: MAX_FILE_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::DocumentText;

    #[test]
    fn text_is_composed_and_offsets_count_what_is_composed() {
        let decomposed =
            "# Gro\u{308}\u{df}e\n\nCafe\u{301} and re\u{301}sume\u{301}, 가 = \u{1100}\u{1161}.\n";
        let extracted = extract_bytes(decomposed.as_bytes(), "md").unwrap();
        assert_eq!(extracted.title.as_deref(), Some("Größe"));
        assert_eq!(extracted.blocks[1].text, "Café and résumé, 가 = 가.");
        assert_eq!(extracted.blocks[1].heading, ["Größe"]);
        let text = DocumentText::build(&extracted);
        let span = text.spans[1];
        assert_eq!(text.slice(span.start, span.end), extracted.blocks[1].text);
    }
}
