//! Language-model engine: token ids in, token events out.
//!
//! [`Engine`] loads a GGUF model and serves many requests at once; everything else is a part of it or helps to
//! prepare its input. Reading order: [`engine`] (handle and step loop), [`scheduler`] (what runs in a step),
//! [`kv_cache`] (where keys and values live), [`runner`] (a step on the device), [`model`], [`layers`], [`ops`].
//!
//! Absent on purpose: HTTP, SQL, the process environment, the terminal, documents.

mod config;
mod device;
pub mod encoder;
pub mod engine;
pub mod gguf;
mod gpu;
mod gpu_driver;
pub mod kv_cache;
pub mod layers;
mod metered;
pub mod model;
pub mod ops;
mod perplexity;
pub mod roofline;
pub mod runner;
pub mod sampling;
pub mod scheduler;
pub mod sequence;
mod sizing;
pub mod text;

pub use config::{CudaOptions, DeviceChoice, EngineConfig};
pub use device::{
    BUILT_FOR, CudaCard, DeviceError, HAS_CUDA, LibraryProblem, check_threads, cpu_threads,
    cuda_cards, describe as describe_device, open as open_device, set_cpu_threads,
};
pub use encoder::{Encoder, EncoderError};
pub use engine::{
    Engine, EngineError, EngineStats, Event, FinishReason, GenerateRequest, LoadError, ModelInfo,
    ScoredToken, SubmitError, Timings, TokenLogprobs, TokenStream, Usage,
};
pub use gguf::{GgufError, GgufFile};
pub use gpu_driver::{DriverProblem, GpuDriver};
pub use kv_cache::{KvCacheDtype, UnknownKvCacheDtype};
pub use metered::MeteredAllocator;
pub use model::LoadProgress;
pub use perplexity::{PerplexityError, PerplexityReport, perplexity};
pub use sampling::{Dry, InvalidSampling, MOST_TOP_LOGPROBS, Mirostat, SamplingParams};
pub use sequence::Priority;
pub use sizing::{Fit, Sizes, default_sizes, fit};
pub use text::{
    AddSpecial, AnswerParts, ChatMessage, ChatTemplate, ChatTemplateError, Conversation,
    Detokenizer, PromptEnd, ReasoningReader, Role, StopMatcher, StopOutcome, Tokenizer,
    TokenizerError, TokenizerSource, ToolCall, Turn,
};

#[cfg(test)]
#[global_allocator]
static ALLOCATOR: MeteredAllocator = MeteredAllocator;
