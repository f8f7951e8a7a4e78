//! Gated activation of the feed-forward layer: `act(gate) * up`. arXiv 2002.05202.

pub mod candle;
pub mod cpu;
pub mod reference;

use candle_core::{Result, Tensor};

/// What the gate passes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x / (1 + e^-x)`.
    Silu,
    /// The normal distribution's `x * P(X <= x)` by its usual approximation with `tanh`. arXiv 1606.08415.
    GeluTanh,
}

/// Returns `act(gate) * up`, both `[num_tokens, ffn]` f32.
///
/// # Errors
/// A candle error unless the shapes are equal.
pub fn gated(activation: Activation, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if gate.dims() != up.dims() {
        candle_core::bail!("a gate of {:?} for {:?}", gate.dims(), up.dims());
    }
    if gate.device().is_cpu() {
        cpu::gated(activation, gate, up)
    } else {
        candle::gated(activation, gate, up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, random, tensor, values};

    #[test]
    fn both_paths_agree_with_the_reference_on_odd_shapes() {
        for activation in [Activation::Silu, Activation::GeluTanh] {
            for shape in [[1, 1], [1, 8960], [3, 17], [33, 1000]] {
                let count = shape[0] * shape[1];
                let gate: Vec<f32> = random(1, count).iter().map(|v| v * 20.0).collect();
                let up = random(2, count);
                let want = reference::gated(activation, &gate, &up);
                let (gate, up) = (tensor(&gate, &shape), tensor(&up, &shape));
                let fast = cpu::gated(activation, &gate, &up).unwrap();
                assert_close(&values(&fast), &want, 1e-5);
                let slow = candle::gated(activation, &gate, &up).unwrap();
                assert_close(&values(&slow), &want, 1e-5);
            }
        }
    }
}
