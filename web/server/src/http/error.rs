//! Errors at the edge: what the client reads, in the shape of `/api/*` or of `/v1/*`.
//!
//! A failure of ours goes to the log with its cause; the client reads that something went wrong and the request id.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rag::LibraryError;
use web_api::ApiError;
use web_api::openai::{ErrorBody, ErrorDetail};

use crate::auth::AccountError;
use crate::db::DatabaseError;
use crate::model::ModelError;
use crate::suite::answers::StartError;
use crate::suite::ask::AskError;
use crate::suite::places::TooMuch;
use crate::suite::removed_sources::ForgetError;

/// Code of a request without a valid API key.
pub(super) const INVALID_API_KEY: &str = "invalid_api_key";

/// Why a request did not succeed, before it has a shape.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
    /// The field at fault, in OpenAI's shape.
    pub param: Option<&'static str>,
    pub retry_after: Option<Duration>,
}

impl Failure {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            param: None,
            retry_after: None,
        }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    pub fn invalid_param(param: &'static str, message: impl Into<String>) -> Self {
        Self {
            param: Some(param),
            ..Self::invalid(message)
        }
    }

    pub fn missing(param: &'static str) -> Self {
        Self::invalid_param(param, format!("{param} is missing; the request needs it."))
    }

    /// The same words whether it does not exist or belongs to somebody else.
    pub fn not_found(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("There is no such {what}."),
        )
    }

    /// Come back in some seconds.
    pub fn busy(message: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "overloaded", message)
            .retry_after(Duration::from_secs(5))
    }

    pub fn retry_after(self, wait: Duration) -> Self {
        Self {
            retry_after: Some(wait),
            ..self
        }
    }

    /// A failure of ours: the cause goes to the log.
    fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(%cause, "a request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Something went wrong on the server. Try again; if it happens again, give the request id to an administrator.",
        )
    }

    /// There is no room on the disk: the same words whatever could not be written.
    pub fn disk_full(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(%cause, "the disk is full");
        Self::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "disk_full",
            "The server's disk is full. Ask an administrator to make room, then try again.",
        )
    }

    fn retry_after_s(&self) -> Option<u64> {
        self.retry_after
            .map(|wait| wait.as_secs_f64().ceil().max(1.0) as u64)
    }

    fn with_headers(&self, mut response: Response) -> Response {
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_s() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.code == INVALID_API_KEY {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }

    /// The answer in the shape of `/v1/*`.
    pub fn into_openai_response(self) -> Response {
        self.with_headers((self.status, Json(self.openai_body())).into_response())
    }

    /// The body of that answer.
    pub fn openai_body(&self) -> ErrorBody {
        let kind = match self.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        let error = ErrorDetail {
            message: self.message.clone(),
            kind: kind.to_owned(),
            param: self.param.map(str::to_owned),
            code: Some(self.code.to_owned()),
        };
        ErrorBody { error }
    }
}

impl IntoResponse for Failure {
    /// The answer in the shape of `/api/*`. The request id is in its header.
    fn into_response(self) -> Response {
        let body = ApiError {
            status: self.status.as_u16(),
            code: self.code.to_owned(),
            message: self.message.clone(),
            request_id: super::request_id::current_request_id(),
            retry_after_s: self.retry_after_s(),
        };
        self.with_headers((self.status, Json(body)).into_response())
    }
}

/// The server stops before the answer is complete.
pub(super) fn stopping() -> Failure {
    Failure::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "server_stopping",
        "The server is being stopped and could not finish this. Send the request again in a minute.",
    )
    .retry_after(Duration::from_secs(60))
}

/// A failure that is answered in OpenAI's shape.
#[derive(Debug)]
pub(crate) struct OpenAiFailure(pub Failure);

impl IntoResponse for OpenAiFailure {
    fn into_response(self) -> Response {
        self.0.into_openai_response()
    }
}

impl<E: Into<Failure>> From<E> for OpenAiFailure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Self {
        if error.is_disk_full() {
            return Failure::disk_full(&error);
        }
        Failure::internal(&error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::StorageFull {
            return Failure::disk_full(&error);
        }
        Failure::internal(&error)
    }
}

impl From<LibraryError> for Failure {
    fn from(error: LibraryError) -> Self {
        match error {
            LibraryError::UnknownCollection { .. } => Failure::not_found("collection"),
            LibraryError::UnknownDocument { .. } => Failure::not_found("document"),
            LibraryError::CollectionExists { .. } => {
                Failure::new(StatusCode::CONFLICT, "exists", sentence(&error.to_string()))
            }
            LibraryError::InvalidName { .. } => {
                Failure::invalid_param("name", sentence(&error.to_string()))
            }
            full if full.is_disk_full() => Failure::disk_full(&full),
            other => Failure::internal(&other),
        }
    }
}

impl From<rag::DiskFull> for Failure {
    fn from(error: rag::DiskFull) -> Self {
        Failure::disk_full(&error)
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        let reason = error.to_string();
        let message = sentence(&reason);
        match error {
            ModelError::Overloaded { retry_after, .. } => {
                Failure::new(StatusCode::TOO_MANY_REQUESTS, "overloaded", message)
                    .retry_after(retry_after)
            }
            ModelError::TooLong { .. } => Failure {
                param: Some("messages"),
                ..Failure::new(StatusCode::BAD_REQUEST, "context_length_exceeded", message)
            },
            ModelError::Invalid { .. } => Failure::invalid(message),
            // It begins with the field's name, which is written as it is spelled.
            ModelError::InvalidParam { param, .. } => {
                Failure::invalid_param(param, with_full_stop(reason))
            }
            ModelError::Stopped | ModelError::DeviceLost { .. } => {
                Failure::new(StatusCode::SERVICE_UNAVAILABLE, "model_stopped", message)
            }
        }
    }
}

impl From<ForgetError> for Failure {
    fn from(error: ForgetError) -> Self {
        match error {
            ForgetError::Library(error) => error.into(),
            ForgetError::Database(error) => error.into(),
        }
    }
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Library { source } => source.into(),
            AskError::Model(error) => error.into(),
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::UnknownConversation => Failure::not_found("conversation"),
            StartError::TooMuch(error) => error.into(),
            StartError::Database(error) => error.into(),
        }
    }
}

impl From<TooMuch> for Failure {
    fn from(error: TooMuch) -> Self {
        let message = sentence(&error.to_string());
        match error {
            TooMuch::Now { .. } => {
                Failure::new(StatusCode::TOO_MANY_REQUESTS, "too_many_answers", message)
                    .retry_after(error.retry_after())
            }
            TooMuch::Ever { .. } => Failure::invalid_param("n", message),
        }
    }
}

impl From<AccountError> for Failure {
    fn from(error: AccountError) -> Self {
        let message = sentence(&error.to_string());
        match error {
            AccountError::InvalidEmail { .. } => Failure::invalid_param("email", message),
            AccountError::InvalidPassword | AccountError::WeakPassword { .. } => {
                Failure::invalid_param("password", message)
            }
            AccountError::Exists { .. } => Failure::new(StatusCode::CONFLICT, "exists", message),
            AccountError::UnknownUser { .. } => {
                Failure::new(StatusCode::NOT_FOUND, "not_found", message)
            }
            AccountError::Suspended => Failure::new(StatusCode::FORBIDDEN, "suspended", message),
            AccountError::LastAdmin { .. } => {
                Failure::new(StatusCode::CONFLICT, "last_admin", message)
            }
            AccountError::WrongPassword => {
                Failure::new(StatusCode::FORBIDDEN, "wrong_password", message)
            }
            AccountError::WrongCredentials => {
                Failure::new(StatusCode::UNAUTHORIZED, "wrong_credentials", message)
            }
            AccountError::Throttled { retry_after } => {
                Failure::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", message)
                    .retry_after(retry_after)
            }
            AccountError::Crowded { retry_after } => {
                Failure::new(StatusCode::TOO_MANY_REQUESTS, "crowded", message)
                    .retry_after(retry_after)
            }
            AccountError::SetupLink => Failure::new(StatusCode::FORBIDDEN, "setup_link", message),
            AccountError::Database(error) => error.into(),
        }
    }
}

/// An error's text as a sentence for a person.
pub(crate) fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let Some(first) = characters.next() else {
        return String::new();
    };
    with_full_stop(first.to_uppercase().chain(characters).collect())
}

/// The same of a text that begins with a name.
pub(crate) fn with_full_stop(mut text: String) -> String {
    if !text.ends_with(['.', '!', '?']) {
        text.push('.');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> rusqlite::Error {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
        rusqlite::Error::SqliteFailure(code, None)
    }

    #[test]
    fn a_full_disk_is_507_whatever_could_not_be_written() {
        let room = rag::DiskFull {
            path: "/data".into(),
            free_bytes: 1,
            needed_bytes: 2,
        };
        let failures: Vec<Failure> = vec![
            DatabaseError::Sql(full()).into(),
            AccountError::Database(full().into()).into(),
            StartError::Database(full().into()).into(),
            LibraryError::from(full()).into(),
            LibraryError::from(room.clone()).into(),
            LibraryError::Store(room.clone().into()).into(),
            AskError::Library {
                source: full().into(),
            }
            .into(),
            room.into(),
            std::io::Error::from(std::io::ErrorKind::StorageFull).into(),
        ];
        for failure in failures {
            assert_eq!(
                failure.status,
                StatusCode::INSUFFICIENT_STORAGE,
                "{failure:?}"
            );
            assert_eq!(failure.code, "disk_full");
            assert!(!failure.message.contains("/data"), "{failure:?}");
            let openai = failure.into_openai_response();
            assert_eq!(openai.status(), StatusCode::INSUFFICIENT_STORAGE);
        }
        let other = Failure::from(DatabaseError::Sql(rusqlite::Error::InvalidQuery));
        assert_eq!(other.status, StatusCode::INTERNAL_SERVER_ERROR);
    }
}
