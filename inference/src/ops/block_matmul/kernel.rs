//! The product for every instruction set but AVX-512: one skeleton, and one way to unpack for each kind of quants.
//!
//! A part of a tile, as many outputs as a vector has lanes, is multiplied with all rows of a group before the next part,
//! so that a small set of registers holds the products of eight rows.
#![allow(
    clippy::needless_range_loop,
    reason = "a row or lane index addresses several arrays at once"
)]

use super::{
    BLOCK, BlockSum,
    pack::{Bytes, FiveBits, Nibbles, Offset, Quants, TILE, Tile},
};
use crate::ops::{
    cpu::LANES,
    quantized_matmul::{
        GroupSums, Instructions, RowGroup,
        instructions::{Kernel, Simd, five_bits, nibbles, prefetch},
    },
};

/// What a kind of quants adds to the skeleton.
pub(super) trait Unpack: Quants {
    const BITS: u32 = Self::CENTRE_BITS + 1;

    /// Returns the weights of half a block, 4 columns a vector.
    fn half<S: Simd>(&self, simd: S, part: usize, half: usize) -> [S::Ints; 4];
}

struct Product<'a, U, M> {
    group: &'a RowGroup<'a, BlockSum>,
    tiles: &'a [Tile<U, M>],
    out: &'a mut GroupSums,
}

/// Adds the products of a group of rows with a column of tiles.
pub(super) fn rows_times_tiles<U: Unpack, M: Offset>(
    instructions: Instructions,
    group: &RowGroup<'_, BlockSum>,
    tiles: &[Tile<U, M>],
    out: &mut GroupSums,
) {
    instructions.run(&mut Product { group, tiles, out });
}

impl<U: Unpack, M: Offset> Kernel for Product<'_, U, M> {
    fn rows(&self) -> usize {
        self.group.rows
    }

    #[inline(always)]
    fn run<S: Simd, const R: usize>(&mut self, simd: S, first: usize) {
        let rows = self.group.rows;
        let ahead = simd.ahead(rows);
        // The centre of signed weights is 0.
        let is_centred = M::IS_CENTRED && !(S::SIGNED_BYTES && U::BITS == 8);
        let out = &mut self.out[first..first + R];
        for (index, tile) in self.tiles.iter().enumerate() {
            let at = index * rows + first;
            let quants = &self.group.quants[at * BLOCK..][..R * BLOCK];
            let scales = &self.group.scales[at..][..R];
            let sums = &self.group.sums[at..][..R];
            prefetch(simd, tile, (0, 1), ahead);
            for part in 0..LANES / S::WIDTH {
                let lanes = part * S::WIDTH;
                // First, because after the products there are too few registers left: Q4_1 took twice the time.
                if let Some(m) = tile.m.own() {
                    let m = simd.halves(&m[lanes..]);
                    for row in 0..R {
                        let out = &mut out[row][lanes..];
                        let sum = simd.splat_float(sums[row].scaled);
                        simd.store(simd.fma(m, sum, simd.floats(out)), out);
                    }
                }
                let mut products = [simd.splat(0); R];
                if is_centred {
                    for row in 0..R {
                        products[row] = simd.splat(sums[row].negated << U::CENTRE_BITS);
                    }
                }
                for half in 0..2 {
                    let weights = tile.u.half(simd, part, half);
                    for row in 0..R {
                        let quants = &quants.as_chunks::<16>().0[2 * row + half];
                        products[row] = simd.add_products(products[row], &weights, quants, U::BITS);
                    }
                }
                let d = simd.halves(&tile.d[lanes..]);
                for row in 0..R {
                    let out = &mut out[row][lanes..];
                    let d = simd.mul(d, simd.splat_float(scales[row]));
                    let product = simd.to_floats(products[row]);
                    simd.store(simd.fma(product, d, simd.floats(out)), out);
                }
            }
        }
    }
}

impl Unpack for Bytes {
    #[inline(always)]
    fn half<S: Simd>(&self, simd: S, part: usize, half: usize) -> [S::Ints; 4] {
        let mut weights = [simd.splat(0); 4];
        for (group, weights) in weights.iter_mut().enumerate() {
            *weights = simd.load(&self.0[half * TILE / 2 + group * 64 + part * 4 * S::WIDTH..]);
            if S::SIGNED_BYTES {
                *weights = simd.xor(*weights, simd.splat(i32::from_ne_bytes([0x80; 4])));
            }
        }
        weights
    }
}

impl Unpack for Nibbles {
    #[inline(always)]
    fn half<S: Simd>(&self, simd: S, part: usize, half: usize) -> [S::Ints; 4] {
        nibbles(simd, &self.0, part, half)
    }
}

impl Unpack for FiveBits {
    #[inline(always)]
    fn half<S: Simd>(&self, simd: S, part: usize, half: usize) -> [S::Ints; 4] {
        five_bits(simd, (&self.nibbles.0, &self.fifth), part, half)
    }
}
