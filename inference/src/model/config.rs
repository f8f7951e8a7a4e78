//! Hyperparameters of a model, from GGUF metadata. `llama` and `qwen2` are two configurations of the same layers.

use crate::{
    gguf::{GgufFile, Value},
    kv_cache::{CacheLayout, KvCacheDtype},
    ops::{paged_attention::AttentionShape, rope::RopeLayout},
};

use super::ModelError;

/// A family of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Llama 1 to 3, Mistral, SmolLM2 and others that GGUF files call `llama`.
    Llama,
    /// Qwen2 and Qwen2.5: biases on q, k and v.
    Qwen2,
}

impl Architecture {
    /// All that this engine runs, by the names GGUF files use.
    pub const SUPPORTED: &[(&str, Self)] = &[("llama", Self::Llama), ("qwen2", Self::Qwen2)];

    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
        }
    }

    fn from_gguf(file: &GgufFile) -> Result<Self, ModelError> {
        let found = file.require_str("general.architecture")?;
        let known = Self::SUPPORTED.iter().find(|(name, _)| *name == found);
        known.map(|(_, architecture)| *architecture).ok_or_else(|| {
            ModelError::UnsupportedArchitecture {
                found: found.to_owned(),
                supported: Self::SUPPORTED
                    .iter()
                    .map(|(name, _)| *name)
                    .collect::<Vec<_>>()
                    .join(", "),
            }
        })
    }

    fn rope_layout(self) -> RopeLayout {
        match self {
            Self::Llama => RopeLayout::Interleaved,
            Self::Qwen2 => RopeLayout::Halves,
        }
    }

    /// Whether q, k and v may carry a bias.
    pub fn has_qkv_bias(self) -> bool {
        match self {
            Self::Llama => false,
            Self::Qwen2 => true,
        }
    }
}

/// Hyperparameters of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    pub architecture: Architecture,
    pub num_layers: usize,
    pub hidden: usize,
    pub ffn: usize,
    pub attention: AttentionShape,
    pub rms_norm_eps: f32,
    pub rope_layout: RopeLayout,
    /// Elements of a head that are turned; even, at most `head_dim`.
    pub rope_dims: usize,
    pub rope_base: f64,
    /// Positions are divided by this (linear scaling); 1 normally.
    pub rope_factor: f64,
    /// Tokens the model was trained for.
    pub context_len: usize,
}

impl ModelConfig {
    /// Reads and checks the hyperparameters.
    ///
    /// # Errors
    /// [`ModelError`] for an architecture or a feature this engine does not run, and for numbers that contradict
    /// each other.
    pub fn from_gguf(file: &GgufFile) -> Result<Self, ModelError> {
        let architecture = Architecture::from_gguf(file)?;
        let keys = Keys {
            file,
            prefix: architecture.name(),
        };
        keys.refuse_unsupported()?;
        let hidden = keys.require("embedding_length")?;
        let num_heads = keys.require("attention.head_count")?;
        let num_kv_heads = keys
            .per_layer("attention.head_count_kv")?
            .unwrap_or(num_heads);
        if num_heads == 0 || num_kv_heads == 0 || !num_heads.is_multiple_of(num_kv_heads) {
            return Err(keys.invalid("attention.head_count_kv", num_kv_heads));
        }
        let head_dim = keys
            .get("attention.key_length")
            .unwrap_or(hidden / num_heads);
        if head_dim == 0 || head_dim > 1_024 {
            return Err(keys.invalid("attention.key_length", head_dim));
        }
        let value_dim = keys.get("attention.value_length").unwrap_or(head_dim);
        if value_dim != head_dim {
            return Err(ModelError::Unsupported {
                what: format!("values of {value_dim} beside keys of {head_dim}"),
            });
        }
        let rope_dims = keys.get("rope.dimension_count").unwrap_or(head_dim);
        if rope_dims == 0 || rope_dims > head_dim || !rope_dims.is_multiple_of(2) {
            return Err(keys.invalid("rope.dimension_count", rope_dims));
        }
        let num_layers = keys.require("block_count")?;
        if num_layers == 0 || num_layers > 1_024 {
            return Err(keys.invalid("block_count", num_layers));
        }
        let context_len = keys.require("context_length")?;
        if context_len == 0 || context_len > 1 << 24 {
            return Err(keys.invalid("context_length", context_len));
        }
        Ok(Self {
            architecture,
            num_layers,
            hidden,
            ffn: keys.require("feed_forward_length")?,
            attention: AttentionShape {
                num_heads,
                num_kv_heads,
                head_dim,
            },
            rms_norm_eps: keys.positive("attention.layer_norm_rms_epsilon", 1e-5)?,
            rope_layout: architecture.rope_layout(),
            rope_dims,
            rope_base: f64::from(keys.positive("rope.freq_base", 10_000.0)?),
            rope_factor: keys.rope_factor()?,
            context_len,
        })
    }

    /// Returns the angle each pair of elements turns a position; `factors` is the `rope_freqs` tensor of Llama 3.1.
    pub fn inverse_frequencies(&self, factors: Option<&[f32]>) -> Vec<f64> {
        (0..self.rope_dims / 2)
            .map(|pair| {
                let frequency = self
                    .rope_base
                    .powf(-2.0 * pair as f64 / self.rope_dims as f64);
                let factor = factors.map_or(1.0, |factors| f64::from(factors[pair]));
                frequency / self.rope_factor / factor
            })
            .collect()
    }

    /// Returns the shape of a cache of `num_blocks` blocks.
    pub fn cache_layout(&self, num_blocks: usize, dtype: KvCacheDtype) -> CacheLayout {
        CacheLayout {
            num_blocks,
            num_layers: self.num_layers,
            num_kv_heads: self.attention.num_kv_heads,
            head_dim: self.attention.head_dim,
            dtype,
        }
    }
}

/// Access to the keys of one architecture.
struct Keys<'a> {
    file: &'a GgufFile,
    prefix: &'static str,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    fn get(&self, name: &str) -> Option<usize> {
        self.file
            .get_u32(&self.key(name))
            .map(|value| value as usize)
    }

    fn require(&self, name: &str) -> Result<usize, ModelError> {
        Ok(self.file.require_u32(&self.key(name))? as usize)
    }

    /// A number that some files give for each layer; different numbers are not supported.
    fn per_layer(&self, name: &str) -> Result<Option<usize>, ModelError> {
        let key = self.key(name);
        if let Some(Value::Array(_)) = self.file.get(&key) {
            let values = self.file.get_arr_u32(&key).unwrap_or_default();
            return match values.split_first() {
                Some((first, rest)) if rest.iter().all(|value| value == first) => {
                    Ok(Some(*first as usize))
                }
                _ => Err(ModelError::Unsupported {
                    what: format!("`{key}` that differs between layers"),
                }),
            };
        }
        Ok(self.get(name))
    }

    fn positive(&self, name: &'static str, default: f32) -> Result<f32, ModelError> {
        let value = self.file.get_f32(&self.key(name)).unwrap_or(default);
        if value.is_finite() && value > 0.0 {
            Ok(value)
        } else {
            Err(ModelError::InvalidKey {
                key: self.key(name),
                value: value.to_string(),
            })
        }
    }

    fn rope_factor(&self) -> Result<f64, ModelError> {
        match self.file.get_str(&self.key("rope.scaling.type")) {
            None | Some("none") => Ok(1.0),
            Some("linear") => Ok(f64::from(self.positive("rope.scaling.factor", 1.0)?)),
            Some(other) => Err(ModelError::Unsupported {
                what: format!("rope scaling `{other}`"),
            }),
        }
    }

    fn refuse_unsupported(&self) -> Result<(), ModelError> {
        if self.get("expert_count").unwrap_or(0) > 0 {
            return Err(ModelError::Unsupported {
                what: "mixture of experts".to_owned(),
            });
        }
        match (
            self.get("attention.sliding_window"),
            self.get("context_length"),
        ) {
            (Some(window), Some(context)) if window > 0 && window < context => {
                Err(ModelError::Unsupported {
                    what: format!("a sliding window of {window} tokens"),
                })
            }
            _ => Ok(()),
        }
    }

    fn invalid(&self, name: &str, value: usize) -> ModelError {
        ModelError::InvalidKey {
            key: self.key(name),
            value: value.to_string(),
        }
    }
}
