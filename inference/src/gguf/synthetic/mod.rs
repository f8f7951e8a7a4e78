//! Small models with random weights and a tiny vocabulary, for tests of everything around a model: they load and run
//! in milliseconds and say nonsense. Every supported architecture, with every part a file of it may have.
//!
//! The same description gives the same bytes on every machine and in every version, so that what other programs
//! computed from such a file can be committed without it ([`weights`]). [`catalogue`] and [`types`] name the ones for which that
//! was done.

mod catalogue;
mod everything;
mod vocabulary;
mod weights;

use std::path::Path;

use candle_core::quantized::GgmlDType;

pub use self::catalogue::{catalogue, types};
pub use self::everything::everything;
use self::vocabulary::put_vocabulary;
use super::{Array, Recipe, Value, writer::GgufWriter};
use crate::model::Architecture;

/// Description of a synthetic model.
#[derive(Debug, Clone, PartialEq)]
pub struct SyntheticModel {
    /// A name of [`Architecture::SUPPORTED`].
    pub architecture: &'static str,
    pub num_layers: usize,
    pub hidden: usize,
    pub num_heads: usize,
    pub num_kv_heads: usize,
    /// Key heads of each layer where they differ; empty: all have `num_kv_heads`.
    pub layer_kv_heads: Vec<usize>,
    pub head_dim: usize,
    pub ffn: usize,
    pub context: usize,
    /// Type of the matrices; norms and biases are F32.
    pub weights: GgmlDType,
    /// Types of the matrices instead. They then repeat one pattern of blocks, which takes no time to make in the size of real
    /// models; whoever measures speed needs no more.
    pub mixture: Option<Recipe>,
    /// Whether the output matrix is the embedding matrix.
    pub tied: bool,
    /// Rows of the embedding beyond the vocabulary.
    pub padding_rows: usize,
    /// Tokens of the vocabulary that no text is made of, so that an output layer has a real model's size.
    pub unused_tokens: usize,
    /// Adds a `rope_freqs.weight` tensor, as Llama 3.1 has it: factor 8 beyond [`Self::ORIGINAL_CONTEXT`] tokens.
    pub rope_freqs: bool,
    /// Adds `rope_factors_short.weight` and `rope_factors_long.weight`, as Phi-3 has them.
    pub rope_factors: bool,
    pub experts: Option<SyntheticExperts>,
    /// Adds `attention.sliding_window`.
    pub window: Option<usize>,
    /// Further keys of the architecture.
    pub numbers: Vec<(&'static str, f32)>,
    /// Adds the keys of a way to scale rope, with [`Self::ORIGINAL_CONTEXT`]; its factor is among `numbers`.
    pub rope_scaling: Option<&'static str>,
    pub seed: u64,
}

/// The experts of a synthetic model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyntheticExperts {
    pub count: usize,
    pub used: usize,
    pub ffn: usize,
    /// Width of the shared expert.
    pub shared_ffn: Option<usize>,
    /// Whether each expert's matrices are tensors of their own, as in files of before April 2024. The weights are
    /// the same either way.
    pub split: bool,
    /// Type of the router.
    pub router: GgmlDType,
}

impl Default for SyntheticModel {
    fn default() -> Self {
        Self {
            architecture: "llama",
            num_layers: 2,
            hidden: 64,
            num_heads: 4,
            num_kv_heads: 2,
            layer_kv_heads: Vec::new(),
            head_dim: 16,
            ffn: 96,
            context: 512,
            weights: GgmlDType::Q8_0,
            mixture: None,
            tied: true,
            padding_rows: 0,
            unused_tokens: 0,
            rope_freqs: false,
            rope_factors: false,
            experts: None,
            window: None,
            numbers: Vec::new(),
            rope_scaling: None,
            seed: 1,
        }
    }
}

impl SyntheticModel {
    /// Tokens a model with scaled rope was first trained for.
    pub const ORIGINAL_CONTEXT: usize = 64;

    /// A small `qwen2`: biases on q, k and v, rope on halves.
    pub fn qwen2() -> Self {
        Self {
            architecture: "qwen2",
            tied: false,
            ..Self::default()
        }
    }

    /// Writes the model to `path`.
    ///
    /// # Errors
    /// An I/O error, or a candle error inside one when the shape does not suit the weight type.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        self.to_writer().map_err(std::io::Error::other)?.write(path)
    }

    /// Returns the writer, so that a test can change what it wants before writing.
    ///
    /// # Errors
    /// A candle error when the shape does not suit the weight type or the architecture is none that is supported.
    pub fn to_writer(&self) -> candle_core::Result<GgufWriter> {
        let mut supported = Architecture::SUPPORTED.iter();
        let Some(architecture) = supported.find(|row| row.name() == self.architecture) else {
            candle_core::bail!("there is no architecture `{}`", self.architecture);
        };
        let mut writer = GgufWriter::new();
        let vocab_len = put_vocabulary(&mut writer, self.unused_tokens);
        self.put_hyperparameters(&mut writer, vocab_len);
        let rows = vocab_len + self.padding_rows;
        weights::put_weights(self, architecture, &mut writer, rows)?;
        Ok(writer)
    }

    fn kv_heads(&self, layer: usize) -> usize {
        let own = self.layer_kv_heads.get(layer);
        own.copied().unwrap_or(self.num_kv_heads)
    }

    fn put_hyperparameters(&self, writer: &mut GgufWriter, vocab_len: usize) {
        let arch = self.architecture;
        let mut set = |name: &str, value: usize| {
            writer.set_u32(&format!("{arch}.{name}"), value as u32);
        };
        set("block_count", self.num_layers);
        set("context_length", self.context);
        set("embedding_length", self.hidden);
        set("feed_forward_length", self.ffn);
        set("attention.head_count", self.num_heads);
        set("attention.head_count_kv", self.num_kv_heads);
        set("attention.key_length", self.head_dim);
        set("attention.value_length", self.head_dim);
        set("rope.dimension_count", self.head_dim);
        set("vocab_size", vocab_len);
        if let Some(experts) = &self.experts {
            set("expert_count", experts.count);
            set("expert_used_count", experts.used);
            // Mixtral has one width for all.
            if experts.ffn != self.ffn {
                set("expert_feed_forward_length", experts.ffn);
            }
            if let Some(ffn) = experts.shared_ffn {
                set("expert_shared_feed_forward_length", ffn);
            }
        }
        if let Some(window) = self.window {
            set("attention.sliding_window", window);
        }
        if self.rope_scaling.is_some() || self.rope_factors {
            set(
                "rope.scaling.original_context_length",
                Self::ORIGINAL_CONTEXT,
            );
        }
        if let Some(kind) = self.rope_scaling {
            writer.set_str(&format!("{arch}.rope.scaling.type"), kind);
        }
        if !self.layer_kv_heads.is_empty() {
            let heads = self.layer_kv_heads.iter().map(|&heads| heads as u32);
            let heads = Value::Array(Array::U32(heads.collect()));
            writer.set(&format!("{arch}.attention.head_count_kv"), heads);
        }
        writer.set_f32(&format!("{arch}.attention.layer_norm_rms_epsilon"), 1e-5);
        writer.set_f32(&format!("{arch}.rope.freq_base"), 10_000.0);
        for (name, value) in &self.numbers {
            writer.set_f32(&format!("{arch}.{name}"), *value);
        }
        writer.set_str("general.architecture", arch);
        writer.set_str("general.name", "synthetic");
    }
}
