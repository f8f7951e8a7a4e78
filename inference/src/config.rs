//! What an engine is built from. A plain value: nothing here is read from the environment.

use std::path::PathBuf;

use crate::kv_cache::{BLOCK_SIZE, KvCacheDtype};

/// Where the model runs. There is no silent fallback: a device that cannot be opened is a load error.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    #[default]
    Cpu,
    /// The first CUDA device, or the CPU where none can be used, with a warning that says why.
    Auto,
    /// The CUDA device of this index. Needs a build with the `cuda` feature.
    Cuda(usize),
}

/// How a CUDA device is used. Everything is on unless results or times are to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CudaOptions {
    /// Our own kernels for models that they take; otherwise candle's.
    pub kernels: bool,
    /// Steps of single tokens are captured once and replayed.
    pub graphs: bool,
    /// A kernel is set up while the one before ends (compute capability 9.0 and later).
    pub early_start: bool,
}

impl Default for CudaOptions {
    fn default() -> Self {
        Self {
            kernels: true,
            graphs: true,
            early_start: true,
        }
    }
}

/// Settings of one engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// The GGUF file.
    pub model_path: PathBuf,
    /// Name shown to users. Default: the file's stem.
    pub model_name: String,
    /// Default: the CPU.
    pub device: DeviceChoice,
    pub cuda: CudaOptions,
    /// CPU threads that compute. `None` leaves the choice to the process (physical cores). The compute pool is
    /// created once a process, so a number that differs from it is a load error; see [`crate::set_cpu_threads`].
    pub threads: Option<usize>,
    /// Sequences that advance together. Default 8. More raises total speed and slows each one.
    pub max_num_seqs: usize,
    /// Tokens of one step. Default 256. More speeds long prompts up a little and lets running answers wait longer.
    pub max_num_batched_tokens: usize,
    /// Tokens of KV cache over all sequences, rounded up to whole blocks. Default 16,384. Costs
    /// `4 * num_layers * num_kv_heads * head_dim` bytes each, twice that in F32, 17/32 of it in Q8_0.
    pub kv_cache_tokens: usize,
    /// What keys and values are kept in. Default F16; Q8_0 is smaller, mostly faster at long contexts, and rounds to 8 bits; F32 is for
    /// comparisons with other programs.
    pub kv_cache_dtype: KvCacheDtype,
    /// Longest prompt plus answer. `None`: what the model was trained for and the cache holds.
    pub max_model_len: Option<usize>,
    /// Requests that may wait. Default 32. Above it `submit` answers `QueueFull`; a longer queue only hides overload. `Api` requests
    /// fill three quarters of it and `Batch` ones a half, so that programs leave room for people.
    pub queue_capacity: usize,
}

impl EngineConfig {
    /// Returns the defaults for a model file.
    pub fn new(model_path: impl Into<PathBuf>) -> Self {
        let model_path = model_path.into();
        let model_name = model_path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .unwrap_or_default();
        Self {
            model_path,
            model_name,
            device: DeviceChoice::Cpu,
            cuda: CudaOptions::default(),
            threads: None,
            max_num_seqs: 8,
            max_num_batched_tokens: 256,
            kv_cache_tokens: 16_384,
            kv_cache_dtype: KvCacheDtype::F16,
            max_model_len: None,
            queue_capacity: 32,
        }
    }

    /// Returns the number of KV blocks.
    pub fn num_blocks(&self) -> usize {
        self.kv_cache_tokens.div_ceil(BLOCK_SIZE)
    }
}
