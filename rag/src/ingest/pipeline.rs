//! The name of how a document was made: `2.pdf3/bge-small` is version 2 of splitting, version 3 of the
//! reader `pdf`, and the embedder whose tokenizer measured the passages.
//!
//! The name is stored with each document and compared with what would be done today, so that a change of one
//! reader concerns its own documents. Catalogues from before readers had versions of their own say
//! `2/bge-small`: everything was at version 2 then.

use std::path::Path;

use crate::extract::extension_of;
use crate::extract::readers::{COMMON_VERSION, Reader, reader_for};

/// How text is split into passages; to be raised when the same text gives other passages, so that the next
/// ingestion does all documents again.
const SPLIT_VERSION: u32 = 2;

/// Names how the document at `path` is made today.
pub(crate) fn pipeline_name(path: &str, embedder: &str) -> String {
    let Reader { name, version, .. } = reader_for(&extension_of(Path::new(path)));
    format!("{SPLIT_VERSION}.{name}{version}/{embedder}")
}

/// Whether the document at `path` would be made today as `stored` says it was.
pub(crate) fn is_current(stored: &str, path: &str, embedder: &str) -> bool {
    let Reader { name, version, .. } = reader_for(&extension_of(Path::new(path)));
    is_made_by(stored, (*name, *version), embedder)
}

/// `reader`: name and version.
fn is_made_by(stored: &str, reader: (&str, u32), embedder: &str) -> bool {
    let (name, version) = reader;
    let Some((versions, stored_embedder)) = stored.split_once('/') else {
        return false;
    };
    let (split, stored_reader) = match versions.split_once('.') {
        Some((split, stored_reader)) => (split, stored_reader.to_owned()),
        None => (versions, format!("{name}{COMMON_VERSION}")),
    };
    stored_embedder == embedder
        && split == SPLIT_VERSION.to_string()
        && stored_reader == format!("{name}{version}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_changes_concerns_its_own_documents_only() {
        let version = reader_for("pdf").version;
        let stored = pipeline_name("a/b.PDF", "org/bge");
        assert!(is_made_by(&stored, ("pdf", version), "org/bge"));
        assert!(!is_made_by(&stored, ("pdf", version), "bge"));
        assert!(!is_made_by(&stored, ("pdf", version + 1), "org/bge"));
        for path in ["a.docx", "a.html", "a.md", "a.txt", "README", "a.pptx"] {
            let stored = pipeline_name(path, "bge");
            assert!(is_current(&stored, path, "bge"), "{stored}");
            // Renamed to another format, it would be read otherwise.
            assert!(!is_current(&stored, "a.pdf", "bge"), "{stored}");
        }
    }

    #[test]
    fn catalogues_with_one_number_for_all_readers_are_understood() {
        assert!(is_made_by("2/bge", ("text", COMMON_VERSION), "bge"));
        assert!(!is_made_by("1/bge", ("text", COMMON_VERSION), "bge"));
        assert!(!is_made_by("2/bge", ("text", COMMON_VERSION + 1), "bge"));
        assert!(
            !is_current("2/bge", "notes.txt", "bge"),
            "read otherwise now"
        );
        assert!(
            is_current("2/bge", "slides.pptx", "bge"),
            "refused as before"
        );
        assert!(!is_current("", "slides.pptx", "bge"));
    }
}
