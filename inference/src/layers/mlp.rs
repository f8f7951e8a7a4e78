//! Gated feed-forward layer.

use candle_core::{Result, Tensor};

use super::{Linear, forward_shared};
use crate::ops;

/// `down(silu(gate(x)) * up(x))`.
#[derive(Debug, Clone)]
pub struct Mlp {
    /// `[ffn, hidden]` blk.{i}.ffn_gate.weight
    pub gate: Linear,
    /// `[ffn, hidden]` blk.{i}.ffn_up.weight
    pub up: Linear,
    /// `[hidden, ffn]` blk.{i}.ffn_down.weight
    pub down: Linear,
}

impl Mlp {
    /// # Errors
    /// A candle error unless `x` is `[num_tokens, hidden]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let [gate, up] = forward_shared([&self.gate, &self.up], x)?;
        self.down.forward(&ops::swiglu::swiglu(&gate, &up)?)
    }

    /// Returns the matrices, for warming up.
    pub fn linears(&self) -> [&Linear; 3] {
        [&self.gate, &self.up, &self.down]
    }
}
