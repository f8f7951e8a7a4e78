//! One question, from the search to the checked answer. The page, `/api/ask-docs`, `/v1/chat/completions` with
//! `collections`, the local socket and the evaluation all come through here.
//!
//! search -> assess (refuse when nothing supports an answer) -> pack passages -> prompt -> model -> check each sentence.
//! Without a model, on request, or when the model is overloaded, the best sentences are quoted instead.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use inference::{
    ChatMessage, EngineError, Event, FinishReason, Priority, ReasoningReader, Role, SamplingParams,
};
use rag::{
    AccessScope, Answer, AnswerTracker, CollectionId, ContextBudget, ContextPassage, DocumentId,
    Hit, LibraryError, PromptMessage, PromptRole, SearchRequest,
};
use tokio::sync::watch;
use web_api::{
    AnswerEvent, AnswerMode, AnswerStatus, Citation, Message, Source, Span, Timings, Usage,
};

use super::Suite;
use crate::blocking::join;
use crate::model::{LanguageModel, ModelError, ModelStream};

/// A question of so few words is taken to need the one before it.
const FOLLOW_UP_WORDS: usize = 4;
/// Tokens kept free for the wording of the prompt around the passages, the sentences that it repeats and the question.
const PROMPT_OVERHEAD_TOKENS: usize = 360;
/// Shown with an answer of which a statement was left out.
const WITHHELD: &str = "A statement of the model that the documents do not support was left out.";
/// Characters of a passage shown in the list of sources.
const SNIPPET_CHARS: usize = 240;

/// A question and how to answer it.
#[derive(Debug, Clone)]
pub struct Ask {
    /// As asked.
    pub question: String,
    /// Earlier questions with their answers, oldest first.
    pub history: Vec<(String, String)>,
    /// What the asker may see.
    pub scope: AccessScope,
    /// Where to look; empty means everywhere in the scope.
    pub collections: Vec<CollectionId>,
    /// Documents to leave out, as if they were not there.
    pub exclude: Vec<DocumentId>,
    /// Verbatim quotes instead of a written answer.
    pub quote_only: bool,
    /// Place in the model's queue.
    pub priority: Priority,
    /// What to do when the model's queue is full.
    pub when_busy: WhenBusy,
    /// How to choose tokens; `None` is greedy with the suite's limit.
    pub sampling: Option<SamplingParams>,
}

impl Ask {
    /// A question over everything in a scope, as a person at the page asks it.
    pub fn new(question: String, scope: AccessScope) -> Self {
        Self {
            question,
            history: Vec::new(),
            scope,
            collections: Vec::new(),
            exclude: Vec::new(),
            quote_only: false,
            priority: Priority::Interactive,
            when_busy: WhenBusy::Quote,
            sampling: None,
        }
    }
}

/// What to do when the model's queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenBusy {
    /// Quote, and say why.
    Quote,
    /// Fail with [`ModelError::Overloaded`], so that a program can come back later.
    Fail,
}

/// How an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// By itself.
    Complete,
    /// At the limit of tokens.
    Length,
    /// The asker stopped it.
    Stopped,
    /// It took too long or the model failed; what there was is in the answer.
    Broken {
        /// One clear sentence.
        reason: String,
    },
}

/// An answer and how it came about.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Text, citations, unsupported sentences.
    pub answer: Answer,
    /// How the text came about.
    pub mode: AnswerMode,
    /// A remark to show with it.
    pub notice: Option<String>,
    /// The model that wrote it; `None` for quotes and for refusals without the model.
    pub model: Option<String>,
    /// Passages that were found and packed.
    pub sources: Vec<Source>,
    /// The hits behind them, best first.
    pub hits: Vec<Hit>,
    /// Probability that the documents answer the question, 0 to 1.
    pub support: f32,
    /// Tokens.
    pub usage: Usage,
    /// Milliseconds.
    pub timings: Timings,
    /// How it ended.
    pub ending: Ending,
}

impl Outcome {
    /// The citations as they are sent and stored.
    pub fn citations(&self) -> Vec<Citation> {
        self.answer.citations.iter().map(citation).collect()
    }

    /// The sentences that no passage supports.
    pub fn unsupported(&self) -> Vec<Span> {
        let spans = self.answer.unsupported.iter();
        spans.map(|&(start, end)| Span { start, end }).collect()
    }

    /// Completes the message of the question.
    pub fn into_message(self, message: Message) -> Message {
        let (citations, unsupported) = (self.citations(), self.unsupported());
        let (status, error) = match self.ending {
            Ending::Complete | Ending::Length => (AnswerStatus::Done, None),
            Ending::Stopped => (AnswerStatus::Stopped, None),
            Ending::Broken { reason } => (AnswerStatus::Failed, Some(reason)),
        };
        let written = self.model.is_some();
        Message {
            answer: self.answer.text,
            status,
            refused: self.answer.refused,
            mode: self.mode,
            notice: self.notice,
            error,
            citations,
            unsupported,
            sources: self.sources,
            prompt_version: written.then(|| rag::PROMPT_VERSION.to_owned()),
            model: self.model,
            usage: self.usage,
            timings: self.timings,
            ..message
        }
    }
}

/// Why there is no answer at all.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The documents could not be searched.
    #[error("the documents could not be searched: {source}")]
    Library {
        /// Why.
        #[from]
        source: LibraryError,
    },
    /// The model did not take the question.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// Receives the events of an answer as they happen, without `done` and `error`, which are the caller's to send.
pub type Sink<'a> = &'a mut (dyn FnMut(AnswerEvent) + Send);

impl Suite {
    /// Answers a question. Dropping the future, or `true` in `stop`, cancels the model within one step.
    ///
    /// # Errors
    /// [`AskError`] when there is no answer at all. What breaks off later is an [`Ending`].
    pub async fn ask(
        &self,
        ask: Ask,
        stop: watch::Receiver<bool>,
        sink: Sink<'_>,
    ) -> Result<Outcome, AskError> {
        let started = Instant::now();
        let found = self.find_passages(&ask, sink).await?;
        let mut timings = Timings {
            search_ms: millis(started.elapsed()),
            ..Timings::default()
        };

        let mut first_delta = None;
        let mut timed_sink = |event: AnswerEvent| {
            if matches!(event, AnswerEvent::Delta { .. }) {
                first_delta.get_or_insert_with(|| millis(started.elapsed()));
            }
            sink(event);
        };
        let written = self
            .write_answer(&ask, &found, stop, &mut timed_sink, started)
            .await?;
        timings.first_delta_ms = first_delta;
        timings.total_ms = millis(started.elapsed());
        if let Some(model_timings) = written.timings {
            timings.queue_ms = model_timings.queue_ms;
            timings.prefill_ms = model_timings.prefill_ms;
            timings.decode_ms = model_timings.decode_ms;
        }
        Ok(Outcome {
            answer: written.answer,
            mode: written.mode,
            notice: written.notice,
            model: written.model,
            sources: found.sources,
            hits: found.hits,
            support: found.support,
            usage: written.usage,
            timings,
            ending: written.ending,
        })
    }

    /// Searches, judges and packs, and says so.
    async fn find_passages(&self, ask: &Ask, sink: Sink<'_>) -> Result<Found, AskError> {
        let query = retrieval_query(&ask.question, &ask.history);
        let (scope, collections) = (ask.scope.clone(), ask.collections.clone());
        let searched = match collections.len() {
            0 => self
                .with_library(move |library| library.collections(&scope))
                .await?
                .len(),
            some => some,
        };
        let searching = format!(
            "Searching {searched} {}",
            if searched == 1 {
                "collection"
            } else {
                "collections"
            }
        );
        sink(AnswerEvent::Status {
            text: format!("{searching}…"),
        });

        let request = SearchRequest {
            query: query.clone(),
            collections,
            k: self.config.search_k,
            exclude: ask.exclude.clone(),
        };
        let budget = self.budget();
        let (scope, model) = (ask.scope.clone(), self.model.clone());
        let (hits, assessment, context) = self
            .with_library(move |library| {
                let hits = library.search(&scope, &request)?;
                let assessment = rag::assess(&query, &hits);
                let context = rag::pack_context(library, &scope, &hits, &budget, &|text| {
                    count_tokens(&model, text)
                })?;
                Ok::<_, LibraryError>((hits, assessment, context))
            })
            .await?;
        let passages = hits.len();
        let passages = format!(
            "{passages} {}",
            if passages == 1 { "passage" } else { "passages" }
        );
        sink(AnswerEvent::Status {
            text: format!("{searching}… {passages}"),
        });
        let sources: Vec<Source> = context.iter().map(source).collect();
        sink(AnswerEvent::Sources {
            passages: sources.clone(),
        });
        Ok(Found {
            hits,
            support: assessment.score,
            refuse: assessment.refuse,
            context,
            sources,
        })
    }

    async fn write_answer(
        &self,
        ask: &Ask,
        found: &Found,
        stop: watch::Receiver<bool>,
        sink: Sink<'_>,
        started: Instant,
    ) -> Result<Written, AskError> {
        let mode = match (&self.model, ask.quote_only) {
            (Some(_), false) => AnswerMode::Generated,
            _ => AnswerMode::QuoteOnly,
        };
        if found.refuse || found.context.is_empty() {
            return Ok(Written::at_once(
                rag::refusal(&ask.question, &found.hits),
                mode,
                None,
                sink,
            ));
        }
        let quote = |notice| (rag::quote_only(&ask.question, &found.context), notice);
        let Some(model) = self.model.as_ref().filter(|_| !ask.quote_only) else {
            let (answer, notice) = quote(None);
            return Ok(Written::at_once(
                answer,
                AnswerMode::QuoteOnly,
                notice,
                sink,
            ));
        };
        let started_model = self.start_model(model, ask, &found.context).await;
        let (stream, reader) = match started_model {
            Ok(started) => started,
            Err(ModelError::Overloaded { .. }) if ask.when_busy == WhenBusy::Quote => {
                let notice = "The language model is busy, so these are verbatim quotes. Ask again later for a written answer.";
                sink(AnswerEvent::Status {
                    text: "The language model is busy: quoting the documents".to_owned(),
                });
                let (answer, notice) = quote(Some(notice.to_owned()));
                return Ok(Written::at_once(
                    answer,
                    AnswerMode::QuoteOnly,
                    notice,
                    sink,
                ));
            }
            Err(error) => return Err(error.into()),
        };
        sink(AnswerEvent::Status {
            text: format!("Reading with {}…", model.name()),
        });
        let mut reading = Reading {
            tracker: AnswerTracker::new(&ask.question, found.context.clone()),
            stop,
            deadline: started + self.config.answer_deadline,
            sink,
        };
        let mut read = reading.follow((stream, reader)).await;
        if read.ending == Ending::Complete {
            self.ask_again(model, ask, &mut reading, &mut read).await;
        }
        Ok(reading.finish(read, model.name()))
    }

    /// Asks the model once more, from the closest sentences alone, when it made a statement that no passage supports. The
    /// first answer stands when the model has no time for it.
    async fn ask_again(
        &self,
        model: &Arc<dyn LanguageModel>,
        ask: &Ask,
        reading: &mut Reading<'_>,
        read: &mut ReadAnswer,
    ) {
        let (events, prompt) = reading.tracker.ask_again();
        send(events, reading.sink);
        let Some(prompt) = prompt else {
            return;
        };
        (reading.sink)(AnswerEvent::Status {
            text: "Checking a statement against the documents…".to_owned(),
        });
        let messages = prompt.into_iter().map(chat_message).collect();
        let started = self.submit(model, ask, messages).await;
        let Ok(started) = started else {
            return;
        };
        let second = reading.follow(started).await;
        read.usage.prompt_tokens += second.usage.prompt_tokens;
        read.usage.completion_tokens += second.usage.completion_tokens;
        if let (Some(all), Some(more)) = (&mut read.timings, second.timings) {
            all.queue_ms += more.queue_ms;
            all.prefill_ms += more.prefill_ms;
            all.decode_ms += more.decode_ms;
        }
        // What it failed to say is replaced by a quote, so that only a stop or the deadline ends the whole answer.
        if matches!(second.ending, Ending::Stopped | Ending::Broken { .. }) {
            read.ending = second.ending;
        }
    }

    /// Builds the prompt and submits it. Tokenizing takes milliseconds, so it runs off the async threads.
    async fn start_model(
        &self,
        model: &Arc<dyn LanguageModel>,
        ask: &Ask,
        context: &[ContextPassage],
    ) -> Result<(ModelStream, ReasoningReader), ModelError> {
        let model = Arc::clone(model);
        let history = rag::recent_history(&ask.history, &|text| model.count_tokens(text));
        let messages = rag::build_prompt(&ask.question, &history, context)
            .into_iter()
            .map(chat_message)
            .collect();
        self.submit(&model, ask, messages).await
    }

    /// Submits a prompt with the sampling of the question.
    async fn submit(
        &self,
        model: &Arc<dyn LanguageModel>,
        ask: &Ask,
        messages: Vec<ChatMessage>,
    ) -> Result<(ModelStream, ReasoningReader), ModelError> {
        let model = Arc::clone(model);
        let sampling = ask.sampling.clone().unwrap_or_else(|| SamplingParams {
            max_tokens: self.config.max_answer_tokens,
            ..SamplingParams::default()
        });
        let priority = ask.priority;
        let start = move || {
            let reader = ReasoningReader::new(model.opens_reasoning());
            Ok((model.chat(&messages, sampling, priority)?, reader))
        };
        join(tokio::task::spawn_blocking(start).await)
    }

    /// The budget of passages, made smaller for a model with a short context.
    fn budget(&self) -> ContextBudget {
        let Some(model) = &self.model else {
            return self.config.context;
        };
        let taken =
            self.config.max_answer_tokens + rag::MAX_HISTORY_TOKENS + PROMPT_OVERHEAD_TOKENS;
        let room = model.context_len().saturating_sub(taken);
        ContextBudget {
            max_tokens: self.config.context.max_tokens.min(room),
            ..self.config.context
        }
    }
}

struct Found {
    hits: Vec<Hit>,
    support: f32,
    refuse: bool,
    context: Vec<ContextPassage>,
    sources: Vec<Source>,
}

struct Written {
    answer: Answer,
    mode: AnswerMode,
    notice: Option<String>,
    model: Option<String>,
    usage: Usage,
    timings: Option<inference::Timings>,
    ending: Ending,
}

impl Written {
    /// An answer that did not need the model: sent in one piece.
    fn at_once(answer: Answer, mode: AnswerMode, notice: Option<String>, sink: Sink<'_>) -> Self {
        for found in &answer.citations {
            sink(AnswerEvent::Citation {
                citation: citation(found),
            });
        }
        sink(AnswerEvent::Delta {
            text: answer.text.clone(),
        });
        Self {
            answer,
            mode,
            notice,
            model: None,
            usage: Usage::default(),
            timings: None,
            ending: Ending::Complete,
        }
    }
}

/// An answer that is being read from the model and checked.
struct Reading<'a> {
    tracker: AnswerTracker,
    stop: watch::Receiver<bool>,
    deadline: Instant,
    sink: Sink<'a>,
}

/// What is known when a stream of the model ended.
struct ReadAnswer {
    usage: Usage,
    timings: Option<inference::Timings>,
    notice: Option<String>,
    ending: Ending,
}

impl Reading<'_> {
    /// Reads the model's stream to its end, to the stop or to the deadline, checking sentences on the way. Reasoning is
    /// left out: no passage is meant to support it.
    async fn follow(&mut self, started: (ModelStream, ReasoningReader)) -> ReadAnswer {
        let (stream, mut reader) = started;
        let mut read = self.read_events(stream, &mut reader).await;
        read.notice = (read.ending == Ending::Length).then(|| match reader.is_reasoning() {
            true => "The model thought about the question until the greatest length of an answer was reached. Ask a narrower question.".to_owned(),
            false => "The answer reached its greatest length and ends here.".to_owned(),
        });
        send(self.tracker.push(&reader.finish().answer), self.sink);
        read
    }

    /// Ends the answer the way its stream ended.
    fn finish(self, read: ReadAnswer, model: &str) -> Written {
        let (events, answer) = match read.ending {
            Ending::Complete => self.tracker.finish(),
            Ending::Length | Ending::Stopped | Ending::Broken { .. } => self.tracker.break_off(),
        };
        send(events, self.sink);
        let withheld = (!answer.withheld.is_empty()).then(|| WITHHELD.to_owned());
        Written {
            answer,
            mode: AnswerMode::Generated,
            notice: read.notice.or(withheld),
            model: Some(model.to_owned()),
            usage: read.usage,
            timings: read.timings,
            ending: read.ending,
        }
    }

    async fn read_events(
        &mut self,
        mut stream: ModelStream,
        reader: &mut ReasoningReader,
    ) -> ReadAnswer {
        let mut usage = Usage::default();
        let mut timings = None;
        let mut said_thinking = false;
        let deadline = tokio::time::sleep_until(self.deadline.into());
        tokio::pin!(deadline);
        let ending = loop {
            let event = tokio::select! {
                event = stream.next() => event,
                () = stopped(&mut self.stop) => break Ending::Stopped,
                () = &mut deadline => break Ending::Broken {
                    reason: "The answer took too long and was broken off. Ask a narrower question, or again later.".to_owned(),
                },
            };
            match event {
                Some(Event::Delta { text, tokens, .. }) => {
                    usage.completion_tokens += tokens.len();
                    let parts = reader.push(&text);
                    if reader.is_reasoning() && !std::mem::replace(&mut said_thinking, true) {
                        (self.sink)(AnswerEvent::Status {
                            text: "Thinking…".to_owned(),
                        });
                    }
                    send(self.tracker.push(&parts.answer), self.sink);
                }
                Some(Event::Finished {
                    reason,
                    usage: counted,
                    timings: measured,
                }) => {
                    usage = Usage {
                        prompt_tokens: counted.prompt_tokens,
                        completion_tokens: counted.completion_tokens,
                    };
                    timings = Some(measured);
                    break match reason {
                        FinishReason::Stop => Ending::Complete,
                        FinishReason::Length => Ending::Length,
                    };
                }
                Some(Event::Failed(error)) => {
                    let advice = match error {
                        EngineError::Device(_) => "",
                        _ => " Ask again.",
                    };
                    break Ending::Broken {
                        reason: format!("The language model failed: {error}.{advice}"),
                    };
                }
                None => {
                    break Ending::Broken {
                        reason: "The language model stopped. Ask again.".to_owned(),
                    };
                }
            }
        };
        ReadAnswer {
            usage,
            timings,
            notice: None,
            ending,
        }
    }
}

/// Completes when `stop` becomes true; never, when nobody can set it any more.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn send(events: Vec<rag::AnswerEvent>, sink: Sink<'_>) {
    for event in events {
        sink(match event {
            rag::AnswerEvent::Delta(text) => AnswerEvent::Delta { text },
            rag::AnswerEvent::Citation(found) => AnswerEvent::Citation {
                citation: citation(&found),
            },
            rag::AnswerEvent::Unsupported { start, end } => AnswerEvent::Unsupported { start, end },
        });
    }
}

/// A citation as it is sent and stored.
fn citation(found: &rag::Citation) -> Citation {
    Citation {
        n: found.n,
        document: found.document.0,
        path: found.path.clone(),
        title: found.title.clone(),
        page: found.page,
        quote: found.quote.clone(),
        start: found.start,
        end: found.end,
        table_head: found.table_head.clone(),
    }
}

fn source(passage: &ContextPassage) -> Source {
    let hit = &passage.hit;
    Source {
        n: passage.n,
        collection: hit.collection.0,
        document: hit.document.0,
        path: hit.path.clone(),
        title: hit.title.clone(),
        page: hit.page,
        heading: hit.heading.clone(),
        start: hit.start,
        end: hit.end,
        score: hit.score,
        snippet: hit.text.chars().take(SNIPPET_CHARS).collect(),
    }
}

fn chat_message(message: PromptMessage) -> ChatMessage {
    let role = match message.role {
        PromptRole::System => Role::System,
        PromptRole::User => Role::User,
        PromptRole::Assistant => Role::Assistant,
    };
    ChatMessage {
        role,
        content: message.content,
    }
}

/// Tokens as the model counts them; without a model, by the rule of thumb of four characters a token.
fn count_tokens(model: &Option<Arc<dyn LanguageModel>>, text: &str) -> usize {
    match model {
        Some(model) => model.count_tokens(text),
        None => text.chars().count().div_ceil(4),
    }
}

/// What to search for: the question, together with the one before it when it cannot be understood alone.
fn retrieval_query(question: &str, history: &[(String, String)]) -> String {
    match history.last() {
        Some((previous, _)) if is_follow_up(question) => format!("{previous} {question}"),
        _ => question.to_owned(),
    }
}

/// Whether a question leans on the one before: it is very short, or points at something that it does not name.
fn is_follow_up(question: &str) -> bool {
    const POINTERS: &[&str] = &[
        "it", "its", "that", "this", "these", "those", "they", "them", "their", "he", "she", "his",
        "her", "there", "one",
    ];
    const OPENERS: &[&str] = &[
        "and ",
        "but ",
        "what about",
        "how about",
        "why ",
        "so ",
        "also ",
        "then ",
    ];
    let question = question.trim().to_lowercase();
    let words: Vec<&str> = question
        .split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    words.len() <= FOLLOW_UP_WORDS
        || OPENERS.iter().any(|opener| question.starts_with(opener))
        || words.iter().any(|word| POINTERS.contains(word))
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_that_leans_on_the_one_before_is_searched_with_it() {
        let history = [(
            "How many vacation days do we get?".to_owned(),
            "30 days [1].".to_owned(),
        )];
        let query = |question: &str| retrieval_query(question, &history);
        assert_eq!(
            query("And in the first year?"),
            "How many vacation days do we get? And in the first year?"
        );
        assert_eq!(
            query("Who approves it when I am travelling abroad?"),
            "How many vacation days do we get? Who approves it when I am travelling abroad?"
        );
        let alone = "Which steps are needed to reset the door code of the warehouse?";
        assert_eq!(query(alone), alone);
        assert_eq!(retrieval_query("And now?", &[]), "And now?");
    }
}
