//! The OpenAI-compatible `/v1/*` shapes, with two additions: `collections` in a chat request, `citations` in its answer.
//!
//! Only what is honoured is named. What the server does with the other fields that clients send (refuses those that would
//! change the result, ignores the rest) is its table `http::openai::parameters`, which also reads other spellings.

mod input;
mod message;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::{
    input::{Input, OneOrMany, TextOrTokens},
    message::{CalledCustom, CalledFunction, ChatMessage, Content, ContentPart, MessageToolCall},
};
use crate::{AnswerMode, Citation};

/// What a stream carries beside the text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamOptions {
    /// One more chunk with `usage` and no choices before `[DONE]`; the others have `"usage": null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_usage: Option<bool>,
}

/// Fields that chat and plain completions share. Absent means the server's default. A value outside its range is an
/// error that names the field.
///
/// "Extension" is what OpenAI's API lacks; the names are those of llama.cpp's server and vLLM. The steps apply in
/// llama.cpp's order: `logit_bias` and `banned_strings`, penalties, DRY, `top_n_sigma`, `top_k`, `typical_p`, `top_p`,
/// `min_p`, XTC, `temperature`. At temperature 0 the best token after DRY is taken.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SamplingFields {
    /// 0 to 2; 0 is greedy. Default 1 as in OpenAI's API; with `collections` 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// 0 to 1; 0 leaves the best token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Extension: the best so many tokens; 0 and -1 are off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<i64>,
    /// Extension, 0 to 1: the share of the best token's probability that others need; 0 is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f32>,
    /// Extension, above 0, at most 1: locally typical sampling; 1 is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typical_p: Option<f32>,
    /// Extension, 0 to 100: standard deviations below the best logit; 0 and -1 are off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_n_sigma: Option<f32>,
    /// Extension, 0 to 1: how often XTC removes the top choices; 0 is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xtc_probability: Option<f32>,
    /// Extension, above 0, at most 1: what a top choice is. Default 0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xtc_threshold: Option<f32>,
    /// Extension: 2 chooses by a target surprise (Mirostat 2.0) instead of the truncations and XTC; 0 is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirostat: Option<u32>,
    /// Extension, above 0, at most 20: target surprise in bits. Default 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirostat_tau: Option<f32>,
    /// Extension, above 0, at most 1: how fast it adapts. Default 0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirostat_eta: Option<f32>,
    /// Extension, 0.01 to 10, on tokens of prompt and answer; 1 is off. Also `repeat_penalty`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f32>,
    /// Extension: the three penalties look at so many last tokens; -1 (the default) at all, 0 at none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat_last_n: Option<i64>,
    /// Extension, 0 to 100: strength of the penalty for continuing a repetition (DRY); 0 is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_multiplier: Option<f32>,
    /// Extension, 1 to 10: how the penalty grows with the repetition's length. Default 1.75.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_base: Option<f32>,
    /// Extension, 1 or more: repetitions shorter than this are free. Default 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_allowed_length: Option<usize>,
    /// Extension: DRY looks at so many last tokens; -1 (the default) at all, 0 at none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_penalty_last_n: Option<i64>,
    /// Extension: texts across which nothing is a repetition. Default a line break, `:`, `"` and `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_sequence_breakers: Option<Vec<String>>,
    /// Token ids with what is added to their logits, -100 to 100; -100 forbids the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logit_bias: Option<BTreeMap<String, f32>>,
    /// Extension: texts that may not appear in the answer, whatever tokens would spell them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub banned_strings: Option<Vec<String>>,
    /// -2 to 2, on tokens of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f32>,
    /// -2 to 2, for each occurrence in the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f32>,
    /// Same seed, same request, same texts; with `n` above 1 each answer draws its own random numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// Up to 16 texts that end the answer; they are not part of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<OneOrMany>,
    /// Most tokens to write; -1 is until the model or its context ends, which is also a chat's default. Also
    /// `max_completion_tokens`, which wins, and `n_predict`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<i64>,
    /// Number of answers, 1 to 8; each takes a place of its own in the model's queue. With `collections` only 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<i64>,
    /// Extension: goes on past the model's end tokens until `max_tokens`. Not with `collections`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_eos: Option<bool>,
}

/// `POST /v1/chat/completions`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatCompletionRequest {
    /// A name of `GET /v1/models`. Absent: the language model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// At least one; with `collections` the last one is the question.
    pub messages: Vec<ChatMessage>,
    /// Server-sent chunks instead of one JSON document.
    #[serde(default)]
    pub stream: bool,
    /// What the stream carries beside the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_options: Option<StreamOptions>,
    /// How to choose tokens.
    #[serde(flatten)]
    pub sampling: SamplingFields,
    /// Reports the log-probability of each token, before bias, penalties and temperature. Not with `collections`, where
    /// the text is checked and marked after it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<bool>,
    /// Reports so many best alternatives of each token too, 0 to 20. Above 0 it needs `logprobs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_logprobs: Option<usize>,
    /// Extension: names of collections whose documents answer the last message, with citations. `[]` means all. The
    /// sampling fields apply to the writing of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collections: Option<Vec<String>>,
}

/// Tokens of a request and its answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompletionUsage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens written.
    pub completion_tokens: usize,
    /// Their sum.
    pub total_tokens: usize,
}

/// Answer of a chat completion without `stream`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatCompletion {
    /// `chatcmpl-...`
    pub id: String,
    /// `chat.completion`
    pub object: String,
    /// Seconds since the Unix epoch.
    pub created: i64,
    /// The model that answered.
    pub model: String,
    /// Changes when the model's file or the server's version does.
    pub system_fingerprint: String,
    /// `n` of them.
    pub choices: Vec<ChatChoice>,
    /// What it took, all choices together; the prompt counts once.
    pub usage: CompletionUsage,
}

/// One choice of a [`ChatCompletion`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatChoice {
    /// From 0.
    pub index: usize,
    /// The answer.
    pub message: AssistantMessage,
    /// With `logprobs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<ChoiceLogprobs>,
    /// `stop` or `length`.
    pub finish_reason: Option<String>,
}

/// Log-probabilities of the tokens of a choice, or of what is new in a chunk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChoiceLogprobs {
    /// One a token, in order; tokens of a stop text are left out.
    pub content: Vec<TokenLogprob>,
}

/// A token with its natural log-probability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// The token's text; U+FFFD stands for part of a character.
    pub token: String,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// The token's text as UTF-8; those of successive tokens joined are the answer.
    pub bytes: Vec<u8>,
    /// Best first; only of a chosen token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_logprobs: Option<Vec<TokenLogprob>>,
}

/// The answer of a chat completion.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AssistantMessage {
    /// `assistant`
    pub role: String,
    /// The text.
    pub content: String,
    /// Extension: what a model that reasons wrote before the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// Extension, with `collections`: verified quotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub citations: Option<Vec<Citation>>,
    /// Extension, with `collections`: whether the documents do not answer the question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<bool>,
    /// Extension, with `collections`: the statements of the answer that no passage supports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsupported: Option<Vec<Statement>>,
    /// Extension, with `collections`: how the text came about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<AnswerMode>,
    /// Extension, with `collections`: a remark to show with the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
}

/// One `data:` line of a streamed chat completion; `data: [DONE]` is the last line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatCompletionChunk {
    /// The same in all chunks.
    pub id: String,
    /// `chat.completion.chunk`
    pub object: String,
    /// Seconds since the Unix epoch, the same in all chunks.
    pub created: i64,
    /// The model that answers.
    pub model: String,
    /// Changes when the model's file or the server's version does.
    pub system_fingerprint: String,
    /// One, or none in the chunk that carries `usage`.
    pub choices: Vec<ChatChunkChoice>,
    /// With `stream_options.include_usage`: what it took in the last chunk, `null` in the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Option<CompletionUsage>>,
}

/// The one choice of a [`ChatCompletionChunk`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatChunkChoice {
    /// Which of the `n` answers, from 0.
    pub index: usize,
    /// What is new.
    pub delta: ChatDelta,
    /// With `logprobs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<ChoiceLogprobs>,
    /// `stop` or `length` in the answer's last chunk, `null` before.
    pub finish_reason: Option<String>,
}

/// What is new in a chunk.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatDelta {
    /// `assistant`, in the first chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Text to append.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Extension: reasoning to append; comes before the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// Extension, with `collections`, in the last chunk: verified quotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub citations: Option<Vec<Citation>>,
    /// Extension, with `collections`, in the last chunk: whether the documents do not answer the question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<bool>,
    /// Extension, with `collections`, in the last chunk: the statements of the answer that no passage supports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsupported: Option<Vec<Statement>>,
    /// Extension, with `collections`, in the last chunk: how the text came about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<AnswerMode>,
    /// Extension, with `collections`, in the last chunk: a remark to show with the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
}

/// A part of an answer's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// First character in the text of the answer.
    pub start: usize,
    /// One past the last character.
    pub end: usize,
    /// The characters `start..end`.
    pub text: String,
}

/// `POST /v1/completions`: text in, continuation out, no chat template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompletionRequest {
    /// A name of `GET /v1/models`. Absent: the language model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What to continue; of several, each has its own `n` choices, in order.
    pub prompt: Input,
    /// Server-sent chunks instead of one JSON document.
    #[serde(default)]
    pub stream: bool,
    /// What the stream carries beside the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_options: Option<StreamOptions>,
    /// Reports the log-probability of each token and of so many best alternatives, 0 to 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<usize>,
    /// How to choose tokens.
    #[serde(flatten)]
    pub sampling: SamplingFields,
}

/// Answer of a completion, and, with `stream`, each of its chunks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// `cmpl-...`
    pub id: String,
    /// `text_completion`
    pub object: String,
    /// Seconds since the Unix epoch.
    pub created: i64,
    /// The model that answered.
    pub model: String,
    /// Changes when the model's file or the server's version does.
    pub system_fingerprint: String,
    /// `n` of them; one in a chunk, or none in the chunk that carries `usage`.
    pub choices: Vec<CompletionChoice>,
    /// What it took; in a stream as in [`ChatCompletionChunk`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Option<CompletionUsage>>,
}

/// One choice of a [`Completion`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompletionChoice {
    /// From 0.
    pub index: usize,
    /// The text, or what is new of it.
    pub text: String,
    /// With `logprobs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<CompletionLogprobs>,
    /// `stop` or `length`; `null` while it goes on.
    pub finish_reason: Option<String>,
}

/// Log-probabilities of the tokens of a [`CompletionChoice`]: four lists of the same length.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CompletionLogprobs {
    /// Texts; a token that is no whole text is written `bytes:\xe2\x82`.
    pub tokens: Vec<String>,
    /// Natural logarithms of their probabilities.
    pub token_logprobs: Vec<f32>,
    /// The best alternatives of each, best first, and then the token itself if it is none of them.
    pub top_logprobs: Vec<RankedLogprobs>,
    /// Characters of the whole text before each.
    pub text_offset: Vec<usize>,
}

/// Log-probabilities by the tokens' texts, in the order in which they were put in: a JSON object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RankedLogprobs(pub Vec<(String, f32)>);

impl Serialize for RankedLogprobs {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(token, logprob)| (token, logprob)))
    }
}

impl<'de> Deserialize<'de> for RankedLogprobs {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = serde_json::Map::deserialize(deserializer)?;
        let ranked = map
            .into_iter()
            .map(|(token, logprob)| Ok((token, serde_json::from_value(logprob)?)));
        ranked
            .collect::<Result<_, serde_json::Error>>()
            .map(RankedLogprobs)
            .map_err(serde::de::Error::custom)
    }
}

/// `POST /v1/embeddings`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EmbeddingRequest {
    /// The embedding model of `GET /v1/models`. Absent: that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Up to 2,048 texts, none empty.
    pub input: Input,
    /// Extension: cuts a text that is longer than the model reads, which is otherwise an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncate: Option<bool>,
    /// `float` (the default) or `base64` (little-endian f32).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding_format: Option<String>,
}

/// A vector, as numbers or as base64 of little-endian f32.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EmbeddingVector {
    /// `[0.1, ...]`
    Float(Vec<f32>),
    /// `"zczMPQ=="`
    Base64(String),
}

/// Answer of `POST /v1/embeddings`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EmbeddingResponse {
    /// `list`
    pub object: String,
    /// In the order of the input.
    pub data: Vec<Embedding>,
    /// The model that was used.
    pub model: String,
    /// What it took.
    pub usage: EmbeddingUsage,
}

/// One vector of an [`EmbeddingResponse`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Embedding {
    /// `embedding`
    pub object: String,
    /// Position in the input.
    pub index: usize,
    /// Length 1.
    pub embedding: EmbeddingVector,
}

/// Tokens of an embedding request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmbeddingUsage {
    /// Tokens of the input.
    pub prompt_tokens: usize,
    /// The same.
    pub total_tokens: usize,
}

/// `GET /v1/models`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelList {
    /// `list`
    pub object: String,
    /// The language model, if any, and the embedding model.
    pub data: Vec<Model>,
}

/// One model of a [`ModelList`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// Name to use in requests.
    pub id: String,
    /// `model`
    pub object: String,
    /// When the model's file was written, in seconds since the Unix epoch.
    pub created: i64,
    /// `cloister`
    pub owned_by: String,
    /// Extension: most tokens of prompt and answer together, or of one text to embed without those that frame it.
    pub context_length: usize,
    /// Extension, of a name that the configuration gives a model: that model's own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
}

/// Error answer of `/v1/*`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong, in OpenAI's shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// One clear sentence with the way out.
    pub message: String,
    /// `invalid_request_error`, `authentication_error`, `rate_limit_error`, `server_error`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The field at fault, if one is.
    pub param: Option<String>,
    /// Stable machine-readable reason.
    pub code: Option<String>,
}
