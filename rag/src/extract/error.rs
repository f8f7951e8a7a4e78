//! Why a file gave no text. Every variant's `Display` is one sentence that says what to do next: it
//! is shown to the administrator as the document's reason of failure.

use serde::{Deserialize, Serialize};

use super::readers::readable_formats;

/// Why extraction of one file failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum ExtractError {
    #[error(
        "files of type {found} are not supported; convert the file to {}",
        readable_formats()
    )]
    Unsupported { found: String },
    #[error(
        "the file is protected by a password; save a copy without the password and ingest that"
    )]
    Encrypted,
    #[error("the file is empty; replace it with one that has content")]
    Empty,
    #[error(
        "the file is damaged ({reason}); open it in the program it came from and save it again"
    )]
    Corrupt { reason: String },
    #[error(
        "the name ends in .{extension} but the content is {found}; rename the file to what it is"
    )]
    TypeMismatch { extension: String, found: String },
    #[error(
        "the file is too large ({what}: {got}, the limit is {limit}); split it into smaller files"
    )]
    TooLarge { what: String, got: u64, limit: u64 },
    #[error(
        "reading the file took longer than {seconds} s and was stopped; split the file or save it again"
    )]
    Timeout { seconds: u64 },
    #[error(
        "reading the file needed more memory than {limit_bytes} bytes and was stopped; split it into smaller files"
    )]
    OutOfMemory { limit_bytes: u64 },
    #[error(
        "the {pages} pages are images without text; run text recognition (OCR) on the file and ingest the result"
    )]
    NeedsOcr { pages: u32 },
    #[error(
        "the file cannot be read ({reason}); check that it exists and that this user may read it"
    )]
    Unreadable { reason: String },
    #[error(
        "the extraction process failed ({reason}); if the file opens elsewhere, please report it"
    )]
    Failed { reason: String },
}

impl ExtractError {
    pub(crate) fn corrupt(reason: impl std::fmt::Display) -> Self {
        Self::Corrupt {
            reason: reason.to_string(),
        }
    }

    pub(crate) fn unreadable(reason: impl std::fmt::Display) -> Self {
        Self::Unreadable {
            reason: reason.to_string(),
        }
    }
}
