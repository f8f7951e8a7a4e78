//! The rotary embedding on the CPU: a token at a time, in a copy of `x`.

use candle_core::{Device, Result, Tensor};

use super::{RopeLayout, RopeTable};
use crate::ops::cpu::{DisjointMut, parallel, with_f32};

/// Elements below which waking other threads costs more than it saves.
const WORTH_THREADS: usize = 32_768;

/// See [`super::rope`].
pub fn rope(x: &Tensor, positions: &[u32], num_heads: usize, table: &RopeTable) -> Result<Tensor> {
    let (num_tokens, width) = x.dims2()?;
    let (head_dim, half) = (width / num_heads, table.cos.dim(1)?);
    let mut out = with_f32(x, |x| Ok(x.to_vec()))?;
    with_f32(&table.cos, |cos| {
        with_f32(&table.sin, |sin| {
            let worth_it = out.len() >= WORTH_THREADS;
            let shared = DisjointMut::new(&mut out);
            parallel(num_tokens, worth_it, |tokens| {
                for token in tokens {
                    // SAFETY: each token's row is written by the one range that holds it.
                    let row = unsafe { shared.range(token * width, width) };
                    let at = positions[token] as usize * half;
                    let angles = (&cos[at..at + half], &sin[at..at + half]);
                    row.chunks_exact_mut(head_dim)
                        .for_each(|head| turn(head, angles, table.layout));
                }
            });
            Ok(())
        })
    })?;
    Tensor::from_vec(out, (num_tokens, width), &Device::Cpu)
}

fn turn(head: &mut [f32], (cos, sin): (&[f32], &[f32]), layout: RopeLayout) {
    let half = cos.len();
    match layout {
        RopeLayout::Interleaved => {
            for ((pair, cos), sin) in head.chunks_exact_mut(2).zip(cos).zip(sin) {
                (pair[0], pair[1]) = (pair[0] * cos - pair[1] * sin, pair[0] * sin + pair[1] * cos);
            }
        }
        RopeLayout::Halves => {
            let (first, second) = head[..2 * half].split_at_mut(half);
            for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
            }
        }
    }
}
