//! Normalisation layer.

use candle_core::{Result, Tensor};

use crate::ops;

/// Root-mean-square norm with a weight.
#[derive(Debug, Clone)]
pub struct RmsNorm {
    /// `[hidden]` f32
    pub weight: Tensor,
    pub eps: f32,
}

impl RmsNorm {
    /// # Errors
    /// A candle error unless `x` is `[num_tokens, hidden]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::rms_norm::rms_norm(x, &self.weight, self.eps)
    }
}
