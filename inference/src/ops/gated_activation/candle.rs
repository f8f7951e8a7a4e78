//! The gated activation from candle's operations, for any device.

use candle_core::{Result, Tensor};

use super::Activation;

/// See [`super::gated`].
pub fn gated(activation: Activation, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    match activation {
        Activation::Silu => gate.silu()? * up,
        Activation::GeluTanh => gate.gelu()? * up,
    }
}
