//! Root-mean-square normalisation: `y = x / sqrt(mean(x^2) + eps) * weight` for each row. arXiv 1910.07467.

pub mod candle;
pub mod cpu;
pub mod reference;

use candle_core::{Result, Tensor};

/// Returns the normalised rows. `x`: `[num_tokens, hidden]` f32; `weight`: `[hidden]` f32.
///
/// # Errors
/// A candle error unless the shapes fit.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    if x.dim(1)? != weight.dim(0)? {
        candle_core::bail!("rms_norm of {:?} by {:?}", x.dims(), weight.dims());
    }
    if x.device().is_cpu() {
        cpu::rms_norm(x, weight, eps)
    } else {
        candle::rms_norm(x, weight, eps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, random, tensor, values};

    #[test]
    fn both_paths_agree_with_the_reference_on_odd_shapes() {
        for (rows, hidden) in [(1, 1), (1, 16), (3, 17), (5, 576), (40, 100), (2, 1536)] {
            let (x, weight) = (random(1, rows * hidden), random(2, hidden));
            let want = reference::rms_norm(&x, &weight, 1e-5);
            let (x, weight) = (tensor(&x, &[rows, hidden]), tensor(&weight, &[hidden]));
            assert_close(
                &values(&cpu::rms_norm(&x, &weight, 1e-5).unwrap()),
                &want,
                1e-5,
            );
            assert_close(
                &values(&candle::rms_norm(&x, &weight, 1e-5).unwrap()),
                &want,
                1e-5,
            );
        }
    }
}
