//! Wire types between the page, other clients and the server: what travels as JSON, and nothing else.
//!
//! Every type here is plain data with serde derives, compiles to wasm32, and is used by both ends, so that the page
//! and the server cannot drift apart. Validation, storage and meaning live in `web-server`.
//!
//! Conventions:
//! - times are milliseconds since the Unix epoch, UTC ([`UnixMs`]);
//! - `start` and `end` are offsets in Unicode scalar values (chars), `end` exclusive;
//! - ids of collections and documents are numbers, ids of conversations and answers are random UUIDs as text;
//! - an error answer of any `/api/*` route is [`ApiError`]; `/v1/*` answers in OpenAI's shape ([`openai::ErrorBody`]);
//! - every request with a session cookie whose method is not GET carries [`CSRF_HEADER`] with [`Me::csrf_token`].
//!
//! Absent on purpose: HTTP, SQL, and any type of `rag` or `inference`.

pub mod openai;

mod account;
mod answer;
mod collection;
mod conversation;
mod error;

pub use account::{
    ChangePassword, Credentials, DocumentFormat, Me, ModelStatus, PasswordChanged, Role,
    SetupRequest, SignedIn, UserInfo,
};
pub use answer::{
    AnswerEvent, AnswerMode, AnswerStatus, AskDocsRequest, AskDocsResponse, Citation, Message,
    Source, Span, Timings, Usage,
};
pub use collection::{
    BlockKind, Collection, CreateCollection, Document, DocumentState, DocumentView, UploadOutcome,
    UploadResponse, ViewBlock,
};
pub use conversation::{
    AskRequest, AskStarted, Conversation, ConversationDetail, ConversationHit, CreateConversation,
    RenameConversation,
};
pub use error::ApiError;

/// Milliseconds since the Unix epoch, UTC.
pub type UnixMs = i64;

/// Request header that carries [`Me::csrf_token`] on every request with a session cookie that is not a GET.
pub const CSRF_HEADER: &str = "x-csrf-token";

/// Response header (and field of the server's log) that names one request; errors quote it to the user.
pub const REQUEST_ID_HEADER: &str = "x-request-id";
