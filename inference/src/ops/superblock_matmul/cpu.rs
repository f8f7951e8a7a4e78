//! The product with AVX-512-VNNI: a tile of 16 rows against up to 4 rows of activations. Eight `vpdpbusd` a span and row
//! of activations, scales applied to integer sums, one multiplication with both float scales a super-block.
//! A row's result does not depend on the other rows. One row is bound by reading the weights.
#![allow(
    clippy::needless_range_loop,
    reason = "a row or lane index addresses several arrays at once"
)]

use candle_core::{Device, Result, Tensor};

use super::{QuantizedRows, SUM_COLUMNS, SUMS, SUPERBLOCK, pack::SuperblockWeights};
use crate::ops::{
    cpu::{LANES, multiversion},
    quantized_matmul::{GroupSums, ROW_GROUP, has_vnni, largest_magnitude, products, round_into},
};

multiversion! {
    pub(super) fn round_blocks(x: &[f32], quants: &mut [i8], scales: &mut [f32], sums: &mut [i32]) = round_body
}

#[inline(always)]
fn round_body<const FUSED: bool>(
    x: &[f32],
    quants: &mut [i8],
    scales: &mut [f32],
    sums: &mut [i32],
) {
    let blocks = x
        .chunks_exact(SUPERBLOCK)
        .zip(quants.chunks_exact_mut(SUPERBLOCK));
    for ((x, quants), (scale, sums)) in
        blocks.zip(scales.iter_mut().zip(sums.chunks_exact_mut(SUMS)))
    {
        let largest = largest_magnitude(x);
        let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        *scale = largest / 127.0;
        let columns = x
            .chunks_exact(SUM_COLUMNS)
            .zip(quants.chunks_exact_mut(SUM_COLUMNS));
        for ((x, quants), sum) in columns.zip(sums) {
            *sum = round_into(quants, x, inverse);
        }
    }
}

/// See [`super::matmul`].
pub(super) fn matmul(rows: &QuantizedRows, weights: &SuperblockWeights) -> Result<Tensor> {
    if !has_vnni() {
        candle_core::bail!("this CPU has no AVX-512-VNNI");
    }
    let y = products(rows.num_rows, weights.out, |first, count, column, sums| {
        group(rows, first, count, weights, column, sums);
    });
    Tensor::from_vec(y, (rows.num_rows, weights.out), &Device::Cpu)
}

/// Runs a group of rows; one that is not full row by row: the sums are the same.
#[cfg(target_arch = "x86_64")]
fn group(
    rows: &QuantizedRows,
    first: usize,
    count: usize,
    weights: &SuperblockWeights,
    column: usize,
    sums: &mut GroupSums,
) {
    use super::pack::Tiles;

    let tiles = column * weights.blocks_per_row..(column + 1) * weights.blocks_per_row;
    match (&weights.tiles, count) {
        // SAFETY: `matmul` has checked that the CPU has avx512f and avx512vnni.
        (Tiles::Q4K(all), ROW_GROUP) => unsafe {
            avx512::q4k::<ROW_GROUP>(rows, first, &all[tiles], sums)
        },
        // SAFETY: as above.
        (Tiles::Q6K(all), ROW_GROUP) => unsafe {
            avx512::q6k::<ROW_GROUP>(rows, first, &all[tiles], sums)
        },
        (all, count) => {
            for (row, sums) in sums.iter_mut().take(count).enumerate() {
                let one = std::array::from_mut(sums);
                match all {
                    // SAFETY: as above.
                    Tiles::Q4K(all) => unsafe {
                        avx512::q4k::<1>(rows, first + row, &all[tiles.clone()], one)
                    },
                    // SAFETY: as above.
                    Tiles::Q6K(all) => unsafe {
                        avx512::q6k::<1>(rows, first + row, &all[tiles.clone()], one)
                    },
                }
            }
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn group(
    _: &QuantizedRows,
    _: usize,
    _: usize,
    _: &SuperblockWeights,
    _: usize,
    _: &mut GroupSums,
) {
    unreachable!("`matmul` refuses CPUs without AVX-512-VNNI")
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{LANES, QuantizedRows, SUMS, SUPERBLOCK};
    use crate::ops::superblock_matmul::pack::{SPAN_NIBBLES, SPAN_UPPER, SPANS, TileQ4K, TileQ6K};

    /// Returns 4 quants of a row, from byte `at` of its super-block, in every lane.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn four(rows: &QuantizedRows, block: usize, at: usize) -> __m512i {
        let at = block * SUPERBLOCK + at;
        debug_assert!(at + 4 <= rows.quants.len());
        // SAFETY: `block` is a super-block of a row that exists and `at + 4` is at most 256: the callers' assertion.
        _mm512_set1_epi32(unsafe { rows.quants.as_ptr().add(at).cast::<i32>().read_unaligned() })
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn halves(values: &[half::f16; LANES]) -> __m512 {
        // SAFETY: 16 halves are 32 bytes.
        _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(values.as_ptr().cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn bytes(bytes: &[u8], at: usize) -> __m512i {
        assert!(at + 64 <= bytes.len());
        // SAFETY: 64 bytes from `at` are inside (line above).
        unsafe { _mm512_loadu_si512(bytes.as_ptr().add(at).cast()) }
    }

    /// Writes the products of `R` rows with a column of `Q4_K` tiles.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub fn q4k<const R: usize>(
        rows: &QuantizedRows,
        first: usize,
        tiles: &[TileQ4K],
        out: &mut [[f32; LANES]; R],
    ) {
        assert!(tiles.len() == rows.blocks_per_row && first + R <= rows.num_rows);
        let low = _mm512_set1_epi8(15);
        let mut totals = [_mm512_setzero_ps(); R];
        for (index, tile) in tiles.iter().enumerate() {
            let block: [usize; R] =
                std::array::from_fn(|r| (first + r) * rows.blocks_per_row + index);
            let mut scaled = [_mm512_setzero_si512(); R];
            let mut mins = [_mm512_setzero_si512(); R];
            for span in 0..SPANS {
                let mut products = [_mm512_setzero_si512(); R];
                for group in 0..4 {
                    let nibbles = bytes(&tile.nibbles, span * SPAN_NIBBLES + group * 64);
                    let a = _mm512_and_si512(nibbles, low);
                    let b = _mm512_and_si512(_mm512_srli_epi32::<4>(nibbles), low);
                    for r in 0..R {
                        let at = span * 32 + group * 4;
                        products[r] = _mm512_dpbusd_epi32(products[r], a, four(rows, block[r], at));
                        products[r] =
                            _mm512_dpbusd_epi32(products[r], b, four(rows, block[r], at + 16));
                    }
                }
                // SAFETY: 16 bytes.
                let scale = _mm512_cvtepu8_epi32(unsafe {
                    _mm_loadu_si128(tile.scales[span].as_ptr().cast())
                });
                // SAFETY: 16 bytes.
                let min = _mm512_cvtepu8_epi32(unsafe {
                    _mm_loadu_si128(tile.mins[span].as_ptr().cast())
                });
                for r in 0..R {
                    let sums = &rows.sums[block[r] * SUMS + 2 * span..][..2];
                    let sum = _mm512_set1_epi32(sums[0] + sums[1]);
                    scaled[r] = _mm512_add_epi32(scaled[r], _mm512_mullo_epi32(products[r], scale));
                    mins[r] = _mm512_add_epi32(mins[r], _mm512_mullo_epi32(min, sum));
                }
            }
            let (d, dmin) = (halves(&tile.d), halves(&tile.dmin));
            for r in 0..R {
                let x = _mm512_set1_ps(rows.scales[block[r]]);
                totals[r] = _mm512_fmadd_ps(
                    _mm512_cvtepi32_ps(scaled[r]),
                    _mm512_mul_ps(d, x),
                    totals[r],
                );
                totals[r] = _mm512_fnmadd_ps(
                    _mm512_cvtepi32_ps(mins[r]),
                    _mm512_mul_ps(dmin, x),
                    totals[r],
                );
            }
        }
        store(&totals, out);
    }

    /// Writes the products of `R` rows with a column of `Q6_K` tiles.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub fn q6k<const R: usize>(
        rows: &QuantizedRows,
        first: usize,
        tiles: &[TileQ6K],
        out: &mut [[f32; LANES]; R],
    ) {
        assert!(tiles.len() == rows.blocks_per_row && first + R <= rows.num_rows);
        let (low, two) = (_mm512_set1_epi8(15), _mm512_set1_epi8(0x30));
        let mut totals = [_mm512_setzero_ps(); R];
        for (index, tile) in tiles.iter().enumerate() {
            let block: [usize; R] =
                std::array::from_fn(|r| (first + r) * rows.blocks_per_row + index);
            let mut scaled = [_mm512_setzero_si512(); R];
            for span in 0..SPANS {
                let mut products = [[_mm512_setzero_si512(); 2]; R];
                // Moved up by 4, so that the wanted bits are 4 and 5; each group moves them down by 2.
                let mut upper_a = bytes(&tile.upper, span * SPAN_UPPER);
                let mut upper_b = bytes(&tile.upper, span * SPAN_UPPER + 64);
                for group in 0..4 {
                    let nibbles = bytes(&tile.nibbles, span * SPAN_NIBBLES + group * 64);
                    let a = _mm512_and_si512(nibbles, low);
                    let b = _mm512_and_si512(_mm512_srli_epi32::<4>(nibbles), low);
                    let a =
                        _mm512_or_si512(a, _mm512_and_si512(_mm512_slli_epi32::<4>(upper_a), two));
                    let b =
                        _mm512_or_si512(b, _mm512_and_si512(_mm512_slli_epi32::<4>(upper_b), two));
                    upper_a = _mm512_srli_epi32::<2>(upper_a);
                    upper_b = _mm512_srli_epi32::<2>(upper_b);
                    for r in 0..R {
                        let at = span * 32 + group * 4;
                        products[r][0] =
                            _mm512_dpbusd_epi32(products[r][0], a, four(rows, block[r], at));
                        products[r][1] =
                            _mm512_dpbusd_epi32(products[r][1], b, four(rows, block[r], at + 16));
                    }
                }
                for half in 0..2 {
                    let scale = &tile.scales[2 * span + half];
                    // SAFETY: 16 bytes.
                    let scale =
                        _mm512_cvtepi8_epi32(unsafe { _mm_loadu_si128(scale.as_ptr().cast()) });
                    for r in 0..R {
                        // 32 is subtracted from every weight, so 32 times the sum of the activations from the product.
                        let offset =
                            _mm512_set1_epi32(32 * rows.sums[block[r] * SUMS + 2 * span + half]);
                        let product = _mm512_sub_epi32(products[r][half], offset);
                        scaled[r] = _mm512_add_epi32(scaled[r], _mm512_mullo_epi32(product, scale));
                    }
                }
            }
            let d = halves(&tile.d);
            for r in 0..R {
                let x = _mm512_set1_ps(rows.scales[block[r]]);
                totals[r] = _mm512_fmadd_ps(
                    _mm512_cvtepi32_ps(scaled[r]),
                    _mm512_mul_ps(d, x),
                    totals[r],
                );
            }
        }
        store(&totals, out);
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn store<const R: usize>(totals: &[__m512; R], out: &mut [[f32; LANES]; R]) {
        for (out, total) in out.iter_mut().zip(totals) {
            // SAFETY: `out` is 64 bytes.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr(), *total) };
        }
    }
}
