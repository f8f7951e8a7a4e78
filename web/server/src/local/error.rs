//! What went wrong with a command of the owner.

use rag::{IngestError, LibraryError};

use super::protocol::LocalErrorKind;
use crate::auth::AccountError;
use crate::db::DatabaseError;
use crate::model::ModelError;
use crate::suite::ask::AskError;
use crate::suite::removed_sources::ForgetError;

/// What went wrong, for the person at the terminal.
#[derive(Debug)]
pub(super) struct LocalError {
    pub kind: LocalErrorKind,
    pub message: String,
    pub hint: Option<String>,
}

impl LocalError {
    pub fn user(message: impl Into<String>, hint: Option<&str>) -> Self {
        Self {
            kind: LocalErrorKind::User,
            message: message.into(),
            hint: hint.map(str::to_owned),
        }
    }

    pub fn internal(error: &dyn std::fmt::Display) -> Self {
        Self {
            kind: LocalErrorKind::Internal,
            message: error.to_string(),
            hint: None,
        }
    }

    fn disk_full(error: &dyn std::fmt::Display) -> Self {
        let hint =
            "make room on that disk, then run the command again; what was finished before is kept";
        Self {
            kind: LocalErrorKind::Config,
            message: error.to_string(),
            hint: Some(hint.to_owned()),
        }
    }
}

impl From<DatabaseError> for LocalError {
    fn from(error: DatabaseError) -> Self {
        if error.is_disk_full() {
            return Self::disk_full(&error);
        }
        Self::internal(&error)
    }
}

impl From<AccountError> for LocalError {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Database(error) => error.into(),
            AccountError::UnknownUser { .. } => {
                Self::user(error.to_string(), Some("cloister user list"))
            }
            other => Self::user(other.to_string(), None),
        }
    }
}

impl From<LibraryError> for LocalError {
    fn from(error: LibraryError) -> Self {
        match error {
            LibraryError::UnknownCollection { .. } => {
                Self::user(error.to_string(), Some("cloister collection list"))
            }
            LibraryError::UnknownDocument { .. }
            | LibraryError::CollectionExists { .. }
            | LibraryError::InvalidName { .. } => Self::user(error.to_string(), None),
            full if full.is_disk_full() => Self::disk_full(&full),
            other => Self::internal(&other),
        }
    }
}

impl From<AskError> for LocalError {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Library { source } => source.into(),
            AskError::Model(
                error @ (ModelError::TooLong { .. }
                | ModelError::Invalid { .. }
                | ModelError::InvalidParam { .. }),
            ) => Self::user(error.to_string(), None),
            AskError::Model(error @ ModelError::Overloaded { .. }) => Self {
                hint: Some("--quote-only answers without the model".to_owned()),
                ..Self::internal(&error)
            },
            AskError::Model(error @ (ModelError::Stopped | ModelError::DeviceLost { .. })) => {
                Self::internal(&error)
            }
        }
    }
}

impl From<ForgetError> for LocalError {
    fn from(error: ForgetError) -> Self {
        match error {
            ForgetError::Library(error) => error.into(),
            ForgetError::Database(error) => error.into(),
        }
    }
}

impl From<IngestError> for LocalError {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::NoSuchPath { .. } | IngestError::NothingToIngest { .. } => {
                Self::user(error.to_string(), None)
            }
            IngestError::Library(error) => error.into(),
            other => Self::internal(&other),
        }
    }
}
