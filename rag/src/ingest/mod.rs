//! Ingestion: makes a collection equal to the folders it was ingested from.
//!
//! [`scan`] lists the files, [`plan`] compares them with the catalogue and decides, [`run`] does the
//! work: extract -> split -> embed -> upsert and flush -> commit to the catalogue. The commit is the
//! moment a document changes; everything before it writes points that nothing names yet, under ids that
//! a repeated run computes again. So a run that is killed anywhere is completed by the next one, to the
//! state of a run that was not killed (`tests` here crash it at every step).
//!
//! Before each batch the disk is asked for room ([`Library::check_room`](crate::library::Library::check_room)); without it the run
//! ends with that error, what was committed stays, and a later run goes on.
//!
//! A file that fails stops nothing: it is recorded with its reason, and what was searchable of it is
//! not any more, because the folder no longer says so.

mod pipeline;
mod plan;
mod prepare;
mod run;
mod scan;
mod source;
#[cfg(test)]
mod tests;
mod upload;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::embed::EmbedError;
use crate::error::LibraryError;

/// What to ingest.
#[derive(Debug, Clone)]
pub struct IngestRequest {
    /// Name of the collection; created where it does not exist.
    pub collection: String,
    /// Folders and files that together are the collection from now on: documents that an earlier
    /// call took from other paths are removed.
    pub paths: Vec<PathBuf>,
    /// Read every file to see whether it has changed, not only those whose size or time differ. Finds
    /// changes that keep both (a restored backup, a tool that sets times); costs reading all files.
    pub full: bool,
}

/// What ingestion did. Serialized as it is: the output of the ingest command.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct IngestReport {
    /// Documents that were not there before.
    pub added: usize,
    /// Documents whose content changed.
    pub updated: usize,
    /// Documents left as they were.
    pub unchanged: usize,
    /// Documents whose file is gone.
    pub removed: usize,
    /// Documents whose file has another path now.
    pub renamed: usize,
    /// Files that are not searchable, with the reason.
    pub failed: Vec<FailedFile>,
    /// What lies in the folders and was passed over because it is no document, by path, with the
    /// reason: the same words for the same kind of reason, so that they can be counted.
    #[serde(default)]
    pub skipped: Vec<SkippedFile>,
    /// Passages of the collection after the run.
    pub passages: usize,
    /// Wall time.
    pub seconds: f64,
}

/// A file that could not be ingested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedFile {
    /// Path relative to the ingested folder.
    pub path: String,
    /// One sentence for a person.
    pub reason: String,
}

/// A file or folder that was passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedFile {
    /// Path relative to the ingested folder; a folder's ends in `/`, and nothing in it is listed.
    pub path: String,
    /// Why, as an end of the sentence "it was passed over: ...".
    pub reason: String,
}

/// How far ingestion is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngestProgress {
    /// Files finished.
    pub done: usize,
    /// Files in all; 0 while the folders are scanned.
    pub total: usize,
    /// The file being worked on.
    pub current: Option<String>,
    /// What is being done.
    pub stage: IngestStage,
}

/// Part of the work on a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IngestStage {
    /// Listing the folders.
    Scan,
    /// Reading text out of a file.
    Extract,
    /// Computing vectors.
    Embed,
    /// Writing to the stores.
    Store,
}

/// Why an ingestion stopped. Failures of single files are not here: they are in the report.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// A path of the request does not exist.
    #[error("{path}: no such file or folder")]
    NoSuchPath {
        /// The path as given.
        path: PathBuf,
    },
    /// A path of the request cannot be looked at.
    #[error("{path}: {reason}")]
    UnreadablePath {
        /// The path as given.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Nothing to ingest under the paths. The collection is left as it was.
    #[error(
        "no document of a supported kind ({supported}) under {paths}{passed_over}; the collection was left as it is"
    )]
    NothingToIngest {
        /// The paths as given.
        paths: String,
        /// What is there instead, as a part of the sentence; empty where nothing is.
        passed_over: String,
        /// Extensions that would be read.
        supported: String,
    },
    /// A collection's name is not usable.
    #[error("{0}")]
    Library(#[from] LibraryError),
    /// The embedder failed; a later run goes on from here.
    #[error(transparent)]
    Embed(#[from] EmbedError),
    /// The caller asked to stop; a later run goes on from here.
    #[error("ingestion was cancelled; run it again to go on")]
    Cancelled,
}

impl IngestError {
    /// Whether making room on the disk is the way out.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Library(error) if error.is_disk_full())
    }
}
