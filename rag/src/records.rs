//! Collections and documents as they are listed and stored.

use serde::{Deserialize, Serialize};

use crate::access::{CollectionId, DocumentId};
use crate::document::BlockKind;

/// A collection as listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionInfo {
    /// Its id.
    pub id: CollectionId,
    /// Its unique name.
    pub name: String,
    /// Documents, failed ones included.
    pub documents: usize,
    /// Searchable passages.
    pub passages: usize,
    /// Documents that could not be read.
    pub failed: usize,
    /// Seconds since 1970 (UTC) of the last change.
    pub updated_at: i64,
}

/// Whether a document can be searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DocumentState {
    /// Searchable.
    Indexed,
    /// Not searchable; the reason is beside it.
    Failed,
    /// Seen but not searchable yet.
    Pending,
}

/// A document as listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentInfo {
    /// Its id.
    pub id: DocumentId,
    /// Its collection.
    pub collection: CollectionId,
    /// Path relative to the ingested folder.
    pub path: String,
    /// Title; the file name where the document has none.
    pub title: String,
    /// Whether it can be searched.
    pub state: DocumentState,
    /// Why it failed, or what a reader should know (pages without text and the like).
    pub reason: Option<String>,
    /// Pages, where the format has them.
    pub pages: Option<u32>,
    /// Passages in the index.
    pub passages: usize,
    /// Size of the file.
    pub bytes: u64,
    /// Seconds since 1970 (UTC) of the last change.
    pub updated_at: i64,
}

/// A document with its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentRecord {
    /// As listed.
    pub info: DocumentInfo,
    /// The whole text: the blocks' texts joined by an empty line. All offsets count its characters.
    pub text: String,
    /// Where each block is in the text.
    pub blocks: Vec<StoredBlock>,
}

/// A block of a stored document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredBlock {
    /// What it is.
    pub kind: BlockKind,
    /// Its page, from 1, where the format has pages.
    pub page: Option<u32>,
    /// Headings above it, outermost first.
    pub heading: Vec<String>,
    /// Heading level, 0 for anything else.
    pub level: u8,
    /// First character in the document text.
    pub start: usize,
    /// One past the last character.
    pub end: usize,
}

/// What became of an uploaded file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddedFile {
    /// The document; `state` and `reason` say whether it can be searched.
    pub document: DocumentInfo,
    /// It replaced a document of the same name.
    pub updated: bool,
}
