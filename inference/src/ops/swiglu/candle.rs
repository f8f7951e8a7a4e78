//! The gated activation from candle's operations, for any device.

use candle_core::{Result, Tensor};

/// See [`super::swiglu`].
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.silu()? * up
}
