//! Decoder-only language models: hyperparameters from GGUF metadata, weights, and the forward pass of a step.
//!
//! Weights are immutable and the cache is an argument, so one model serves any number of sequences.

pub mod architecture;
pub mod config;
mod decoder;
mod keys;
mod layered;
mod load;
mod rope;
mod step_logits;
pub(crate) mod weights;

use crate::gguf::GgufError;

pub use architecture::Architecture;
pub use config::ModelConfig;
pub use decoder::{KvCache, Model, ModelUse};
pub use load::LoadProgress;
pub use rope::{RopeConfig, Yarn};
pub use step_logits::{RECORD_WORDS, RowLogits, StepLogits};

/// Why a file's model cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("architecture `{found}` is not supported (supported: {supported})")]
    UnsupportedArchitecture { found: String, supported: String },
    #[error("{what} is not supported")]
    Unsupported { what: String },
    #[error("metadata key `{key}` is {value}, which is impossible")]
    InvalidKey { key: String, value: String },
    #[error("tensor `{tensor}` is {got:?}, {want:?} is needed")]
    TensorShape {
        tensor: String,
        got: Vec<usize>,
        want: Vec<usize>,
    },
    #[error("tensor `{tensor}` has no place in a model of `{architecture}`: not supported")]
    UnknownTensor {
        tensor: String,
        architecture: &'static str,
    },
    #[error("the embedding has {rows} rows for a vocabulary of {vocab_size}")]
    Vocabulary { rows: usize, vocab_size: usize },
    #[error(transparent)]
    Gguf(#[from] GgufError),
    #[error(
        "keys and values in 8 bits need kernels that this model, which has {reason}, lacks on a GPU; set kv_cache_dtype to f16"
    )]
    BytesOnGpu { reason: String },
    #[error("cannot build the model: {0}")]
    Device(Box<candle_core::Error>),
}

impl From<candle_core::Error> for ModelError {
    fn from(error: candle_core::Error) -> Self {
        Self::Device(Box::new(error))
    }
}
