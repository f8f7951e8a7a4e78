//! Why the library refused or failed.

use std::path::PathBuf;

use crate::access::DocumentId;
use crate::disk::DiskFull;
use crate::store::StoreError;

/// Why the library refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// There is no such collection, or it is not in the scope.
    #[error("there is no collection `{name}`")]
    UnknownCollection {
        /// Name or id as asked for.
        name: String,
    },
    /// There is no such document, or it is not in the scope.
    #[error("there is no document {}", .id.0)]
    UnknownDocument {
        /// The id asked for.
        id: DocumentId,
    },
    /// A collection of this name exists already.
    #[error("a collection named `{name}` exists already")]
    CollectionExists {
        /// The name.
        name: String,
    },
    /// A name is not usable.
    #[error("`{name}` cannot be a name: {reason}")]
    InvalidName {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There is too little room on the disk of the data directory. What was there before is whole.
    #[error(transparent)]
    DiskFull(#[from] DiskFull),
    /// The catalogue could not be written for want of room.
    #[error("the disk is full: the catalogue of the documents cannot be written")]
    CatalogueFull,
    /// The catalogue failed.
    #[error("the catalogue failed: {reason}")]
    Catalogue {
        /// What SQLite said.
        reason: String,
    },
    /// The catalogue was written by a newer version.
    #[error(
        "{path} was written by a newer version of Cloister (schema {found}, this one knows {known})"
    )]
    NewerSchema {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest this program knows.
        known: i64,
    },
    /// The vector store failed.
    #[error("{0}")]
    Store(#[from] crate::store::StoreError),
    /// The embedder failed.
    #[error(transparent)]
    Embed(#[from] crate::embed::EmbedError),
    /// A file or folder of the data directory failed.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl LibraryError {
    /// Whether making room on the disk is the way out.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::DiskFull(_) | Self::CatalogueFull | Self::Store(StoreError::DiskFull(_)) => true,
            Self::Io { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
            _ => false,
        }
    }
}
