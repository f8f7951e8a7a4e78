//! Puts a file's layers on the device, and makes their kernels ready.

use std::ops::Range;

use candle_core::{CudaDevice, Result};

use super::{
    attention, candidates,
    experts::{self, ExpertStack, Experts, PackedStack},
    kernels::Kernels,
    memory::Buffer,
    products::{self, Matrices},
    weights::Packed,
};
use crate::{
    kv_cache::KvCacheDtype,
    layers::RmsNorm,
    model::{
        ModelConfig, ModelError,
        config::{ExpertsConfig, FeedForwardConfig, LayerConfig},
        weights::Weights,
    },
    ops::paged_attention::AttentionShape,
};

/// One layer on the device.
pub struct Layer {
    pub attention_norm: RmsNorm,
    /// q, k, v
    pub qkv: Matrices,
    /// Of heads of queries and of keys.
    pub head_norms: Option<[RmsNorm; 2]>,
    pub output: Matrices,
    pub ffn_norm: RmsNorm,
    pub feed_forward: FeedForward,
    pub shape: AttentionShape,
    pub rope: usize,
}

/// The part of a layer after attention.
pub enum FeedForward {
    Dense(Dense),
    Experts(Experts),
}

/// A feed-forward part that all tokens go through.
#[derive(Debug)]
pub struct Dense {
    /// gate, up
    pub gate_up: Matrices,
    pub down: Matrices,
}

impl FeedForward {
    /// Returns what all tokens go through: the whole, or the shared expert.
    pub fn dense(&self) -> Option<&Dense> {
        match self {
            Self::Dense(dense) => Some(dense),
            Self::Experts(experts) => experts.shared.as_ref(),
        }
    }

    pub fn experts(&self) -> Option<&Experts> {
        match self {
            Self::Dense(_) => None,
            Self::Experts(experts) => Some(experts),
        }
    }
}

impl Layer {
    /// Returns the matrices that all tokens go through.
    pub fn matrices(&self) -> impl Iterator<Item = &Matrices> {
        let dense = self.feed_forward.dense();
        let dense = dense.map(|dense| [&dense.gate_up, &dense.down]);
        [&self.qkv, &self.output]
            .into_iter()
            .chain(dense.into_iter().flatten())
    }
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
    candidates::prepare(kernels)?;
    let has_experts =
        |layer: &LayerConfig| matches!(layer.feed_forward, FeedForwardConfig::Experts(_));
    if config.layers.iter().any(has_experts) {
        experts::prepare(kernels)?;
    }
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
        let head_norm = |part: &str| self.weights.norm(&name(part), head_dim, rms_norm_eps);
        let head_norms = if self.config.architecture.qk_norm {
            Some([head_norm("attn_q_norm")?, head_norm("attn_k_norm")?])
        } else {
            None
        };
        Ok(Layer {
            attention_norm: self
                .weights
                .norm(&name("attn_norm"), hidden, rms_norm_eps)?,
            qkv: self.matrices(&qkv, hidden)?,
            head_norms,
            output: self.matrices(&[whole("attn_output", hidden)], q)?,
            ffn_norm: self.weights.norm(&name("ffn_norm"), hidden, rms_norm_eps)?,
            feed_forward: match layer.feed_forward {
                FeedForwardConfig::Dense { ffn } => FeedForward::Dense(self.dense(index, "", ffn)?),
                FeedForwardConfig::Experts(config) => {
                    FeedForward::Experts(self.experts(index, &config)?)
                }
            },
            shape,
            rope: layer.rope.unwrap_or(0),
        })
    }

    /// `suffix`: of the names of its matrices.
    fn dense(
        &self,
        index: usize,
        suffix: &str,
        ffn: usize,
    ) -> std::result::Result<Dense, ModelError> {
        let hidden = self.config.hidden;
        let name = |part: &str| format!("blk.{index}.{part}{suffix}");
        let whole = |part: &str, rows: usize| (name(part), 0..rows, rows);
        let gate_up = if self.config.architecture.fused_gate_up {
            [0..ffn, ffn..2 * ffn].map(|rows| (name("ffn_up"), rows, 2 * ffn))
        } else {
            [whole("ffn_gate", ffn), whole("ffn_up", ffn)]
        };
        Ok(Dense {
            gate_up: self.matrices(&gate_up, hidden)?,
            down: self.matrices(&[whole("ffn_down", hidden)], ffn)?,
        })
    }

    fn experts(
        &self,
        index: usize,
        config: &ExpertsConfig,
    ) -> std::result::Result<Experts, ModelError> {
        let (hidden, ffn, num_experts) = (self.config.hidden, config.ffn, config.num_experts);
        let name = |part: &str| format!("blk.{index}.{part}.weight");
        let mut router = self
            .weights
            .numbers(&name("ffn_gate_inp"), &[num_experts, hidden])?;
        if config.shared_ffn.is_some() && config.shared_gate {
            router.extend(
                self.weights
                    .numbers(&name("ffn_gate_inp_shexp"), &[hidden])?,
            );
        }
        let stack = |part: &str, shape| self.expert_stack(index, part, num_experts, shape);
        let gate_up = vec![
            stack("ffn_gate", (ffn, hidden))?,
            stack("ffn_up", (ffn, hidden))?,
        ];
        let shared = config
            .shared_ffn
            .map(|ffn| self.dense(index, "_shexp", ffn));
        Ok(Experts {
            router: Buffer::of(self.device, bytemuck::cast_slice(&router))?,
            num_rows: router.len() / hidden,
            num_experts,
            rule: config.routing,
            gate_up: ExpertStack::new(gate_up, hidden)?,
            down: ExpertStack::new(vec![stack("ffn_down", (hidden, ffn))?], ffn)?,
            shared: shared.transpose()?,
        })
    }

    /// Files of before April 2024 hold a matrix an expert, later ones a stack of all.
    fn expert_stack(
        &self,
        index: usize,
        part: &str,
        num_experts: usize,
        (rows, width): (usize, usize),
    ) -> std::result::Result<PackedStack, ModelError> {
        let own = |expert: usize| format!("blk.{index}.{part}.{expert}");
        let stack = format!("blk.{index}.{part}_exps");
        let is_own = |expert: usize| self.weights.has(&format!("{}.weight", own(expert)));
        let place = |expert: usize| {
            if is_own(expert) {
                (own(expert), 0..rows)
            } else {
                (stack.clone(), expert * rows..(expert + 1) * rows)
            }
        };
        let matrix = |expert: usize| -> std::result::Result<_, ModelError> {
            if is_own(expert) {
                let (matrix, bias) = self.weights.encoded(&own(expert), 0..rows, rows, width)?;
                if bias.is_some() {
                    return Err(ModelError::Unsupported {
                        what: format!("a bias of {}", own(expert)),
                    });
                }
                return Ok(matrix);
            }
            self.weights
                .encoded_of(&stack, expert, [num_experts, rows, width])
        };
        let done = |expert: usize| -> std::result::Result<_, ModelError> {
            let (name, rows) = place(expert);
            Ok(self.weights.file.release(&format!("{name}.weight"), rows)?)
        };
        PackedStack::load(self.device, num_experts, (rows, width), matrix, done)
    }
}
