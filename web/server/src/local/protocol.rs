//! What travels over the local socket: one request as a line of JSON, then events, a line each.

use std::path::PathBuf;

use rag::eval::EvalQuestion;
use serde::{Deserialize, Serialize};
use web_api::Role;

/// A command for whoever holds the data directory, sent by its owner (the socket's mode is 0600).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum LocalRequest {
    /// Makes a collection equal to the folders. Output: `rag::IngestReport`.
    Ingest {
        /// Absolute paths of folders or files.
        paths: Vec<PathBuf>,
        /// Name; created where missing.
        collection: String,
        /// Read every file to see whether it has changed, whatever its size and time say.
        #[serde(default)]
        full: bool,
    },
    /// One answer. Deltas, then output `{answer, refused, citations, model, usage, timings, ...}`.
    Ask {
        /// The question.
        question: String,
        /// Names; empty means all.
        collections: Vec<String>,
        /// Verbatim quotes instead of a written answer.
        quote_only: bool,
    },
    /// Retrieval only. Output `{hits: [{document, page, start, end, text, score, ...}]}`.
    Search {
        /// The words to look for.
        query: String,
        /// Names; empty means all.
        collections: Vec<String>,
        /// Most hits.
        k: usize,
    },
    /// Retrieval and answer metrics. Output: the metrics.
    Eval {
        /// The golden questions.
        questions: Vec<EvalQuestion>,
        /// Name of the collection.
        collection: String,
        /// Leave the language model out.
        retrieval_only: bool,
    },
    /// Creates an account. Output `{id, email, role}`.
    UserAdd {
        /// Address, unique without regard to case.
        email: String,
        /// What it may do.
        role: Role,
        /// At least 10 characters.
        password: Secret,
    },
    /// Lists accounts. Output `{users: [{id, email, role, suspended}]}`.
    UserList,
    /// Suspends an account: its sessions, streams and answers end, its keys open nothing. Output `{id, email, role, suspended}`.
    UserSuspend {
        /// Address.
        email: String,
    },
    /// Lets a suspended account be used again, keys included. Output `{id, email, role, suspended}`.
    UserResume {
        /// Address.
        email: String,
    },
    /// Removes an account with its conversations, sessions and keys. Output `{email, removed: true, conversations}`.
    UserRemove {
        /// Address.
        email: String,
    },
    /// Gives an account another password and ends its sessions; its keys stay valid. Output
    /// `{email, password_set: true, sessions_ended, keys_valid}`.
    UserPassword {
        /// Address.
        email: String,
        /// At least 10 characters.
        password: Secret,
    },
    /// Creates an API key. Output `{id, key, name, email}`; the key is shown this once.
    KeyCreate {
        /// Owner.
        user_email: String,
        /// What it is for.
        name: String,
    },
    /// Lists API keys of all accounts, without the keys. Output `{keys: [{id, email, name, prefix, created_at, last_used_at, revoked}]}`.
    KeyList,
    /// Makes an API key useless from the next request on. Output `{id, revoked: true}`.
    KeyRevoke {
        /// Id as listed.
        id: i64,
    },
    /// What runs here. Output `{version, data_dir, model, embedder, users, admins, conversations, collections, engine}`.
    Status,
    /// Lists collections. Output `{collections: [...]}`.
    Collections,
    /// Deletes a collection with its documents. Output `{name, deleted: true}`.
    CollectionDelete {
        /// Name.
        name: String,
    },
    /// Lists documents of a collection with state and reason of failure. Output `{documents: [...]}`.
    Documents {
        /// Name of the collection.
        collection: String,
    },
}

/// A password on its way: never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Secret(text)
    }
}

/// What comes back: progress and deltas, and as the last one `Output` or `Error`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum LocalEvent {
    /// How far it is; for stderr.
    Progress {
        /// Part of the work, e.g. `extract`, `search`, `questions`.
        stage: String,
        /// Units finished.
        done: u64,
        /// Units in all; 0 when unknown.
        total: u64,
        /// What is being worked on.
        message: String,
    },
    /// Text of the answer to append; `[n]` markers included.
    Delta {
        /// Plain text.
        text: String,
    },
    /// The result: the JSON of the command contract. Nothing follows.
    Output {
        /// One JSON document.
        value: serde_json::Value,
    },
    /// It did not work. Nothing follows.
    Error {
        /// Whose fault it is; decides the exit status.
        kind: LocalErrorKind,
        /// One clear sentence.
        message: String,
        /// A command or setting that helps.
        hint: Option<String>,
    },
}

impl LocalEvent {
    /// Whether nothing follows it.
    pub fn is_last(&self) -> bool {
        matches!(self, LocalEvent::Output { .. } | LocalEvent::Error { .. })
    }
}

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LocalErrorKind {
    /// The user's mistake: exit 2.
    User,
    /// The configuration's: exit 3.
    Config,
    /// Ours: exit 1.
    Internal,
}
