//! The engine: a handle for any number of callers, and one thread that owns the model, the cache and all requests.
//!
//! `submit` puts a request into a channel and returns a stream of events; the thread plans a step, runs it, sends
//! what it yields, and looks for new and dropped requests before the next step. Callers never wait for computation.

mod alignment;
mod event;
mod info;
mod request;
mod step_loop;
mod step_model;
#[cfg(test)]
mod tests;

use std::{
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    task::{Context, Poll},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use futures_util::Stream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

pub use self::{
    event::{
        EngineError, Event, FinishReason, LoadError, ScoredToken, SubmitError, Timings,
        TokenLogprobs, Usage,
    },
    info::{EngineStats, ModelInfo},
};
use self::{
    info::{Counters, places_of_class},
    request::{Limits, Submission},
    step_loop::{StepLoop, TARGET_MIXED_STEP, TARGET_MIXED_STEP_GPU},
    step_model::{CachedModel, StepModel},
};
use crate::{
    config::EngineConfig,
    device,
    gguf::GgufFile,
    kv_cache::BLOCK_SIZE,
    model::{KvCache, LoadProgress, Model, ModelConfig, ModelError, ModelUse},
    sampling::{Sampler, SamplingParams, Vocabulary},
    sequence::{Priority, SequenceId},
    text::{
        ChatMessage, ChatTemplate, ChatTemplateError, Conversation, Role, Tokenizer,
        ends_within_reasoning,
    },
};

/// A prompt and how to continue it.
#[derive(Debug, Clone, Default)]
pub struct GenerateRequest {
    pub prompt: Vec<u32>,
    pub sampling: SamplingParams,
    pub priority: Priority,
}

/// Handle to a running engine; clones share it. Dropping the last one stops the thread and fails what is running.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    info: ModelInfo,
    tokenizer: Arc<Tokenizer>,
    /// Built when the first request needs it.
    vocabulary: OnceLock<Arc<Vocabulary>>,
    chat_template: ChatTemplate,
    commands: mpsc::Sender<Command>,
    counters: Arc<Counters>,
    queue_capacity: usize,
    max_num_seqs: usize,
    next_id: AtomicU64,
    thread: Option<JoinHandle<()>>,
}

enum Command {
    Submit(Box<Submission>),
    Stop,
}

impl Engine {
    /// Loads a model and starts the engine. Blocks for as long as reading and repacking the weights takes.
    ///
    /// # Errors
    /// [`LoadError`]: the file cannot be read or is not a model this engine runs, the device cannot be opened, or the
    /// configuration is impossible. Never falls back to another device.
    pub fn load(config: EngineConfig) -> Result<Self, LoadError> {
        Self::load_with(config, &|_| ())
    }

    /// [`Self::load`] that tells how far it is: after each part, from several threads.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_with(
        config: EngineConfig,
        on_progress: &(dyn Fn(LoadProgress) + Sync),
    ) -> Result<Self, LoadError> {
        Self::start(config, on_progress, |model| Box::new(model))
    }

    /// Loads a model; `wrapped` makes of it what runs the steps.
    fn start(
        config: EngineConfig,
        on_progress: &(dyn Fn(LoadProgress) + Sync),
        wrapped: impl FnOnce(CachedModel) -> Box<dyn StepModel>,
    ) -> Result<Self, LoadError> {
        let loaded = Loaded::open(&config, on_progress)?;
        let info = ModelInfo::new(&config, &loaded);
        let Loaded {
            file,
            model,
            tokenizer,
            chat_template,
            max_model_len,
        } = loaded;
        drop(file);
        device::return_freed_memory();
        let cache = KvCache::new(
            model
                .config
                .cache_layout(config.num_blocks(), config.kv_cache_dtype),
            model.device(),
        )
        .map_err(|error| model_error(&config, error.into()))?;
        model
            .reserve(config.max_num_batched_tokens, config.max_num_seqs)
            .map_err(|error| model_error(&config, error.into()))?;
        let counters = Arc::new(Counters::new(config.num_blocks()));
        let (commands, receiver) = mpsc::channel();
        let step_loop = StepLoop::new(
            step_loop::Parts {
                window: model.config.window(),
                target_mixed_step: if model.device().is_cpu() {
                    TARGET_MIXED_STEP
                } else {
                    TARGET_MIXED_STEP_GPU
                },
                model: wrapped(CachedModel { model, cache }),
                tokenizer: tokenizer.clone(),
                max_model_len,
                counters: counters.clone(),
            },
            &config,
            receiver,
        );
        let thread = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || step_loop.run())
            .map_err(LoadError::Thread)?;
        Ok(Self {
            inner: Arc::new(Inner {
                info,
                tokenizer,
                vocabulary: OnceLock::new(),
                chat_template,
                commands,
                counters,
                queue_capacity: config.queue_capacity,
                max_num_seqs: config.max_num_seqs,
                next_id: AtomicU64::new(0),
                thread: Some(thread),
            }),
        })
    }

    pub fn model(&self) -> &ModelInfo {
        &self.inner.info
    }

    pub fn tokenizer(&self) -> &Tokenizer {
        &self.inner.tokenizer
    }

    /// Returns the prompt of a chat in the model's own format, ready for the assistant's turn.
    ///
    /// # Errors
    /// [`ChatTemplateError`] when the model's template refuses these messages.
    pub fn encode_chat(&self, messages: &[ChatMessage]) -> Result<Vec<u32>, ChatTemplateError> {
        self.inner
            .chat_template
            .render_tokens(&self.inner.tokenizer, messages, true)
    }

    /// Whether the chat template opens the reasoning of an answer itself, so that the model's text begins inside it.
    pub fn opens_reasoning(&self) -> bool {
        let question = [ChatMessage::new(Role::User, "?")];
        self.encode_chat(&question)
            .is_ok_and(|prompt| ends_within_reasoning(&self.inner.tokenizer, &prompt))
    }

    /// Returns the prompt of a conversation with tools, or of one that ends otherwise than in the assistant's turn.
    ///
    /// # Errors
    /// As [`Engine::encode_chat`].
    pub fn encode_conversation(
        &self,
        conversation: &Conversation,
    ) -> Result<Vec<u32>, ChatTemplateError> {
        self.inner
            .chat_template
            .tokens(&self.inner.tokenizer, conversation)
    }

    /// Queues a request and returns the stream of its events. Never waits; computes for some milliseconds when texts
    /// are banned.
    ///
    /// # Errors
    /// [`SubmitError`] when the request can never run or the queue is full; nothing is queued then.
    pub fn submit(&self, request: GenerateRequest) -> Result<TokenStream, SubmitError> {
        self.check(&request)?;
        let inner = &self.inner;
        if inner.counters.fault().is_some() {
            return Err(inner.stopped());
        }
        let capacity = places_of_class(request.priority, inner.queue_capacity);
        if !inner.counters.enter_queue(capacity) {
            let retry_after = inner.counters.estimated_wait(inner.max_num_seqs);
            return Err(SubmitError::QueueFull {
                capacity,
                retry_after,
            });
        }
        let (events, receiver) = unbounded_channel();
        let cancelled = Arc::new(AtomicBool::new(false));
        let GenerateRequest {
            prompt,
            sampling,
            priority,
        } = request;
        let limits = Limits {
            max_tokens: sampling.max_tokens,
            stop: sampling.stop.clone(),
            ignore_eos: sampling.ignore_eos,
        };
        let vocabulary = self.vocabulary(&sampling);
        let submission = Submission {
            id: SequenceId(inner.next_id.fetch_add(1, Ordering::Relaxed)),
            sampler: Sampler::new(sampling, &prompt, &vocabulary, rand::random()),
            prompt,
            limits,
            priority,
            events,
            cancelled: cancelled.clone(),
            submitted: Instant::now(),
        };
        if inner
            .commands
            .send(Command::Submit(Box::new(submission)))
            .is_err()
        {
            inner.counters.leave_queue();
            return Err(inner.stopped());
        }
        Ok(TokenStream {
            receiver,
            cancelled,
            ended: false,
        })
    }

    fn check(&self, request: &GenerateRequest) -> Result<(), SubmitError> {
        request.sampling.validate()?;
        let (prompt_tokens, max_tokens) = (request.prompt.len(), request.sampling.max_tokens);
        if prompt_tokens == 0 {
            return Err(SubmitError::EmptyPrompt);
        }
        let limit = self.inner.info.max_model_len;
        if prompt_tokens.saturating_add(max_tokens) > limit {
            return Err(SubmitError::PromptTooLong {
                prompt_tokens,
                max_tokens,
                limit,
            });
        }
        let vocab_size = self.inner.tokenizer.vocab_size();
        let foreign = |token: &u32| *token as usize >= vocab_size;
        if let Some(token) = request.prompt.iter().copied().find(foreign) {
            return Err(SubmitError::InvalidToken { token, vocab_size });
        }
        let SamplingParams {
            logit_bias,
            banned_sequences,
            ..
        } = &request.sampling;
        let biased = logit_bias.iter().map(|(token, _)| *token).find(foreign);
        let banned = banned_sequences.iter().flatten().copied().find(foreign);
        for (name, token) in [("logit_bias", biased), ("banned_sequences", banned)] {
            if let Some(token) = token {
                return Err(SubmitError::InvalidSamplingToken {
                    name,
                    token,
                    vocab_size,
                });
            }
        }
        Ok(())
    }

    /// Returns the texts of the tokens, or nothing where the request does not need them.
    fn vocabulary(&self, sampling: &SamplingParams) -> Arc<Vocabulary> {
        if !sampling.needs_vocabulary() {
            return Arc::default();
        }
        let tokenizer = &self.inner.tokenizer;
        let build = || {
            let ids = 0..tokenizer.vocab_size() as u32;
            Arc::new(Vocabulary::new(ids.map(|id| tokenizer.token_bytes(id))))
        };
        Arc::clone(self.inner.vocabulary.get_or_init(build))
    }

    /// Most answers that advance together.
    pub fn max_num_seqs(&self) -> usize {
        self.inner.max_num_seqs
    }

    /// Returns a snapshot of the engine's counters.
    pub fn stats(&self) -> EngineStats {
        self.inner.counters.snapshot()
    }
}

impl Inner {
    /// Returns why nothing is accepted any more.
    fn stopped(&self) -> SubmitError {
        match self.counters.fault() {
            Some(fault) => SubmitError::Device(fault.to_owned()),
            None => SubmitError::Stopped,
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("model", &self.inner.info)
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // An error means that the thread has ended already.
        let _ = self.commands.send(Command::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the engine's thread had panicked");
        }
    }
}

/// What loading yields, before a thread owns it.
pub(crate) struct Loaded {
    pub file: GgufFile,
    pub model: Model,
    pub tokenizer: Arc<Tokenizer>,
    pub chat_template: ChatTemplate,
    pub max_model_len: usize,
}

impl Loaded {
    /// Opens the file, checks the configuration against it, loads and repacks the weights.
    pub fn open(
        config: &EngineConfig,
        on_progress: &(dyn Fn(LoadProgress) + Sync),
    ) -> Result<Self, LoadError> {
        check_config(config)?;
        device::check_threads(config.threads)?;
        device::keep_freed_memory();
        let file = GgufFile::open(&config.model_path)?;
        let path = || config.model_path.clone();
        let model_config =
            ModelConfig::from_gguf(&file).map_err(|error| model_error(config, error))?;
        let tokenizer = Tokenizer::from_gguf(&file).map_err(|source| LoadError::Tokenizer {
            path: path(),
            source,
        })?;
        let chat_template =
            ChatTemplate::from_gguf(&file).map_err(|source| LoadError::ChatTemplate {
                path: path(),
                source,
            })?;
        let cache_tokens = config.num_blocks() * BLOCK_SIZE;
        let longest = model_config.context_len.min(cache_tokens);
        let max_model_len = config.max_model_len.unwrap_or(longest);
        if max_model_len == 0 || max_model_len > longest {
            let reason = format!(
                "the model takes {} tokens and the KV cache holds {cache_tokens}",
                model_config.context_len
            );
            return Err(LoadError::Config {
                name: "max_model_len",
                value: max_model_len,
                reason,
            });
        }
        let device = device::open(&config.device)?;
        let model = Model::load(
            &file,
            model_config,
            ModelUse {
                vocab_size: tokenizer.vocab_size(),
                max_len: max_model_len,
                kv_cache_dtype: config.kv_cache_dtype,
                cuda: config.cuda,
            },
            &device,
            on_progress,
        )
        .map_err(|error| model_error(config, error))?;
        model
            .warm_up(device::cpu_threads())
            .map_err(|error| model_error(config, error.into()))?;
        Ok(Self {
            file,
            model,
            tokenizer: Arc::new(tokenizer),
            chat_template,
            max_model_len,
        })
    }
}

fn check_config(config: &EngineConfig) -> Result<(), LoadError> {
    let positive = [
        ("max_num_seqs", config.max_num_seqs),
        ("max_num_batched_tokens", config.max_num_batched_tokens),
        ("kv_cache_tokens", config.kv_cache_tokens),
        ("queue_capacity", config.queue_capacity),
    ];
    for (name, value) in positive {
        if value == 0 {
            return Err(LoadError::Config {
                name,
                value,
                reason: "it must be at least 1".to_owned(),
            });
        }
    }
    if config.max_num_batched_tokens < config.max_num_seqs {
        return Err(LoadError::Config {
            name: "max_num_batched_tokens",
            value: config.max_num_batched_tokens,
            reason: format!(
                "every one of {} sequences needs a token in each step",
                config.max_num_seqs
            ),
        });
    }
    Ok(())
}

fn model_error(config: &EngineConfig, source: ModelError) -> LoadError {
    match source {
        // Names the file itself.
        ModelError::Gguf(error) => LoadError::Gguf(error),
        source => LoadError::Model {
            path: config.model_path.clone(),
            source,
        },
    }
}

/// The events of one request. Dropping it frees the request's blocks within one step.
#[derive(Debug)]
pub struct TokenStream {
    receiver: UnboundedReceiver<Event>,
    cancelled: Arc<AtomicBool>,
    ended: bool,
}

impl TokenStream {
    /// Waits for the next event; `None` after the last. Not for use inside an async runtime.
    pub fn blocking_next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        let event = self.receiver.blocking_recv();
        Some(self.note(event))
    }

    /// Marks the end, and makes one out of a channel that closed without one.
    fn note(&mut self, event: Option<Event>) -> Event {
        let event = event.unwrap_or(Event::Failed(EngineError::Stopped));
        self.ended = !matches!(event, Event::Delta { .. });
        event
    }
}

impl Stream for TokenStream {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.receiver
            .poll_recv(context)
            .map(|event| Some(self.note(event)))
    }
}

impl Drop for TokenStream {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

/// Shortest and longest advice to a client that was turned away.
const RETRY_AFTER: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(120);
