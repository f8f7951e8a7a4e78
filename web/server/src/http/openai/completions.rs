//! `POST /v1/completions`: text in, continuation out.

use std::sync::Arc;

use axum::Extension;
use axum::Json as JsonResponse;
use axum::extract::State;
use axum::response::sse::Event as SseEvent;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use inference::{Event, FinishReason, SamplingParams, TokenLogprobs};
use web_api::openai::{
    Completion, CompletionChoice, CompletionRequest, CompletionUsage, Input, TextOrTokens,
};

use super::super::error::{Failure, OpenAiFailure};
use super::super::sse;
use super::answers::{AnswerStream, Wanted, num_answers, start_answers};
use super::body::OpenAiJson;
use super::chat::finish_reason;
use super::logprobs::{CompletionOffsets, in_range};
use super::sampling::{sampling_params, token_limit};
use super::{Head, broken, language_model, model_failed, not_started, respond, usage};
use crate::auth::CurrentUser;
use crate::blocking::join;
use crate::model::{LanguageModel, ModelError};
use crate::suite::Suite;

/// OpenAI's default of this endpoint.
const DEFAULT_MAX_TOKENS: usize = 16;

/// Choices of a request. Those for which the person has no place are written after the others.
const MOST_CHOICES: usize = 32;

pub(crate) async fn completions(
    State(suite): State<Arc<Suite>>,
    Extension(user): Extension<CurrentUser>,
    OpenAiJson(request, spellings): OpenAiJson<CompletionRequest>,
) -> Result<Response, OpenAiFailure> {
    let response = complete(&suite, &user, request).await;
    response.map_err(|failure| OpenAiFailure(spellings.in_failure(failure)))
}

async fn complete(
    suite: &Suite,
    user: &CurrentUser,
    request: CompletionRequest,
) -> Result<Response, Failure> {
    let model = language_model(suite, request.model.as_deref())?;
    let n = num_answers(request.sampling.n)?;
    let prompts = checked_prompts(request.prompt, n)?;
    let logprobs = request
        .logprobs
        .map(|count| in_range("logprobs", count))
        .transpose()?;
    let fields = request.sampling;
    let unlimited = fields.max_tokens.is_some() && token_limit(&fields)?.is_none();
    let default = match unlimited {
        true => suite.config.default_max_tokens.unwrap_or(usize::MAX),
        false => DEFAULT_MAX_TOKENS,
    };
    let head = Head::new("cmpl", &*model);
    let num_choices = prompts.len() * n;
    // The answers to one prompt are what one request wants at once; of a list of prompts the rest waits for its turn.
    let at_once = num_choices.min(suite.config.max_answers_per_user.max(n));
    let places = suite.places(user, at_once)?;
    let started = tokio::task::spawn_blocking(move || {
        let prompts: Vec<Vec<u32>> = prompts
            .into_iter()
            .map(|prompt| match prompt {
                TextOrTokens::Text(text) => model.encode_text(&text),
                TextOrTokens::Tokens(ids) => ids,
            })
            .collect();
        // What nobody asked for must not be what is too long.
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
        let room = model.context_len().saturating_sub(longest);
        let sampling = SamplingParams {
            logprobs,
            ..sampling_params(&fields, 1.0, default.min(room).max(1))?
        };
        check_length(&*model, longest, sampling.max_tokens)?;
        let prompt_tokens = prompts.iter().map(Vec::len).sum();
        let wanted = Wanted {
            prompts,
            n,
            sampling,
            at_once,
        };
        let answers = start_answers(model, wanted);
        let answers = answers.map_err(|error| not_started(error, "prompt"))?;
        Ok::<_, Failure>(Generated {
            answers,
            num_choices,
            prompt_tokens,
        })
    });
    let mut generated = join(started.await)?;
    generated.answers = Box::pin(places.hold(generated.answers));
    if request.stream {
        let with_usage = request
            .stream_options
            .is_some_and(|options| options.include_usage == Some(true));
        return Ok(stream_chunks(suite, generated, head, with_usage));
    }
    collect(generated, head).await
}

/// The choices of a request, being written.
struct Generated {
    answers: AnswerStream,
    num_choices: usize,
    /// Of all prompts, each counted once.
    prompt_tokens: usize,
}

fn checked_prompts(input: Input, n: usize) -> Result<Vec<TextOrTokens>, Failure> {
    let prompts = input.into_vec();
    if prompts.is_empty() || prompts.iter().any(TextOrTokens::is_empty) {
        let reason = "prompt must be one or more texts or lists of token ids, none of them empty.";
        return Err(Failure::invalid_param("prompt", reason));
    }
    let num_choices = prompts.len() * n;
    if num_choices > MOST_CHOICES {
        let reason = format!(
            "prompt and n ask for {num_choices} choices; one request may ask for {MOST_CHOICES}. Send fewer prompts."
        );
        return Err(Failure::invalid_param("prompt", reason));
    }
    Ok(prompts)
}

/// Checks the longest prompt before the first one starts; its own turn may come when half of the answer has been sent.
fn check_length(
    model: &dyn LanguageModel,
    prompt_tokens: usize,
    max_tokens: usize,
) -> Result<(), Failure> {
    let limit = model.context_len();
    if prompt_tokens.saturating_add(max_tokens) <= limit {
        return Ok(());
    }
    let error = ModelError::TooLong {
        prompt_tokens,
        max_tokens,
        limit,
    };
    Err(not_started(error, "prompt"))
}

async fn collect(generated: Generated, head: Head) -> Result<Response, Failure> {
    let Generated {
        mut answers,
        num_choices,
        prompt_tokens,
    } = generated;
    let choices = (0..num_choices).map(|index| choice(index, String::new()));
    let mut choices: Vec<CompletionChoice> = choices.collect();
    let mut logprobs: Vec<Vec<TokenLogprobs>> = vec![Vec::new(); num_choices];
    let mut completion_tokens = 0;
    while let Some((index, event)) = answers.next().await {
        match event {
            Ok(Event::Delta {
                text,
                logprobs: more,
                ..
            }) => {
                choices[index].text.push_str(&text);
                logprobs[index].extend(more);
            }
            Ok(Event::Finished {
                reason,
                usage: counted,
                ..
            }) => {
                choices[index].finish_reason = Some(finish_reason(reason));
                completion_tokens += counted.completion_tokens;
            }
            Ok(Event::Failed(error)) => return Err(broken(&model_failed(&error))),
            Err(error) => return Err(not_started(error, "prompt")),
        }
        if choices.iter().all(|choice| choice.finish_reason.is_some()) {
            for (choice, logprobs) in choices.iter_mut().zip(logprobs) {
                choice.logprobs = CompletionOffsets::default().next(logprobs);
            }
            let total = Some(Some(usage(prompt_tokens, completion_tokens)));
            return Ok(JsonResponse(completion(&head, choices, total)).into_response());
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

fn stream_chunks(suite: &Suite, generated: Generated, head: Head, with_usage: bool) -> Response {
    let choices = 0..generated.num_choices;
    let chunks = Chunks {
        head,
        offsets: choices.map(|_| CompletionOffsets::default()).collect(),
        unfinished: generated.num_choices,
        with_usage,
        usage: usage(generated.prompt_tokens, 0),
        is_broken: false,
    };
    let events = generated
        .answers
        .scan(chunks, |chunks, (index, event)| {
            // After a failure the stream ends, which cancels the other answers.
            let events = (!chunks.is_broken).then(|| chunks.of_event(index, event));
            std::future::ready(events.map(stream::iter))
        })
        .flatten();
    respond(suite, events)
}

impl Chunks {
    fn of_event(&mut self, index: usize, event: Result<Event, ModelError>) -> Vec<SseEvent> {
        match event {
            Ok(Event::Delta { text, logprobs, .. }) if text.is_empty() && logprobs.is_empty() => {
                Vec::new()
            }
            Ok(Event::Delta { text, logprobs, .. }) => {
                let logprobs = self.offsets[index].next(logprobs);
                let choice = CompletionChoice {
                    logprobs,
                    ..choice(index, text)
                };
                vec![self.chunk(vec![choice], None)]
            }
            Ok(Event::Finished {
                reason,
                usage: counted,
                ..
            }) => self.end(index, reason, counted.completion_tokens),
            Ok(Event::Failed(error)) => {
                self.is_broken = true;
                vec![sse::error_event(&broken(&model_failed(&error)))]
            }
            Err(error) => {
                self.is_broken = true;
                vec![sse::error_event(&not_started(error, "prompt"))]
            }
        }
    }

    fn end(
        &mut self,
        index: usize,
        reason: FinishReason,
        completion_tokens: usize,
    ) -> Vec<SseEvent> {
        let last = CompletionChoice {
            finish_reason: Some(finish_reason(reason)),
            ..choice(index, String::new())
        };
        let so_far = self.usage;
        self.usage = usage(
            so_far.prompt_tokens,
            so_far.completion_tokens + completion_tokens,
        );
        self.unfinished -= 1;
        let mut events = vec![self.chunk(vec![last], None)];
        if self.with_usage && self.unfinished == 0 {
            events.push(self.chunk(Vec::new(), Some(self.usage)));
        }
        events
    }

    fn chunk(&self, choices: Vec<CompletionChoice>, usage: Option<CompletionUsage>) -> SseEvent {
        let usage = self.with_usage.then_some(usage);
        sse::json(&completion(&self.head, choices, usage))
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
    usage: Option<Option<CompletionUsage>>,
) -> Completion {
    Completion {
        id: head.id.clone(),
        object: "text_completion".to_owned(),
        created: head.created,
        model: head.model.clone(),
        system_fingerprint: head.system_fingerprint.clone(),
        choices,
        usage,
    }
}
