//! A loaded model, however its steps are run, and its cache.

use candle_core::{Device, Result, Tensor};

use super::{
    ModelConfig, ModelError, RopeConfig, StepLogits, layered::LayeredModel, load::LoadProgress,
    weights::Weights,
};
#[cfg(feature = "cuda")]
use crate::gpu::decoder::GpuDecoder;
use crate::{
    config::CudaOptions,
    gguf::GgufFile,
    kv_cache::{CacheLayout, KvCacheDtype},
    layers::LayerCache,
    ops::{cache_tensors::zeros, rope::RopeTable},
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
        let layer = |index| {
            Ok(LayerCache {
                k: zeros(layout.k_shape(index), layout.dtype, device)?,
                v: zeros(layout.v_shape(index), layout.dtype, device)?,
            })
        };
        let layers = (0..layout.num_kv_heads.len())
            .map(layer)
            .collect::<Result<_>>()?;
        Ok(Self { layout, layers })
    }

    /// Returns each layer's keys and values.
    pub fn layers(&self) -> &[LayerCache] {
        &self.layers
    }
}

/// A loaded model.
#[derive(Debug)]
pub struct Model {
    pub config: ModelConfig,
    body: Body,
    device: Device,
}

#[derive(Debug)]
enum Body {
    Layered(Box<LayeredModel>),
    #[cfg(feature = "cuda")]
    Gpu(Box<GpuDecoder>),
}

/// What a model is loaded for.
#[derive(Debug, Clone, Copy)]
pub struct ModelUse {
    /// The tokenizer's.
    pub vocab_size: usize,
    /// Positions below it can be run.
    pub max_len: usize,
    pub kv_cache_dtype: KvCacheDtype,
    pub cuda: CudaOptions,
}

impl Model {
    /// Loads the weights.
    ///
    /// # Errors
    /// [`ModelError`] for anything missing, of another shape or type, or too large for the device.
    pub fn load(
        file: &GgufFile,
        config: ModelConfig,
        wanted: ModelUse,
        device: &Device,
        on_progress: &(dyn Fn(LoadProgress) + Sync),
    ) -> std::result::Result<Self, ModelError> {
        let weights = Weights::new(file, device);
        let rows = weights.height("token_embd.weight")?;
        let ModelUse {
            vocab_size,
            max_len,
            ..
        } = wanted;
        if rows < vocab_size {
            return Err(ModelError::Vocabulary { rows, vocab_size });
        }
        let ropes = config
            .ropes
            .iter()
            .map(|rope| table(rope, &weights, max_len))
            .collect::<std::result::Result<_, _>>()?;
        Ok(Self {
            body: Body::load(&weights, config.clone(), ropes, wanted, on_progress)?,
            config,
            device: device.clone(),
        })
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Returns what the step asks for of its rows of logits, or `None` when it asks for none; at least that: a device that sends
    /// nothing sends whole rows. Writes the step's keys and values to the cache.
    ///
    /// # Errors
    /// A candle error unless the step fits the model and the cache.
    pub fn forward(&self, step: &StepInput, cache: &KvCache) -> Result<Option<StepLogits>> {
        match &self.body {
            Body::Layered(model) => model.forward(step, cache),
            #[cfg(feature = "cuda")]
            Body::Gpu(model) => model.forward(step, cache),
        }
    }

    /// Returns whole rows of the logits of the last step, `[rows, rows of the embedding]`, of which it left less.
    ///
    /// # Errors
    /// A candle error when that step left whole rows, or had fewer.
    pub fn rows_of_last_step(&self, rows: &[usize]) -> Result<Tensor> {
        match &self.body {
            Body::Layered(_) => {
                candle_core::bail!("{} rows of logits are asked for twice", rows.len())
            }
            #[cfg(feature = "cuda")]
            Body::Gpu(model) => model.rows_of_last_step(rows),
        }
    }

    /// Returns what is wrong with the device, after a step on it has failed: a GPU that has met an error of its own (an illegal
    /// address, a fallen bus) answers nothing else until the process ends.
    pub fn device_fault(&self) -> Option<String> {
        let fault = self.device.synchronize().err()?;
        Some(fault.to_string())
    }

    /// Makes room on a GPU for steps of so many tokens and sequences; elsewhere there is nothing to do.
    ///
    /// # Errors
    /// A candle error when the device is out of memory.
    #[cfg_attr(not(feature = "cuda"), allow(unused_variables))]
    pub fn reserve(&self, max_tokens: usize, max_sequences: usize) -> Result<()> {
        match &self.body {
            Body::Layered(_) => Ok(()),
            #[cfg(feature = "cuda")]
            Body::Gpu(model) => model.reserve(max_tokens, max_sequences),
        }
    }

    /// Runs every matrix that candle multiplies once, so that it repacks the weights now, on all threads, and not within
    /// the first request.
    ///
    /// # Errors
    /// A candle error when memory runs out.
    pub fn warm_up(&self, threads: usize) -> Result<()> {
        match &self.body {
            Body::Layered(model) => model.warm_up(threads),
            #[cfg(feature = "cuda")]
            Body::Gpu(_) => Ok(()),
        }
    }
}

impl Body {
    #[cfg(feature = "cuda")]
    fn load(
        weights: &Weights<'_>,
        config: ModelConfig,
        ropes: Vec<RopeTable>,
        wanted: ModelUse,
        on_progress: &(dyn Fn(LoadProgress) + Sync),
    ) -> std::result::Result<Self, ModelError> {
        if weights.device.is_cuda() && wanted.cuda.kernels {
            match GpuDecoder::refuses(weights, &config, wanted.kv_cache_dtype) {
                None => {
                    let model = GpuDecoder::load(weights, config, ropes, wanted, on_progress)?;
                    return Ok(Self::Gpu(Box::new(model)));
                }
                Some(reason) if wanted.kv_cache_dtype == KvCacheDtype::Q8_0 => {
                    return Err(ModelError::BytesOnGpu { reason });
                }
                Some(reason) => tracing::warn!("slower kernels run this model, which has {reason}"),
            }
        }
        Self::layered(weights, config, ropes, on_progress)
    }

    #[cfg(not(feature = "cuda"))]
    fn load(
        weights: &Weights<'_>,
        config: ModelConfig,
        ropes: Vec<RopeTable>,
        _: ModelUse,
        on_progress: &(dyn Fn(LoadProgress) + Sync),
    ) -> std::result::Result<Self, ModelError> {
        Self::layered(weights, config, ropes, on_progress)
    }

    fn layered(
        weights: &Weights<'_>,
        config: ModelConfig,
        ropes: Vec<RopeTable>,
        on_progress: &(dyn Fn(LoadProgress) + Sync),
    ) -> std::result::Result<Self, ModelError> {
        LayeredModel::load(weights, config, ropes, on_progress)
            .map(|model| Self::Layered(Box::new(model)))
    }
}

fn table(
    rope: &RopeConfig,
    weights: &Weights<'_>,
    max_len: usize,
) -> std::result::Result<RopeTable, ModelError> {
    let factors = rope.factors(weights, max_len)?;
    let frequencies = rope.frequencies(factors.as_deref());
    let magnitude = rope.magnitude();
    Ok(RopeTable::new(
        rope.layout,
        &frequencies,
        magnitude,
        max_len,
        weights.device,
    )?)
}
