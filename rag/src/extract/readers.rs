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
    /// To be raised when the reader makes something else of the same file.
    pub(crate) version: u32,
    /// Lower case, without the dot.
    pub(super) extensions: &'static [&'static str],
}

const READERS: &[Reader] = &[
    Reader {
        format: Some(Format::Text),
        name: "text",
        version: 4,
        extensions: &["txt", "text", "log"],
    },
    Reader {
        format: Some(Format::Markdown),
        name: "markdown",
        // HTML in Markdown goes through the HTML reader: its changes count here too.
        version: 5,
        extensions: &["md", "markdown", "mdown", "mkd"],
    },
    Reader {
        format: Some(Format::Html),
        name: "html",
        version: 5,
        extensions: &["html", "htm", "xhtml", "xht"],
    },
    Reader {
        format: Some(Format::Pdf),
        name: "pdf",
        version: 5,
        extensions: &["pdf"],
    },
    Reader {
        format: Some(Format::Docx),
        name: "docx",
        version: 4,
        extensions: &["docx", "docm", "dotx", "dotm"],
    },
];

/// Stands for the refusal of a format that has no reader.
const NONE: Reader = Reader {
    format: None,
    name: "none",
    version: COMMON_VERSION,
    extensions: &[],
};

/// Stands for whichever reader the content of a file without an extension asks for.
const BY_CONTENT: Reader = Reader {
    format: None,
    name: "content",
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
            for extension in reader.extensions {
                assert!(seen.insert(extension) || *extension == reader.name);
                assert_eq!(reader_for(extension), reader);
            }
        }
        assert_eq!(reader_for("pptx"), &NONE);
        assert_eq!(reader_for("").name, "content");
    }
}
