//! The readers: which files each of them takes, and which version of it made a document.
//!
//! A document remembers the reader and the version that made its text. When what a reader makes of the same
//! file changes, its version is raised by one, and the next ingestion reads the documents of that reader
//! again, and no others.

use super::format::Format;

/// Version of all readers together before each had its own; new readers start above it.
pub(crate) const COMMON_VERSION: u32 = 2;

/// One reader.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reader {
    pub(super) format: Option<Format>,
    /// Stored with each document; letters only.
    pub(crate) name: &'static str,
    /// The format as people call it.
    pub(crate) title: &'static str,
    /// A file of it: "a PDF document".
    pub(super) kind: &'static str,
    /// To be raised when the reader makes something else of the same file.
    pub(crate) version: u32,
    /// Lower case, without the dot.
    pub(super) extensions: &'static [&'static str],
}

const READERS: &[Reader] = &[
    Reader {
        format: Some(Format::Text),
        name: "text",
        title: "plain text",
        kind: "plain text",
        version: 4,
        extensions: &["txt", "text", "log"],
    },
    Reader {
        format: Some(Format::Markdown),
        name: "markdown",
        title: "Markdown",
        kind: "Markdown",
        // HTML in Markdown goes through the HTML reader: its changes count here too.
        version: 6,
        extensions: &["md", "markdown", "mdown", "mkd"],
    },
    Reader {
        format: Some(Format::Html),
        name: "html",
        title: "HTML",
        kind: "an HTML page",
        version: 6,
        extensions: &["html", "htm", "xhtml", "xht"],
    },
    Reader {
        format: Some(Format::Pdf),
        name: "pdf",
        title: "PDF",
        kind: "a PDF document",
        version: 5,
        extensions: &["pdf"],
    },
    Reader {
        format: Some(Format::Docx),
        name: "docx",
        title: "Word",
        kind: "a Word document (.docx)",
        version: 4,
        extensions: &["docx", "docm", "dotx", "dotm"],
    },
];

/// Stands for the refusal of a format that has no reader.
const NONE: Reader = Reader {
    format: None,
    name: "none",
    title: "",
    kind: "a file of another kind",
    version: COMMON_VERSION,
    extensions: &[],
};

/// Stands for whichever reader the content of a file without an extension asks for.
const BY_CONTENT: Reader = Reader {
    format: None,
    name: "content",
    title: "",
    kind: "a file without an extension",
    version: newest_version(),
    extensions: &[],
};

const fn newest_version() -> u32 {
    let mut newest = 0;
    let mut reader_idx = 0;
    while reader_idx < READERS.len() {
        if READERS[reader_idx].version > newest {
            newest = READERS[reader_idx].version;
        }
        reader_idx += 1;
    }
    newest
}

/// The reader of files with this extension (lower case, no dot; empty for none).
pub(crate) fn reader_for(extension: &str) -> &'static Reader {
    if extension.is_empty() {
        return &BY_CONTENT;
    }
    READERS
        .iter()
        .find(|reader| reader.extensions.contains(&extension))
        .unwrap_or(&NONE)
}

/// A file of this format: "a PDF document".
pub(super) fn kind_of(format: Format) -> &'static str {
    let reader = READERS.iter().find(|reader| reader.format == Some(format));
    reader.map_or(NONE.kind, |reader| reader.kind)
}

/// What can be read, by its title, with its extensions (lower case, without the dot).
pub fn document_formats() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    READERS
        .iter()
        .map(|reader| (reader.title, reader.extensions))
}

/// The titles of what can be read: "plain text, Markdown, HTML, PDF or Word".
pub fn readable_formats() -> String {
    let mut titles: Vec<&str> = READERS.iter().map(|reader| reader.title).collect();
    let last = titles.pop().unwrap_or_default();
    format!("{} or {last}", titles.join(", "))
}

/// Extensions of documents that no reader takes: such files are reported as failed rather than passed over, because whoever
/// put them there expects to find them.
const EXPECTED_EXTENSIONS: &[&str] = &[
    "csv", "doc", "eml", "epub", "msg", "odp", "ods", "odt", "ppt", "pptx", "rtf", "xls", "xlsx",
];

/// Whether a file with this extension is a document, readable or not.
pub(crate) fn is_document(extension: &str) -> bool {
    EXPECTED_EXTENSIONS.contains(&extension) || !reader_for(extension).extensions.is_empty()
}

/// Extensions (lower case, without the dot) that some reader takes.
pub(crate) fn supported_extensions() -> impl Iterator<Item = &'static str> {
    READERS
        .iter()
        .flat_map(|reader| reader.extensions.iter().copied())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_and_extensions_are_of_one_reader_and_versions_above_the_common_one() {
        let mut seen = HashSet::new();
        for reader in READERS {
            assert!(reader.version > COMMON_VERSION, "{}", reader.name);
            assert!(reader.name.bytes().all(|byte| byte.is_ascii_lowercase()));
            assert!(seen.insert(reader.name));
            assert!(!reader.title.is_empty() && !reader.kind.is_empty());
            for extension in reader.extensions {
                assert!(!EXPECTED_EXTENSIONS.contains(extension), "{extension}");
                assert!(seen.insert(extension) || *extension == reader.name);
                assert_eq!(reader_for(extension), reader);
            }
        }
        assert_eq!(reader_for("pptx"), &NONE);
        assert_eq!(reader_for("").name, "content");
        assert!(is_document("docm") && is_document("pptx"));
        assert!(!is_document("exe") && !is_document(""));
        assert_eq!(
            readable_formats(),
            "plain text, Markdown, HTML, PDF or Word"
        );
    }
}
