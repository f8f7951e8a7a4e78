//! The product on the CPU: one tile of 16 rows against up to 16 rows of activations, integer products of a block, then
//! one multiplication with both scales. With AVX-512-VNNI eight `vpdpbusd` do a block of 16 outputs; `kernel.rs` is the
//! product for other instructions. A row's result does not depend on the other rows.
//! One row is bound by reading the weights, many rows by the integer products.
#![allow(
    clippy::needless_range_loop,
    reason = "a row or lane index addresses several arrays at once"
)]

use candle_core::{Device, Result, Tensor};
use half::f16;

use super::{
    BLOCK, BlockSum, QuantizedRows,
    kernel::rows_times_tiles,
    pack::{BlockWeights, for_tiles},
};
#[cfg(target_arch = "x86_64")]
use crate::ops::quantized_matmul::{avx512 as kernels, has_vnni, instructions::Set};
use crate::ops::{
    cpu::{f16_to_f32, multiversion},
    quantized_matmul::{
        Instructions, RoundBlock, Strip, largest_magnitude, products, round_into, with_bias,
    },
};

/// Rounds the blocks of a strip.
pub(super) fn round_strip(
    strip: &Strip<'_>,
    quants: &mut [i8],
    scales: &mut [f32],
    sums: &mut [BlockSum],
) {
    #[cfg(target_arch = "x86_64")]
    if has_vnni() {
        // SAFETY: the CPU has the features.
        return unsafe { kernels::round_strip(strip, quants, scales, sums) };
    }
    round_portable(strip, quants, scales, sums);
}

multiversion! {
    /// The same without instructions that not every CPU has.
    pub(super) fn round_portable(strip: &Strip<'_>, quants: &mut [i8], scales: &mut [f32], sums: &mut [BlockSum]) = round_body
}

#[inline(always)]
fn round_body<const FUSED: bool>(
    strip: &Strip<'_>,
    quants: &mut [i8],
    scales: &mut [f32],
    sums: &mut [BlockSum],
) {
    strip.round(quants, scales, sums);
}

impl RoundBlock<BLOCK> for BlockSum {
    #[inline(always)]
    fn round(x: &[f32; BLOCK], quants: &mut [i8; BLOCK]) -> (f32, Self) {
        let largest = largest_magnitude(x);
        let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        let total = round_into(quants, x, inverse);
        // In f16, as ggml keeps it.
        let half = f16::from_f32(largest / 127.0);
        let scale = if half.is_finite() {
            f16_to_f32(half)
        } else {
            half.to_f32()
        };
        let sum = Self {
            scaled: scale * total as f32,
            negated: total.wrapping_neg(),
        };
        (scale, sum)
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn round_vnni(x: &[f32; BLOCK], quants: &mut [i8; BLOCK]) -> (f32, Self) {
        use std::arch::x86_64::*;

        let (largest, totals) = kernels::round(x, quants);
        let total = _mm512_reduce_add_epi32(totals);
        // In f16, as ggml keeps it.
        let scale = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm512_set1_ps(largest / 127.0));
        let scale = _mm512_cvtss_f32(_mm512_cvtph_ps(scale));
        let sum = Self {
            scaled: scale * total as f32,
            negated: total.wrapping_neg(),
        };
        (scale, sum)
    }
}

/// See [`super::matmul`].
pub(super) fn matmul(
    rows: &QuantizedRows,
    weights: &BlockWeights,
    bias: Option<&Tensor>,
    instructions: Instructions,
) -> Result<Tensor> {
    let y = with_bias(bias, |bias| {
        products(rows, weights.out, bias, |groups, column, sums| {
            let at = column * weights.blocks_per_row;
            for_tiles!(&weights.tiles, tiles => {
                let tiles = &tiles[at..][..weights.blocks_per_row];
                #[cfg(target_arch = "x86_64")]
                if let Set::Avx512(_) = instructions.0 {
                    // SAFETY: the value says that the CPU has avx512f, avx512bw and avx512vnni.
                    return unsafe { avx512::rows_times_tiles(groups, tiles, sums) };
                }
                for (group, sums) in groups.iter().zip(sums) {
                    rows_times_tiles(instructions, group, tiles, sums);
                }
            });
        })
    })?;
    Tensor::from_vec(y, (rows.num_rows, weights.out), &Device::Cpu)
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{BLOCK, BlockSum};
    use crate::ops::{
        block_matmul::pack::{Bytes, FiveBits, Nibbles, Offset, Quants, Tile},
        cpu::for_rows,
        quantized_matmul::{
            GROUPS, GroupSums, ROW_GROUP, RowGroup,
            avx512::{add_products, ahead, bytes, five_bits, halves, nibbles, prefetch, store},
        },
    };

    /// What a type adds to the skeleton.
    pub trait Unpack {
        /// Returns the unsigned weights of 4 columns of half a block, those from `4 * columns` on.
        ///
        /// # Safety
        /// The CPU has avx512f; `half` is below 2 and `columns` below 4.
        unsafe fn vector(&self, half: usize, columns: usize) -> __m512i;
    }

    /// Writes the products of groups of rows with a column of tiles.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub fn rows_times_tiles<U: Quants + Unpack, M: Offset>(
        groups: &[RowGroup<'_, BlockSum>],
        tiles: &[Tile<U, M>],
        out: &mut [GroupSums],
    ) {
        if let (Some(groups), Some(out)) = (groups.as_array(), out.as_mut_array()) {
            return some_rows_times_tiles::<U, M, GROUPS, ROW_GROUP>(groups, tiles, out);
        }
        for (group, out) in groups.iter().zip(out) {
            let (groups, out) = (std::array::from_ref(group), std::array::from_mut(out));
            for_rows!(group.rows, R => some_rows_times_tiles::<U, M, 1, R>(groups, tiles, out));
        }
    }

    /// `G` groups of `R` rows.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn some_rows_times_tiles<U: Quants + Unpack, M: Offset, const G: usize, const R: usize>(
        groups: &[RowGroup<'_, BlockSum>; G],
        tiles: &[Tile<U, M>],
        out: &mut [GroupSums; G],
    ) {
        let factors = groups.map(|group| group.factors::<R, BLOCK>(tiles.len()));
        let mut quants = groups.map(|group| group.quants.as_ptr());
        let ahead = ahead(G * R);
        let mut totals = [[_mm512_setzero_ps(); R]; G];
        for (index, tile) in tiles.iter().enumerate() {
            prefetch(tile, (0, 1), ahead);
            let mut products = [[_mm512_setzero_si512(); R]; G];
            if tile.m.own().is_none() {
                for ((_, sums), products) in factors.iter().zip(&mut products) {
                    for row in 0..R {
                        let sum = _mm512_set1_epi32(sums[index][row].negated);
                        let centre = _mm_cvtsi32_si128(U::CENTRE_BITS as i32);
                        products[row] = _mm512_sll_epi32(sum, centre);
                    }
                }
            }
            // Written out, because the compiler keeps the sums in memory where it does not unroll.
            macro_rules! add {
                ($half:literal, $($columns:literal)+) => {$(
                    // SAFETY: this function has the features; `$half` and `$columns` are in range.
                    let weights = unsafe { tile.u.vector($half, $columns) };
                    for (quants, products) in quants.iter().zip(&mut products) {
                        // SAFETY: each group has R rows of BLOCK = SPAN = 2 * 16 bytes of every tile, as `factors` has checked.
                        unsafe { add_products(products, weights, quants.add($half * 16 + $columns * 4)) };
                    }
                )+};
            }
            add!(0, 0 1 2 3);
            add!(1, 0 1 2 3);
            for quants in &mut quants {
                // SAFETY: at most the end of the quants.
                *quants = unsafe { quants.add(R * BLOCK) };
            }
            let d = halves(&tile.d);
            let all = products.iter().zip(&mut totals);
            for ((scales, sums), (products, totals)) in factors.iter().zip(all) {
                let (scales, sums) = (&scales[index], &sums[index]);
                for row in 0..R {
                    let d = _mm512_mul_ps(d, _mm512_set1_ps(scales[row]));
                    totals[row] =
                        _mm512_fmadd_ps(_mm512_cvtepi32_ps(products[row]), d, totals[row]);
                }
                if let Some(m) = tile.m.own() {
                    let m = halves(m);
                    for row in 0..R {
                        let sum = _mm512_set1_ps(sums[row].scaled);
                        totals[row] = _mm512_fmadd_ps(m, sum, totals[row]);
                    }
                }
            }
        }
        for (totals, out) in totals.iter().zip(out) {
            store(totals, out);
        }
    }

    impl Unpack for Bytes {
        #[inline]
        #[target_feature(enable = "avx512f")]
        unsafe fn vector(&self, half: usize, columns: usize) -> __m512i {
            bytes(&self.0, (half * 4 + columns) * 64)
        }
    }

    impl Unpack for Nibbles {
        #[inline]
        #[target_feature(enable = "avx512f")]
        unsafe fn vector(&self, half: usize, columns: usize) -> __m512i {
            nibbles(&self.0, half, columns)
        }
    }

    impl Unpack for FiveBits {
        #[inline]
        #[target_feature(enable = "avx512f")]
        unsafe fn vector(&self, half: usize, columns: usize) -> __m512i {
            five_bits(&self.nibbles.0, &self.fifth, half, columns)
        }
    }
}
