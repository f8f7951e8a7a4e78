//! The decoder: embedding, layers, output. One for all architectures.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use candle_core::{DType, Device, Result, Tensor, quantized::QTensor};

use super::{ModelConfig, ModelError, weights::Weights};
use crate::{
    device::cpu_threads,
    gguf::GgufFile,
    kv_cache::{CacheLayout, KvCacheDtype},
    layers::{Attention, LayerCache, Linear, Mlp, RmsNorm},
    ops::rope::RopeTable,
    runner::StepInput,
};

/// Keys and values of all layers.
#[derive(Debug)]
pub struct KvCache {
    pub layout: CacheLayout,
    layers: Vec<LayerCache>,
}

impl KvCache {
    /// Allocates the cache, all zero.
    ///
    /// # Errors
    /// A candle error when the device is out of memory.
    pub fn new(layout: CacheLayout, device: &Device) -> Result<Self> {
        let dtype = match layout.dtype {
            KvCacheDtype::F16 => DType::F16,
            KvCacheDtype::F32 => DType::F32,
        };
        let layer = || {
            Ok(LayerCache {
                k: Tensor::zeros(&layout.k_shape(), dtype, device)?,
                v: Tensor::zeros(&layout.v_shape(), dtype, device)?,
            })
        };
        let layers = (0..layout.num_layers)
            .map(|_| layer())
            .collect::<Result<_>>()?;
        Ok(Self { layout, layers })
    }
}

#[derive(Debug)]
struct DecoderLayer {
    attention_norm: RmsNorm,
    attention: Attention,
    ffn_norm: RmsNorm,
    mlp: Mlp,
}

/// What a forward pass yields.
#[derive(Debug)]
pub struct StepLogits {
    /// `[num_logits, rows of the embedding]` f32
    pub logits: Tensor,
    /// Whether each row comes from valid numbers. Integer kernels turn NaN into ordinary numbers, so this is known
    /// before the last product only.
    pub is_valid: Vec<bool>,
}

/// A loaded model.
#[derive(Debug)]
pub struct Model {
    pub config: ModelConfig,
    /// `[rows, hidden]` token_embd.weight; rows are dequantized as they are needed.
    embedding: Arc<QTensor>,
    layers: Vec<DecoderLayer>,
    output_norm: RmsNorm,
    /// `[rows, hidden]` output.weight, or the embedding where the file has none (tied).
    output: Linear,
    rope: RopeTable,
    device: Device,
}

impl Model {
    /// Loads the weights. Positions up to `max_len` can be run; `vocab_size` is the tokenizer's.
    ///
    /// # Errors
    /// [`ModelError`] for anything missing, of another shape or type, or too large for the device.
    pub fn load(
        file: &GgufFile,
        config: ModelConfig,
        vocab_size: usize,
        max_len: usize,
        device: &Device,
    ) -> std::result::Result<Self, ModelError> {
        let weights = Weights { file, device };
        let rows = file
            .tensor("token_embd.weight")
            .map_or(0, |info| info.shape[0]);
        let embedding = Arc::new(weights.tensor("token_embd.weight", &[rows, config.hidden])?);
        if rows < vocab_size {
            return Err(ModelError::Vocabulary { rows, vocab_size });
        }
        let output = || match file.tensor("output.weight") {
            Some(_) => weights.linear("output", rows, config.hidden, false),
            None => Ok(Linear::new(embedding.clone(), None)?),
        };
        let (output, layers) = load_in_parallel(output, &weights, &config)?;
        let factors = match file.tensor("rope_freqs.weight") {
            Some(_) => Some(
                weights
                    .vector("rope_freqs.weight", config.rope_dims / 2)?
                    .to_vec1::<f32>()?,
            ),
            None => None,
        };
        let frequencies = config.inverse_frequencies(factors.as_deref());
        Ok(Self {
            rope: RopeTable::new(config.rope_layout, &frequencies, max_len, device)?,
            output_norm: weights.norm("output_norm", config.hidden, config.rms_norm_eps)?,
            embedding,
            layers,
            output,
            device: device.clone(),
            config,
        })
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Returns the logits of the rows the step asks for, or `None` when it asks for none. Writes the step's keys and
    /// values to the cache.
    ///
    /// # Errors
    /// A candle error unless the step fits the model and the cache.
    pub fn forward(&self, step: &StepInput, cache: &KvCache) -> Result<Option<StepLogits>> {
        let ids = Tensor::from_slice(&step.token_ids, step.token_ids.len(), &self.device)?;
        let mut x = self.embedding.embedding(&ids)?;
        let last = self.layers.len() - 1;
        for (index, (layer, cache)) in self.layers.iter().zip(&cache.layers).enumerate() {
            let normed = layer.attention_norm.forward(&x)?;
            let mut attended = layer.attention.attend(&normed, step, &self.rope, cache)?;
            if index == last {
                // Past the last cache write only the rows with logits matter.
                if step.logits_rows.is_empty() {
                    return Ok(None);
                }
                (x, attended) = (self.select(&x, step)?, self.select(&attended, step)?);
            }
            x = (x + layer.attention.output.forward(&attended)?)?;
            let normed = layer.ffn_norm.forward(&x)?;
            x = (x + layer.mlp.forward(&normed)?)?;
        }
        let normed = self.output_norm.forward(&x)?;
        let is_valid = normed
            .sqr()?
            .sum(1)?
            .to_vec1::<f32>()?
            .into_iter()
            .map(f32::is_finite)
            .collect();
        Ok(Some(StepLogits {
            logits: self.output.forward(&normed)?,
            is_valid,
        }))
    }

    fn select(&self, x: &Tensor, step: &StepInput) -> Result<Tensor> {
        let rows = &step.logits_rows;
        if rows.len() == x.dim(0)? {
            return Ok(x.clone());
        }
        x.index_select(&Tensor::from_slice(rows, rows.len(), &self.device)?, 0)
    }

    /// Runs every matrix once, so that candle repacks the weights now, on all threads, and not within the first request.
    ///
    /// # Errors
    /// A candle error when memory runs out.
    pub fn warm_up(&self, threads: usize) -> Result<()> {
        let linears: Vec<&Linear> = self
            .layers
            .iter()
            .flat_map(|layer| {
                layer
                    .attention
                    .linears()
                    .into_iter()
                    .chain(layer.mlp.linears())
            })
            .chain([&self.output])
            .collect();
        let next = AtomicUsize::new(0);
        let work = || -> Result<()> {
            while let Some(linear) = linears.get(next.fetch_add(1, Ordering::Relaxed)) {
                // Two rows: `Q6_K` is repacked for more than one only.
                linear.forward(&Tensor::zeros(
                    (2, linear.in_features()?),
                    DType::F32,
                    &self.device,
                )?)?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| {
                worker.join().unwrap_or_else(|_| {
                    candle_core::bail!("a thread panicked while repacking weights")
                })
            })
        })
    }
}

/// Loads the output matrix and all layers on all threads: repacking takes longer than reading.
fn load_in_parallel(
    output: impl Fn() -> std::result::Result<Linear, ModelError> + Send,
    weights: &Weights<'_>,
    config: &ModelConfig,
) -> std::result::Result<(Linear, Vec<DecoderLayer>), ModelError> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut loaded = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= config.num_layers {
                return loaded;
            }
            loaded.push((index, load_layer(weights, config, index)));
        }
    };
    let panicked = || ModelError::Unsupported {
        what: "a file on which the loader panics".to_owned(),
    };
    let (output, mut layers) = std::thread::scope(|scope| {
        let output = scope.spawn(output);
        let workers: Vec<_> = (0..cpu_threads()).map(|_| scope.spawn(work)).collect();
        let mut layers = Vec::new();
        for worker in workers {
            layers.extend(worker.join().map_err(|_| panicked())?);
        }
        Ok::<_, ModelError>((output.join().map_err(|_| panicked())??, layers))
    })?;
    layers.sort_by_key(|(index, _)| *index);
    let layers = layers
        .into_iter()
        .map(|(_, layer)| layer)
        .collect::<std::result::Result<_, _>>()?;
    Ok((output, layers))
}

fn load_layer(
    weights: &Weights<'_>,
    config: &ModelConfig,
    index: usize,
) -> std::result::Result<DecoderLayer, ModelError> {
    let name = |part: &str| format!("blk.{index}.{part}");
    let (hidden, ffn, eps) = (config.hidden, config.ffn, config.rms_norm_eps);
    let shape = config.attention;
    let (q_rows, kv_rows) = (
        shape.num_heads * shape.head_dim,
        shape.num_kv_heads * shape.head_dim,
    );
    let bias = config.architecture.has_qkv_bias();
    Ok(DecoderLayer {
        attention_norm: weights.norm(&name("attn_norm"), hidden, eps)?,
        attention: Attention {
            q: weights.linear(&name("attn_q"), q_rows, hidden, bias)?,
            k: weights.linear(&name("attn_k"), kv_rows, hidden, bias)?,
            v: weights.linear(&name("attn_v"), kv_rows, hidden, bias)?,
            output: weights.linear(&name("attn_output"), hidden, q_rows, false)?,
            shape,
        },
        ffn_norm: weights.norm(&name("ffn_norm"), hidden, eps)?,
        mlp: Mlp {
            gate: weights.linear(&name("ffn_gate"), ffn, hidden, false)?,
            up: weights.linear(&name("ffn_up"), ffn, hidden, false)?,
            down: weights.linear(&name("ffn_down"), hidden, ffn, false)?,
        },
    })
}
