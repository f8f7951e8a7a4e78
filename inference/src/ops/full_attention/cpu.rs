//! Attention over whole texts on the CPU: a work item is a text and a head. Keys are transposed into vectors of 16, so
//! that a group of queries shares each of them and each value; the softmax goes over whole rows of scores, which fit
//! the cache (texts have at most some hundred tokens). Bound by the multiplications.
#![allow(
    clippy::needless_range_loop,
    reason = "a row or lane index addresses several arrays at once"
)]

use std::cell::RefCell;

use candle_core::{Device, Result, Tensor};

use super::FullAttention;
use crate::ops::cpu::{DisjointMut, LANES, exp, fma, multiversion, parallel, with_f32};

/// Queries that share keys and values in registers.
const ROW_GROUP: usize = 4;

/// See [`super::full_attention`].
pub fn full_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    shape: FullAttention<'_>,
) -> Result<Tensor> {
    let mut items = Vec::new();
    let mut start = 0;
    for &len in shape.lengths {
        items.extend((0..shape.num_heads).map(|head| Item { start, len, head }));
        start += len;
    }
    let mut out = vec![0f32; q.elem_count()];
    with_f32(q, |q| {
        with_f32(k, |k| {
            with_f32(v, |v| {
                let inputs = Inputs {
                    q,
                    k,
                    v,
                    width: shape.num_heads * shape.head_dim,
                    dim: shape.head_dim,
                    out: DisjointMut::new(&mut out),
                };
                parallel(items.len(), true, |range| {
                    SCRATCH.with_borrow_mut(|scratch| {
                        for item in &items[range] {
                            one(&inputs, item, scratch);
                        }
                    });
                });
                Ok(())
            })
        })
    })?;
    Tensor::from_vec(out, q.dims(), &Device::Cpu)
}

/// One head of one text.
struct Item {
    start: usize,
    len: usize,
    head: usize,
}

struct Inputs<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    width: usize,
    dim: usize,
    out: DisjointMut<'a, f32>,
}

/// Working memory of a thread, kept between items.
#[derive(Default)]
struct Scratch {
    /// `[ROW_GROUP, dim]`
    q: Vec<f32>,
    /// `[len / 16, dim, 16]`, rounded up: zero behind the last key.
    k: Vec<f32>,
    /// `[len, dim]`, dim rounded up to whole vectors.
    v: Vec<f32>,
    /// `[ROW_GROUP, len]`, rounded up: scores, then weights.
    weights: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

multiversion! {
    fn one(inputs: &Inputs<'_>, item: &Item, scratch: &mut Scratch) = one_body
}

#[inline(always)]
fn one_body<const FUSED: bool>(inputs: &Inputs<'_>, item: &Item, scratch: &mut Scratch) {
    load(inputs, item, scratch);
    let mut first = 0;
    while first < item.len {
        // Loops, not closures: code outside this function is not compiled for its instruction set.
        match item.len - first {
            1 => rows::<FUSED, 1>(inputs, item, first, scratch),
            2 => rows::<FUSED, 2>(inputs, item, first, scratch),
            3 => rows::<FUSED, 3>(inputs, item, first, scratch),
            _ => rows::<FUSED, ROW_GROUP>(inputs, item, first, scratch),
        }
        first += ROW_GROUP;
    }
}

/// Lays out the keys and values of the item.
#[inline(always)]
fn load(inputs: &Inputs<'_>, item: &Item, scratch: &mut Scratch) {
    let (dim, padded_dim) = (inputs.dim, inputs.dim.next_multiple_of(LANES));
    let padded_len = item.len.next_multiple_of(LANES);
    for (buffer, len) in [
        (&mut scratch.k, padded_len * dim),
        (&mut scratch.v, item.len * padded_dim),
        (&mut scratch.weights, ROW_GROUP * padded_len),
    ] {
        buffer.clear();
        buffer.resize(len, 0.0);
    }
    for token in 0..item.len {
        let at = (item.start + token) * inputs.width + item.head * dim;
        let block = &mut scratch.k[token / LANES * dim * LANES..];
        for (d, key) in inputs.k[at..at + dim].iter().enumerate() {
            block[d * LANES + token % LANES] = *key;
        }
        scratch.v[token * padded_dim..][..dim].copy_from_slice(&inputs.v[at..at + dim]);
    }
}

/// `R` queries from `first` on.
#[inline(always)]
fn rows<const FUSED: bool, const R: usize>(
    inputs: &Inputs<'_>,
    item: &Item,
    first: usize,
    scratch: &mut Scratch,
) {
    let dim = inputs.dim;
    let padded_len = item.len.next_multiple_of(LANES);
    let at = |row: usize| (item.start + first + row) * inputs.width + item.head * dim;
    let Scratch { q, k, v, weights } = scratch;
    q.clear();
    for row in 0..R {
        q.extend_from_slice(&inputs.q[at(row)..at(row) + dim]);
    }
    for (block, keys) in k.chunks_exact(dim * LANES).enumerate() {
        let scores = scores::<FUSED, R>(q, keys, dim);
        for row in 0..R {
            weights[row * padded_len + block * LANES..][..LANES].copy_from_slice(&scores[row]);
        }
    }
    let scale = 1.0 / (dim as f32).sqrt();
    let mut totals = [0f32; R];
    for row in 0..R {
        let weights = &mut weights[row * padded_len..][..padded_len];
        totals[row] = softmax(weights, item.len, scale);
    }
    let padded_dim = dim.next_multiple_of(LANES);
    for column in (0..dim).step_by(LANES) {
        let sums = weighted_sums::<FUSED, R>(weights, &v[column..], padded_len, padded_dim);
        let count = LANES.min(dim - column);
        for row in 0..R {
            // SAFETY: a query and head belong to one item, and columns are taken one after another.
            let out = unsafe { inputs.out.range(at(row) + column, count) };
            for (out, sum) in out.iter_mut().zip(&sums[row]) {
                *out = sum / totals[row];
            }
        }
    }
}

/// Products of `R` queries, `[R, dim]`, with a block of keys, `[dim, 16]`.
#[inline(always)]
fn scores<const FUSED: bool, const R: usize>(
    q: &[f32],
    keys: &[f32],
    dim: usize,
) -> [[f32; LANES]; R] {
    let mut scores = [[0f32; LANES]; R];
    let q = &q[..R * dim];
    for (d, keys) in keys.chunks_exact(LANES).enumerate() {
        for r in 0..R {
            let query = q[r * dim + d];
            for lane in 0..LANES {
                scores[r][lane] = fma::<FUSED>(query, keys[lane], scores[r][lane]);
            }
        }
    }
    scores
}

/// Sums of the first 16 of each `padded_dim` values, weighted by `[R, padded_len]`.
#[inline(always)]
fn weighted_sums<const FUSED: bool, const R: usize>(
    weights: &[f32],
    v: &[f32],
    padded_len: usize,
    padded_dim: usize,
) -> [[f32; LANES]; R] {
    let mut sums = [[0f32; LANES]; R];
    let weights = &weights[..R * padded_len];
    for (token, values) in v.chunks(padded_dim).enumerate() {
        let values = &values[..LANES];
        for r in 0..R {
            let weight = weights[r * padded_len + token];
            for lane in 0..LANES {
                sums[r][lane] = fma::<FUSED>(weight, values[lane], sums[r][lane]);
            }
        }
    }
    sums
}

/// Turns the first `len` scores into weights, the padding into 0; returns the weights' sum.
#[inline(always)]
fn softmax(weights: &mut [f32], len: usize, scale: f32) -> f32 {
    // Scores behind the last key must not count.
    weights[len..].fill(f32::NEG_INFINITY);
    let mut largest = [f32::NEG_INFINITY; LANES];
    for chunk in weights.as_chunks::<LANES>().0 {
        for lane in 0..LANES {
            largest[lane] = largest[lane].max(chunk[lane]);
        }
    }
    let largest = largest.into_iter().fold(f32::NEG_INFINITY, f32::max);
    for weight in weights.iter_mut() {
        *weight = exp((*weight - largest) * scale);
    }
    // `exp` of minus infinity is small, not 0.
    weights[len..].fill(0.0);
    let mut totals = [0f32; LANES];
    for chunk in weights.as_chunks::<LANES>().0 {
        for lane in 0..LANES {
            totals[lane] += chunk[lane];
        }
    }
    totals.into_iter().sum()
}
