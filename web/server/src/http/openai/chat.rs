//! `POST /v1/chat/completions`: the model alone, or, with `collections`, an answer from the documents with citations.

use std::sync::Arc;

use axum::Extension;
use axum::Json as JsonResponse;
use axum::extract::State;
use axum::response::sse::Event as SseEvent;
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use inference::{
    AnswerParts, Conversation, Event, FinishReason, Priority, ReasoningReader, Role,
    SamplingParams, TokenLogprobs, Turn,
};
use web_api::AnswerEvent;
use web_api::openai::{
    AssistantMessage, ChatChoice, ChatChunkChoice, ChatCompletion, ChatCompletionChunk,
    ChatCompletionRequest, ChatDelta, CompletionUsage,
};

use super::super::error::{Failure, OpenAiFailure, sentence};
use super::super::question::{checked_question, named_collections};
use super::super::sse;
use super::answers::{AnswerStream, Wanted, num_answers, start_answers};
use super::body::OpenAiJson;
use super::conversation::conversation;
use super::documents::FromDocuments;
use super::sampling::{allowed_with_collections, not_with_collections, sampling_params};
use super::{Head, broken, language_model, logprobs, model_failed, not_started, respond, usage};
use crate::auth::CurrentUser;
use crate::blocking::join;
use crate::db::UserId;
use crate::model::LanguageModel;
use crate::suite::Suite;
use crate::suite::ask::{Ask, Ending, Outcome, WhenBusy};
use crate::suite::ask_stream::{Item, ask_stream};
use crate::suite::places::Places;

pub(crate) async fn chat_completions(
    State(suite): State<Arc<Suite>>,
    Extension(user): Extension<CurrentUser>,
    OpenAiJson(request, spellings): OpenAiJson<ChatCompletionRequest>,
) -> Result<Response, OpenAiFailure> {
    let response = chat(suite, &user, request).await;
    response.map_err(|failure| OpenAiFailure(spellings.in_failure(failure)))
}

async fn chat(
    suite: Arc<Suite>,
    user: &CurrentUser,
    mut request: ChatCompletionRequest,
) -> Result<Response, Failure> {
    let model = language_model(&suite, request.model.as_deref())?;
    let conversation = conversation(std::mem::take(&mut request.messages))?;
    let head = Head::new("chatcmpl", &*model);
    match &request.collections {
        Some(names) => {
            let collections = named_collections(&suite, user, names.clone()).await?;
            let ask = Ask {
                collections,
                ..ask(&suite, user, &request, conversation)?
            };
            let places = suite.places(user, 1)?;
            answer_from_documents(suite, ask, places, &request, head).await
        }
        None => {
            let places = suite.places(user, num_answers(request.sampling.n)?)?;
            answer_alone(&suite, model, conversation, places, &request, head).await
        }
    }
}

async fn answer_alone(
    suite: &Suite,
    model: Arc<dyn LanguageModel>,
    conversation: Conversation,
    places: Places<UserId>,
    request: &ChatCompletionRequest,
    head: Head,
) -> Result<Response, Failure> {
    let fields = request.sampling.clone();
    let n = num_answers(fields.n)?;
    let logprobs = logprobs::of_chat(request)?;
    let most_tokens = suite.config.default_max_tokens.unwrap_or(usize::MAX);
    let started = tokio::task::spawn_blocking(move || {
        let prompt = model.encode_conversation(&conversation);
        let prompt = prompt.map_err(|error| not_started(error, "messages"))?;
        // Without a limit: until the model ends, or its context does.
        let room = model.context_len().saturating_sub(prompt.len());
        let sampling = SamplingParams {
            logprobs,
            ..sampling_params(&fields, 1.0, room.min(most_tokens).max(1))?
        };
        let reader = AnswerReader {
            parts: ReasoningReader::new(model.opens_reasoning()),
            logprobs: Vec::new(),
        };
        let wanted = Wanted {
            prompts: vec![prompt],
            n,
            sampling,
            at_once: n,
        };
        let answers = start_answers(model, wanted);
        let answers = answers.map_err(|error| not_started(error, "messages"))?;
        Ok::<_, Failure>((answers, vec![reader; n]))
    });
    let (answers, readers) = join(started.await)?;
    let pieces = places.hold(pieces_of_model(answers, readers));
    if request.stream {
        let with_usage = includes_usage(request);
        Ok(stream_chunks(suite, pieces, n, head, with_usage))
    } else {
        collect(pieces, n, head).await
    }
}

async fn answer_from_documents(
    suite: Arc<Suite>,
    ask: Ask,
    places: Places<UserId>,
    request: &ChatCompletionRequest,
    head: Head,
) -> Result<Response, Failure> {
    let mut items = Box::pin(places.hold(ask_stream(Arc::clone(&suite), ask)));
    // A failure before the first word has a status of its own; after it, 200 has been sent.
    let mut first = None;
    while let Some(item) = items.next().await {
        match item {
            Item::Event(AnswerEvent::Delta { .. }) | Item::End(Ok(_)) => {
                first = Some(item);
                break;
            }
            Item::End(Err(error)) => return Err(error.into()),
            Item::Event(_) => {}
        }
    }
    let pieces = stream::iter(first)
        .chain(items)
        .filter_map(|item| async move { piece_of_answer(item).map(|piece| (0, piece)) });
    if request.stream {
        let with_usage = includes_usage(request);
        Ok(stream_chunks(&suite, pieces, 1, head, with_usage))
    } else {
        collect(pieces, 1, head).await
    }
}

/// What an answer consists of, wherever it comes from.
enum Piece {
    Reasoning(String),
    Text(String, Vec<TokenLogprobs>),
    End {
        reason: FinishReason,
        usage: CompletionUsage,
        found: Option<FromDocuments>,
    },
    Broken(String),
}

fn pieces_of_model(
    generated: AnswerStream,
    mut readers: Vec<AnswerReader>,
) -> impl Stream<Item = (usize, Piece)> + Send + 'static {
    generated.flat_map(move |(index, event)| {
        let reader = &mut readers[index];
        let pieces = match event {
            Ok(Event::Delta { text, logprobs, .. }) => reader.push(&text, logprobs),
            Ok(Event::Finished {
                reason,
                usage: counted,
                ..
            }) => {
                let mut pieces = reader.finish();
                pieces.push(Piece::End {
                    reason,
                    usage: usage(counted.prompt_tokens, counted.completion_tokens),
                    found: None,
                });
                pieces
            }
            Ok(Event::Failed(error)) => vec![Piece::Broken(model_failed(&error))],
            Err(error) => vec![Piece::Broken(sentence(&error.to_string()))],
        };
        stream::iter(pieces.into_iter().map(move |piece| (index, piece)))
    })
}

/// Divides one answer into reasoning and text.
#[derive(Clone)]
struct AnswerReader {
    parts: ReasoningReader,
    /// Of tokens whose text is not certain yet.
    logprobs: Vec<TokenLogprobs>,
}

impl AnswerReader {
    fn push(&mut self, text: &str, logprobs: Vec<TokenLogprobs>) -> Vec<Piece> {
        let parts = self.parts.push(text);
        // Those of reasoning are those of no text of the answer.
        if self.parts.is_reasoning() {
            self.logprobs.clear();
        } else {
            self.logprobs.extend(logprobs);
        }
        let is_certain = !parts.answer.is_empty() || text.is_empty();
        let logprobs = match is_certain {
            true => std::mem::take(&mut self.logprobs),
            false => Vec::new(),
        };
        pieces_of_parts(parts, logprobs)
    }

    fn finish(&mut self) -> Vec<Piece> {
        pieces_of_parts(
            self.parts.clone().finish(),
            std::mem::take(&mut self.logprobs),
        )
    }
}

fn pieces_of_parts(parts: AnswerParts, logprobs: Vec<TokenLogprobs>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    if !parts.reasoning.is_empty() {
        pieces.push(Piece::Reasoning(parts.reasoning));
    }
    if !parts.answer.is_empty() || !logprobs.is_empty() {
        pieces.push(Piece::Text(parts.answer, logprobs));
    }
    pieces
}

fn piece_of_answer(item: Item) -> Option<Piece> {
    match item {
        Item::Event(AnswerEvent::Delta { text }) => Some(Piece::Text(text, Vec::new())),
        // Citations come together at the end, where a client finds them with the finished text.
        Item::Event(_) => None,
        Item::End(Ok(outcome)) => Some(end_of_answer(*outcome)),
        Item::End(Err(error)) => Some(Piece::Broken(error.to_string())),
    }
}

fn end_of_answer(outcome: Outcome) -> Piece {
    let found = FromDocuments::of(&outcome);
    let reason = match outcome.ending {
        Ending::Broken { reason } => return Piece::Broken(reason),
        Ending::Length => FinishReason::Length,
        Ending::Complete | Ending::Stopped => FinishReason::Stop,
    };
    Piece::End {
        reason,
        usage: usage(outcome.usage.prompt_tokens, outcome.usage.completion_tokens),
        found: Some(found),
    }
}

/// An answer that is being collected.
#[derive(Default)]
struct Collected {
    reasoning: String,
    content: String,
    logprobs: Vec<TokenLogprobs>,
    reason: Option<FinishReason>,
    found: Option<FromDocuments>,
}

impl Collected {
    fn into_choice(self, index: usize) -> ChatChoice {
        let message = AssistantMessage {
            role: "assistant".to_owned(),
            content: self.content,
            reasoning_content: (!self.reasoning.is_empty()).then_some(self.reasoning),
            ..AssistantMessage::default()
        };
        let message = match self.found {
            Some(found) => found.complete_message(message),
            None => message,
        };
        ChatChoice {
            index,
            message,
            logprobs: logprobs::in_chat(self.logprobs),
            finish_reason: self.reason.map(finish_reason),
        }
    }
}

async fn collect(
    pieces: impl Stream<Item = (usize, Piece)> + Send,
    n: usize,
    head: Head,
) -> Result<Response, Failure> {
    let mut pieces = Box::pin(pieces);
    let mut answers: Vec<Collected> = (0..n).map(|_| Collected::default()).collect();
    let mut total = CompletionUsage::default();
    while let Some((index, piece)) = pieces.next().await {
        let answer = &mut answers[index];
        match piece {
            Piece::Text(text, logprobs) => {
                answer.content.push_str(&text);
                answer.logprobs.extend(logprobs);
            }
            Piece::Reasoning(text) => answer.reasoning.push_str(&text),
            Piece::Broken(reason) => return Err(broken(&reason)),
            Piece::End {
                reason,
                usage,
                found,
            } => {
                answer.reason = Some(reason);
                answer.found = found;
                total = added(total, usage);
            }
        }
        if answers.iter().all(|answer| answer.reason.is_some()) {
            let choices = answers.into_iter().enumerate();
            let body = ChatCompletion {
                id: head.id,
                object: "chat.completion".to_owned(),
                created: head.created,
                model: head.model,
                system_fingerprint: head.system_fingerprint,
                choices: choices
                    .map(|(index, answer)| answer.into_choice(index))
                    .collect(),
                usage: total,
            };
            return Ok(JsonResponse(body).into_response());
        }
    }
    Err(broken("The language model stopped. Try again."))
}

/// Adds the tokens of one more answer to the same prompt.
fn added(total: CompletionUsage, answer: CompletionUsage) -> CompletionUsage {
    usage(
        answer.prompt_tokens,
        total.completion_tokens + answer.completion_tokens,
    )
}

/// What a stream of several answers remembers between its chunks.
struct Chunks {
    head: Head,
    unfinished: usize,
    with_usage: bool,
    usage: CompletionUsage,
    is_broken: bool,
}

fn stream_chunks(
    suite: &Suite,
    pieces: impl Stream<Item = (usize, Piece)> + Send + 'static,
    n: usize,
    head: Head,
    with_usage: bool,
) -> Response {
    let chunks = Chunks {
        head,
        unfinished: n,
        with_usage,
        usage: CompletionUsage::default(),
        is_broken: false,
    };
    let opening = |index| {
        let delta = ChatDelta {
            role: Some("assistant".to_owned()),
            content: Some(String::new()),
            ..ChatDelta::default()
        };
        sse::json(&chunks.chunk(index, delta, None))
    };
    let openings: Vec<SseEvent> = (0..n).map(opening).collect();
    let events = pieces
        .scan(chunks, |chunks, (index, piece)| {
            // After a failure the stream ends, which cancels the other answers.
            let events = (!chunks.is_broken).then(|| chunks.of_piece(index, piece));
            std::future::ready(events.map(stream::iter))
        })
        .flatten();
    respond(suite, stream::iter(openings).chain(events))
}

impl Chunks {
    fn of_piece(&mut self, index: usize, piece: Piece) -> Vec<SseEvent> {
        match piece {
            Piece::Text(text, logprobs) if text.is_empty() && logprobs.is_empty() => Vec::new(),
            Piece::Text(text, logprobs) => {
                let delta = ChatDelta {
                    content: Some(text),
                    ..ChatDelta::default()
                };
                let mut chunk = self.chunk(index, delta, None);
                for choice in &mut chunk.choices {
                    choice.logprobs = logprobs::in_chat(logprobs.clone());
                }
                vec![sse::json(&chunk)]
            }
            Piece::Reasoning(text) => {
                let delta = ChatDelta {
                    reasoning_content: Some(text),
                    ..ChatDelta::default()
                };
                vec![sse::json(&self.chunk(index, delta, None))]
            }
            Piece::Broken(reason) => {
                self.is_broken = true;
                vec![sse::error_event(&broken(&reason))]
            }
            Piece::End {
                reason,
                usage,
                found,
            } => {
                let delta = found.map(FromDocuments::into_delta).unwrap_or_default();
                let last = self.chunk(index, delta, Some(finish_reason(reason)));
                self.usage = added(self.usage, usage);
                self.unfinished -= 1;
                let mut events = vec![sse::json(&last)];
                if self.with_usage && self.unfinished == 0 {
                    events.push(sse::json(&ChatCompletionChunk {
                        choices: Vec::new(),
                        usage: Some(Some(self.usage)),
                        ..self.chunk(0, ChatDelta::default(), None)
                    }));
                }
                events
            }
        }
    }

    fn chunk(
        &self,
        index: usize,
        delta: ChatDelta,
        finish_reason: Option<String>,
    ) -> ChatCompletionChunk {
        let head = &self.head;
        ChatCompletionChunk {
            id: head.id.clone(),
            object: "chat.completion.chunk".to_owned(),
            created: head.created,
            model: head.model.clone(),
            system_fingerprint: head.system_fingerprint.clone(),
            choices: vec![ChatChunkChoice {
                index,
                delta,
                logprobs: None,
                finish_reason,
            }],
            usage: self.with_usage.then_some(None),
        }
    }
}

pub(super) fn finish_reason(reason: FinishReason) -> String {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
    }
    .to_owned()
}

fn includes_usage(request: &ChatCompletionRequest) -> bool {
    request
        .stream_options
        .is_some_and(|options| options.include_usage == Some(true))
}

/// The last message is the question; question-and-answer pairs before it are its history.
fn ask(
    suite: &Suite,
    user: &CurrentUser,
    request: &ChatCompletionRequest,
    conversation: Conversation,
) -> Result<Ask, Failure> {
    allowed_with_collections(&request.sampling)?;
    let has_logprobs =
        request.logprobs == Some(true) || request.top_logprobs.is_some_and(|count| count > 0);
    if has_logprobs {
        let reason = "the text is checked and marked after it was written";
        return Err(not_with_collections("logprobs", reason));
    }
    let mut turns = conversation.turns;
    let question = match turns.pop() {
        Some(Turn::Message(last)) if last.role == Role::User => checked_question(&last.content)?,
        _ => {
            return Err(Failure::invalid_param(
                "messages",
                "With collections the last message must be the user's question.",
            ));
        }
    };
    Ok(Ask {
        history: history(turns),
        priority: Priority::Api,
        when_busy: WhenBusy::Fail,
        sampling: Some(sampling_params(
            &request.sampling,
            0.0,
            suite.config.max_answer_tokens,
        )?),
        ..Ask::new(question, suite.scope_of(user))
    })
}

/// Questions with their answers.
fn history(turns: Vec<Turn>) -> Vec<(String, String)> {
    let mut history = Vec::new();
    let mut asked = None;
    for turn in turns {
        // What tools answered elsewhere is in no document here.
        let Turn::Message(message) = turn else {
            continue;
        };
        match message.role {
            Role::User => asked = Some(message.content),
            Role::Assistant => {
                history.extend(asked.take().map(|question| (question, message.content)))
            }
            // Instructions of the client do not replace those that keep an answer to the documents.
            Role::System => {}
        }
    }
    history
}
