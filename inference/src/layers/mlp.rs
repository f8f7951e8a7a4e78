//! Gated feed-forward layer.

use candle_core::{Result, Tensor};

use super::{Experts, Linear, forward_shared};
use crate::ops::gated_activation::{self, Activation};

/// `down(act(gate(x)) * up(x))`.
#[derive(Debug, Clone)]
pub struct Mlp {
    /// `[ffn, hidden]` blk.{i}.ffn_gate.weight
    pub gate: Linear,
    /// `[ffn, hidden]` blk.{i}.ffn_up.weight
    pub up: Linear,
    /// `[hidden, ffn]` blk.{i}.ffn_down.weight
    pub down: Linear,
    pub activation: Activation,
}

impl Mlp {
    /// # Errors
    /// A candle error unless `x` is `[num_tokens, hidden]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let [gate, up] = forward_shared([&self.gate, &self.up], x)?;
        let gated = gated_activation::gated(self.activation, &gate, &up)?;
        self.down.forward(&gated)
    }

    /// Returns the matrices, for warming up.
    pub fn linears(&self) -> [&Linear; 3] {
        [&self.gate, &self.up, &self.down]
    }
}

/// The part of a layer after attention.
#[derive(Debug, Clone)]
pub enum FeedForward {
    Dense(Mlp),
    Experts(Experts),
}

impl FeedForward {
    /// # Errors
    /// A candle error unless `x` is `[num_tokens, hidden]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Dense(mlp) => mlp.forward(x),
            Self::Experts(experts) => experts.forward(x),
        }
    }

    /// Returns the matrices, for warming up.
    pub fn linears(&self) -> Vec<&Linear> {
        match self {
            Self::Dense(mlp) => mlp.linears().to_vec(),
            Self::Experts(experts) => experts.linears(),
        }
    }
}
