//! Retrieval: documents in, cited passages out.
//!
//! A *document* is one file of a *collection* (a set of documents with one access list). It is
//! extracted into *blocks*, split into *passages* (the retrieval units) and embedded. The catalogue
//! (SQLite) is the truth about all of these; the vector store is an index that can be rebuilt from
//! it. A *scope* says which collections a caller may see, and every query takes one.
//!
//! Everything here is synchronous; callers on an async runtime use `spawn_blocking`. Absent on
//! purpose: candle, CUDA, axum, the language model. An embedder and the answer text are handed in.

pub mod access;
pub mod catalogue;
mod conjunctions;
pub mod disk;
pub mod embed;
pub mod eval;
pub mod ingest;
pub mod library;
pub mod private;
pub mod retrieve;
pub mod store;
#[cfg(test)]
mod testing;

pub mod answer;
pub mod context;
pub mod document;
pub mod extract;
pub mod extractive;
mod notices;
pub mod passage;
mod polarity;
pub mod prompt;
pub mod refusal;
pub mod remains;
pub mod sentence;
mod terms;
mod units;
mod unspaced;

pub use access::{AccessScope, CollectionId, DocumentId};
pub use disk::{DiskFull, DiskSpace};
pub use embed::{EmbedError, Embedder};
pub use ingest::{
    FailedFile, IngestError, IngestProgress, IngestReport, IngestRequest, IngestStage, SkippedFile,
};
pub use library::{
    AddedFile, CollectionInfo, DocumentInfo, DocumentRecord, DocumentState, Library, LibraryConfig,
    LibraryError, StoreChoice, StoredBlock,
};
pub use retrieve::{Hit, SearchRequest};

pub use answer::{Answer, AnswerEvent, AnswerTracker, Citation};
pub use context::{ContextBudget, ContextPassage, pack_context};
pub use document::{Block, BlockKind, DocumentText, Extracted};
pub use extract::{ExtractError, Extractor, Limits, Protection, extract_child_main, extract_file};
pub use extractive::quote_only;
pub use passage::{Passage, PassageLimits, split_passages};
pub use prompt::{PROMPT_VERSION, PromptMessage, PromptRole, build_prompt};
pub use refusal::{Assessment, assess, refusal};
