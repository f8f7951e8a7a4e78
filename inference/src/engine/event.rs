//! What a request gets back, and why it may get nothing.

use std::{path::PathBuf, time::Duration};

use crate::{
    device::DeviceError, gguf::GgufError, model::ModelError, sampling::InvalidSampling,
    text::ChatTemplateError, text::TokenizerError,
};

/// One piece of a request's answer. `Finished` and `Failed` are last.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Text that became certain and the tokens since the last delta. Text of an unfinished character or of a possible
    /// stop string waits for its continuation, so `text` may lag behind `tokens`.
    Delta {
        text: String,
        tokens: Vec<u32>,
        /// Where the request asks for them: the tokens whose text begins in the text sent so far and was not reported
        /// yet, so these keep pace with `text`. Tokens inside a stop string are never reported; tokens without text
        /// are reported with what follows them.
        logprobs: Vec<TokenLogprobs>,
    },
    Finished {
        reason: FinishReason,
        usage: Usage,
        timings: Timings,
    },
    Failed(EngineError),
}

/// A token with its log-probability under the model's own distribution, before bias, penalties and temperature.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredToken {
    pub id: u32,
    /// What the token adds to the text, which may be part of a character; a control token's name.
    pub bytes: Vec<u8>,
    /// Natural logarithm.
    pub logprob: f32,
}

/// A chosen token and what else could have been chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprobs {
    pub chosen: ScoredToken,
    /// Best first; as many as were asked for, fewer when fewer tokens are possible. Holds `chosen` only if it is one
    /// of the best.
    pub top: Vec<ScoredToken>,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// An end token or a stop string.
    Stop,
    /// `max_tokens` or the longest context was reached.
    Length,
}

/// Tokens of a request. The end token itself is not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    pub prompt_tokens: usize,
    pub completion_tokens: usize,
}

/// Where a request's time went.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Timings {
    /// From `submit` to the first step with this request.
    pub queue_ms: f64,
    /// From there to the first token.
    pub prefill_ms: f64,
    /// From the first token to the last.
    pub decode_ms: f64,
}

/// Why a request that was accepted failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    #[error("the engine was stopped")]
    Stopped,
    #[error("the model produced no valid numbers (NaN or infinity)")]
    InvalidLogits,
    #[error(
        "no token is left to choose: logit_bias, banned strings or the model itself exclude every one"
    )]
    NothingLeft,
    #[error("the engine failed while computing: {0}")]
    Step(String),
    #[error(
        "the device no longer computes and the engine has stopped, so only a restart helps: {0}"
    )]
    Device(String),
}

/// Why a request was not accepted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SubmitError {
    #[error("all {capacity} places of the queue are taken; try again in {} s", retry_after.as_secs().max(1))]
    QueueFull {
        capacity: usize,
        retry_after: Duration,
    },
    #[error(
        "the prompt has {prompt_tokens} tokens and {max_tokens} more were asked for, together more than the {limit} \
         that fit"
    )]
    PromptTooLong {
        prompt_tokens: usize,
        max_tokens: usize,
        limit: usize,
    },
    #[error("the prompt is empty")]
    EmptyPrompt,
    #[error("token id {token} is not in the model's vocabulary of {vocab_size}")]
    InvalidToken { token: u32, vocab_size: usize },
    #[error(
        "{name} names token id {token}, which is not in the model's vocabulary of {vocab_size}"
    )]
    InvalidSamplingToken {
        name: &'static str,
        token: u32,
        vocab_size: usize,
    },
    #[error(transparent)]
    InvalidSampling(#[from] InvalidSampling),
    #[error("the engine has stopped")]
    Stopped,
    #[error("the device no longer computes, and only a restart helps: {0}")]
    Device(String),
}

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Gguf(#[from] GgufError),
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error("{path}: {source}")]
    Model { path: PathBuf, source: ModelError },
    #[error("{path}: {source}")]
    Tokenizer {
        path: PathBuf,
        source: TokenizerError,
    },
    #[error("{path}: {source}")]
    ChatTemplate {
        path: PathBuf,
        source: ChatTemplateError,
    },
    #[error("{name} is {value}, which is impossible: {reason}")]
    Config {
        name: &'static str,
        value: usize,
        reason: String,
    },
    #[error(
        "{path} needs at least {:.1} GiB of the GPU's memory, and {:.1} GiB are free: other programs use the rest, or a smaller model \
         or quantization is needed",
        gib(*needed), gib(*free)
    )]
    Memory {
        path: PathBuf,
        needed: u64,
        free: u64,
    },
    #[error("the engine's thread could not be started: {0}")]
    Thread(std::io::Error),
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}
