//! `POST /v1/completions`: text in, continuation out.

use std::sync::Arc;

use axum::Json as JsonResponse;
use axum::extract::State;
use axum::response::sse::Event as SseEvent;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use inference::{Event, FinishReason, Priority, SamplingParams, TokenLogprobs};
use web_api::openai::{Completion, CompletionChoice, CompletionRequest, CompletionUsage};

use super::super::error::{Failure, OpenAiFailure};
use super::super::json::OpenAiJson;
use super::super::sse;
use super::answers::{AnswerStream, num_answers, start_answers};
use super::chat::{added, finish_reason};
use super::logprobs::{CompletionOffsets, in_range};
use super::sampling::sampling_params;
use super::{Head, broken, error_event, language_model, model_failed, usage};
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
    let n = num_answers(request.sampling.n)?;
    let logprobs = request
        .logprobs
        .map(|count| in_range("logprobs", count))
        .transpose()?;
    let sampling = SamplingParams {
        logprobs,
        ..sampling_params(&request.sampling, 1.0, DEFAULT_MAX_TOKENS)?
    };
    let head = Head::new("cmpl", model.name());
    let started = tokio::task::spawn_blocking(move || {
        let start = |sampling| model.complete(&prompt, sampling, Priority::Api);
        start_answers(n, &sampling, start)
    });
    let generated = join(started.await)?;
    if request.stream {
        let with_usage = request
            .stream_options
            .is_some_and(|options| options.include_usage);
        return Ok(stream_chunks(generated, n, head, with_usage));
    }
    Ok(collect(generated, n, head).await?)
}

async fn collect(mut generated: AnswerStream, n: usize, head: Head) -> Result<Response, Failure> {
    let mut choices: Vec<CompletionChoice> =
        (0..n).map(|index| choice(index, String::new())).collect();
    let mut logprobs: Vec<Vec<TokenLogprobs>> = vec![Vec::new(); n];
    let mut total = CompletionUsage::default();
    while let Some((index, event)) = generated.next().await {
        match event {
            Event::Delta {
                text,
                logprobs: more,
                ..
            } => {
                choices[index].text.push_str(&text);
                logprobs[index].extend(more);
            }
            Event::Finished {
                reason,
                usage: counted,
                ..
            } => {
                choices[index].finish_reason = Some(finish_reason(reason));
                let counted = usage(counted.prompt_tokens, counted.completion_tokens);
                total = added(total, counted);
            }
            Event::Failed(error) => return Err(broken(&model_failed(&error))),
        }
        if choices.iter().all(|choice| choice.finish_reason.is_some()) {
            for (choice, logprobs) in choices.iter_mut().zip(logprobs) {
                choice.logprobs = CompletionOffsets::default().next(logprobs);
            }
            return Ok(JsonResponse(completion(&head, choices, Some(total))).into_response());
        }
    }
    Err(broken("The language model stopped. Try again."))
}

/// What a stream of several answers remembers between its chunks.
struct Chunks {
    head: Head,
    /// One an answer.
    offsets: Vec<CompletionOffsets>,
    unfinished: usize,
    with_usage: bool,
    usage: CompletionUsage,
    is_broken: bool,
}

fn stream_chunks(generated: AnswerStream, n: usize, head: Head, with_usage: bool) -> Response {
    let chunks = Chunks {
        head,
        offsets: (0..n).map(|_| CompletionOffsets::default()).collect(),
        unfinished: n,
        with_usage,
        usage: CompletionUsage::default(),
        is_broken: false,
    };
    let events = generated
        .scan(chunks, |chunks, (index, event)| {
            // After a failure the stream ends, which cancels the other answers.
            let events = (!chunks.is_broken).then(|| chunks.of_event(index, event));
            std::future::ready(events.map(stream::iter))
        })
        .flatten();
    sse::respond(events.chain(stream::iter([SseEvent::default().data("[DONE]")])))
}

impl Chunks {
    fn of_event(&mut self, index: usize, event: Event) -> Vec<SseEvent> {
        match event {
            Event::Delta { text, logprobs, .. } if text.is_empty() && logprobs.is_empty() => {
                Vec::new()
            }
            Event::Delta { text, logprobs, .. } => {
                let logprobs = self.offsets[index].next(logprobs);
                let choice = CompletionChoice {
                    logprobs,
                    ..choice(index, text)
                };
                vec![sse::json(&completion(&self.head, vec![choice], None))]
            }
            Event::Finished {
                reason,
                usage: counted,
                ..
            } => self.end(
                index,
                reason,
                usage(counted.prompt_tokens, counted.completion_tokens),
            ),
            Event::Failed(error) => {
                self.is_broken = true;
                vec![error_event(&model_failed(&error))]
            }
        }
    }

    fn end(
        &mut self,
        index: usize,
        reason: FinishReason,
        counted: CompletionUsage,
    ) -> Vec<SseEvent> {
        let last = CompletionChoice {
            finish_reason: Some(finish_reason(reason)),
            ..choice(index, String::new())
        };
        self.usage = added(self.usage, counted);
        self.unfinished -= 1;
        let mut events = vec![sse::json(&completion(&self.head, vec![last], None))];
        if self.with_usage && self.unfinished == 0 {
            events.push(sse::json(&completion(
                &self.head,
                Vec::new(),
                Some(self.usage),
            )));
        }
        events
    }
}

fn choice(index: usize, text: String) -> CompletionChoice {
    CompletionChoice {
        index,
        text,
        logprobs: None,
        finish_reason: None,
    }
}

fn completion(
    head: &Head,
    choices: Vec<CompletionChoice>,
    usage: Option<CompletionUsage>,
) -> Completion {
    Completion {
        id: head.id.clone(),
        object: "text_completion".to_owned(),
        created: head.created,
        model: head.model.clone(),
        choices,
        usage,
    }
}
