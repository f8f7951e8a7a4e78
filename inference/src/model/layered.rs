//! The decoder of layers: embedding, layers, output. One for all architectures and devices.

use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device, Result, Tensor, quantized::QTensor};

use super::{
    ModelConfig, ModelError, StepLogits,
    decoder::KvCache,
    load::{LoadProgress, load_in_parallel},
    weights::Weights,
};
use crate::{
    layers::{Attention, FeedForward, Linear, RmsNorm, Turn},
    ops::rope::RopeTable,
    runner::StepInput,
};

/// One layer of a decoder.
#[derive(Debug)]
pub struct DecoderLayer {
    pub attention_norm: RmsNorm,
    pub attention: Attention,
    /// Over what attention yields, before it is added.
    pub attention_post_norm: Option<RmsNorm>,
    pub ffn_norm: RmsNorm,
    pub feed_forward: FeedForward,
    /// Over what feed-forward yields, before it is added.
    pub ffn_post_norm: Option<RmsNorm>,
    /// Index into the model's ropes; `None`: the layer does not know positions.
    pub rope: Option<usize>,
}

/// `[rows, hidden]` token_embd.weight; rows are dequantized as they are needed.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // with CUDA; a model has one
enum Embedding {
    Own(QTensor),
    /// The file has no `output.weight`; both are one.
    Tied(Linear),
}

impl Embedding {
    /// Returns `[num_tokens, hidden]` f32.
    fn forward(&self, token_ids: &[u32], device: &Device) -> Result<Tensor> {
        match self {
            Self::Own(table) => {
                table.embedding(&Tensor::from_slice(token_ids, token_ids.len(), device)?)
            }
            Self::Tied(output) => output.rows(token_ids, device),
        }
    }
}

/// A model made of layers.
#[derive(Debug)]
pub struct LayeredModel {
    config: ModelConfig,
    embedding: Embedding,
    layers: Vec<DecoderLayer>,
    output_norm: RmsNorm,
    /// `[rows, hidden]` output.weight, or the embedding where the file has none (tied).
    output: Linear,
    ropes: Vec<RopeTable>,
    device: Device,
}

impl LayeredModel {
    /// Loads the weights and checks that every tensor of the file has its place.
    ///
    /// # Errors
    /// As of [`super::Model::load`].
    pub fn load(
        weights: &Weights<'_>,
        config: ModelConfig,
        ropes: Vec<RopeTable>,
        on_progress: &(dyn Fn(LoadProgress) + Sync),
    ) -> std::result::Result<Self, ModelError> {
        let rows = weights.height("token_embd.weight")?;
        let is_tied = !weights.has("output.weight");
        let name = if is_tied { "token_embd" } else { "output" };
        let output = || weights.linear(name, rows, config.hidden);
        let (output, layers) = load_in_parallel(output, weights, &config, on_progress)?;
        let embedding = if is_tied {
            Embedding::Tied(output.clone())
        } else {
            Embedding::Own(weights.tensor("token_embd.weight", &[rows, config.hidden])?)
        };
        let output_norm = weights.norm("output_norm", config.hidden, config.rms_norm_eps)?;
        weights.check_all_used(config.architecture.name())?;
        Ok(Self {
            ropes,
            output_norm,
            embedding,
            layers,
            output,
            device: weights.device.clone(),
            config,
        })
    }

    /// As [`super::Model::forward`].
    pub fn forward(&self, step: &StepInput, cache: &KvCache) -> Result<Option<StepLogits>> {
        let embedded = self.embedding.forward(&step.token_ids, &self.device)?;
        let mut x = scaled(embedded, self.config.embedding_scale)?;
        let temperature = self.temperature(step)?;
        let last = self.layers.len() - 1;
        for (index, (layer, cache)) in self.layers.iter().zip(cache.layers()).enumerate() {
            let normed = layer.attention_norm.forward(&x)?;
            let turn = Turn {
                rope: layer.rope.map(|rope| &self.ropes[rope]),
                temperature: temperature.as_ref(),
            };
            let mut attended = layer.attention.attend(&normed, step, turn, cache)?;
            if index == last {
                // Past the last cache write only the rows with logits matter.
                if step.logits_rows.is_empty() {
                    return Ok(None);
                }
                (x, attended) = (self.select(&x, step)?, self.select(&attended, step)?);
            }
            let y = layer.attention.output.forward(&attended)?;
            x = self.add(x, y, &layer.attention_post_norm)?;
            let y = layer.feed_forward.forward(&layer.ffn_norm.forward(&x)?)?;
            x = self.add(x, y, &layer.ffn_post_norm)?;
        }
        let normed = self.output_norm.forward(&x)?;
        let is_valid = normed
            .sqr()?
            .sum(1)?
            .to_vec1::<f32>()?
            .into_iter()
            .map(f32::is_finite)
            .collect();
        Ok(Some(StepLogits::of_all(self.logits(&normed)?, is_valid)))
    }

    /// Adds to the residual stream what a part of a layer yields.
    fn add(&self, x: Tensor, y: Tensor, post_norm: &Option<RmsNorm>) -> Result<Tensor> {
        let y = match post_norm {
            Some(norm) => norm.forward(&y)?,
            None => y,
        };
        x + scaled(y, self.config.residual_scale)?
    }

    fn logits(&self, normed: &Tensor) -> Result<Tensor> {
        let logits = scaled(self.output.forward(normed)?, self.config.logits_scale)?;
        match self.config.logits_softcap {
            Some(softcap) => (logits / softcap)?.tanh()? * softcap,
            None => Ok(logits),
        }
    }

    /// Returns the factors of the step's queries, `[num_tokens, 1]`, of models that have such.
    fn temperature(&self, step: &StepInput) -> Result<Option<Tensor>> {
        let Some(temperature) = self.config.temperature else {
            return Ok(None);
        };
        let factors = step.positions.iter();
        let factors: Vec<f32> = factors.map(|&at| temperature.factor(at)).collect();
        let shape = (factors.len(), 1);
        Tensor::from_vec(factors, shape, &self.device).map(Some)
    }

    fn select(&self, x: &Tensor, step: &StepInput) -> Result<Tensor> {
        let rows = &step.logits_rows;
        if rows.len() == x.dim(0)? {
            return Ok(x.clone());
        }
        x.index_select(&Tensor::from_slice(rows, rows.len(), &self.device)?, 0)
    }

    /// As [`super::Model::warm_up`].
    pub fn warm_up(&self, threads: usize) -> Result<()> {
        let linears: Vec<&Linear> = self
            .layers
            .iter()
            .flat_map(|layer| {
                layer
                    .attention
                    .linears()
                    .into_iter()
                    .chain(layer.feed_forward.linears())
            })
            .chain([&self.output])
            .filter(|linear| linear.is_packed_late())
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

/// Returns `x * scale`; most models have no such scale.
fn scaled(x: Tensor, scale: f64) -> Result<Tensor> {
    if scale == 1.0 { Ok(x) } else { x * scale }
}
