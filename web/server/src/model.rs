//! The language model as the suite sees it: messages in, a stream of token events out.
//!
//! The local engine is one implementation; a remote OpenAI-compatible server can be another. Text and sampling are
//! `inference`'s types, because they are the vocabulary of both.

use std::pin::Pin;
use std::time::Duration;

use futures_util::Stream;
use inference::{
    ChatMessage, Conversation, Engine, EngineStats, Event, GenerateRequest, Priority,
    SamplingParams, SubmitError,
};

/// Events of one generation, ending with [`Event::Finished`] or [`Event::Failed`]. Dropping it cancels the generation.
pub type ModelStream = Pin<Box<dyn Stream<Item = Event> + Send>>;

/// A language model that the suite can ask.
///
/// Methods may compute for some milliseconds (tokenizing) but never wait.
pub trait LanguageModel: Send + Sync {
    /// Name shown to users and accepted by `/v1/*`.
    fn name(&self) -> &str;

    /// Most tokens of prompt and answer together.
    fn context_len(&self) -> usize;

    /// Tokens of a text as this model counts them, without special tokens.
    fn count_tokens(&self, text: &str) -> usize;

    /// When the model was made, in seconds since the Unix epoch; 0 where nobody knows.
    fn created(&self) -> i64 {
        0
    }

    /// The prompt that the chat template makes of a conversation, as token ids.
    ///
    /// # Errors
    /// [`ModelError::Invalid`] when the chat template refuses the conversation.
    fn encode_conversation(&self, conversation: &Conversation) -> Result<Vec<u32>, ModelError>;

    /// The token ids of a text to continue, without a chat template; control tokens in the text stay text.
    fn encode_text(&self, text: &str) -> Vec<u32>;

    /// Whether the text of an answer to a chat begins inside the model's reasoning.
    fn opens_reasoning(&self) -> bool {
        false
    }

    /// Starts to write what follows a prompt.
    ///
    /// # Errors
    /// See [`ModelError`]; nothing has been queued then.
    fn generate(
        &self,
        prompt: Vec<u32>,
        sampling: SamplingParams,
        priority: Priority,
    ) -> Result<ModelStream, ModelError>;

    /// Starts the answer to a chat. Reasoning is part of the stream's text; see [`inference::ReasoningReader`].
    ///
    /// # Errors
    /// See [`ModelError`]; nothing has been queued then.
    fn chat(
        &self,
        messages: &[ChatMessage],
        sampling: SamplingParams,
        priority: Priority,
    ) -> Result<ModelStream, ModelError> {
        let prompt = self.encode_conversation(&Conversation::new(messages))?;
        self.generate(prompt, sampling, priority)
    }

    /// What the model is doing now.
    fn stats(&self) -> EngineStats;
}

/// Why a generation did not start.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// As many requests wait as may wait.
    #[error("the language model is busy: {capacity} requests are waiting already; try again in {} s", .retry_after.as_secs().max(1))]
    Overloaded {
        /// Length of the queue.
        capacity: usize,
        /// When a place is likely to be free.
        retry_after: Duration,
    },
    /// Prompt and answer do not fit.
    #[error(
        "the prompt has {prompt_tokens} tokens and {max_tokens} were asked for as the answer, but the model holds {limit}; shorten the prompt or lower max_tokens"
    )]
    TooLong {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Tokens asked for.
        max_tokens: usize,
        /// Most tokens of both.
        limit: usize,
    },
    /// The messages or the sampling cannot be used.
    #[error("{reason}")]
    Invalid {
        /// One clear sentence.
        reason: String,
    },
    /// A field of the request cannot be used.
    #[error("{reason}")]
    InvalidParam {
        /// The field's name in `/v1/*`.
        param: &'static str,
        /// One clear sentence.
        reason: String,
    },
    /// The model has stopped.
    #[error("the language model has stopped; restart the server")]
    Stopped,
    /// The model has stopped because its device no longer computes.
    #[error(
        "the language model has stopped, because its device no longer computes ({reason}); restart the server"
    )]
    DeviceLost { reason: String },
}

impl From<SubmitError> for ModelError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::QueueFull {
                capacity,
                retry_after,
            } => ModelError::Overloaded {
                capacity,
                retry_after,
            },
            SubmitError::PromptTooLong {
                prompt_tokens,
                max_tokens,
                limit,
            } => ModelError::TooLong {
                prompt_tokens,
                max_tokens,
                limit,
            },
            SubmitError::Stopped => ModelError::Stopped,
            SubmitError::Device(reason) => ModelError::DeviceLost { reason },
            SubmitError::InvalidSampling(inference::InvalidSampling { name: param, .. })
            | SubmitError::InvalidSamplingToken { name: param, .. } => ModelError::InvalidParam {
                param,
                reason: error.to_string(),
            },
            other => ModelError::Invalid {
                reason: other.to_string(),
            },
        }
    }
}

impl LanguageModel for Engine {
    fn name(&self) -> &str {
        &self.model().name
    }

    fn context_len(&self) -> usize {
        self.model().max_model_len
    }

    fn count_tokens(&self, text: &str) -> usize {
        self.tokenizer()
            .encode(text, inference::AddSpecial::No)
            .len()
    }

    fn created(&self) -> i64 {
        self.model().created
    }

    fn encode_conversation(&self, conversation: &Conversation) -> Result<Vec<u32>, ModelError> {
        Engine::encode_conversation(self, conversation).map_err(|error| ModelError::Invalid {
            reason: error.to_string(),
        })
    }

    fn encode_text(&self, text: &str) -> Vec<u32> {
        self.tokenizer().encode(text, inference::AddSpecial::Yes)
    }

    fn opens_reasoning(&self) -> bool {
        Engine::opens_reasoning(self)
    }

    fn generate(
        &self,
        prompt: Vec<u32>,
        sampling: SamplingParams,
        priority: Priority,
    ) -> Result<ModelStream, ModelError> {
        Ok(Box::pin(self.submit(GenerateRequest {
            prompt,
            sampling,
            priority,
        })?))
    }

    fn stats(&self) -> EngineStats {
        Engine::stats(self)
    }
}
