//! The norm on the CPU: a row at a time, 16 partial sums. Bound by reading `x` once from cache.

use candle_core::{Device, Result, Tensor};

use crate::ops::cpu::{DisjointMut, LANES, fma, multiversion, parallel, with_f32};

/// Elements below which waking other threads costs more than it saves (about 5 us of work).
const WORTH_THREADS: usize = 16_384;

/// See [`super::rms_norm`].
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    let shape = x.dims2()?;
    let (num_tokens, hidden) = shape;
    let mut out = vec![0f32; num_tokens * hidden];
    with_f32(x, |x| {
        with_f32(weight, |weight| {
            let shared = DisjointMut::new(&mut out);
            parallel(num_tokens, x.len() >= WORTH_THREADS, |tokens| {
                for token in tokens {
                    // SAFETY: each token's row is written by the one range that holds it.
                    let y = unsafe { shared.range(token * hidden, hidden) };
                    row(&x[token * hidden..][..hidden], weight, eps, y);
                }
            });
            Ok(())
        })
    })?;
    Tensor::from_vec(out, shape, &Device::Cpu)
}

multiversion! {
    fn row(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) = row_body
}

#[inline(always)]
fn row_body<const FUSED: bool>(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
    let mut sums = [0f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let mut sum: f32 = chunks.remainder().iter().map(|v| v * v).sum();
    for chunk in chunks {
        for lane in 0..LANES {
            sums[lane] = fma::<FUSED>(chunk[lane], chunk[lane], sums[lane]);
        }
    }
    sum += sums.iter().sum::<f32>();
    let scale = 1.0 / (sum / x.len() as f32 + eps).sqrt();
    for ((y, x), weight) in y.iter_mut().zip(x).zip(weight) {
        *y = x * scale * weight;
    }
}
