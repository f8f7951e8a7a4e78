//! The product with AVX-512-BF16: a tile of 16 outputs against up to 8 rows of activations, one `vdpbf16ps` for two
//! columns of a row. A row's result does not depend on the other rows. One row is bound by reading the weights, many by
//! `vdpbf16ps`.

use candle_core::{Device, Result, Tensor};

use super::pack::{Bf16Rows, Bf16Weights, Pair, has_bf16};
use crate::ops::{
    cpu::{DisjointMut, LANES, parallel},
    quantized_matmul::with_bias,
};

/// Rows that share a vector of weights.
const ROW_GROUP: usize = 8;
/// Bytes of rows that stay in a core's cache while all tiles pass by.
const CACHED_BYTES: usize = 384 * 1024;

/// See [`super::matmul`].
pub(super) fn matmul(
    rows: &Bf16Rows,
    weights: &Bf16Weights,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    if !has_bf16() {
        candle_core::bail!("this CPU has no AVX-512-BF16");
    }
    let mut y = vec![0f32; rows.num_rows * weights.out];
    with_bias(bias, |bias| {
        let shared = DisjointMut::new(&mut y);
        // Rows whose values stay in the cache while the tiles pass by.
        let part = CACHED_BYTES / (2 * rows.width.max(1)) / ROW_GROUP * ROW_GROUP;
        let part = part.max(ROW_GROUP);
        parallel(weights.out / LANES, true, |columns| {
            for first in (0..rows.num_rows).step_by(part) {
                let end = rows.num_rows.min(first + part);
                for column in columns.clone() {
                    tile_column(rows, first..end, weights, column, bias, &shared);
                }
            }
        });
    })?;
    Tensor::from_vec(y, (rows.num_rows, weights.out), &Device::Cpu)
}

/// Writes the products of some rows with a tile column.
fn tile_column(
    rows: &Bf16Rows,
    range: std::ops::Range<usize>,
    weights: &Bf16Weights,
    column: usize,
    bias: Option<&[f32]>,
    y: &DisjointMut<'_, f32>,
) {
    let pairs = weights.width / 2;
    let tiles = &weights.pairs[column * pairs..][..pairs];
    let bias = bias.map(|bias| &bias[column * LANES..][..LANES]);
    for first in range.clone().step_by(ROW_GROUP) {
        let count = ROW_GROUP.min(range.end - first);
        let values = &rows.values[first * rows.width..][..count * rows.width];
        let mut sums = [[0f32; LANES]; ROW_GROUP];
        group(count, bytemuck::cast_slice(values), tiles, &mut sums);
        for (row, sums) in sums.iter_mut().take(count).enumerate() {
            if let Some(bias) = bias {
                sums.iter_mut()
                    .zip(bias)
                    .for_each(|(sum, bias)| *sum += bias);
            }
            let at = (first + row) * weights.out + column * LANES;
            // SAFETY: a tile column is in one range, and its rows are apart.
            unsafe { y.range(at, LANES) }.copy_from_slice(sums);
        }
    }
}

/// Writes the products of `count` rows with a tile column.
#[cfg(target_arch = "x86_64")]
fn group(count: usize, values: &[u16], tiles: &[Pair], sums: &mut [[f32; LANES]; ROW_GROUP]) {
    // SAFETY: `matmul` has checked that the CPU has avx512f, avx512bw and avx512bf16.
    unsafe {
        match count {
            1 => avx512::rows::<1>(values, tiles, sums),
            2 => avx512::rows::<2>(values, tiles, sums),
            3 => avx512::rows::<3>(values, tiles, sums),
            4 => avx512::rows::<4>(values, tiles, sums),
            5 => avx512::rows::<5>(values, tiles, sums),
            6 => avx512::rows::<6>(values, tiles, sums),
            7 => avx512::rows::<7>(values, tiles, sums),
            _ => avx512::rows::<ROW_GROUP>(values, tiles, sums),
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn group(_: usize, _: &[u16], _: &[Pair], _: &mut [[f32; LANES]; ROW_GROUP]) {
    unreachable!("`matmul` refuses CPUs without AVX-512-BF16")
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{LANES, Pair, ROW_GROUP};

    /// `values`: `[R, 2 * tiles.len()]` bf16.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub fn rows<const R: usize>(
        values: &[u16],
        tiles: &[Pair],
        sums: &mut [[f32; LANES]; ROW_GROUP],
    ) {
        let width = 2 * tiles.len();
        assert!(values.len() == R * width && R <= ROW_GROUP);
        let mut totals = [_mm512_setzero_ps(); R];
        for (pair, tile) in tiles.iter().enumerate() {
            // SAFETY: 64 bytes.
            let weights: __m512bh = unsafe { tile.as_ptr().cast::<__m512bh>().read_unaligned() };
            for (row, total) in totals.iter_mut().enumerate() {
                // SAFETY: row < R and 2 * pair + 1 < width, checked above.
                let two = unsafe {
                    let at = values.as_ptr().add(row * width + 2 * pair);
                    at.cast::<i32>().read_unaligned()
                };
                // SAFETY: both are 64 bytes of any bits.
                let x = unsafe { std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(two)) };
                *total = _mm512_dpbf16_ps(*total, weights, x);
            }
        }
        for (total, sums) in totals.iter().zip(sums.iter_mut()) {
            // SAFETY: 64 bytes.
            unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), *total) };
        }
    }
}
