//! The one error shape of `/api/*`.

use serde::{Deserialize, Serialize};

/// Why a request did not succeed, in words for the person who made it.
///
/// Never contains a prompt, an answer or text of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// HTTP status code, repeated here so that a stored error stays complete.
    pub status: u16,
    /// Stable machine-readable reason, e.g. `not_found`, `csrf`, `too_many_attempts`, `overloaded`.
    pub code: String,
    /// One clear sentence with the way out.
    pub message: String,
    /// Names the request in the server's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Seconds to wait before trying again (also in the `Retry-After` header), for `429` and `503`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}
