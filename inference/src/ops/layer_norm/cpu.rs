//! The norm on the CPU: a row at a time, 16 partial sums, mean before variance because their difference loses digits.
//! Bound by reading the row from cache.

use candle_core::{Device, Result, Tensor};

use crate::ops::cpu::{DisjointMut, LANES, fma, multiversion, parallel, with_f32};

/// Elements below which waking other threads costs more than it saves.
const WORTH_THREADS: usize = 16_384;

/// See [`super::add_layer_norm`].
pub fn add_layer_norm(
    x: &Tensor,
    residual: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f32,
) -> Result<Tensor> {
    let (num_tokens, hidden) = x.dims2()?;
    let mut out = vec![0f32; num_tokens * hidden];
    let (weight, bias) = (weight.to_vec1::<f32>()?, bias.to_vec1::<f32>()?);
    with_f32(x, |x| {
        with_f32(residual, |residual| {
            let shared = DisjointMut::new(&mut out);
            parallel(num_tokens, x.len() >= WORTH_THREADS, |tokens| {
                for token in tokens {
                    let at = token * hidden;
                    // SAFETY: each token's row is written by the one range that holds it.
                    let y = unsafe { shared.range(at, hidden) };
                    let (x, residual) = (&x[at..][..hidden], &residual[at..][..hidden]);
                    row(x, residual, &weight, &bias, eps, y);
                }
            });
            Ok(())
        })
    })?;
    Tensor::from_vec(out, (num_tokens, hidden), &Device::Cpu)
}

multiversion! {
    fn row(x: &[f32], residual: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) = row_body
}

#[inline(always)]
fn row_body<const FUSED: bool>(
    x: &[f32],
    residual: &[f32],
    weight: &[f32],
    bias: &[f32],
    eps: f32,
    y: &mut [f32],
) {
    for ((y, x), residual) in y.iter_mut().zip(x).zip(residual) {
        *y = x + residual;
    }
    let mean = sum::<FUSED>(y, 0.0, false) / y.len() as f32;
    let variance = sum::<FUSED>(y, mean, true) / y.len() as f32;
    let scale = 1.0 / (variance + eps).sqrt();
    for ((y, weight), bias) in y.iter_mut().zip(weight).zip(bias) {
        *y = fma::<FUSED>((*y - mean) * scale, *weight, *bias);
    }
}

/// Returns the sum of the values less `mean`, or of their squares.
#[inline(always)]
fn sum<const FUSED: bool>(values: &[f32], mean: f32, squared: bool) -> f32 {
    let mut sums = [0f32; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            let value = chunk[lane] - mean;
            let factor = if squared { value } else { 1.0 };
            sums[lane] = fma::<FUSED>(value, factor, sums[lane]);
        }
    }
    let rest = rest.iter().map(|value| value - mean);
    let rest: f32 = rest.map(|v| if squared { v * v } else { v }).sum();
    sums.iter().sum::<f32>() + rest
}
