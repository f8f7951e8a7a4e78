//! The products of [`super::cpu`] with AVX-512: eight queries share each vector of keys and values, as many sums as two ports
//! with a latency of four keep busy. Additions have the same order, so results are the same bits.

use std::arch::x86_64::*;

use super::cpu::{Inputs, Item, ROW_GROUP, RowMath, Scratch, one_body};
use crate::ops::cpu::{LANES, has_avx512};

/// Whether this CPU has the instructions, and heads are whole vectors.
pub fn suits(head_dim: usize) -> bool {
    head_dim.is_multiple_of(LANES) && has_avx512()
}

/// Computes an item.
///
/// # Safety
/// [`suits`] of the head size.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,fma")]
pub unsafe fn one(inputs: &Inputs<'_>, item: &Item, scratch: &mut Scratch) {
    one_body::<Avx512>(inputs, item, scratch);
}

/// Loops over vectors, for the body of [`one`] alone: they need its features.
struct Avx512;

impl RowMath for Avx512 {
    const GROUP: usize = ROW_GROUP;

    #[inline(always)]
    fn scores<const R: usize>(q: &[f32], k: &[f32], dim: usize, scores: &mut [f32]) {
        let padded_len = k.len() / dim;
        let blocks = padded_len / LANES;
        for block in (0..blocks).step_by(PAIR) {
            let (keys, out) = (&k[block * dim * LANES..], &mut scores[block * LANES..]);
            // SAFETY: only `one` uses this type.
            unsafe {
                match blocks - block {
                    1 => score_blocks::<R, 1>(q, keys, dim, (padded_len, out)),
                    _ => score_blocks::<R, PAIR>(q, keys, dim, (padded_len, out)),
                }
            }
        }
    }

    #[inline(always)]
    fn weighted_sums<const R: usize>(weights: &[f32], v: &[f32], dim: usize, sums: &mut [f32]) {
        for column in (0..dim).step_by(PAIR * LANES) {
            // SAFETY: only `one` uses this type.
            unsafe {
                match (dim - column) / LANES {
                    1 => sum_columns::<R, 1>(weights, v, (dim, column), sums),
                    _ => sum_columns::<R, PAIR>(weights, v, (dim, column), sums),
                }
            }
        }
    }
}

/// Vectors of keys or values that a group of queries is multiplied with at once: 16 sums, and half the loads of one vector.
const PAIR: usize = 2;

/// Scores of `R` queries with `B` blocks of keys, into rows of `out` that are `stride` apart.
#[inline]
#[target_feature(enable = "avx512f")]
fn score_blocks<const R: usize, const B: usize>(
    q: &[f32],
    keys: &[f32],
    dim: usize,
    (stride, out): (usize, &mut [f32]),
) {
    let (q, keys) = (&q[..R * dim], &keys[..B * dim * LANES]);
    let mut scores = [[_mm512_setzero_ps(); B]; R];
    for d in 0..dim {
        let mut vectors = [_mm512_setzero_ps(); B];
        for (block, vector) in vectors.iter_mut().enumerate() {
            *vector = loaded(&keys[(block * dim + d) * LANES..]);
        }
        for (r, scores) in scores.iter_mut().enumerate() {
            let query = _mm512_set1_ps(q[r * dim + d]);
            for (score, vector) in scores.iter_mut().zip(vectors) {
                *score = _mm512_fmadd_ps(query, vector, *score);
            }
        }
    }
    store(scores, stride, out);
}

/// Weighted sums of `B` vectors of the values from `column` on, for `R` queries.
#[inline]
#[target_feature(enable = "avx512f")]
fn sum_columns<const R: usize, const B: usize>(
    weights: &[f32],
    v: &[f32],
    (dim, column): (usize, usize),
    out: &mut [f32],
) {
    let padded_len = weights.len() / R;
    let mut sums = [[_mm512_setzero_ps(); B]; R];
    for (token, values) in v.chunks_exact(dim).enumerate().take(padded_len) {
        let mut vectors = [_mm512_setzero_ps(); B];
        for (block, vector) in vectors.iter_mut().enumerate() {
            *vector = loaded(&values[column + block * LANES..]);
        }
        for (r, sums) in sums.iter_mut().enumerate() {
            let weight = _mm512_set1_ps(weights[r * padded_len + token]);
            for (sum, vector) in sums.iter_mut().zip(vectors) {
                *sum = _mm512_fmadd_ps(weight, vector, *sum);
            }
        }
    }
    store(sums, dim, &mut out[column..]);
}

#[inline]
#[target_feature(enable = "avx512f")]
fn loaded(values: &[f32]) -> __m512 {
    assert!(values.len() >= LANES);
    // SAFETY: 64 bytes (line above).
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

/// Writes `B` vectors to each of `R` rows that are `stride` apart.
#[inline]
#[target_feature(enable = "avx512f")]
fn store<const R: usize, const B: usize>(rows: [[__m512; B]; R], stride: usize, out: &mut [f32]) {
    for (r, row) in rows.into_iter().enumerate() {
        for (out, vector) in out[r * stride..]
            .as_chunks_mut::<LANES>()
            .0
            .iter_mut()
            .zip(row)
        {
            // SAFETY: 16 numbers.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr(), vector) };
        }
    }
}
