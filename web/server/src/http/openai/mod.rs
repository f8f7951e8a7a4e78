//! `/v1/*`: OpenAI's API, so that existing clients work, with `collections` and `citations` added.
//!
//! Every field that is honoured is described at its type in [`web_api::openai`]; [`parameters`] says what is done with the
//! others. With `collections`, `n` above 1, `logprobs`, `top_logprobs` and `ignore_eos` are refused.

mod answers;
mod body;
pub(super) mod chat;
pub(super) mod completions;
mod conversation;
mod documents;
pub(super) mod embeddings;
mod logprobs;
mod messages;
pub(super) mod models;
pub(super) mod parameters;
mod sampling;

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use axum::response::sse::Event as SseEvent;
use futures_util::{Stream, StreamExt, stream};
use inference::EngineError;
use uuid::Uuid;
use web_api::openai::CompletionUsage;

use super::error::{Failure, OpenAiFailure, stopping};
use super::sse;
use crate::db::now_ms;
use crate::model::{LanguageModel, ModelError};
use crate::suite::Suite;

/// `/v1` itself and any other path under it.
pub(super) async fn not_found() -> OpenAiFailure {
    OpenAiFailure(Failure::not_found("address under /v1/"))
}

/// What all parts of one answer share.
#[derive(Clone)]
struct Head {
    id: String,
    created: i64,
    model: String,
    system_fingerprint: String,
}

impl Head {
    fn new(prefix: &str, model: &dyn LanguageModel) -> Self {
        Self {
            id: format!("{prefix}-{}", Uuid::new_v4().simple()),
            created: now_ms() / 1000,
            model: model.name().to_owned(),
            system_fingerprint: fingerprint(model),
        }
    }
}

/// The same for as long as the same program runs the same model file.
fn fingerprint(model: &dyn LanguageModel) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let text = format!("{version} {} {}", model.created(), model.name());
    format!("fp_{}", &blake3::hash(text.as_bytes()).to_hex()[..10])
}

/// The language model, if it is the one asked for, by its own name or another that the configuration gives it.
fn language_model(suite: &Suite, name: Option<&str>) -> Result<Arc<dyn LanguageModel>, Failure> {
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
    match name {
        Some(name) if suite.config.model_of(name) != model.name() => {
            let embedder = (suite.embedder.name(), "an embedding model");
            Err(unknown_model(suite, name, model.name(), Some(embedder)))
        }
        _ => Ok(Arc::clone(model)),
    }
}

/// The error of a name that is not that of the model `there`, which does this work; `other` is the one that does the other.
fn unknown_model(suite: &Suite, asked: &str, there: &str, other: Option<(&str, &str)>) -> Failure {
    let shown: String = asked.chars().take(100).collect();
    let message = match other {
        Some((name, what)) if suite.config.model_of(asked) == name => {
            format!("`{shown}` is {what}; use `{there}` here (see GET /v1/models).")
        }
        _ => format!("There is no model `{shown}` here; use `{there}` (see GET /v1/models)."),
    };
    Failure {
        param: Some("model"),
        ..Failure::new(StatusCode::NOT_FOUND, "model_not_found", message)
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

/// Why a generation did not start; `prompt` is the parameter that holds the prompt.
fn not_started(error: ModelError, prompt: &'static str) -> Failure {
    match error {
        ModelError::TooLong {
            prompt_tokens,
            max_tokens,
            limit,
        } => {
            let room = limit.saturating_sub(prompt_tokens);
            let (param, message) = match room {
                0 => (
                    prompt,
                    format!(
                        "{prompt} has {prompt_tokens} tokens, but the model holds {limit}, the answer included; shorten it."
                    ),
                ),
                _ => (
                    "max_tokens",
                    format!(
                        "max_tokens is {max_tokens}, but the model holds {limit} tokens and {prompt} takes {prompt_tokens} of them; \
                         ask for {room} or fewer, or shorten {prompt}."
                    ),
                ),
            };
            Failure {
                param: Some(param),
                ..Failure::new(StatusCode::BAD_REQUEST, "context_length_exceeded", message)
            }
        }
        ModelError::Invalid { .. } => Failure {
            param: Some(prompt),
            ..error.into()
        },
        other => other.into(),
    }
}

/// A response that streams an answer and then `[DONE]`.
fn respond(suite: &Suite, events: impl Stream<Item = SseEvent> + Send + 'static) -> Response {
    let events = events.chain(stream::iter([sse::done()]));
    sse::respond(suite, events, sse::last_words_openai(&stopping()))
}

/// The model broke down in the middle.
fn broken(reason: &str) -> Failure {
    Failure::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "generation_failed",
        reason,
    )
}
