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
use crate::ops::cpu::{
    DisjointMut, LANES, MOST_ROWS, exp, fma, for_rows, multiversion, parallel, with_f32,
};

/// Queries that share keys and values in the registers of portable loops; with more the compiler keeps them in memory.
const PORTABLE_GROUP: usize = 4;
/// Queries of the largest group.
pub(super) const ROW_GROUP: usize = MOST_ROWS;

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
    let attend = kernel(shape.head_dim);
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
                            attend(&inputs, item, scratch);
                        }
                    });
                });
                Ok(())
            })
        })
    })?;
    Tensor::from_vec(out, q.dims(), &Device::Cpu)
}

/// Computes an item.
type Kernel = fn(&Inputs<'_>, &Item, &mut Scratch);

/// Returns the kernel for this CPU; they give the same bits.
fn kernel(head_dim: usize) -> Kernel {
    #[cfg(target_arch = "x86_64")]
    if super::avx512::suits(head_dim) {
        // SAFETY: the CPU and the heads suit.
        return |inputs, item, scratch| unsafe { super::avx512::one(inputs, item, scratch) };
    }
    let _ = head_dim;
    one
}

/// One head of one text.
pub(super) struct Item {
    start: usize,
    len: usize,
    head: usize,
}

pub(super) struct Inputs<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    width: usize,
    dim: usize,
    out: DisjointMut<'a, f32>,
}

/// Working memory of a thread, kept between items.
#[derive(Default)]
pub(super) struct Scratch {
    /// `[ROW_GROUP, dim]`
    q: Vec<f32>,
    /// `[len / 16, dim, 16]`, rounded up: zero behind the last key.
    k: Vec<f32>,
    /// `[len, dim]`, dim rounded up to whole vectors.
    v: Vec<f32>,
    /// `[ROW_GROUP, len]`, rounded up: scores, then weights.
    weights: Vec<f32>,
    /// `[ROW_GROUP, dim]`, dim rounded up.
    sums: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The two products of a group of `R` queries. Every implementation adds in the same order, so all give the same bits.
pub(super) trait RowMath {
    /// Queries of a group.
    const GROUP: usize;

    /// Writes the products of `R` queries, `[R, dim]`, with all keys, `[padded_len / 16, dim, 16]`: `[R, padded_len]`.
    fn scores<const R: usize>(q: &[f32], k: &[f32], dim: usize, scores: &mut [f32]);

    /// Writes the sums of the values, `[len, padded_dim]`, weighted by `[R, padded_len]`: `[R, padded_dim]`.
    fn weighted_sums<const R: usize>(weights: &[f32], v: &[f32], dim: usize, sums: &mut [f32]);
}

/// Plain loops.
struct Portable<const FUSED: bool>;

multiversion! {
    fn one(inputs: &Inputs<'_>, item: &Item, scratch: &mut Scratch) = portable_one
}

#[inline(always)]
fn portable_one<const FUSED: bool>(inputs: &Inputs<'_>, item: &Item, scratch: &mut Scratch) {
    one_body::<Portable<FUSED>>(inputs, item, scratch);
}

#[inline(always)]
pub(super) fn one_body<M: RowMath>(inputs: &Inputs<'_>, item: &Item, scratch: &mut Scratch) {
    load(inputs, item, scratch);
    let mut first = 0;
    while first < item.len {
        // Loops, not closures: code outside this function is not compiled for its instruction set.
        for_rows!(M::GROUP.min(item.len - first), R => rows::<M, R>(inputs, item, first, scratch));
        first += M::GROUP;
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
        (&mut scratch.sums, ROW_GROUP * padded_dim),
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
fn rows<M: RowMath, const R: usize>(
    inputs: &Inputs<'_>,
    item: &Item,
    first: usize,
    scratch: &mut Scratch,
) {
    let dim = inputs.dim;
    let padded_len = item.len.next_multiple_of(LANES);
    let at = |row: usize| (item.start + first + row) * inputs.width + item.head * dim;
    let Scratch {
        q,
        k,
        v,
        weights,
        sums,
    } = scratch;
    q.clear();
    for row in 0..R {
        q.extend_from_slice(&inputs.q[at(row)..at(row) + dim]);
    }
    M::scores::<R>(q, k, dim, &mut weights[..R * padded_len]);
    let scale = 1.0 / (dim as f32).sqrt();
    let mut totals = [0f32; R];
    for row in 0..R {
        let weights = &mut weights[row * padded_len..][..padded_len];
        totals[row] = softmax(weights, item.len, scale);
    }
    let padded_dim = dim.next_multiple_of(LANES);
    M::weighted_sums::<R>(&weights[..R * padded_len], v, padded_dim, sums);
    for row in 0..R {
        // SAFETY: a query and head belong to one item, and rows are taken one after another.
        let out = unsafe { inputs.out.range(at(row), dim) };
        for (out, sum) in out.iter_mut().zip(&sums[row * padded_dim..]) {
            *out = sum / totals[row];
        }
    }
}

impl<const FUSED: bool> RowMath for Portable<FUSED> {
    const GROUP: usize = PORTABLE_GROUP;

    #[inline(always)]
    fn scores<const R: usize>(q: &[f32], k: &[f32], dim: usize, scores: &mut [f32]) {
        let padded_len = k.len() / dim;
        let q = &q[..R * dim];
        for (block, keys) in k.chunks_exact(dim * LANES).enumerate() {
            let mut products = [[0f32; LANES]; R];
            for (d, keys) in keys.chunks_exact(LANES).enumerate() {
                for r in 0..R {
                    let query = q[r * dim + d];
                    for lane in 0..LANES {
                        products[r][lane] = fma::<FUSED>(query, keys[lane], products[r][lane]);
                    }
                }
            }
            for r in 0..R {
                scores[r * padded_len + block * LANES..][..LANES].copy_from_slice(&products[r]);
            }
        }
    }

    #[inline(always)]
    fn weighted_sums<const R: usize>(weights: &[f32], v: &[f32], dim: usize, sums: &mut [f32]) {
        let padded_len = weights.len() / R;
        for column in (0..dim).step_by(LANES) {
            let mut totals = [[0f32; LANES]; R];
            for (token, values) in v.chunks_exact(dim).enumerate() {
                let values = &values[column..][..LANES];
                for r in 0..R {
                    let weight = weights[r * padded_len + token];
                    for lane in 0..LANES {
                        totals[r][lane] = fma::<FUSED>(weight, values[lane], totals[r][lane]);
                    }
                }
            }
            for r in 0..R {
                sums[r * dim + column..][..LANES].copy_from_slice(&totals[r]);
            }
        }
    }
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
