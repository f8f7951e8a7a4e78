//! Puts a file's layers on the device, and makes their kernels ready.

use std::ops::Range;

use candle_core::{CudaDevice, Result};

use super::{
    attention,
    kernels::Kernels,
    products::{self, Matrices},
    weights::Packed,
};
use crate::{
    kv_cache::KvCacheDtype,
    layers::RmsNorm,
    model::{ModelConfig, ModelError, config::FeedForwardConfig, weights::Weights},
    ops::paged_attention::AttentionShape,
};

/// One layer on the device.
pub struct Layer {
    pub attention_norm: RmsNorm,
    /// q, k, v
    pub qkv: Matrices,
    pub output: Matrices,
    pub ffn_norm: RmsNorm,
    /// gate, up
    pub gate_up: Matrices,
    pub down: Matrices,
    pub shape: AttentionShape,
    pub rope: usize,
}

/// Makes every kernel of a model ready, and of a cache of this type.
pub fn prepare(kernels: &mut Kernels, config: &ModelConfig, dtype: KvCacheDtype) -> Result<()> {
    let norms = [
        "add_rms_norm_packed",
        "add_rms_norm_halves",
        "add_rms_norm_f16_scaled",
    ];
    let gates = [
        "gated_activation_packed",
        "gated_activation_halves",
        "gated_activation_f16",
    ];
    let rows = [
        "embed_rows",
        "pack_rows",
        "pack_rows_halves",
        "rows_f16",
        "largest_of_row",
    ];
    for (module, names) in [
        ("add_rms_norm", norms.as_slice()),
        ("gated_activation", &gates),
        ("rows", &rows),
    ] {
        names
            .iter()
            .try_for_each(|name| kernels.find(module, name, 0))?;
    }
    products::prepare(kernels)?;
    let mut shapes = config.layers.iter().map(|layer| &layer.attention);
    shapes.try_for_each(|shape| attention::prepare(kernels, shape, dtype))
}

/// Puts layers on the device.
pub struct Loader<'a> {
    pub device: &'a CudaDevice,
    pub weights: &'a Weights<'a>,
    pub config: &'a ModelConfig,
}

/// A matrix of the file, or rows of one that has `usize` of them.
type MatrixName = (String, Range<usize>, usize);

impl Loader<'_> {
    pub fn matrices(
        &self,
        names: &[MatrixName],
        width: usize,
    ) -> std::result::Result<Matrices, ModelError> {
        let packed = names
            .iter()
            .map(|(name, rows, out)| {
                let (matrix, bias) = self.weights.encoded(name, rows.clone(), *out, width)?;
                let packed = Packed::new(self.device, &matrix, bias)?;
                drop(matrix);
                self.weights
                    .file
                    .release(&format!("{name}.weight"), rows.clone())?;
                Ok::<_, ModelError>(packed)
            })
            .collect::<std::result::Result<_, _>>()?;
        Ok(Matrices::new(packed)?)
    }

    pub fn layer(&self, index: usize) -> std::result::Result<Layer, ModelError> {
        let ModelConfig {
            hidden,
            head_dim,
            rms_norm_eps,
            ..
        } = *self.config;
        let layer = &self.config.layers[index];
        let FeedForwardConfig::Dense { ffn } = layer.feed_forward else {
            return Err(ModelError::Unsupported {
                what: "experts on this path".to_owned(),
            });
        };
        let name = |part: &str| format!("blk.{index}.{part}");
        let whole = |part: &str, rows: usize| (name(part), 0..rows, rows);
        let shape = layer.attention;
        let (q, kv) = (shape.num_heads * head_dim, shape.num_kv_heads * head_dim);
        let qkv = if self.weights.has(&name("attn_qkv.weight")) {
            let all = q + 2 * kv;
            [0..q, q..q + kv, q + kv..all].map(|rows| (name("attn_qkv"), rows, all))
        } else {
            [whole("attn_q", q), whole("attn_k", kv), whole("attn_v", kv)]
        };
        let gate_up = if self.config.architecture.fused_gate_up {
            [0..ffn, ffn..2 * ffn].map(|rows| (name("ffn_up"), rows, 2 * ffn))
        } else {
            [whole("ffn_gate", ffn), whole("ffn_up", ffn)]
        };
        Ok(Layer {
            attention_norm: self
                .weights
                .norm(&name("attn_norm"), hidden, rms_norm_eps)?,
            qkv: self.matrices(&qkv, hidden)?,
            output: self.matrices(&[whole("attn_output", hidden)], q)?,
            ffn_norm: self.weights.norm(&name("ffn_norm"), hidden, rms_norm_eps)?,
            gate_up: self.matrices(&gate_up, hidden)?,
            down: self.matrices(&[whole("ffn_down", hidden)], ffn)?,
            shape,
            rope: layer.rope.unwrap_or(0),
        })
    }
}
