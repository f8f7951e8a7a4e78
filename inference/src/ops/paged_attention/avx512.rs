//! Attention over blocks of the cache with AVX-512. Additions have the order of [`super::cpu`], so a row comes out bit for
//! bit the same however many rows it shares a tile with.
//!
//! One new token of a sequence: keys and values are widened in registers on their way into the products, so a block of the
//! cache is read once and written nowhere; bound by reading it ([`one_token`] is the walk, a [`CacheTile`] what a block's type
//! does in it). Many tokens: a block is widened once for all rows, and
//! eight rows share each vector of it, as many sums as two ports with a latency of four keep busy.

use std::{arch::x86_64::*, ops::Range};

use half::f16;

use super::{
    avx512_bytes::{self, ByteTile},
    cpu::{
        BLOCKS_TOGETHER, BlockMath, Cached, Inputs, Item, SPAN, SPAN_BLOCKS, Scratch, ends_chunk,
        load_queries, softmax_row, tile_body, tile_of,
    },
};
use crate::{
    kv_cache::{BLOCK_SIZE, q8_tile::tile_bytes},
    ops::cpu::{LANES, MOST_ROWS, for_rows, has_avx512},
};

/// Rows that share registers.
const ROW_GROUP: usize = MOST_ROWS;

/// Whether this CPU has the instructions, and heads are whole vectors.
pub fn suits(head_dim: usize) -> bool {
    head_dim.is_multiple_of(LANES) && has_avx512()
}

/// The attention of an item.
///
/// # Safety
/// [`suits`] of the head size.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,fma")]
pub unsafe fn attend(inputs: &Inputs<'_>, item: &Item<'_>, scratch: &mut Scratch) {
    let group = inputs.shape.group();
    if item.num_tokens > 1 || group > ROW_GROUP {
        return tile_body::<Avx512>(inputs, item, scratch);
    }
    let head_dim = inputs.shape.head_dim;
    match (inputs.k, inputs.v) {
        (Cached::F16(keys), Cached::F16(values)) => {
            let len = head_dim * BLOCK_SIZE;
            let tile = |index| {
                (
                    HalfTile(tile_of(keys, index, len)),
                    HalfTile(tile_of(values, index, len)),
                )
            };
            for_rows!(group, R => one_token::<R, _>(inputs, tile, item, scratch));
        }
        (Cached::Q8(keys), Cached::Q8(values)) => {
            let len = tile_bytes(head_dim);
            let tile = |index| {
                (
                    ByteTile::new(tile_of(keys, index, len), head_dim),
                    ByteTile::new(tile_of(values, index, len), head_dim),
                )
            };
            for_rows!(group, R => one_token::<R, _>(inputs, tile, item, scratch));
        }
        _ => tile_body::<Avx512>(inputs, item, scratch),
    }
}

/// The keys or the values of a block and key head, as they lie in the cache. Both ask for the next block's meanwhile: blocks are
/// anywhere in memory.
///
/// # Safety
/// Of both functions: the CPU has what [`attend`] needs.
pub(super) trait CacheTile: Copy {
    /// Writes the scores of `R` rows with the keys, `[head_dim, BLOCK_SIZE]`, to the weights of block `block` of the span.
    unsafe fn score<const R: usize>(self, next: Self, scratch: &mut Scratch, block: usize);

    /// Adds the weighted values of the first `valid` tokens to the sums of `R` rows.
    unsafe fn sum<const R: usize>(self, next: Self, scratch: &mut Scratch, place: (usize, usize));
}

#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,fma")]
fn one_token<const R: usize, T: CacheTile>(
    inputs: &Inputs<'_>,
    // The keys and values of a block and key head.
    tile: impl Fn(usize) -> (T, T),
    item: &Item<'_>,
    scratch: &mut Scratch,
) {
    let (shape, sequence) = (inputs.shape, item.sequence);
    assert!(R == shape.group() && item.num_tokens == 1);
    load_queries(inputs, item, scratch);
    let Scratch {
        q, q_by_dimension, ..
    } = &mut *scratch;
    q_by_dimension.clear();
    for d in 0..shape.head_dim {
        q_by_dimension.extend((0..R).map(|r| q[r * shape.head_dim + d]));
    }
    let position = sequence.context_len - sequence.q_len + item.first;
    let first_visible = shape.first_visible(position);
    let (first_block, last_block) = (first_visible / BLOCK_SIZE, position / BLOCK_SIZE);
    let tile = |index: usize| {
        // Of the last block the next is itself.
        let block = sequence.block_table[index.min(last_block)] as usize;
        tile(block * shape.num_kv_heads + item.kv_head)
    };
    for span in item.spans.clone() {
        let start = span * SPAN;
        let blocks = (span * SPAN_BLOCKS).max(first_block)
            ..last_block.min(span * SPAN_BLOCKS + SPAN_BLOCKS - 1) + 1;
        for index in blocks.clone() {
            let (keys, next) = (tile(index).0, tile(index + 1).0);
            // SAFETY: the features are this function's.
            unsafe { keys.score::<R>(next, scratch, index % SPAN_BLOCKS) };
        }
        let visible = first_visible.saturating_sub(start)..(position + 1 - start).min(SPAN);
        for row in 0..R {
            softmax_row(scratch, row, visible.clone(), shape);
        }
        for index in blocks {
            let (values, next) = (tile(index).1, tile(index + 1).1);
            let valid = (position + 1 - index * BLOCK_SIZE).min(BLOCK_SIZE);
            // SAFETY: the features are this function's.
            unsafe { values.sum::<R>(next, scratch, (index % SPAN_BLOCKS, valid)) };
        }
        if ends_chunk(item, span) {
            scratch.end_chunk();
        }
    }
    scratch.end_item();
}

/// A tile of f16.
#[derive(Clone, Copy)]
struct HalfTile<'a>(&'a [f16]);

impl CacheTile for HalfTile<'_> {
    #[inline(always)]
    unsafe fn score<const R: usize>(self, next: Self, scratch: &mut Scratch, block: usize) {
        // SAFETY: the caller's.
        unsafe { score::<R>(scratch, block, (self.0, next.0)) };
    }

    #[inline(always)]
    unsafe fn sum<const R: usize>(self, next: Self, scratch: &mut Scratch, place: (usize, usize)) {
        // SAFETY: the caller's.
        unsafe { sum::<R>(scratch, place, (self.0, next.0)) };
    }
}

/// See [`CacheTile::score`].
#[inline]
#[target_feature(enable = "avx512f")]
fn score<const R: usize>(scratch: &mut Scratch, block: usize, (keys, next): (&[f16], &[f16])) {
    let mut scores = [_mm512_setzero_ps(); R];
    let pairs = keys
        .as_chunks::<LANES>()
        .0
        .iter()
        .zip(next.as_chunks::<LANES>().0);
    let queries = scratch.q_by_dimension.as_chunks::<R>().0;
    for ((keys, ahead), queries) in pairs.zip(queries) {
        _mm_prefetch::<_MM_HINT_T0>(ahead.as_ptr().cast());
        let keys = widened(keys);
        for (scores, query) in scores.iter_mut().zip(queries) {
            *scores = _mm512_fmadd_ps(_mm512_set1_ps(*query), keys, *scores);
        }
    }
    store_scores(scores, &mut scratch.weights[block * LANES..]);
}

/// See [`CacheTile::sum`].
#[inline]
#[target_feature(enable = "avx512f")]
fn sum<const R: usize>(
    scratch: &mut Scratch,
    (block, valid): (usize, usize),
    (values, next): (&[f16], &[f16]),
) {
    let head_dim = values.len() / BLOCK_SIZE;
    let Scratch {
        running, weights, ..
    } = scratch;
    let weights = &weights[block * LANES..][..(R - 1) * SPAN + LANES];
    let sums = &mut running.sums[..R * head_dim];
    for at in (0..head_dim).step_by(LANES) {
        let mut totals = [_mm512_setzero_ps(); R];
        for (r, total) in totals.iter_mut().enumerate() {
            *total = loaded(&sums[r * head_dim + at..]);
        }
        for t in 0..valid {
            _mm_prefetch::<_MM_HINT_T0>(next[t * head_dim + at..].as_ptr().cast());
            let values = &values[t * head_dim + at..];
            let values = widened(values.first_chunk().unwrap_or(&[f16::ZERO; LANES]));
            for (r, total) in totals.iter_mut().enumerate() {
                *total = _mm512_fmadd_ps(_mm512_set1_ps(weights[r * SPAN + t]), values, *total);
            }
        }
        for (r, total) in totals.into_iter().enumerate() {
            let out = &mut sums[r * head_dim + at..][..LANES];
            // SAFETY: 16 numbers.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr(), total) };
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn widened(halves: &[f16; LANES]) -> __m512 {
    // SAFETY: 32 bytes.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(halves.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn loaded(values: &[f32]) -> __m512 {
    assert!(values.len() >= LANES);
    // SAFETY: 64 bytes (line above).
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

/// Loops over vectors, for the bodies of [`attend`] alone: they need its features.
pub(super) struct Avx512;

impl BlockMath for Avx512 {
    #[inline(always)]
    fn widen_keys(from: Cached<'_>, tile: usize, to: &mut [f32]) {
        match from {
            // SAFETY: only `attend` uses this type.
            Cached::F16(from) => unsafe { widen(tile_of(from, tile, to.len()), to) },
            Cached::F32(from) => to.copy_from_slice(tile_of(from, tile, to.len())),
            // SAFETY: as above.
            Cached::Q8(from) => unsafe { avx512_bytes::widen_keys(from, tile, to) },
        }
    }

    #[inline(always)]
    fn widen_values(from: Cached<'_>, tile: usize, to: &mut [f32]) {
        match from {
            // SAFETY: only `attend` uses this type.
            Cached::F16(from) => unsafe { widen(tile_of(from, tile, to.len()), to) },
            Cached::F32(from) => to.copy_from_slice(tile_of(from, tile, to.len())),
            // SAFETY: as above.
            Cached::Q8(from) => unsafe { avx512_bytes::widen_values(from, tile, to) },
        }
    }

    #[inline(always)]
    fn scores(scratch: &mut Scratch, rows: Range<usize>, blocks: Range<usize>, head_dim: usize) {
        for row in rows.clone().step_by(ROW_GROUP) {
            let at = (row, blocks.start);
            // SAFETY: only `attend` uses this type.
            unsafe {
                if blocks.len() == BLOCKS_TOGETHER {
                    for_rows!(rows.end - row, R => score_rows::<R, BLOCKS_TOGETHER>(scratch, at, head_dim));
                } else {
                    for_rows!(rows.end - row, R => score_rows::<R, 1>(scratch, at, head_dim));
                }
            };
        }
    }

    #[inline(always)]
    fn sums(scratch: &mut Scratch, rows: Range<usize>, block: (usize, usize), head_dim: usize) {
        for row in rows.clone().step_by(ROW_GROUP) {
            // SAFETY: only `attend` uses this type.
            unsafe { for_rows!(rows.end - row, R => sum_rows::<R>(scratch, row, block, head_dim)) };
        }
    }
}

/// Converts a block, whose length is a multiple of 16.
#[inline]
#[target_feature(enable = "avx512f")]
fn widen(from: &[f16], to: &mut [f32]) {
    for (to, from) in to
        .as_chunks_mut::<LANES>()
        .0
        .iter_mut()
        .zip(from.as_chunks().0)
    {
        // SAFETY: 16 numbers.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), widened(from)) };
    }
}

/// Scores of `R` rows with the keys of `B` blocks, from block `block` of the span on.
#[inline]
#[target_feature(enable = "avx512f")]
fn score_rows<const R: usize, const B: usize>(
    scratch: &mut Scratch,
    (row, block): (usize, usize),
    head_dim: usize,
) {
    let q = &scratch.q[row * head_dim..][..R * head_dim];
    let keys = &scratch.k[..B * head_dim * BLOCK_SIZE];
    let mut scores = [[_mm512_setzero_ps(); R]; B];
    for d in 0..head_dim {
        let mut vectors = [_mm512_setzero_ps(); B];
        for (b, vector) in vectors.iter_mut().enumerate() {
            *vector = loaded(&keys[(b * head_dim + d) * LANES..]);
        }
        for r in 0..R {
            let query = _mm512_set1_ps(q[r * head_dim + d]);
            for (scores, vector) in scores.iter_mut().zip(vectors) {
                scores[r] = _mm512_fmadd_ps(query, vector, scores[r]);
            }
        }
    }
    for (b, scores) in scores.into_iter().enumerate() {
        store_scores(
            scores,
            &mut scratch.weights[row * SPAN + (block + b) * LANES..],
        );
    }
}

/// Writes the scores of `R` rows; `weights` begin at the block's of the first.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store_scores<const R: usize>(scores: [__m512; R], weights: &mut [f32]) {
    for (r, scores) in scores.into_iter().enumerate() {
        let out = &mut weights[r * SPAN..][..LANES];
        // SAFETY: 16 numbers.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), scores) };
    }
}

/// Adds the weighted values of the first `valid` tokens of the block to the sums of `R` rows.
#[inline]
#[target_feature(enable = "avx512f")]
fn sum_rows<const R: usize>(
    scratch: &mut Scratch,
    row: usize,
    (block, valid): (usize, usize),
    head_dim: usize,
) {
    let weights = &scratch.weights[row * SPAN + block * LANES..][..(R - 1) * SPAN + LANES];
    let sums = &mut scratch.running.sums[row * head_dim..][..R * head_dim];
    // Two vectors share each weight, which is what most loads are of.
    let pairs = head_dim - head_dim % (2 * LANES);
    for at in (0..pairs).step_by(2 * LANES) {
        sum_columns::<R, 2>(sums, weights, &scratch.v, (at, valid), head_dim);
    }
    if pairs < head_dim {
        sum_columns::<R, 1>(sums, weights, &scratch.v, (pairs, valid), head_dim);
    }
}

/// The same of `V` vectors from column `at` on.
#[inline]
#[target_feature(enable = "avx512f")]
fn sum_columns<const R: usize, const V: usize>(
    sums: &mut [f32],
    weights: &[f32],
    values: &[f32],
    (at, valid): (usize, usize),
    head_dim: usize,
) {
    let mut totals = [[_mm512_setzero_ps(); V]; R];
    for (r, totals) in totals.iter_mut().enumerate() {
        for (v, total) in totals.iter_mut().enumerate() {
            *total = loaded(&sums[r * head_dim + at + v * LANES..]);
        }
    }
    for (t, values) in values.chunks_exact(head_dim).take(valid).enumerate() {
        let mut vectors = [_mm512_setzero_ps(); V];
        for (v, vector) in vectors.iter_mut().enumerate() {
            *vector = loaded(&values[at + v * LANES..]);
        }
        for (r, totals) in totals.iter_mut().enumerate() {
            let weight = _mm512_set1_ps(weights[r * SPAN + t]);
            for (total, vector) in totals.iter_mut().zip(vectors) {
                *total = _mm512_fmadd_ps(weight, vector, *total);
            }
        }
    }
    for (r, totals) in totals.into_iter().enumerate() {
        for (v, total) in totals.into_iter().enumerate() {
            let out = &mut sums[r * head_dim + at + v * LANES..][..LANES];
            // SAFETY: 16 numbers.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr(), total) };
        }
    }
}
