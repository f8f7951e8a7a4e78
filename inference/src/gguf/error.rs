//! Errors of reading and writing GGUF files.

use std::{io, path::PathBuf};

use super::BlockError;

/// Why a GGUF file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is not a GGUF file: it starts with {found}")]
    NotGguf { path: PathBuf, found: String },
    #[error("{path}: GGUF version {version} is not supported (2 and 3 are)")]
    Version { path: PathBuf, version: u32 },
    #[error("{path} is truncated or damaged at byte {offset}: {what}")]
    Corrupt {
        path: PathBuf,
        offset: u64,
        what: String,
    },
    #[error("{path}: there is no tensor `{tensor}`")]
    NoTensor { path: PathBuf, tensor: String },
    #[error(
        "{path}: tensor `{tensor}` is of type {ggml_type}, which this engine cannot compute with"
    )]
    TensorType {
        path: PathBuf,
        tensor: String,
        ggml_type: String,
    },
    #[error("{path}: tensor `{tensor}`: {source}")]
    Blocks {
        path: PathBuf,
        tensor: String,
        source: BlockError,
    },
    #[error("{path} is being written by another program (it holds a lock)")]
    Busy { path: PathBuf },
    #[error("{path} was changed while it was in use; open it again when it is complete")]
    Changed { path: PathBuf },
    #[error("{path}: part {number} of {count} of the model is missing")]
    PartMissing {
        path: PathBuf,
        number: usize,
        count: usize,
    },
    #[error("{path} is no whole part of a split model: {what}")]
    Split { path: PathBuf, what: String },
    #[error("{path}: metadata key `{key}` is missing")]
    MissingKey { path: PathBuf, key: String },
    #[error("{path}: tensor `{tensor}` cannot be placed on the device: {source}")]
    Device {
        path: PathBuf,
        tensor: String,
        source: Box<candle_core::Error>,
    },
}
