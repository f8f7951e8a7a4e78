//! Gated activation of the MLP: `silu(gate) * up` with `silu(x) = x / (1 + e^-x)`. arXiv 2002.05202.

pub mod candle;
pub mod cpu;
pub mod reference;

use candle_core::{Result, Tensor};

/// Returns `silu(gate) * up`, both `[num_tokens, ffn]` f32.
///
/// # Errors
/// A candle error unless the shapes are equal.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if gate.dims() != up.dims() {
        candle_core::bail!("swiglu of {:?} and {:?}", gate.dims(), up.dims());
    }
    if gate.device().is_cpu() {
        cpu::swiglu(gate, up)
    } else {
        candle::swiglu(gate, up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, random, tensor, values};

    #[test]
    fn both_paths_agree_with_the_reference_on_odd_shapes() {
        for shape in [[1, 1], [1, 8960], [3, 17], [33, 1000]] {
            let count = shape[0] * shape[1];
            let gate: Vec<f32> = random(1, count).iter().map(|v| v * 20.0).collect();
            let up = random(2, count);
            let want = reference::swiglu(&gate, &up);
            let (gate, up) = (tensor(&gate, &shape), tensor(&up, &shape));
            assert_close(&values(&cpu::swiglu(&gate, &up).unwrap()), &want, 1e-5);
            assert_close(&values(&candle::swiglu(&gate, &up).unwrap()), &want, 1e-5);
        }
    }
}
