//! The product on the CPU: one tile of 16 rows against up to 4 rows of activations, integer products of a block, then
//! one multiplication with both scales. With AVX-512-VNNI eight `vpdpbusd` do a block of 16 outputs; elsewhere the same
//! loops are left to the compiler. A row's result does not depend on the other rows.
//! One row is bound by reading 9 bits a weight, many rows by the integer products.
#![allow(
    clippy::needless_range_loop,
    reason = "a row or lane index addresses several arrays at once"
)]

use candle_core::{Device, Result, Tensor};
use half::f16;

use super::{
    BLOCK, QuantizedRows,
    pack::{BlockWeights, Tile},
};
use crate::ops::{
    cpu::{LANES, f16_to_f32, fma, multiversion},
    quantized_matmul::{GroupSums, ROW_GROUP, has_vnni, largest_magnitude, products, round_into},
};

multiversion! {
    pub(super) fn round_blocks(x: &[f32], quants: &mut [i8], scales: &mut [f32], sums: &mut [f32]) = round_body
}

#[inline(always)]
fn round_body<const FUSED: bool>(
    x: &[f32],
    quants: &mut [i8],
    scales: &mut [f32],
    sums: &mut [f32],
) {
    let blocks = x.chunks_exact(BLOCK).zip(quants.chunks_exact_mut(BLOCK));
    for ((x, quants), (scale, sum)) in blocks.zip(scales.iter_mut().zip(sums)) {
        let largest = largest_magnitude(x);
        let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        let total = round_into(quants, x, inverse);
        // In f16, as ggml keeps it.
        *scale = f16::from_f32(largest / 127.0).to_f32();
        *sum = *scale * total as f32;
    }
}

/// See [`super::matmul`].
pub fn matmul(rows: &QuantizedRows, weights: &BlockWeights) -> Result<Tensor> {
    let y = run(rows, weights, has_vnni());
    Tensor::from_vec(y, (rows.num_rows, weights.out), &Device::Cpu)
}

/// The product without instructions that not every CPU has, for tests.
#[cfg(test)]
pub fn matmul_portable(rows: &QuantizedRows, weights: &BlockWeights) -> Vec<f32> {
    run(rows, weights, false)
}

fn run(rows: &QuantizedRows, weights: &BlockWeights, vnni: bool) -> Vec<f32> {
    products(rows.num_rows, weights.out, |first, count, column, sums| {
        let tiles = &weights.tiles[column * weights.blocks_per_row..][..weights.blocks_per_row];
        group(rows, first, count, tiles, sums, vnni);
    })
}

/// Picks the kernel for a group of rows. A group that is not full runs row by row: the sums are the same.
fn group(
    rows: &QuantizedRows,
    first: usize,
    count: usize,
    tiles: &[Tile],
    sums: &mut GroupSums,
    vnni: bool,
) {
    #[cfg(target_arch = "x86_64")]
    if vnni {
        if count == ROW_GROUP {
            // SAFETY: `vnni` says that the CPU has avx512f and avx512vnni.
            unsafe { avx512::rows_times_tiles::<ROW_GROUP>(rows, first, tiles, sums) };
        } else {
            for row in 0..count {
                let mut one = [[0f32; LANES]; 1];
                // SAFETY: as above.
                unsafe { avx512::rows_times_tiles::<1>(rows, first + row, tiles, &mut one) };
                sums[row] = one[0];
            }
        }
        return;
    }
    let _ = vnni;
    for (row, sums) in sums.iter_mut().take(count).enumerate() {
        row_times_tiles(rows, first + row, tiles, sums);
    }
}

multiversion! {
    fn row_times_tiles(rows: &QuantizedRows, row: usize, tiles: &[Tile], sums: &mut [f32; LANES]) = portable_body
}

#[inline(always)]
fn portable_body<const FUSED: bool>(
    rows: &QuantizedRows,
    row: usize,
    tiles: &[Tile],
    sums: &mut [f32; LANES],
) {
    let first = row * rows.blocks_per_row;
    for (block, tile) in tiles.iter().enumerate() {
        let quants = &rows.quants[(first + block) * BLOCK..][..BLOCK];
        let (scale, sum) = (rows.scales[first + block], rows.sums[first + block]);
        let mut products = [0i32; LANES];
        for (columns, four) in tile.u.chunks_exact(4 * LANES).zip(quants.chunks_exact(4)) {
            for lane in 0..LANES {
                for j in 0..4 {
                    products[lane] += i32::from(columns[lane * 4 + j]) * i32::from(four[j]);
                }
            }
        }
        for lane in 0..LANES {
            let d = f16_to_f32(tile.d[lane]) * scale;
            let m = f16_to_f32(tile.m[lane]);
            sums[lane] = fma::<FUSED>(m, sum, fma::<FUSED>(products[lane] as f32, d, sums[lane]));
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{BLOCK, LANES, QuantizedRows, Tile};

    /// Adds the products of `R` rows with a column of tiles to `sums`.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub fn rows_times_tiles<const R: usize>(
        rows: &QuantizedRows,
        first: usize,
        tiles: &[Tile],
        sums: &mut [[f32; LANES]; R],
    ) {
        assert!(tiles.len() == rows.blocks_per_row && first + R <= rows.num_rows);
        let mut totals = [_mm512_setzero_ps(); R];
        for (block, tile) in tiles.iter().enumerate() {
            // SAFETY: d is 32 bytes.
            let d = unsafe { _mm256_loadu_si256(tile.d.as_ptr().cast()) };
            // SAFETY: m is 32 bytes.
            let m = unsafe { _mm256_loadu_si256(tile.m.as_ptr().cast()) };
            let (d, m) = (_mm512_cvtph_ps(d), _mm512_cvtph_ps(m));
            let mut products = [_mm512_setzero_si512(); R];
            for group in 0..BLOCK / 4 {
                // SAFETY: u is 512 bytes, `group` is below 8.
                let u =
                    unsafe { _mm512_loadu_si512(tile.u.as_ptr().add(group * 4 * LANES).cast()) };
                for (r, products) in products.iter_mut().enumerate() {
                    let at = ((first + r) * rows.blocks_per_row + block) * BLOCK + group * 4;
                    // SAFETY: 4 bytes of the block of a row that exists (assertion above).
                    let four =
                        unsafe { rows.quants.as_ptr().add(at).cast::<i32>().read_unaligned() };
                    *products = _mm512_dpbusd_epi32(*products, u, _mm512_set1_epi32(four));
                }
            }
            for (r, total) in totals.iter_mut().enumerate() {
                let at = (first + r) * rows.blocks_per_row + block;
                let scaled = _mm512_mul_ps(d, _mm512_set1_ps(rows.scales[at]));
                *total = _mm512_fmadd_ps(_mm512_cvtepi32_ps(products[r]), scaled, *total);
                *total = _mm512_fmadd_ps(m, _mm512_set1_ps(rows.sums[at]), *total);
            }
        }
        for (sums, total) in sums.iter_mut().zip(totals) {
            // SAFETY: sums is 64 bytes.
            unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), total) };
        }
    }
}
