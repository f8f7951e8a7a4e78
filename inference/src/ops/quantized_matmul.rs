//! What the products with quantized weights share ([`super::block_matmul`], [`super::superblock_matmul`]): activations
//! rounded to 8 bits, and the loop over tiles of 16 outputs and groups of rows. Knows no weight format.

use candle_core::{Result, Tensor};
use half::f16;

use super::cpu::{DisjointMut, LANES, parallel, with_f32};

/// Rows that share a tile while it is in registers.
pub const ROW_GROUP: usize = 4;
/// Elements below which waking other threads costs more than it saves.
const WORTH_THREADS: usize = 16_384;

/// Sums of the products of a group of rows with a tile of outputs.
pub type GroupSums = [[f32; LANES]; ROW_GROUP];

/// Rows of activations rounded to 8 bits: one scale for `BLOCK` columns, `SUMS` sums of type `S`.
#[derive(Debug)]
pub struct QuantizedRows<S, const BLOCK: usize, const SUMS: usize> {
    pub num_rows: usize,
    pub blocks_per_row: usize,
    /// `[num_rows, blocks_per_row, BLOCK]`
    pub(super) quants: Vec<i8>,
    /// `[num_rows, blocks_per_row]`: a value is `scale * quant`.
    pub(super) scales: Vec<f32>,
    /// `[num_rows, blocks_per_row, SUMS]`: what the format's product needs of the quants besides themselves.
    pub(super) sums: Vec<S>,
}

/// Rounds whole blocks: `x` into quants, scales and sums.
pub(super) type RoundBlocks<S> = fn(&[f32], &mut [i8], &mut [f32], &mut [S]);

impl<S: Copy + Default + Send, const BLOCK: usize, const SUMS: usize>
    QuantizedRows<S, BLOCK, SUMS>
{
    /// Rounds `x`: `[num_rows, width]` f32 on the CPU, a multiple of `BLOCK` wide.
    ///
    /// # Errors
    /// A candle error for any other tensor.
    pub(super) fn round(x: &Tensor, round_blocks: RoundBlocks<S>) -> Result<Self> {
        let (num_rows, width) = x.dims2()?;
        if !width.is_multiple_of(BLOCK) {
            candle_core::bail!("rows of {width} are not whole blocks of {BLOCK}");
        }
        let blocks_per_row = width / BLOCK;
        let num_blocks = num_rows * blocks_per_row;
        let mut rows = Self {
            num_rows,
            blocks_per_row,
            quants: vec![0; num_blocks * BLOCK],
            scales: vec![0.0; num_blocks],
            sums: vec![S::default(); num_blocks * SUMS],
        };
        with_f32(x, |x| {
            let quants = DisjointMut::new(&mut rows.quants);
            let scales = DisjointMut::new(&mut rows.scales);
            let sums = DisjointMut::new(&mut rows.sums);
            parallel(num_rows, x.len() >= WORTH_THREADS, |range| {
                let (at, len) = (range.start * blocks_per_row, range.len() * blocks_per_row);
                // SAFETY: ranges of rows do not overlap, so neither do their parts of the three arrays.
                let quants = unsafe { quants.range(at * BLOCK, len * BLOCK) };
                // SAFETY: as above.
                let scales = unsafe { scales.range(at, len) };
                // SAFETY: as above.
                let sums = unsafe { sums.range(at * SUMS, len * SUMS) };
                round_blocks(&x[at * BLOCK..][..len * BLOCK], quants, scales, sums);
            });
            Ok(())
        })?;
        Ok(rows)
    }
}

/// Returns the largest magnitude of `x`, a multiple of [`LANES`] long; NaN where there is one. Rounded to integers, NaN
/// would become an ordinary number; in the scale it stays what it is and reaches the check of the logits.
#[inline(always)]
pub(super) fn largest_magnitude(x: &[f32]) -> f32 {
    // Magnitudes are ordered as their bits are, infinity after all numbers and NaN last.
    let mut largest = [0u32; LANES];
    for chunk in x.chunks_exact(LANES) {
        for (largest, x) in largest.iter_mut().zip(chunk) {
            *largest = (*largest).max(x.abs().to_bits());
        }
    }
    f32::from_bits(largest.into_iter().fold(0, u32::max))
}

/// Rounds `x * inverse` to the nearest integers and returns their sum.
#[inline(always)]
pub(super) fn round_into(quants: &mut [i8], x: &[f32], inverse: f32) -> i32 {
    // 1.5 * 2^23: adding it rounds to the nearest integer, which is then in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let mut total = 0i32;
    for (quant, x) in quants.iter_mut().zip(x) {
        let rounded = (x * inverse + ROUND)
            .to_bits()
            .wrapping_sub(ROUND.to_bits()) as i32;
        *quant = rounded as i8;
        // Only NaN and infinity overflow, and their scale says so.
        total = total.wrapping_add(rounded);
    }
    total
}

/// Returns the products `[num_rows, out]`: `group(first_row, num_rows_of_the_group, tile_column, sums)` adds those of up to
/// [`ROW_GROUP`] rows with the [`LANES`] outputs of a tile column.
pub(super) fn products(
    num_rows: usize,
    out: usize,
    group: impl Fn(usize, usize, usize, &mut GroupSums) + Sync,
) -> Vec<f32> {
    let mut y = vec![0f32; num_rows * out];
    let shared = DisjointMut::new(&mut y);
    parallel(out / LANES, true, |range| {
        for column in range {
            for first in (0..num_rows).step_by(ROW_GROUP) {
                let count = ROW_GROUP.min(num_rows - first);
                let mut sums = [[0f32; LANES]; ROW_GROUP];
                group(first, count, column, &mut sums);
                for (row, sums) in sums.iter().take(count).enumerate() {
                    // SAFETY: a tile column is in one range, and its rows are apart.
                    let y = unsafe { shared.range((first + row) * out + column * LANES, LANES) };
                    y.copy_from_slice(sums);
                }
            }
        }
    });
    y
}

/// Whether this CPU has the instructions of the integer kernels: AVX-512F and AVX-512-VNNI.
pub(super) fn has_vnni() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512vnni")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// Reads a little-endian f16 of a quantized block.
pub(super) fn half_at(raw: &[u8], at: usize) -> f16 {
    f16::from_le_bytes([raw[at], raw[at + 1]])
}
