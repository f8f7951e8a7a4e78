//! JSON bodies and queries whose rejections have the right shape.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;

use super::AppState;
use super::body::{is_stalled, too_slow};
use super::error::{Failure, OpenAiFailure};
use super::openai::parameters::{self, Endpoint, Parameters, Spellings};
use crate::auth::CurrentUser;

/// How much of a body that is too large is read and dropped. A client that is still sending when the connection closes sees a
/// broken connection and not the answer that says why.
const DRAINED_BYTES: usize = 16 << 20;

/// Largest body of somebody who is not signed in: an address and a password. Whoever holds many such bodies open holds no memory.
const STRANGERS_BODY_BYTES: usize = 16 << 10;
/// A JSON body has arrived by then. 2 MiB need a line of 35 kB/s, the 8 MiB of embeddings one of 140 kB/s.
const LONGEST_ARRIVAL: Duration = Duration::from_secs(60);
/// Most bytes of a request for embeddings: 2,048 texts of as much as such a model reads, about 1 KiB, with room for
/// escapes.
const EMBEDDINGS_BODY_BYTES: usize = 8 << 20;

/// A JSON body of `/api/*`.
pub(super) struct Json<T>(pub T);

/// A JSON body of `/v1/*`, read by the table of parameters, and how it spelled them.
pub(super) struct OpenAiJson<T>(pub T, pub Spellings);

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

impl<T: DeserializeOwned> FromRequest<AppState> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Failure> {
        parse(request, state).await.map(Json)
    }
}

impl<T: Parameters> FromRequest<AppState> for OpenAiJson<T> {
    type Rejection = OpenAiFailure;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, OpenAiFailure> {
        let limit = match T::ENDPOINT {
            Endpoint::Embeddings => EMBEDDINGS_BODY_BYTES.max(state.suite.config.max_body_bytes),
            Endpoint::Chat | Endpoint::Completions => state.suite.config.max_body_bytes,
        };
        let body = parse_at_most(limit, request, state).await?;
        let (request, spellings) = parameters::read(body, state.suite.embedder.dim())?;
        Ok(OpenAiJson(request, spellings))
    }
}

async fn parse<T: DeserializeOwned>(request: Request, state: &AppState) -> Result<T, Failure> {
    parse_at_most(state.suite.config.max_body_bytes, request, state).await
}

async fn parse_at_most<T: DeserializeOwned>(
    limit: usize,
    request: Request,
    state: &AppState,
) -> Result<T, Failure> {
    let (parts, body) = request.into_parts();
    // The guard of the route has run.
    let limit = match parts.extensions.get::<CurrentUser>() {
        Some(_) => limit,
        None => limit.min(STRANGERS_BODY_BYTES),
    };
    let body = tokio::time::timeout(LONGEST_ARRIVAL, read_body(body, limit))
        .await
        .map_err(|_| too_slow())??;
    let mut request = Request::from_parts(parts, Body::from(body));
    // The limit has been kept; the extractor has its own, which is that of other bodies.
    DefaultBodyLimit::disable().apply(&mut request);
    match axum::Json::<T>::from_request(request, state).await {
        Ok(axum::Json(value)) => Ok(value),
        Err(JsonRejection::MissingJsonContentType(_)) => Err(Failure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not_json",
            "The request must be JSON: send the header `Content-Type: application/json`.",
        )),
        // The parser may quote what was sent; it goes to the sender alone, and not into the log.
        Err(rejection) => Err(Failure::invalid(format!(
            "The request cannot be read: {}",
            rejection.body_text()
        ))),
    }
}

/// Reads a body of at most `limit` bytes; of a larger one up to [`DRAINED_BYTES`] are read before it is refused.
async fn read_body(body: Body, limit: usize) -> Result<Bytes, Failure> {
    let mut pieces = body.into_data_stream();
    let mut read = Vec::new();
    let mut length = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| match is_stalled(&error) {
            true => too_slow(),
            false => Failure::invalid("The request broke off. Send it again."),
        })?;
        length += piece.len();
        if length <= limit {
            read.extend_from_slice(&piece);
        } else if length > DRAINED_BYTES {
            break;
        }
    }
    if length > limit {
        return Err(Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            format!(
                "The request's body is larger than {} KiB, the most that is read.",
                limit / 1024
            ),
        ));
    }
    Ok(read.into())
}
