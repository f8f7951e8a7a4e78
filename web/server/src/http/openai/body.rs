//! Bodies of `/v1/*`.

use axum::extract::{FromRequest, Request};

use super::super::AppState;
use super::super::error::OpenAiFailure;
use super::super::json::object;
use super::parameters::{self, Endpoint, Parameters, Spellings};

/// Most bytes of a request for embeddings: 2,048 texts of as much as such a model reads, about 1 KiB, with room for
/// escapes.
const EMBEDDINGS_BODY_BYTES: usize = 8 << 20;

/// A JSON body of `/v1/*`, read by the table of parameters, and how it spelled them.
pub(in super::super) struct OpenAiJson<T>(pub T, pub Spellings);

impl<T: Parameters> FromRequest<AppState> for OpenAiJson<T> {
    type Rejection = OpenAiFailure;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, OpenAiFailure> {
        let limit = match T::ENDPOINT {
            Endpoint::Embeddings => EMBEDDINGS_BODY_BYTES.max(state.suite.config.max_body_bytes),
            Endpoint::Chat | Endpoint::Completions => state.suite.config.max_body_bytes,
        };
        let body = object(limit, request, &state.suite).await?;
        let (request, spellings) = parameters::read(body, state.suite.embedder.dim())?;
        Ok(OpenAiJson(request, spellings))
    }
}
