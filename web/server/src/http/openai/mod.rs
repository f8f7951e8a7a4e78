//! `/v1/*`: OpenAI's API, so that existing clients work, with `collections` and `citations` added.
//!
//! Every field that is honoured is described at its type in [`web_api::openai`]. With `collections`, `n` above 1,
//! `logprobs`, `top_logprobs` and `ignore_eos` are refused, `tools` and a `response_format` other than text always; other
//! unknown fields are ignored everywhere.

mod answers;
pub(super) mod chat;
pub(super) mod completions;
pub(super) mod embeddings;
mod logprobs;
pub(super) mod models;
mod sampling;

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::sse::Event as SseEvent;
use inference::EngineError;
use uuid::Uuid;
use web_api::openai::CompletionUsage;

use super::error::{Failure, OpenAiFailure};
use super::sse;
use crate::db::now_ms;
use crate::model::LanguageModel;
use crate::suite::Suite;

/// Any other path under `/v1/`.
pub(super) async fn not_found() -> OpenAiFailure {
    OpenAiFailure(Failure::not_found("address under /v1/"))
}

/// What all parts of one answer share.
#[derive(Clone)]
struct Head {
    id: String,
    created: i64,
    model: String,
}

impl Head {
    fn new(prefix: &str, model: &str) -> Self {
        Self {
            id: format!("{prefix}-{}", Uuid::new_v4().simple()),
            created: now_ms() / 1000,
            model: model.to_owned(),
        }
    }
}

/// The language model, if it is the one asked for.
fn language_model(suite: &Suite, name: &str) -> Result<Arc<dyn LanguageModel>, Failure> {
    let Some(model) = &suite.model else {
        return Err(Failure {
            param: Some("model"),
            ..Failure::new(
                StatusCode::NOT_FOUND,
                "model_not_found",
                suite.config.how_to_add_model.clone(),
            )
        });
    };
    if model.name() == name {
        return Ok(Arc::clone(model));
    }
    Err(unknown_model(name, model.name()))
}

fn unknown_model(asked: &str, there: &str) -> Failure {
    let asked: String = asked.chars().take(100).collect();
    Failure {
        param: Some("model"),
        ..Failure::new(
            StatusCode::NOT_FOUND,
            "model_not_found",
            format!("There is no model `{asked}` here; use `{there}` (see GET /v1/models)."),
        )
    }
}

fn usage(prompt_tokens: usize, completion_tokens: usize) -> CompletionUsage {
    CompletionUsage {
        prompt_tokens,
        completion_tokens,
        total_tokens: prompt_tokens + completion_tokens,
    }
}

/// The model failed in the middle of an answer.
fn model_failed(error: &EngineError) -> String {
    let advice = match error {
        EngineError::Device(_) => "",
        _ => " Try again.",
    };
    format!("The language model failed: {error}.{advice}")
}

/// The line of a stream that tells of a failure after 200 was sent.
fn error_event(reason: &str) -> SseEvent {
    let failure = broken(reason);
    sse::json(&serde_json::json!({
        "error": { "message": failure.message, "type": "server_error", "param": null, "code": failure.code }
    }))
}

/// The model broke down in the middle.
fn broken(reason: &str) -> Failure {
    Failure::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "generation_failed",
        reason,
    )
}
