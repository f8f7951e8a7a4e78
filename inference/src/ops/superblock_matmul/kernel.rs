//! The product for every instruction set but AVX-512: one skeleton, and what each format adds to it.
//!
//! A part of a tile, as many outputs as a vector has lanes, is multiplied with all rows of a group before the next part,
//! so that a small set of registers holds the products of eight rows.
#![allow(
    clippy::needless_range_loop,
    reason = "a row or lane index addresses several arrays at once"
)]

use super::{
    BlockSums,
    pack::{SPANS, SpanQ4K, SpanQ5K, SpanQuants, TileQ6K, TileWithMins},
};
use crate::ops::{
    cpu::LANES,
    quantized_matmul::{
        GroupSums, Instructions, RowGroup, SPAN,
        instructions::{Kernel, Simd, five_bits, nibbles, prefetch},
    },
};

/// What a format adds to the skeleton. A span is two halves of 16 columns, 4 vectors each.
pub(super) trait Unpack {
    const BITS: u32;
    /// Whether the halves of a span have scales of their own.
    const SCALE_A_HALF: bool;

    /// Returns the weights of half a span, 4 columns a vector.
    fn half<S: Simd>(&self, simd: S, part: usize, span: usize, half: usize) -> [S::Ints; 4];

    /// Returns the whole-number scales of half a span, or of the span after its second half.
    fn scale<S: Simd>(&self, simd: S, part: usize, span: usize, half: usize) -> S::Floats;

    /// Returns what the weights' offsets come to: what the scaled sum starts with, and the total after them.
    /// `x`: the row's scale.
    fn start<S: Simd>(
        &self,
        simd: S,
        part: usize,
        sums: &BlockSums,
        x: S::Floats,
        total: S::Floats,
    ) -> (S::Floats, S::Floats);

    /// Returns the float scales.
    fn d<S: Simd>(&self, simd: S, part: usize) -> S::Floats;
}

struct Product<'a, T> {
    group: &'a RowGroup<'a, BlockSums>,
    tiles: &'a [T],
    out: &'a mut GroupSums,
}

/// Adds the products of a group of rows with a column of tiles.
pub(super) fn rows_times_tiles<T: Unpack>(
    instructions: Instructions,
    group: &RowGroup<'_, BlockSums>,
    tiles: &[T],
    out: &mut GroupSums,
) {
    instructions.run(&mut Product { group, tiles, out });
}

impl<T: Unpack> Kernel for Product<'_, T> {
    fn rows(&self) -> usize {
        self.group.rows
    }

    #[inline(always)]
    fn run<S: Simd, const R: usize>(&mut self, simd: S, first: usize) {
        let rows = self.group.rows;
        let ahead = simd.ahead(rows);
        let parts = LANES / S::WIDTH;
        let out = &mut self.out[first..first + R];
        for (index, tile) in self.tiles.iter().enumerate() {
            let scales = &self.group.scales[index * rows + first..][..R];
            let sums = &self.group.sums[index * rows + first..][..R];
            for part in 0..parts {
                let lanes = part * S::WIDTH;
                // Each product of a sum and its scale is exact: below 2^24.
                let mut scaled = [simd.splat_float(0.0); R];
                for row in 0..R {
                    let (x, out) = (simd.splat_float(scales[row]), &mut out[row][lanes..]);
                    let (scaled_sum, total) =
                        tile.start(simd, part, &sums[row], x, simd.floats(out));
                    scaled[row] = scaled_sum;
                    simd.store(total, out);
                }
                for span in 0..SPANS {
                    prefetch(simd, tile, (part * SPANS + span, parts * SPANS), ahead);
                    let at = (index * SPANS + span) * rows + first;
                    let quants = &self.group.quants[at * SPAN..][..R * SPAN];
                    let mut products = [simd.splat(0); R];
                    for half in 0..2 {
                        let weights = tile.half(simd, part, span, half);
                        for row in 0..R {
                            let quants = &quants.as_chunks::<16>().0[2 * row + half];
                            products[row] =
                                simd.add_products(products[row], &weights, quants, T::BITS);
                        }
                        if T::SCALE_A_HALF || half == 1 {
                            let scale = tile.scale(simd, part, span, half);
                            for row in 0..R {
                                let sum = simd.to_floats(products[row]);
                                scaled[row] = simd.fma(sum, scale, scaled[row]);
                                products[row] = simd.splat(0);
                            }
                        }
                    }
                }
                let d = tile.d(simd, part);
                for row in 0..R {
                    let out = &mut out[row][lanes..];
                    let d = simd.mul(d, simd.splat_float(scales[row]));
                    simd.store(simd.fma(scaled[row], d, simd.floats(out)), out);
                }
            }
        }
    }
}

/// Returns `sums[2 * index]` and `sums[2 * index + 1]` in every lane.
#[inline(always)]
fn pair<S: Simd>(simd: S, sums: &[i16], index: usize) -> S::Ints {
    let pair = [sums[2 * index], sums[2 * index + 1]];
    simd.splat(i32::from(pair[0] as u16) | i32::from(pair[1]) << 16)
}

/// The weights of a span of a [`TileWithMins`].
pub(super) trait SpanWeights: SpanQuants {
    const BITS: u32;

    /// Returns those of half the span, 4 columns a vector.
    fn half<S: Simd>(&self, simd: S, part: usize, half: usize) -> [S::Ints; 4];
}

impl SpanWeights for SpanQ4K {
    const BITS: u32 = 4;

    #[inline(always)]
    fn half<S: Simd>(&self, simd: S, part: usize, half: usize) -> [S::Ints; 4] {
        nibbles(simd, &self.nibbles, part, half)
    }
}

impl SpanWeights for SpanQ5K {
    const BITS: u32 = 5;

    #[inline(always)]
    fn half<S: Simd>(&self, simd: S, part: usize, half: usize) -> [S::Ints; 4] {
        five_bits(simd, (&self.nibbles, &self.fifth), part, half)
    }
}

impl<Q: SpanWeights> Unpack for TileWithMins<Q> {
    const BITS: u32 = Q::BITS;
    const SCALE_A_HALF: bool = false;

    #[inline(always)]
    fn half<S: Simd>(&self, simd: S, part: usize, span: usize, half: usize) -> [S::Ints; 4] {
        self.spans[span].half(simd, part, half)
    }

    #[inline(always)]
    fn scale<S: Simd>(&self, simd: S, part: usize, span: usize, _: usize) -> S::Floats {
        simd.bytes(&self.scales[span][part * S::WIDTH..])
    }

    /// The float offset: mins times sums of 32 quants.
    #[inline(always)]
    fn start<S: Simd>(
        &self,
        simd: S,
        part: usize,
        sums: &BlockSums,
        x: S::Floats,
        total: S::Floats,
    ) -> (S::Floats, S::Floats) {
        let mut offset = simd.splat(0);
        for (index, mins) in self.mins.iter().enumerate() {
            let mins = simd.pairs(&mins[part * S::WIDTH..]);
            offset = simd.add_pairs(offset, mins, pair(simd, &sums.of_32, index));
        }
        let offset = simd.to_floats(simd.sub(simd.splat(0), offset));
        let dmin = simd.mul(simd.halves(&self.dmin[part * S::WIDTH..]), x);
        (simd.splat_float(0.0), simd.fma(offset, dmin, total))
    }

    #[inline(always)]
    fn d<S: Simd>(&self, simd: S, part: usize) -> S::Floats {
        simd.halves(&self.d[part * S::WIDTH..])
    }
}

impl Unpack for TileQ6K {
    const BITS: u32 = 6;
    const SCALE_A_HALF: bool = true;

    #[inline(always)]
    fn half<S: Simd>(&self, simd: S, part: usize, span: usize, half: usize) -> [S::Ints; 4] {
        let span = &self.spans[span];
        let upper = simd.load(&span.upper[half * 64 + part * 4 * S::WIDTH..]);
        // The wanted bits to 4 and 5: each group has them 2 further up.
        let upper = [
            simd.up::<4>(upper),
            simd.up::<2>(upper),
            upper,
            simd.down::<2>(upper),
        ];
        let mut weights = nibbles(simd, &span.nibbles, part, half);
        for (weights, upper) in weights.iter_mut().zip(upper) {
            let bits = simd.and(upper, simd.splat(0x3030_3030));
            *weights = simd.or(*weights, bits);
        }
        weights
    }

    #[inline(always)]
    fn scale<S: Simd>(&self, simd: S, part: usize, span: usize, half: usize) -> S::Floats {
        let pairs = simd.signed_pairs(&self.scales[span][part * S::WIDTH..]);
        let pairs = if half == 0 {
            simd.up::<16>(pairs)
        } else {
            pairs
        };
        simd.to_floats(simd.down_signed::<16>(pairs))
    }

    /// 32 is subtracted from every weight, so 32 times the sums of the quants from the products.
    #[inline(always)]
    fn start<S: Simd>(
        &self,
        simd: S,
        part: usize,
        sums: &BlockSums,
        _: S::Floats,
        total: S::Floats,
    ) -> (S::Floats, S::Floats) {
        let mut offset = simd.splat(0);
        for (span, scales) in self.scales.iter().enumerate() {
            let scales = simd.signed_pairs(&scales[part * S::WIDTH..]);
            offset = simd.add_pairs(offset, scales, pair(simd, &sums.of_16, span));
        }
        let offset = simd.sub(simd.splat(0), simd.up::<5>(offset));
        (simd.to_floats(offset), total)
    }

    #[inline(always)]
    fn d<S: Simd>(&self, simd: S, part: usize) -> S::Floats {
        simd.halves(&self.d[part * S::WIDTH..])
    }
}
