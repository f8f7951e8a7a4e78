//! Paged attention on the CPU, straight over the cache.
//!
//! A work item is a tile of a sequence's new tokens with one key head: all query heads of the group times the tile's
//! tokens are the *rows* that share each block of keys and values. A block is converted to f32 once for all rows; the
//! softmax is online (arXiv 1805.02867), so nothing of the size of the context is kept. The order of additions depends
//! on the row's own context only, so a row's result is the same alone and in any batch.
//! Decode is bound by reading the cache, prefill by the multiplications.

use std::{cell::RefCell, ops::Range};

use candle_core::{CpuStorage, Device, Error, Result, Storage, Tensor};
use half::f16;

use super::{AttentionSequence, AttentionShape};
use crate::{
    kv_cache::BLOCK_SIZE,
    ops::cpu::{DisjointMut, LANES, exp, f16_to_f32, fma, multiversion, parallel, with_f32},
};

/// Rows of a tile, about: their queries and sums (2 * 48 * 128 * 4 B) stay in the L2 cache.
const TILE_ROWS: usize = 48;
/// Rows that share the registers of an inner loop.
const ROW_GROUP: usize = 4;

const _: () = assert!(
    BLOCK_SIZE == LANES,
    "a block of keys is one vector of scores"
);

/// See [`super::paged_attention`].
pub fn paged_attention(
    q: &Tensor,
    k_cache: &Tensor,
    v_cache: &Tensor,
    sequences: &[AttentionSequence],
    shape: AttentionShape,
) -> Result<Tensor> {
    let tile_tokens = (TILE_ROWS / shape.group()).max(1);
    let mut items = Vec::new();
    for sequence in sequences {
        for first in (0..sequence.q_len).step_by(tile_tokens) {
            let num_tokens = tile_tokens.min(sequence.q_len - first);
            items.extend((0..shape.num_kv_heads).map(|kv_head| Item {
                sequence,
                first,
                num_tokens,
                kv_head,
            }));
        }
    }
    let mut out = vec![0f32; q.elem_count()];
    let (k_storage, _) = k_cache.storage_and_layout();
    let (v_storage, _) = v_cache.storage_and_layout();
    let (k, v) = (Cached::of(&k_storage)?, Cached::of(&v_storage)?);
    with_f32(q, |q| {
        let inputs = Inputs {
            q,
            k,
            v,
            shape,
            out: DisjointMut::new(&mut out),
        };
        parallel(items.len(), true, |range| {
            SCRATCH.with_borrow_mut(|scratch| {
                for item in &items[range] {
                    tile(&inputs, item, scratch);
                }
            });
        });
        Ok(())
    })?;
    Tensor::from_vec(out, q.dims(), &Device::Cpu)
}

struct Item<'a> {
    sequence: &'a AttentionSequence,
    /// First token of the tile among the sequence's new ones.
    first: usize,
    num_tokens: usize,
    kv_head: usize,
}

struct Inputs<'a> {
    q: &'a [f32],
    k: Cached<'a>,
    v: Cached<'a>,
    shape: AttentionShape,
    out: DisjointMut<'a, f32>,
}

/// The numbers of a cache.
#[derive(Clone, Copy)]
enum Cached<'a> {
    F16(&'a [f16]),
    F32(&'a [f32]),
}

impl<'a> Cached<'a> {
    fn of(storage: &'a Storage) -> Result<Self> {
        match storage {
            Storage::Cpu(CpuStorage::F16(data)) => Ok(Self::F16(data)),
            Storage::Cpu(CpuStorage::F32(data)) => Ok(Self::F32(data)),
            _ => Err(Error::Msg("the cache is f16 or f32 on the CPU".into())),
        }
    }
}

/// Working memory of a thread, kept between tiles. Rows are token-major: `row = token * group + head_in_group`.
#[derive(Default)]
struct Scratch {
    /// `[rows, head_dim]`, times the scale.
    q: Vec<f32>,
    /// `[rows, head_dim]`: weighted sum of values so far.
    sums: Vec<f32>,
    /// `[rows]`: largest score so far.
    max: Vec<f32>,
    /// `[rows]`: sum of weights so far.
    total: Vec<f32>,
    /// `[rows, BLOCK_SIZE]`: scores, then weights, of the current block.
    weights: Vec<f32>,
    /// `[head_dim, BLOCK_SIZE]`
    k: Vec<f32>,
    /// `[BLOCK_SIZE, head_dim]`
    v: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

multiversion! {
    fn tile(inputs: &Inputs<'_>, item: &Item<'_>, scratch: &mut Scratch) = tile_body
}

#[inline(always)]
fn tile_body<const FUSED: bool>(inputs: &Inputs<'_>, item: &Item<'_>, scratch: &mut Scratch) {
    let shape = inputs.shape;
    let AttentionShape {
        num_kv_heads,
        head_dim,
        ..
    } = shape;
    let (group, sequence) = (shape.group(), item.sequence);
    load_queries(inputs, item, scratch);
    // Position of the tile's first token.
    let first_position = sequence.context_len - sequence.q_len + item.first;
    let seen = first_position + item.num_tokens;
    let block_len = head_dim * BLOCK_SIZE;
    // Blocks before the window of the tile's first token are seen by none of its tokens.
    let first_block = shape.first_visible(first_position) / BLOCK_SIZE;
    for start in (first_block * BLOCK_SIZE..seen).step_by(BLOCK_SIZE) {
        let block = sequence.block_table[start / BLOCK_SIZE] as usize;
        let at = (block * num_kv_heads + item.kv_head) * block_len;
        widen(inputs.k, at, block_len, &mut scratch.k);
        widen(inputs.v, at, block_len, &mut scratch.v);
        // Tokens before the block see none of it; their rows come first.
        let first_row = start.saturating_sub(first_position) * group;
        // Tokens whose window begins after the block see none of it either; their rows come last.
        let in_window = shape.window.map_or(item.num_tokens, |window| {
            (start + BLOCK_SIZE - 1 + window).saturating_sub(first_position)
        });
        let rows = in_window.min(item.num_tokens) * group;
        // Loops, not closures: code outside this function is not compiled for its instruction set.
        let mut row = first_row;
        while row < rows {
            match rows - row {
                1 => score_rows::<FUSED, 1>(scratch, row, head_dim),
                2 => score_rows::<FUSED, 2>(scratch, row, head_dim),
                3 => score_rows::<FUSED, 3>(scratch, row, head_dim),
                _ => score_rows::<FUSED, ROW_GROUP>(scratch, row, head_dim),
            }
            row += ROW_GROUP;
        }
        for row in first_row..rows {
            let position = first_position + row / group;
            let hidden = shape.first_visible(position).saturating_sub(start);
            let visible = hidden..(position + 1 - start).min(BLOCK_SIZE);
            softmax_row(scratch, row, visible, shape);
        }
        let valid = (seen - start).min(BLOCK_SIZE);
        // Loops, not closures: code outside this function is not compiled for its instruction set.
        let mut row = first_row;
        while row < rows {
            match rows - row {
                1 => sum_rows::<FUSED, 1>(scratch, row, valid, head_dim),
                2 => sum_rows::<FUSED, 2>(scratch, row, valid, head_dim),
                3 => sum_rows::<FUSED, 3>(scratch, row, valid, head_dim),
                _ => sum_rows::<FUSED, ROW_GROUP>(scratch, row, valid, head_dim),
            }
            row += ROW_GROUP;
        }
    }
    store(inputs, item, scratch);
}

/// Copies the tile's queries, scaled, and resets the running sums.
#[inline(always)]
fn load_queries(inputs: &Inputs<'_>, item: &Item<'_>, scratch: &mut Scratch) {
    let AttentionShape {
        num_heads,
        head_dim,
        ..
    } = inputs.shape;
    let group = inputs.shape.group();
    let (rows, scale) = (item.num_tokens * group, inputs.shape.scale);
    scratch.q.clear();
    for token in 0..item.num_tokens {
        let row = item.sequence.q_start + item.first + token;
        let at = (row * num_heads + item.kv_head * group) * head_dim;
        scratch.q.extend(
            inputs.q[at..at + group * head_dim]
                .iter()
                .map(|value| value * scale),
        );
    }
    for (buffer, len, fill) in [
        (&mut scratch.sums, rows * head_dim, 0.0),
        (&mut scratch.max, rows, f32::NEG_INFINITY),
        (&mut scratch.total, rows, 0.0),
        (&mut scratch.weights, rows * BLOCK_SIZE, 0.0),
        (&mut scratch.k, head_dim * BLOCK_SIZE, 0.0),
        (&mut scratch.v, head_dim * BLOCK_SIZE, 0.0),
    ] {
        buffer.clear();
        buffer.resize(len, fill);
    }
}

#[inline(always)]
fn widen(from: Cached<'_>, at: usize, len: usize, to: &mut [f32]) {
    match from {
        Cached::F16(from) => {
            for (to, from) in to.iter_mut().zip(&from[at..at + len]) {
                *to = f16_to_f32(*from);
            }
        }
        Cached::F32(from) => to.copy_from_slice(&from[at..at + len]),
    }
}

/// Scores of `R` rows with the 16 keys of the block.
#[inline(always)]
fn score_rows<const FUSED: bool, const R: usize>(
    scratch: &mut Scratch,
    row: usize,
    head_dim: usize,
) {
    let mut scores = [[0f32; LANES]; R];
    let q = &scratch.q[row * head_dim..][..R * head_dim];
    for (d, keys) in scratch.k.chunks_exact(LANES).enumerate() {
        for r in 0..R {
            let query = q[r * head_dim + d];
            for lane in 0..LANES {
                scores[r][lane] = fma::<FUSED>(query, keys[lane], scores[r][lane]);
            }
        }
    }
    for (r, scores) in scores.iter().enumerate() {
        scratch.weights[(row + r) * LANES..][..LANES].copy_from_slice(scores);
    }
}

/// Turns a row's scores into weights relative to the new maximum and rescales what was summed so far.
#[inline(always)]
fn softmax_row(scratch: &mut Scratch, row: usize, visible: Range<usize>, shape: AttentionShape) {
    let head_dim = shape.head_dim;
    let weights = &mut scratch.weights[row * LANES..][..LANES];
    if let Some(softcap) = shape.softcap {
        for weight in weights.iter_mut() {
            *weight = softcap * (*weight / softcap).tanh();
        }
    }
    let is_partial = visible != (0..LANES);
    if is_partial {
        weights[..visible.start].fill(f32::NEG_INFINITY);
        weights[visible.end..].fill(f32::NEG_INFINITY);
    }
    let block_max = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let old_max = scratch.max[row];
    let new_max = old_max.max(block_max);
    for weight in weights.iter_mut() {
        *weight = exp(*weight - new_max);
    }
    if is_partial {
        // `exp` of minus infinity is small, not 0.
        weights[..visible.start].fill(0.0);
        weights[visible.end..].fill(0.0);
    }
    let mut total = scratch.total[row];
    if new_max > old_max {
        let rescale = if old_max == f32::NEG_INFINITY {
            0.0
        } else {
            exp(old_max - new_max)
        };
        total *= rescale;
        scratch.sums[row * head_dim..][..head_dim]
            .iter_mut()
            .for_each(|sum| *sum *= rescale);
        scratch.max[row] = new_max;
    }
    scratch.total[row] = total + weights.iter().sum::<f32>();
}

/// Adds the block's weighted values to the sums of `R` rows.
#[inline(always)]
fn sum_rows<const FUSED: bool, const R: usize>(
    scratch: &mut Scratch,
    row: usize,
    valid: usize,
    head_dim: usize,
) {
    let weights = &scratch.weights[row * LANES..][..R * LANES];
    let whole = head_dim - head_dim % LANES;
    for at in (0..whole).step_by(LANES) {
        let mut sums = [[0f32; LANES]; R];
        for (r, sums) in sums.iter_mut().enumerate() {
            sums.copy_from_slice(&scratch.sums[(row + r) * head_dim + at..][..LANES]);
        }
        for t in 0..valid {
            let values = &scratch.v[t * head_dim + at..][..LANES];
            for r in 0..R {
                let weight = weights[r * LANES + t];
                for lane in 0..LANES {
                    sums[r][lane] = fma::<FUSED>(weight, values[lane], sums[r][lane]);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            scratch.sums[(row + r) * head_dim + at..][..LANES].copy_from_slice(sums);
        }
    }
    for d in whole..head_dim {
        for r in 0..R {
            let mut sum = scratch.sums[(row + r) * head_dim + d];
            for t in 0..valid {
                sum = fma::<FUSED>(weights[r * LANES + t], scratch.v[t * head_dim + d], sum);
            }
            scratch.sums[(row + r) * head_dim + d] = sum;
        }
    }
}

#[inline(always)]
fn store(inputs: &Inputs<'_>, item: &Item<'_>, scratch: &Scratch) {
    let AttentionShape {
        num_heads,
        head_dim,
        ..
    } = inputs.shape;
    let group = inputs.shape.group();
    for token in 0..item.num_tokens {
        let row = item.sequence.q_start + item.first + token;
        let at = (row * num_heads + item.kv_head * group) * head_dim;
        // SAFETY: tokens belong to one tile, and tiles of a token differ in their key head, so ranges do not overlap.
        let out = unsafe { inputs.out.range(at, group * head_dim) };
        let rows = token * group..(token + 1) * group;
        for (out, row) in out.chunks_exact_mut(head_dim).zip(rows) {
            let normalise = 1.0 / scratch.total[row];
            let sums = &scratch.sums[row * head_dim..][..head_dim];
            out.iter_mut()
                .zip(sums)
                .for_each(|(out, sum)| *out = sum * normalise);
        }
    }
}
