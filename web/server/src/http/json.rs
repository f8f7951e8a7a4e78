//! JSON bodies whose rejections have the right shape.

use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;

use super::error::{Failure, OpenAiFailure};

/// A JSON body of `/api/*`.
pub(super) struct Json<T>(pub T);

/// A JSON body of `/v1/*`.
pub(super) struct OpenAiJson<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        parse(request, state).await.map(Json)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for OpenAiJson<T> {
    type Rejection = OpenAiFailure;

    async fn from_request(request: Request, state: &S) -> Result<Self, OpenAiFailure> {
        parse(request, state)
            .await
            .map(OpenAiJson)
            .map_err(OpenAiFailure)
    }
}

async fn parse<S: Send + Sync, T: DeserializeOwned>(
    request: Request,
    state: &S,
) -> Result<T, Failure> {
    match axum::Json::<T>::from_request(request, state).await {
        Ok(axum::Json(value)) => Ok(value),
        Err(JsonRejection::MissingJsonContentType(_)) => Err(Failure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not_json",
            "The request must be JSON: send the header `Content-Type: application/json`.",
        )),
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            "The request's body is too large.",
        )),
        // The parser's words name the field and the place, not the text around it.
        Err(rejection) => Err(Failure::invalid(format!(
            "The request cannot be read: {}",
            rejection.body_text()
        ))),
    }
}
