//! The ZIP package around a document: its parts, read under limits, and the relationships between them.
//!
//! The archive is never unpacked to disk. A part is read under [`MAX_PART_BYTES`] and [`MAX_EXPANSION`], all
//! parts together, those of documents within the document included, under [`MAX_TOTAL_BYTES`].

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{Cursor, Read};

use encoding_rs::{Encoding, UTF_8};
use zip::ZipArchive;
use zip::result::ZipError;

use super::xml::{self, Xml};
use crate::extract::ExtractError;

/// Largest part that is read, uncompressed: the text of some ten thousand pages.
const MAX_PART_BYTES: u64 = 128 << 20;
/// Most bytes that are read in all: the largest part, and as much again for headers, charts and embedded documents.
const MAX_TOTAL_BYTES: u64 = 2 * MAX_PART_BYTES;
/// A part larger than 4 MiB may be at most this many times larger than its compressed form; WordprocessingML
/// stays below 40, a bomb comes close to the 1032 that deflate allows.
const MAX_EXPANSION: u64 = 150;
/// Most entries an archive may have.
const MAX_ENTRIES: usize = 20_000;

/// What may still be read of a document and of those within it.
#[derive(Debug)]
pub(super) struct Budget {
    bytes: u64,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self {
            bytes: MAX_TOTAL_BYTES,
        }
    }
}

/// An open archive.
pub(super) struct Package<'a> {
    archive: ZipArchive<Cursor<&'a [u8]>>,
    budget: &'a mut Budget,
    /// Content types by part name ("/word/document.xml") and by extension, in lower case.
    content_types: HashMap<String, String>,
}

/// One relationship of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Relationship {
    /// Last segment of the type: "styles", "hyperlink", "aFChunk".
    pub(super) kind: String,
    /// Path of a part, or the address if `is_external`.
    pub(super) target: String,
    pub(super) is_external: bool,
}

/// What a part refers to, by relationship id.
pub(super) type Relationships = HashMap<String, Relationship>;

impl<'a> Package<'a> {
    pub(super) fn open(bytes: &'a [u8], budget: &'a mut Budget) -> Result<Self, ExtractError> {
        let archive = ZipArchive::new(Cursor::new(bytes)).map_err(zip_error)?;
        if archive.len() > MAX_ENTRIES {
            return Err(ExtractError::TooLarge {
                what: "archive entries".into(),
                got: archive.len() as u64,
                limit: MAX_ENTRIES as u64,
            });
        }
        let mut package = Self {
            archive,
            budget,
            content_types: HashMap::new(),
        };
        if let Some(types) = package.text("[Content_Types].xml")? {
            package.content_types = content_types(&types)?;
        }
        Ok(package)
    }

    /// Path of the main document part as the package's relationships state it.
    pub(super) fn main_part(&mut self) -> Result<String, ExtractError> {
        let relationships = self.relationships("")?;
        Ok(first_of(&relationships, "officeDocument")
            .unwrap_or_else(|| "word/document.xml".to_owned()))
    }

    /// The content of one part; `None` if the archive has none of that name.
    pub(super) fn bytes(&mut self, name: &str) -> Result<Option<Vec<u8>>, ExtractError> {
        let Some(entry_idx) = self.entry_idx(name) else {
            return Ok(None);
        };
        let entry = self.archive.by_index(entry_idx).map_err(zip_error)?;
        let expanded = entry.compressed_size().saturating_mul(MAX_EXPANSION);
        let limit = MAX_PART_BYTES
            .min(expanded.max(4 << 20))
            .min(self.budget.bytes);
        let mut bytes = Vec::new();
        entry
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(read_error)?;
        let got = bytes.len() as u64;
        if got > limit {
            let what = format!("bytes of {name}");
            return Err(ExtractError::TooLarge { what, got, limit });
        }
        self.budget.bytes -= got;
        Ok(Some(bytes))
    }

    /// The text of one part.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, ExtractError> {
        Ok(self
            .bytes(name)?
            .map(|bytes| decode_xml(&bytes).into_owned()))
    }

    /// Part names are compared without case, and some producers write them with backslashes.
    fn entry_idx(&self, name: &str) -> Option<usize> {
        self.archive.index_for_name(name).or_else(|| {
            let same = |entry: &str| entry.replace('\\', "/").eq_ignore_ascii_case(name);
            let mut names = self.archive.file_names().flatten();
            let found = names.find(|entry| same(entry))?;
            self.archive.index_for_name(&found)
        })
    }

    /// What `part` refers to; of the package itself for the empty name.
    pub(super) fn relationships(&mut self, part: &str) -> Result<Relationships, ExtractError> {
        let (folder, file) = part.rsplit_once('/').unwrap_or(("", part));
        let path = resolve(folder, &format!("_rels/{file}.rels"));
        let mut relationships = Relationships::new();
        let Some(text) = self.text(&path)? else {
            return Ok(relationships);
        };
        xml::walk(&text, &mut |event| {
            let Xml::Open(element) = event else { return };
            if element.name != "Relationship" {
                return;
            }
            let value = |name| element.attribute(name).unwrap_or_default();
            let is_external = value("TargetMode").eq_ignore_ascii_case("external");
            let target = value("Target");
            relationships.insert(
                value("Id"),
                Relationship {
                    kind: value("Type").rsplit('/').next().unwrap_or("").to_owned(),
                    target: if is_external {
                        target
                    } else {
                        resolve(folder, &target)
                    },
                    is_external,
                },
            );
        })?;
        Ok(relationships)
    }

    /// Content type of a part in lower case; empty if the package states none.
    pub(super) fn content_type(&self, part: &str) -> &str {
        let part = part.to_lowercase();
        let extension = part.rsplit('.').next().unwrap_or("");
        self.content_types
            .get(&format!("/{part}"))
            .or_else(|| self.content_types.get(extension))
            .map_or("", String::as_str)
    }

    /// The budget, for a document within this one.
    pub(super) fn budget(&mut self) -> &mut Budget {
        self.budget
    }
}

/// Path of the first part with that kind of relationship, in the order of ids.
pub(super) fn first_of(relationships: &Relationships, kind: &str) -> Option<String> {
    relationships
        .iter()
        .filter(|(_, relationship)| relationship.kind == kind && !relationship.is_external)
        .min_by_key(|(id, _)| id.as_str())
        .map(|(_, relationship)| relationship.target.clone())
}

fn content_types(part: &str) -> Result<HashMap<String, String>, ExtractError> {
    let mut types = HashMap::new();
    xml::walk(part, &mut |event| {
        let Xml::Open(element) = event else { return };
        let name = match element.name {
            "Default" => element.attribute("Extension"),
            "Override" => element.attribute("PartName"),
            _ => None,
        };
        if let (Some(name), Some(kind)) = (name, element.attribute("ContentType")) {
            types.insert(name.to_lowercase(), kind.to_lowercase());
        }
    })?;
    Ok(types)
}

/// `target` as seen from `folder`, without "." and "..".
fn resolve(folder: &str, target: &str) -> String {
    let target = target.replace('\\', "/");
    let from_root = target.starts_with('/');
    let mut segments: Vec<&str> = Vec::new();
    let folder = if from_root { "" } else { folder };
    for segment in folder.split('/').chain(target.split('/')) {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    segments.join("/")
}

/// XML is UTF-8 or UTF-16 with a byte order mark unless its declaration names something else.
fn decode_xml(bytes: &[u8]) -> Cow<'_, str> {
    if let Some((encoding, mark_len)) = Encoding::for_bom(bytes) {
        return encoding.decode_without_bom_handling(&bytes[mark_len..]).0;
    }
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
    let encoding = head
        .split_once("?>")
        .and_then(|(declaration, _)| declaration.split_once("encoding="))
        .and_then(|(_, rest)| rest.split(['"', '\'']).nth(1))
        .and_then(|label| Encoding::for_label(label.as_bytes()))
        // A declaration that could be read as ASCII is not UTF-16, whatever it says.
        .filter(|encoding| encoding.is_ascii_compatible())
        .unwrap_or(UTF_8);
    encoding.decode_without_bom_handling(bytes).0
}

fn zip_error(error: ZipError) -> ExtractError {
    match error {
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => ExtractError::Encrypted,
        error => ExtractError::corrupt(error),
    }
}

fn read_error(error: std::io::Error) -> ExtractError {
    match error.kind() {
        // How much there was is known to whoever set the limit.
        std::io::ErrorKind::OutOfMemory => ExtractError::OutOfMemory { limit_bytes: 0 },
        _ => ExtractError::corrupt(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_seen_from_the_folder_of_the_part() {
        let cases = [
            ("word", "header1.xml", "word/header1.xml"),
            ("word", "../customXml/item1.xml", "customXml/item1.xml"),
            ("word", "/doc/main.xml", "doc/main.xml"),
            ("", "word\\document.xml", "word/document.xml"),
            ("word", "../../../x", "x"),
        ];
        for (folder, target, want) in cases {
            assert_eq!(resolve(folder, target), want);
        }
    }

    #[test]
    fn xml_is_decoded_as_it_declares() {
        let utf16: Vec<u8> = [0xff, 0xfe]
            .into_iter()
            .chain("<a>é</a>".encode_utf16().flat_map(u16::to_le_bytes))
            .collect();
        let latin = b"<?xml version='1.0' encoding='ISO-8859-1'?><a>\xe9</a>";
        let lying = b"<?xml version=\"1.0\" encoding=\"UTF-16\"?><a>\xc3\xa9</a>";
        for bytes in [&utf16[..], latin, lying, "<a>é</a>".as_bytes()] {
            assert!(decode_xml(bytes).ends_with("<a>é</a>"), "{bytes:?}");
        }
    }
}
