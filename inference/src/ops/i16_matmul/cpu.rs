//! The product with AVX-512-VNNI: a tile of 32 outputs against up to 8 rows of activations, one `vpdpwssd` for two columns
//! of a row and 16 outputs. Sums are exact, so a row's result does not depend on the other rows. One row is bound by
//! reading the weights, many by `vpdpwssd`.

use std::mem::MaybeUninit;

use candle_core::{Device, Result, Tensor};

use super::pack::{Int16Rows, Int16Weights, Pair, TILE};
#[cfg(target_arch = "x86_64")]
use crate::ops::cpu::for_rows;
use crate::ops::{
    cpu::{DisjointMut, MOST_ROWS, parallel},
    quantized_matmul::{has_vnni, with_bias},
};

/// Rows that share the vectors of weights: 16 sums, 2 vectors of weights and one of activations are 19 of 32 registers.
const ROW_GROUP: usize = MOST_ROWS;
/// Bytes of rows that stay in a core's cache while all tiles pass by.
const CACHED_BYTES: usize = 384 * 1024;

/// Whole-number products of a group of rows with a tile.
type GroupSums = [[i32; TILE]; ROW_GROUP];

/// See [`super::matmul`].
pub(super) fn matmul(
    rows: &Int16Rows,
    weights: &Int16Weights,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    if !has_vnni() {
        candle_core::bail!("this CPU has no AVX-512-VNNI");
    }
    let len = rows.num_rows * weights.out;
    // Not zeroed first: every element is written.
    let mut y = Vec::with_capacity(len);
    with_bias(bias, |bias| {
        let shared = DisjointMut::new(&mut y.spare_capacity_mut()[..len]);
        // Rows whose values stay in the cache while the tiles pass by.
        let part = CACHED_BYTES / (2 * rows.width.max(1)) / ROW_GROUP * ROW_GROUP;
        let part = part.max(ROW_GROUP);
        parallel(weights.out / TILE, true, |columns| {
            for first in (0..rows.num_rows).step_by(part) {
                let end = rows.num_rows.min(first + part);
                for column in columns.clone() {
                    tile_column(rows, first..end, weights, column, bias, &shared);
                }
            }
        });
    })?;
    // SAFETY: `parallel` has covered all tile columns (it panics otherwise), and each wrote its part of every row.
    unsafe { y.set_len(len) };
    Tensor::from_vec(y, (rows.num_rows, weights.out), &Device::Cpu)
}

/// Writes the products of some rows with a tile column.
fn tile_column(
    rows: &Int16Rows,
    range: std::ops::Range<usize>,
    weights: &Int16Weights,
    column: usize,
    bias: Option<&[f32]>,
    y: &DisjointMut<'_, MaybeUninit<f32>>,
) {
    let pairs = weights.width / 2;
    let tiles = &weights.pairs[column * pairs..][..pairs];
    let outputs = column * TILE..(column + 1) * TILE;
    let zeros = [0f32; TILE];
    let bias = bias.map_or(&zeros[..], |bias| &bias[outputs.clone()]);
    for first in range.clone().step_by(ROW_GROUP) {
        let count = ROW_GROUP.min(range.end - first);
        let values = &rows.values[first * rows.width..][..count * rows.width];
        let mut sums = [[0; TILE]; ROW_GROUP];
        group(count, values, tiles, &mut sums);
        for (row, sums) in (first..first + count).zip(&sums) {
            let at = row * weights.out + outputs.start;
            // SAFETY: a tile column is in one range, and its rows are apart.
            let y = unsafe { y.range(at, TILE) };
            let factors = weights.scales[outputs.clone()].iter().zip(bias);
            for ((y, sum), (scale, bias)) in y.iter_mut().zip(sums).zip(factors) {
                y.write(*sum as f32 * (scale * rows.scales[row]) + bias);
            }
        }
    }
}

/// Writes the products of `count` rows with a tile column.
#[cfg(target_arch = "x86_64")]
fn group(count: usize, values: &[i16], tiles: &[Pair], sums: &mut GroupSums) {
    // SAFETY: `matmul` has checked that the CPU has avx512f, avx512bw and avx512vnni.
    unsafe { for_rows!(count, R => avx512::rows::<R>(values, tiles, sums)) }
}

#[cfg(not(target_arch = "x86_64"))]
fn group(_: usize, _: &[i16], _: &[Pair], _: &mut GroupSums) {
    unreachable!("`matmul` refuses CPUs without AVX-512-VNNI")
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{GroupSums, Pair, ROW_GROUP};
    use crate::ops::cpu::LANES;

    /// `values`: `[R, 2 * tiles.len()]`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub fn rows<const R: usize>(values: &[i16], tiles: &[Pair], sums: &mut GroupSums) {
        let width = 2 * tiles.len();
        assert!(values.len() == R * width && R <= ROW_GROUP);
        let mut totals = [[_mm512_setzero_si512(); 2]; R];
        for (pair, tile) in tiles.iter().enumerate() {
            // SAFETY: a tile is 128 bytes.
            let weights = unsafe {
                let at = tile.as_ptr().cast::<i32>();
                [
                    _mm512_loadu_si512(at.cast()),
                    _mm512_loadu_si512(at.add(LANES).cast()),
                ]
            };
            for (row, totals) in totals.iter_mut().enumerate() {
                // SAFETY: row < R and 2 * pair + 1 < width, checked above.
                let two = unsafe {
                    let at = values.as_ptr().add(row * width + 2 * pair);
                    at.cast::<i32>().read_unaligned()
                };
                let x = _mm512_set1_epi32(two);
                totals[0] = _mm512_dpwssd_epi32(totals[0], weights[0], x);
                totals[1] = _mm512_dpwssd_epi32(totals[1], weights[1], x);
            }
        }
        for (totals, sums) in totals.iter().zip(sums.iter_mut()) {
            // SAFETY: `sums` is 128 bytes.
            unsafe {
                _mm512_storeu_si512(sums.as_mut_ptr().cast(), totals[0]);
                _mm512_storeu_si512(sums.as_mut_ptr().add(LANES).cast(), totals[1]);
            }
        }
    }
}
