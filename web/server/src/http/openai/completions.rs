//! `POST /v1/completions`: text in, continuation out.

use std::sync::Arc;

use axum::Json as JsonResponse;
use axum::extract::State;
use axum::response::sse::Event as SseEvent;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use inference::{Event, FinishReason, Priority};
use web_api::openai::{Completion, CompletionChoice, CompletionRequest, CompletionUsage};

use super::super::error::{Failure, OpenAiFailure};
use super::super::json::OpenAiJson;
use super::super::sse;
use super::chat::finish_reason;
use super::sampling::sampling_params;
use super::{Head, broken, language_model, usage};
use crate::model::ModelStream;
use crate::suite::{Suite, join};

/// OpenAI's default of this endpoint.
const DEFAULT_MAX_TOKENS: usize = 16;

pub(crate) async fn completions(
    State(suite): State<Arc<Suite>>,
    OpenAiJson(request): OpenAiJson<CompletionRequest>,
) -> Result<Response, OpenAiFailure> {
    let model = language_model(&suite, &request.model)?;
    let mut prompts = request.prompt.into_vec();
    let prompt = prompts
        .pop()
        .filter(|prompt| prompts.is_empty() && !prompt.is_empty());
    let prompt = prompt.ok_or_else(|| {
        Failure::invalid_param(
            "prompt",
            "prompt must be exactly one text that is not empty.",
        )
    })?;
    let sampling = sampling_params(&request.sampling, 1.0, DEFAULT_MAX_TOKENS)?;
    let head = Head::new("cmpl", model.name());
    let started =
        tokio::task::spawn_blocking(move || model.complete(&prompt, sampling, Priority::Api));
    let generated = join(started.await)?;
    if request.stream {
        let with_usage = request
            .stream_options
            .is_some_and(|options| options.include_usage);
        return Ok(stream_chunks(generated, head, with_usage));
    }
    Ok(collect(generated, head).await?)
}

async fn collect(mut generated: ModelStream, head: Head) -> Result<Response, Failure> {
    let mut text = String::new();
    while let Some(event) = generated.next().await {
        match event {
            Event::Delta { text: piece, .. } => text.push_str(&piece),
            Event::Finished {
                reason,
                usage: counted,
                ..
            } => {
                let counted = usage(counted.prompt_tokens, counted.completion_tokens);
                return Ok(JsonResponse(completion(
                    &head,
                    Some((text, Some(reason))),
                    Some(counted),
                ))
                .into_response());
            }
            Event::Failed(error) => {
                return Err(broken(&format!(
                    "The language model failed: {error}. Try again."
                )));
            }
        }
    }
    Err(broken("The language model stopped. Try again."))
}

fn stream_chunks(generated: ModelStream, head: Head, with_usage: bool) -> Response {
    let events = generated.flat_map(move |event| {
        stream::iter(match event {
            Event::Delta { text, .. } if text.is_empty() => Vec::new(),
            Event::Delta { text, .. } => vec![sse::json(&completion(&head, Some((text, None)), None))],
            Event::Finished { reason, usage: counted, .. } => {
                let mut last = vec![sse::json(&completion(&head, Some((String::new(), Some(reason))), None))];
                if with_usage {
                    let counted = usage(counted.prompt_tokens, counted.completion_tokens);
                    last.push(sse::json(&completion(&head, None, Some(counted))));
                }
                last
            }
            Event::Failed(error) => {
                let failure = broken(&format!("The language model failed: {error}. Try again."));
                vec![sse::json(&serde_json::json!({
                    "error": { "message": failure.message, "type": "server_error", "param": null, "code": failure.code }
                }))]
            }
        })
    });
    sse::respond(events.chain(stream::iter([SseEvent::default().data("[DONE]")])))
}

fn completion(
    head: &Head,
    choice: Option<(String, Option<FinishReason>)>,
    usage: Option<CompletionUsage>,
) -> Completion {
    Completion {
        id: head.id.clone(),
        object: "text_completion".to_owned(),
        created: head.created,
        model: head.model.clone(),
        choices: choice
            .map(|(text, reason)| CompletionChoice {
                index: 0,
                text,
                finish_reason: reason.map(finish_reason),
            })
            .into_iter()
            .collect(),
        usage,
    }
}
