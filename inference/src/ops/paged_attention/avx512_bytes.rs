//! A cache in 8 bits with AVX-512: how its bytes become floats on their way into the products of [`super::avx512`].
//!
//! A byte as a float, times the scale, less 128 scales: the subtraction is fused with the product, and what it yields has 19 bits,
//! so it is exact. One instruction a vector more than f16 takes.

use std::arch::x86_64::*;

use super::{
    avx512::{CacheTile, loaded, store_scores},
    cpu::{SPAN, Scratch, tile_of},
};
use crate::{
    kv_cache::{
        BLOCK_SIZE,
        q8_tile::{self, EXCESS, GROUP},
    },
    ops::cpu::LANES,
};

/// Vectors of a group.
const VECTORS: usize = GROUP / LANES;
const CACHE_LINE: usize = 64;

/// A tile of bytes; its heads are whole vectors.
#[derive(Clone, Copy)]
pub(super) struct ByteTile<'a> {
    tile: &'a [u8],
    head_dim: usize,
}

impl<'a> ByteTile<'a> {
    pub fn new(tile: &'a [u8], head_dim: usize) -> Self {
        assert!(tile.len() == q8_tile::tile_bytes(head_dim) && head_dim.is_multiple_of(LANES));
        Self { tile, head_dim }
    }

    /// Returns the scales of a group.
    #[inline(always)]
    fn scales(&self, group: usize) -> &'a [u8; 2 * LANES] {
        let at = q8_tile::scale_place(self.head_dim, 0, group);
        let scales = &self.tile[at..at + 2 * LANES];
        scales.first_chunk().unwrap_or(&[0; 2 * LANES])
    }

    /// Returns the 16 bytes from `at` on.
    #[inline(always)]
    fn bytes(&self, at: usize) -> &'a [u8; LANES] {
        let bytes = &self.tile[at..at + LANES];
        bytes.first_chunk().unwrap_or(&[0; LANES])
    }

    /// Asks for one of `parts` parts of the tile.
    #[inline(always)]
    fn ask_for(&self, part: usize, parts: usize) {
        let lines = self.tile.len().div_ceil(CACHE_LINE);
        for line in part * lines / parts..(part + 1) * lines / parts {
            // SAFETY: asking for any address is allowed; this one is in the tile.
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(self.tile.as_ptr().add(line * CACHE_LINE).cast())
            };
        }
    }
}

impl CacheTile for ByteTile<'_> {
    #[inline(always)]
    unsafe fn score<const R: usize>(self, next: Self, scratch: &mut Scratch, block: usize) {
        // SAFETY: the caller's.
        unsafe { score::<R>(self, next, scratch, block) };
    }

    #[inline(always)]
    unsafe fn sum<const R: usize>(self, next: Self, scratch: &mut Scratch, place: (usize, usize)) {
        // SAFETY: the caller's.
        unsafe { sum::<R>(self, next, scratch, place) };
    }
}

/// What turns bytes into floats: factors, and what is added to their products.
#[derive(Clone, Copy)]
struct Scaling {
    factor: __m512,
    offset: __m512,
}

impl Scaling {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn of(scales: &[u8; 2 * LANES]) -> Self {
        // SAFETY: 32 bytes.
        let factor = _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(scales.as_ptr().cast()) });
        Self::by(factor)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn by(factor: __m512) -> Self {
        Self {
            factor,
            offset: _mm512_mul_ps(factor, _mm512_set1_ps(-EXCESS as f32)),
        }
    }

    /// Returns 16 bytes as numbers.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn widened(self, bytes: &[u8; LANES]) -> __m512 {
        // SAFETY: 16 bytes.
        let bytes = _mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) });
        _mm512_fmadd_ps(_mm512_cvtepi32_ps(bytes), self.factor, self.offset)
    }
}

/// See [`CacheTile::score`].
#[inline]
#[target_feature(enable = "avx512f")]
fn score<const R: usize>(
    keys: ByteTile<'_>,
    next: ByteTile<'_>,
    scratch: &mut Scratch,
    block: usize,
) {
    let head_dim = keys.head_dim;
    let queries = scratch.q_by_dimension.as_chunks::<R>().0;
    let groups = q8_tile::groups(head_dim);
    let mut scores = [_mm512_setzero_ps(); R];
    for group in 0..groups {
        next.ask_for(group, groups);
        let scaling = Scaling::of(keys.scales(group));
        let columns = group * GROUP..head_dim.min((group + 1) * GROUP);
        let rows = &keys.tile[columns.start * LANES..columns.end * LANES];
        for (bytes, queries) in rows.as_chunks().0.iter().zip(&queries[columns]) {
            let keys = scaling.widened(bytes);
            for (scores, query) in scores.iter_mut().zip(queries) {
                *scores = _mm512_fmadd_ps(_mm512_set1_ps(*query), keys, *scores);
            }
        }
    }
    store_scores(scores, &mut scratch.weights[block * LANES..]);
}

/// See [`CacheTile::sum`].
#[inline]
#[target_feature(enable = "avx512f")]
fn sum<const R: usize>(
    values: ByteTile<'_>,
    next: ByteTile<'_>,
    scratch: &mut Scratch,
    (block, valid): (usize, usize),
) {
    let Scratch {
        running, weights, ..
    } = scratch;
    let head_dim = values.head_dim;
    let weights = &weights[block * LANES..][..(R - 1) * SPAN + LANES];
    let sums = &mut running.sums[..R * head_dim];
    let groups = q8_tile::groups(head_dim);
    for group in 0..groups {
        next.ask_for(group, groups);
        let place = (group, valid);
        if head_dim - group * GROUP >= GROUP {
            sum_columns::<R, VECTORS>(values, weights, sums, place);
        } else {
            sum_columns::<R, 1>(values, weights, sums, place);
        }
    }
}

/// The sums of the columns of a group, `V` vectors.
#[inline]
#[target_feature(enable = "avx512f")]
fn sum_columns<const R: usize, const V: usize>(
    values: ByteTile<'_>,
    weights: &[f32],
    sums: &mut [f32],
    (group, valid): (usize, usize),
) {
    let (head_dim, first) = (values.head_dim, group * GROUP);
    let [factors, offsets] = stored(Scaling::of(values.scales(group)));
    let mut totals = [[_mm512_setzero_ps(); V]; R];
    for (r, totals) in totals.iter_mut().enumerate() {
        for (v, total) in totals.iter_mut().enumerate() {
            *total = loaded(&sums[r * head_dim + first + v * LANES..]);
        }
    }
    for t in 0..valid {
        let scaling = Scaling {
            factor: _mm512_set1_ps(factors[t]),
            offset: _mm512_set1_ps(offsets[t]),
        };
        let mut vectors = [_mm512_setzero_ps(); V];
        for (v, vector) in vectors.iter_mut().enumerate() {
            *vector = scaling.widened(values.bytes(t * head_dim + first + v * LANES));
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
            let out = &mut sums[r * head_dim + first + v * LANES..][..LANES];
            // SAFETY: 16 numbers.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr(), total) };
        }
    }
}

/// Returns factors and offsets as numbers of their own.
#[inline]
#[target_feature(enable = "avx512f")]
fn stored(scaling: Scaling) -> [[f32; LANES]; 2] {
    let mut numbers = [[0.0; LANES]; 2];
    for (to, from) in numbers.iter_mut().zip([scaling.factor, scaling.offset]) {
        // SAFETY: 16 numbers.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), from) };
    }
    numbers
}

/// Converts a tile of keys.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn widen_keys(cache: &[u8], tile: usize, to: &mut [f32]) {
    let head_dim = to.len() / BLOCK_SIZE;
    let tile = ByteTile::new(
        tile_of(cache, tile, q8_tile::tile_bytes(head_dim)),
        head_dim,
    );
    let groups = to.chunks_mut(GROUP * LANES).enumerate();
    for (group, to) in groups {
        let scaling = Scaling::of(tile.scales(group));
        for (i, to) in to.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            let numbers = scaling.widened(tile.bytes((group * GROUP + i) * LANES));
            // SAFETY: 16 numbers.
            unsafe { _mm512_storeu_ps(to.as_mut_ptr(), numbers) };
        }
    }
}

/// Converts a tile of values.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn widen_values(cache: &[u8], tile: usize, to: &mut [f32]) {
    let head_dim = to.len() / BLOCK_SIZE;
    let tile = ByteTile::new(
        tile_of(cache, tile, q8_tile::tile_bytes(head_dim)),
        head_dim,
    );
    for group in 0..q8_tile::groups(head_dim) {
        let [factors, offsets] = stored(Scaling::of(tile.scales(group)));
        let vectors = (head_dim.min((group + 1) * GROUP) - group * GROUP) / LANES;
        for (t, (factor, offset)) in factors.into_iter().zip(offsets).enumerate() {
            let scaling = Scaling {
                factor: _mm512_set1_ps(factor),
                offset: _mm512_set1_ps(offset),
            };
            for v in 0..vectors {
                let at = t * head_dim + group * GROUP + v * LANES;
                let numbers = scaling.widened(tile.bytes(at));
                let to = &mut to[at..][..LANES];
                // SAFETY: 16 numbers.
                unsafe { _mm512_storeu_ps(to.as_mut_ptr(), numbers) };
            }
        }
    }
}
