//! Collections and documents: lists, uploads, and the document view of the citation panel.

use serde::{Deserialize, Serialize};

use crate::UnixMs;

/// A set of documents that are seen together. `GET /api/collections` returns a list of them, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collection {
    /// Stable number.
    pub id: i64,
    /// Unique name.
    pub name: String,
    /// Documents that can be searched.
    pub documents: u64,
    /// Passages that can be found.
    pub passages: u64,
    /// Documents that could not be read; their reasons are in the document list.
    pub failed: u64,
    /// Last change of any document, if there was one.
    pub updated_at: Option<UnixMs>,
}

/// `POST /api/collections` (administrators). Answers `201` with the [`Collection`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateCollection {
    /// 1 to 100 characters, unique.
    pub name: String,
}

/// What happened to a document so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DocumentState {
    /// Waits for its turn or is being read.
    Pending,
    /// Can be found.
    Indexed,
    /// Could not be read; see [`Document::reason`].
    Failed,
}

/// One file of a collection. `GET /api/collections/{id}/documents` returns a list of them, by path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Stable number; `None` for an upload that has not become a document yet.
    pub id: Option<i64>,
    /// Path relative to the ingested folder, or the name of the uploaded file.
    pub path: String,
    /// Title found in the document, else its file name.
    pub title: String,
    /// What happened to it.
    pub state: DocumentState,
    /// Why it failed, in words for an administrator.
    pub reason: Option<String>,
    /// Pages, where the format has them.
    pub pages: Option<u32>,
    /// Passages that can be found.
    pub passages: u64,
    /// Size of the file.
    pub bytes: u64,
    /// Last change.
    pub updated_at: Option<UnixMs>,
}

/// Answer of `POST /api/collections/{id}/documents` (administrators; multipart, any number of parts named `file`).
///
/// `202`: the files are on disk and are being read; their state is in the document list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadResponse {
    /// One entry for each file, in the order sent.
    pub files: Vec<UploadOutcome>,
}

/// What happened to one uploaded file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadOutcome {
    /// Name under which it appears in the collection.
    pub path: String,
    /// Bytes received.
    pub bytes: u64,
    /// Whether it was taken for reading.
    pub accepted: bool,
    /// Why not, when it was not.
    pub reason: Option<String>,
}

/// What a block of a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockKind {
    /// Title of the document.
    Title,
    /// Heading of a section.
    Heading,
    /// Running text.
    Paragraph,
    /// One item of a list.
    ListItem,
    /// A table as Markdown.
    Table,
    /// Preformatted text.
    Code,
}

/// `GET /api/documents/{id}/view?start=&end=`: the blocks around a range of a document, for reading a citation in its place.
///
/// Without `start` and `end` the view begins at the document's first block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentView {
    /// The document.
    pub id: i64,
    /// Title found in the document, else its file name.
    pub title: String,
    /// Path relative to the ingested folder.
    pub path: String,
    /// Page on which the range starts, where the format has pages.
    pub page: Option<u32>,
    /// Pages of the document, where the format has them.
    pub pages: Option<u32>,
    /// Consecutive blocks in document order; the ones that overlap the range are among them.
    pub blocks: Vec<ViewBlock>,
    /// Whether blocks before the first one were left out.
    pub has_before: bool,
    /// Whether blocks after the last one were left out.
    pub has_after: bool,
}

/// One block of a [`DocumentView`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewBlock {
    /// What it is.
    pub kind: BlockKind,
    /// Its text, verbatim.
    pub text: String,
    /// Its page, where the format has pages.
    pub page: Option<u32>,
    /// Headings above it, outermost first.
    pub heading: Vec<String>,
    /// Offset of its first character in the document text; a citation's `start..end` minus this is the highlight.
    pub start: usize,
}
