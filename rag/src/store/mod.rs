//! The vector store: an index of passages, searched by meaning and by words under one filter.
//!
//! A *point* is a passage in the index: a deterministic id, a dense vector and a sparse BM25 vector,
//! and as payload only the collection and document it belongs to. No text is kept here; the
//! catalogue is the truth, and a store that is lost is rebuilt from it.
//!
//! Both back ends ([`edge`] in this process, [`qdrant`] on a server) implement [`VectorStore`] and
//! pass one conformance suite: the same operations, the same queries, the same ids in the same order.
//! Search is exact in both (no HNSW graph), so a result cannot depend on points the filter excludes;
//! the IDF of BM25 is computed over the filtered points for the same reason.

pub mod bm25;
#[cfg(test)]
mod conformance;
pub mod edge;
#[cfg(test)]
pub(crate) mod exact;
mod growth;
mod lock;
pub mod qdrant;
#[cfg(test)]
mod test_server;

use std::collections::BTreeSet;
use std::path::PathBuf;

use uuid::Uuid;

pub use lock::lock_soon;

use crate::access::{CollectionId, DocumentId};
use crate::disk::DiskFull;

/// Points written in one run from which the index is worth optimizing.
pub(crate) const OPTIMIZE_AFTER: usize = 2000;

/// Name of the sparse vector of a point.
pub(crate) const SPARSE_VECTOR: &str = "bm25";
/// Payload key of [`Point::collection`].
pub(crate) const COLLECTION_KEY: &str = "collection";
/// Payload key of [`Point::document`].
pub(crate) const DOCUMENT_KEY: &str = "document";

/// A sparse vector: `values[i]` at dimension `indices[i]`; indices are distinct.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SparseVector {
    /// Term ids.
    pub indices: Vec<u32>,
    /// Weights.
    pub values: Vec<f32>,
}

/// A passage in the index.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// See [`point_id`].
    pub id: Uuid,
    /// Collection of the document.
    pub collection: CollectionId,
    /// Document of the passage.
    pub document: DocumentId,
    /// L2-normalised, `[dim]`.
    pub dense: Vec<f32>,
    /// From [`bm25::Bm25::document`].
    pub sparse: SparseVector,
}

/// Which points a query may see.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// Only these collections; `None` for all, empty for nothing.
    pub collections: Option<BTreeSet<CollectionId>>,
    /// Not these documents.
    pub exclude: Vec<DocumentId>,
}

impl Filter {
    /// Nothing can match.
    pub(crate) fn is_nothing(&self) -> bool {
        self.collections.as_ref().is_some_and(BTreeSet::is_empty)
    }
}

/// A search by meaning and by words.
#[derive(Debug, Clone)]
pub struct HybridQuery {
    /// L2-normalised, `[dim]`.
    pub dense: Vec<f32>,
    /// From [`bm25::Bm25::query`].
    pub sparse: SparseVector,
    /// Access and collection filter.
    pub filter: Filter,
    /// Candidates wanted from each of the two searches.
    pub limit: usize,
}

/// A point with its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// The point.
    pub id: Uuid,
    /// Cosine similarity or BM25.
    pub score: f32,
}

/// The two candidate lists, each by falling score, equal scores by id.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Candidates {
    /// By cosine similarity.
    pub dense: Vec<Scored>,
    /// By BM25; points without any word of the query are not listed.
    pub bm25: Vec<Scored>,
}

/// What a store is opened for.
#[derive(Debug, Clone)]
pub struct StoreSchema {
    /// Name of the embedder, which names the dense vector.
    pub embedder: String,
    /// Length of the dense vector.
    pub dim: usize,
}

/// An index of points. Writes are visible to queries at once and durable after [`Self::flush`].
pub trait VectorStore: Send + Sync {
    /// Inserts points, replacing those with the same id.
    ///
    /// # Errors
    /// [`StoreError`]; some of the points may have been written.
    fn upsert(&self, points: &[Point]) -> Result<(), StoreError>;

    /// Deletes points; unknown ids are ignored.
    ///
    /// # Errors
    /// [`StoreError`]; some of the points may have been deleted.
    fn delete(&self, ids: &[Uuid]) -> Result<(), StoreError>;

    /// The best `limit` points of each kind among those the filter lets through.
    ///
    /// # Errors
    /// [`StoreError`].
    fn query(&self, query: &HybridQuery) -> Result<Candidates, StoreError>;

    /// Dense vectors of those of the points that exist, in any order.
    ///
    /// # Errors
    /// [`StoreError`].
    fn dense_vectors(&self, ids: &[Uuid]) -> Result<Vec<(Uuid, Vec<f32>)>, StoreError>;

    /// Number of points the filter lets through.
    ///
    /// # Errors
    /// [`StoreError`].
    fn count(&self, filter: &Filter) -> Result<usize, StoreError>;

    /// Ids of all points, in any order.
    ///
    /// # Errors
    /// [`StoreError`].
    fn ids(&self) -> Result<Vec<Uuid>, StoreError>;

    /// Returns when everything written so far survives a crash.
    ///
    /// # Errors
    /// [`StoreError`].
    fn flush(&self) -> Result<(), StoreError>;

    /// Reorganises the index for faster search; worth calling after thousands of changes.
    ///
    /// # Errors
    /// [`StoreError`]; the index is as good as before.
    fn optimize(&self) -> Result<(), StoreError>;

    /// Bytes that have to be free on this machine's disk before points are written; none where they go elsewhere.
    fn reserve_bytes(&self) -> u64 {
        0
    }
}

/// A vector store refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The server does not answer.
    #[error(
        "the Qdrant server at {url} does not answer: {reason}. Is it running, and is this its gRPC port (6334)?"
    )]
    Unreachable {
        /// Its address.
        url: String,
        /// What the connection said.
        reason: String,
    },
    /// The server refused the key.
    #[error("the Qdrant server at {url} refused the API key")]
    Unauthorized {
        /// Its address.
        url: String,
    },
    /// The server answered with an error.
    #[error("the Qdrant server at {url} could not {operation}: {reason}")]
    Server {
        /// Its address.
        url: String,
        /// What was asked of it.
        operation: &'static str,
        /// What it said.
        reason: String,
    },
    /// The address is not one.
    #[error("`{url}` is not an address of a Qdrant server: {reason}")]
    InvalidUrl {
        /// As configured.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no room on the disk of the embedded store.
    #[error(transparent)]
    DiskFull(#[from] DiskFull),
    /// The embedded store failed.
    #[error("the vector index in {path} could not {operation}: {reason}")]
    Embedded {
        /// Its folder.
        path: PathBuf,
        /// What was asked of it.
        operation: &'static str,
        /// What it said.
        reason: String,
    },
}

/// Namespace of [`point_id`]; random, never to be changed.
const POINT_NAMESPACE: Uuid = Uuid::from_u128(0x6f1c_95a2_3b0e_4d5f_9a47_c0f2_d8e1_7b36);

/// What identifies a version of a document in the index.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PointKey<'a> {
    /// Name of the collection.
    pub collection: &'a str,
    /// Path of the document.
    pub path: &'a str,
    /// Hex of the content hash.
    pub hash: &'a str,
    /// How the document was split, see `ingest/pipeline.rs`.
    pub pipeline: &'a str,
    /// Name of the embedder.
    pub embedder: &'a str,
}

/// Id of a passage: the same in every run and on every machine, so that an interrupted ingestion
/// that is repeated writes over what it wrote before.
pub(crate) fn point_id(key: PointKey<'_>, passage_index: u32) -> Uuid {
    let PointKey {
        collection,
        path,
        hash,
        pipeline,
        embedder,
    } = key;
    // The parts cannot contain a zero byte: names and paths are checked, the rest is ours.
    let name = [
        collection,
        path,
        hash,
        pipeline,
        embedder,
        &passage_index.to_string(),
    ]
    .join("\0");
    Uuid::new_v5(&POINT_NAMESPACE, name.as_bytes())
}

/// Sorts candidates by falling score and rising id, and cuts the list.
pub(crate) fn rank(mut scored: Vec<Scored>, limit: usize) -> Vec<Scored> {
    scored.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.id.cmp(&b.id)));
    scored.truncate(limit);
    scored
}
