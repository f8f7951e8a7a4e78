//! Retrieval: documents in, cited passages out.
//!
//! A *document* is one file of a *collection* (a set of documents that are seen together). It is
//! extracted into *blocks*, split into *passages* (the retrieval units) and embedded. The catalogue
//! (SQLite) is the truth about all of these; the vector store is an index that can be rebuilt from
//! it. A *scope* says which collections a caller may see, and every query takes one.
//!
//! Everything here is synchronous; callers on an async runtime use `spawn_blocking`. Absent on
//! purpose: candle, CUDA, axum, the language model. An embedder and the answer text are handed in.

pub mod access;
mod answer;
mod catalogue;
pub mod disk;
pub mod document;
pub mod embed;
mod error;
pub mod eval;
pub mod extract;
mod ingest;
mod library;
mod passage;
pub mod private;
mod records;
pub mod remains;
pub mod store;
#[cfg(test)]
mod testing;
mod text;

pub use access::{AccessScope, CollectionId, DocumentId};
pub use answer::context::ContextPassage;
pub use answer::history::{MAX_HISTORY_TOKENS, recent_history};
pub use answer::pack::{ContextBudget, pack_context};
pub use answer::prompt::{PROMPT_VERSION, PromptMessage, PromptRole, build_prompt};
pub use answer::quote_only::quote_only;
pub use answer::refusal::{Assessment, Features as RefusalFeatures, assess, refusal};
pub use answer::table::head_above as table_head_above;
pub use answer::tracker::AnswerTracker;
pub use answer::types::{Answer, AnswerEvent, Citation};
pub use disk::{DiskFull, DiskSpace};
pub use document::{Block, BlockKind, DocumentText, Extracted};
pub use embed::{EmbedError, Embedder};
pub use error::LibraryError;
pub use extract::readers::{document_formats, readable_formats};
pub use extract::{ExtractError, Extractor, Limits, Protection, extract_child_main, extract_file};
pub use ingest::{
    FailedFile, IngestError, IngestProgress, IngestReport, IngestRequest, IngestStage, SkippedFile,
};
pub use library::search::{Hit, SearchRequest};
pub use library::{Library, LibraryConfig, StoreChoice};
pub use passage::{Passage, PassageLimits, split_passages};
pub use records::{
    AddedFile, CollectionInfo, DocumentInfo, DocumentRecord, DocumentState, StoredBlock,
};
pub use text::unspaced::is_unspaced;
