//! `POST /v1/embeddings`, as numbers or as base64.

use std::sync::Arc;
use std::time::Duration;

use axum::Json as JsonResponse;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use web_api::openai::{
    Embedding, EmbeddingRequest, EmbeddingResponse, EmbeddingUsage, EmbeddingVector,
};

use super::super::error::{Failure, OpenAiFailure};
use super::super::json::OpenAiJson;
use super::unknown_model;
use crate::suite::{Suite, join};

/// Texts of a request. More would let one request hold the embedder for long.
const MOST_TEXTS: usize = 256;
/// A request that waits longer for its turn is sent away.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

pub(crate) async fn embeddings(
    State(suite): State<Arc<Suite>>,
    OpenAiJson(request): OpenAiJson<EmbeddingRequest>,
) -> Result<JsonResponse<EmbeddingResponse>, OpenAiFailure> {
    let embedder = Arc::clone(&suite.embedder);
    if request.model != embedder.name() {
        return Err(OpenAiFailure(unknown_model(
            &request.model,
            embedder.name(),
        )));
    }
    let base64 = match request.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => {
            return Err(OpenAiFailure(Failure::invalid_param(
                "encoding_format",
                "encoding_format is float or base64.",
            )));
        }
    };
    let texts = request.input.into_vec();
    if texts.is_empty() || texts.len() > MOST_TEXTS || texts.iter().any(String::is_empty) {
        return Err(OpenAiFailure(Failure::invalid_param(
            "input",
            format!("input takes 1 to {MOST_TEXTS} texts, none of them empty."),
        )));
    }
    let _permit = match tokio::time::timeout(LONGEST_WAIT, suite.embedding.acquire()).await {
        Ok(permit) => permit,
        Err(_) => {
            return Err(OpenAiFailure(Failure::busy(
                "The embedding model is busy; try again in a few seconds.",
            )));
        }
    };
    let model = embedder.name().to_owned();
    let (vectors, tokens) = join(
        tokio::task::spawn_blocking(move || {
            let tokens = texts
                .iter()
                .map(|text| embedder.count_tokens(text).min(embedder.max_tokens()))
                .sum();
            embedder.embed(&texts).map(|vectors| (vectors, tokens))
        })
        .await,
    )
    .map_err(|error| Failure::from(rag::LibraryError::from(error)))?;
    let data = vectors
        .into_iter()
        .enumerate()
        .map(|(index, vector)| embedding(index, vector, base64))
        .collect();
    let usage = EmbeddingUsage {
        prompt_tokens: tokens,
        total_tokens: tokens,
    };
    Ok(JsonResponse(EmbeddingResponse {
        object: "list".to_owned(),
        data,
        model,
        usage,
    }))
}

fn embedding(index: usize, vector: Vec<f32>, base64: bool) -> Embedding {
    let embedding = if base64 {
        let bytes: Vec<u8> = vector
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        EmbeddingVector::Base64(STANDARD.encode(bytes))
    } else {
        EmbeddingVector::Float(vector)
    };
    Embedding {
        object: "embedding".to_owned(),
        index,
        embedding,
    }
}
