//! Residual and layer normalisation in one: `y = (s - mean(s)) / sqrt(var(s) + eps) * weight + bias` of each row of
//! `s = x + residual`. arXiv 1607.06450. On the CPU only: on other devices the encoder is candle's.

pub mod cpu;
pub mod reference;

use candle_core::{Result, Tensor};

/// Returns the normalised rows. `x`, `residual`: `[num_tokens, hidden]` f32; `weight`, `bias`: `[hidden]` f32.
///
/// # Errors
/// A candle error unless the shapes fit and all are on the CPU.
pub fn add_layer_norm(
    x: &Tensor,
    residual: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f32,
) -> Result<Tensor> {
    let hidden = x.dim(1)?;
    if x.dims() != residual.dims() || weight.dims() != [hidden] || bias.dims() != [hidden] {
        candle_core::bail!(
            "layer_norm of {:?} and {:?} by {:?} and {:?}",
            x.dims(),
            residual.dims(),
            weight.dims(),
            bias.dims()
        );
    }
    cpu::add_layer_norm(x, residual, weight, bias, eps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, random, tensor, values};

    #[test]
    fn it_agrees_with_the_reference_on_odd_shapes() {
        for (rows, hidden) in [(1, 1), (1, 16), (3, 17), (5, 384), (60, 300), (2, 1536)] {
            let count = rows * hidden;
            let (x, residual) = (random(1, count), random(2, count));
            let (weight, bias) = (random(3, hidden), random(4, hidden));
            let want = reference::add_layer_norm(&x, &residual, &weight, &bias, 1e-6);
            let (x, residual) = (
                tensor(&x, &[rows, hidden]),
                tensor(&residual, &[rows, hidden]),
            );
            let (weight, bias) = (tensor(&weight, &[hidden]), tensor(&bias, &[hidden]));
            let got = add_layer_norm(&x, &residual, &weight, &bias, 1e-6).unwrap();
            assert_close(&values(&got), &want, 1e-4);
        }
        let (x, narrow) = (tensor(&[0.0; 6], &[2, 3]), tensor(&[0.0; 2], &[2]));
        assert!(add_layer_norm(&x, &x, &narrow, &narrow, 1e-6).is_err());
    }
}
