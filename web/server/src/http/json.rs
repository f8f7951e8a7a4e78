//! JSON bodies and queries whose rejections have the right shape.

use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::error::{Failure, OpenAiFailure};

/// A JSON body of `/api/*`.
pub(super) struct Json<T>(pub T);

/// A JSON body of `/v1/*`.
pub(super) struct OpenAiJson<T>(pub T);

/// The query of an address under `/api/*`.
pub(super) struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Query(value)),
            Err(rejection) => Err(Failure::invalid(format!(
                "The address cannot be read: {}",
                rejection.body_text()
            ))),
        }
    }
}

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
        // The parser may quote what was sent; it goes to the sender alone, and not into the log.
        Err(rejection) => Err(Failure::invalid(format!(
            "The request cannot be read: {}",
            rejection.body_text()
        ))),
    }
}
