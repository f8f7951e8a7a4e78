//! Gaussian error linear unit, the exact one: `x * P(X <= x)` of the normal distribution. arXiv 1606.08415. On the CPU
//! only: on other devices the encoder is candle's. (Language models use the approximation with `tanh`,
//! [`super::gated_activation`].)

pub mod cpu;
pub mod reference;

use candle_core::{Result, Tensor};

/// Returns the activation of each element of `x`, f32.
///
/// # Errors
/// A candle error unless `x` is contiguous f32 on the CPU.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    cpu::gelu(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, random, tensor, values};

    #[test]
    fn it_agrees_with_the_reference_on_odd_shapes() {
        for shape in [[1, 1], [1, 1536], [3, 17], [40, 999]] {
            let x: Vec<f32> = random(1, shape[0] * shape[1])
                .iter()
                .map(|v| v * 3.0)
                .collect();
            let got = gelu(&tensor(&x, &shape)).unwrap();
            assert_eq!(got.dims(), shape);
            assert_close(&values(&got), &reference::gelu(&x), 1e-6);
        }
    }

    #[test]
    fn far_values_are_kept_or_nothing() {
        let got = gelu(&tensor(&[-1e4, -40.0, 0.0, 40.0, 1e4], &[5])).unwrap();
        assert_close(&values(&got), &[0.0, 0.0, 0.0, 40.0, 1e4], 1e-6);
    }
}
