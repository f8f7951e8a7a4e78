//! The product on the CPU: a tile of 16 rows against up to 8 rows of activations. With AVX-512-VNNI eight `vpdpbusd` a span
//! and row of activations, scales applied to integer sums, one multiplication with both float scales a super-block;
//! `kernel.rs` is the product for other instructions.
//! A row's result does not depend on the other rows. One row is bound by reading the weights, many by `vpdpbusd`.

use candle_core::{Device, Result, Tensor};

#[cfg(target_arch = "x86_64")]
use super::kernel::Unpack;
use super::{
    BlockSums, QuantizedRows, SUM_COLUMNS, SUPERBLOCK,
    kernel::rows_times_tiles,
    pack::{SuperblockWeights, Tiles},
};
#[cfg(target_arch = "x86_64")]
use crate::ops::quantized_matmul::{
    GroupSums, RowGroup, avx512 as kernels, has_vnni, instructions::Set,
};
use crate::ops::{
    cpu::multiversion,
    quantized_matmul::{
        Instructions, RoundBlock, Strip, largest_magnitude, products, round_into, with_bias,
    },
};

/// Rounds the blocks of a strip.
pub(super) fn round_strip(
    strip: &Strip<'_>,
    quants: &mut [i8],
    scales: &mut [f32],
    sums: &mut [BlockSums],
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
    pub(super) fn round_portable(strip: &Strip<'_>, quants: &mut [i8], scales: &mut [f32], sums: &mut [BlockSums]) = round_body
}

#[inline(always)]
fn round_body<const FUSED: bool>(
    strip: &Strip<'_>,
    quants: &mut [i8],
    scales: &mut [f32],
    sums: &mut [BlockSums],
) {
    strip.round(quants, scales, sums);
}

impl RoundBlock<SUPERBLOCK> for BlockSums {
    #[inline(always)]
    fn round(x: &[f32; SUPERBLOCK], quants: &mut [i8; SUPERBLOCK]) -> (f32, Self) {
        let largest = largest_magnitude(x);
        let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        let mut sums = Self::default();
        let columns = x
            .chunks_exact(SUM_COLUMNS)
            .zip(quants.chunks_exact_mut(SUM_COLUMNS));
        for ((x, quants), sum) in columns.zip(&mut sums.of_16) {
            // At most 16 * 127.
            *sum = round_into(quants, x, inverse) as i16;
        }
        sums.add_pairs();
        (largest / 127.0, sums)
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn round_vnni(x: &[f32; SUPERBLOCK], quants: &mut [i8; SUPERBLOCK]) -> (f32, Self) {
        let (largest, _) = kernels::round(x, quants);
        let mut sums = Self {
            of_16: avx512::sums_of_16(quants),
            of_32: Default::default(),
        };
        sums.add_pairs();
        (largest / 127.0, sums)
    }
}

impl BlockSums {
    #[inline(always)]
    fn add_pairs(&mut self) {
        for (sum, halves) in self.of_32.iter_mut().zip(self.of_16.as_chunks::<2>().0) {
            *sum = halves[0].wrapping_add(halves[1]);
        }
    }
}

/// See [`super::matmul`].
pub(super) fn matmul(
    rows: &QuantizedRows,
    weights: &SuperblockWeights,
    bias: Option<&Tensor>,
    instructions: Instructions,
) -> Result<Tensor> {
    let y = with_bias(bias, |bias| {
        products(rows, weights.out, bias, |group, column, sums| {
            let tiles = column * weights.blocks_per_row..(column + 1) * weights.blocks_per_row;
            match &weights.tiles {
                Tiles::Q4K(all) => run(instructions, group, &all[tiles], sums),
                Tiles::Q5K(all) => run(instructions, group, &all[tiles], sums),
                Tiles::Q6K(all) => run(instructions, group, &all[tiles], sums),
            }
        })
    })?;
    Tensor::from_vec(y, (rows.num_rows, weights.out), &Device::Cpu)
}

/// Runs a group of rows against a tile column.
#[cfg(target_arch = "x86_64")]
fn run<T: Unpack + avx512::Unpack>(
    instructions: Instructions,
    group: &RowGroup<'_, BlockSums>,
    tiles: &[T],
    sums: &mut GroupSums,
) {
    match instructions.0 {
        // SAFETY: the value says that the CPU has avx512f, avx512bw and avx512vnni.
        Set::Avx512(_) => unsafe { avx512::rows_times_tiles(group, tiles, sums) },
        _ => rows_times_tiles(instructions, group, tiles, sums),
    }
}

#[cfg(not(target_arch = "x86_64"))]
use rows_times_tiles as run;

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{BlockSums, GroupSums, RowGroup, SUPERBLOCK};
    use crate::ops::{
        cpu::{LANES, for_rows},
        quantized_matmul::{
            SPAN,
            avx512::{add_products, ahead, bytes, five_bits, halves, nibbles, prefetch, store},
        },
        superblock_matmul::pack::{SPANS, SpanQ4K, SpanQ5K, TileQ6K, TileWithMins},
    };

    /// What a format adds to the skeleton. A span is two halves of 16 columns, 4 vectors each.
    ///
    /// # Safety
    /// Of all methods: the CPU has avx512f, avx512bw and avx512vnni; spans are below [`SPANS`], halves below 2.
    pub trait Unpack: Sized {
        /// Whether the halves of a span have scales of their own.
        const SCALE_A_HALF: bool;

        /// Returns the unsigned weights of half a span, 4 columns of 16 rows a vector.
        unsafe fn half(&self, span: usize, half: usize) -> [__m512i; 4];

        /// Returns the whole-number scales of half a span, or of the span after its second half.
        unsafe fn scale(&self, span: usize, half: usize) -> __m512;

        /// Returns what the weights' offsets come to: what the scaled sum starts with, and the total after them.
        /// `x`: the row's scale.
        unsafe fn start(&self, sums: &BlockSums, x: __m512, total: __m512) -> (__m512, __m512);

        unsafe fn d(&self) -> __m512;
    }

    /// Writes the products of a group of rows with a column of tiles.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub fn rows_times_tiles<T: Unpack>(
        group: &RowGroup<'_, BlockSums>,
        tiles: &[T],
        out: &mut GroupSums,
    ) {
        for_rows!(group.rows, R => some_rows_times_tiles::<T, R>(group, tiles, out));
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn some_rows_times_tiles<T: Unpack, const R: usize>(
        group: &RowGroup<'_, BlockSums>,
        tiles: &[T],
        out: &mut GroupSums,
    ) {
        assert!(group.rows == R && group.quants.len() == tiles.len() * R * SUPERBLOCK);
        let factors = group.scales.chunks_exact(R).zip(group.sums.chunks_exact(R));
        let ahead = ahead(R);
        let mut totals = [_mm512_setzero_ps(); R];
        for (index, (tile, (scales, sums))) in tiles.iter().zip(factors).enumerate() {
            // In f32 a scale takes two instructions that every vector port has, in i32 three, two of them on one port.
            // Each product of a sum and its scale is exact: below 2^24.
            let mut scaled = [_mm512_setzero_ps(); R];
            for row in 0..R {
                let x = _mm512_set1_ps(scales[row]);
                // SAFETY: this function has the features.
                (scaled[row], totals[row]) = unsafe { tile.start(&sums[row], x, totals[row]) };
            }
            for span in 0..SPANS {
                prefetch(tile, (span, SPANS), ahead);
                let mut products = [_mm512_setzero_si512(); R];
                let quants = &group.quants[(index * SPANS + span) * R * SPAN..][..R * SPAN];
                for half in 0..2 {
                    // SAFETY: this function has the features; `span` and `half` are in range.
                    let (weights, scale) =
                        unsafe { (tile.half(span, half), tile.scale(span, half)) };
                    // SAFETY: `quants` has R rows of SPAN = 2 * 16 bytes.
                    unsafe { add_products(&mut products, weights, quants.as_ptr().add(half * 16)) };
                    if T::SCALE_A_HALF || half == 1 {
                        for (scaled, products) in scaled.iter_mut().zip(&mut products) {
                            *scaled =
                                _mm512_fmadd_ps(_mm512_cvtepi32_ps(*products), scale, *scaled);
                            *products = _mm512_setzero_si512();
                        }
                    }
                }
            }
            // SAFETY: this function has the features.
            let d = unsafe { tile.d() };
            for row in 0..R {
                let d = _mm512_mul_ps(d, _mm512_set1_ps(scales[row]));
                totals[row] = _mm512_fmadd_ps(scaled[row], d, totals[row]);
            }
        }
        store(&totals, out);
    }

    /// Returns the sums of 16 quants each.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub fn sums_of_16(quants: &[i8; SUPERBLOCK]) -> [i16; LANES] {
        let mut all = _mm512_setzero_si512();
        for (index, quants) in quants.as_chunks::<64>().0.iter().enumerate() {
            // SAFETY: 64 bytes.
            let quants = unsafe { _mm512_loadu_si512(quants.as_ptr().cast()) };
            let fours = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), quants);
            // Within each quarter of the vector all lanes become the sum of its four.
            let pairs = _mm512_add_epi32(fours, _mm512_shuffle_epi32::<0b10_11_00_01>(fours));
            let sums = _mm512_add_epi32(pairs, _mm512_shuffle_epi32::<0b01_00_11_10>(pairs));
            all = _mm512_mask_mov_epi32(all, 0x1111 << index, sums);
        }
        // Lane `4 * quarter + index` has the sum `4 * index + quarter`.
        let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        let sums = _mm512_cvtepi32_epi16(_mm512_permutexvar_epi32(order, all));
        let mut out = [0; LANES];
        // SAFETY: 32 bytes.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), sums) };
        out
    }

    /// Returns `sums[2 * index]` and `sums[2 * index + 1]` in every lane.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn pair(sums: &[i16], index: usize) -> __m512i {
        let pair = [sums[2 * index], sums[2 * index + 1]];
        _mm512_set1_epi32(i32::from(pair[0] as u16) | i32::from(pair[1]) << 16)
    }

    /// The weights of a span of a [`TileWithMins`].
    ///
    /// # Safety
    /// As of [`Unpack`].
    pub trait SpanWeights {
        /// Returns those of half the span, 4 columns of 16 rows a vector.
        unsafe fn half(&self, half: usize) -> [__m512i; 4];
    }

    impl SpanWeights for SpanQ4K {
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
        unsafe fn half(&self, half: usize) -> [__m512i; 4] {
            nibbles(&self.nibbles, half)
        }
    }

    impl SpanWeights for SpanQ5K {
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
        unsafe fn half(&self, half: usize) -> [__m512i; 4] {
            five_bits(&self.nibbles, &self.fifth, half)
        }
    }

    impl<Q: SpanWeights> Unpack for TileWithMins<Q> {
        const SCALE_A_HALF: bool = false;

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
        unsafe fn half(&self, span: usize, half: usize) -> [__m512i; 4] {
            // SAFETY: the caller's promise.
            unsafe { self.spans[span].half(half) }
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
        unsafe fn scale(&self, span: usize, _: usize) -> __m512 {
            // SAFETY: 16 bytes.
            let scales = unsafe { _mm_loadu_si128(self.scales[span].as_ptr().cast()) };
            _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(scales))
        }

        /// The float offset: mins times sums of 32 quants.
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
        unsafe fn start(&self, sums: &BlockSums, x: __m512, total: __m512) -> (__m512, __m512) {
            let mut offset = _mm512_setzero_si512();
            for (index, mins) in self.mins.iter().enumerate() {
                // SAFETY: 16 pairs of bytes.
                let mins =
                    _mm512_cvtepu8_epi16(unsafe { _mm256_loadu_si256(mins.as_ptr().cast()) });
                offset = _mm512_dpwssd_epi32(offset, mins, pair(&sums.of_32, index));
            }
            let dmin = _mm512_mul_ps(halves(&self.dmin), x);
            let total = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(offset), dmin, total);
            (_mm512_setzero_ps(), total)
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
        unsafe fn d(&self) -> __m512 {
            halves(&self.d)
        }
    }

    impl Unpack for TileQ6K {
        const SCALE_A_HALF: bool = true;

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
        unsafe fn half(&self, span: usize, half: usize) -> [__m512i; 4] {
            let two = _mm512_set1_epi8(0x30);
            let upper = bytes(&self.spans[span].upper, half * 64);
            // The wanted bits to 4 and 5: each group has them 2 further up.
            let upper = [
                _mm512_slli_epi32::<4>(upper),
                _mm512_slli_epi32::<2>(upper),
                upper,
                _mm512_srli_epi32::<2>(upper),
            ];
            let mut weights = nibbles(&self.spans[span].nibbles, half);
            for (weights, upper) in weights.iter_mut().zip(upper) {
                *weights = _mm512_or_si512(*weights, _mm512_and_si512(upper, two));
            }
            weights
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
        unsafe fn scale(&self, span: usize, half: usize) -> __m512 {
            let pairs = scale_pairs(self, span);
            let pairs = if half == 0 {
                _mm512_slli_epi32::<16>(pairs)
            } else {
                pairs
            };
            _mm512_cvtepi32_ps(_mm512_srai_epi32::<16>(pairs))
        }

        /// 32 is subtracted from every weight, so 32 times the sums of the quants from the products.
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
        unsafe fn start(&self, sums: &BlockSums, _: __m512, total: __m512) -> (__m512, __m512) {
            let mut offset = _mm512_setzero_si512();
            for span in 0..SPANS {
                let scales = scale_pairs(self, span);
                offset = _mm512_dpwssd_epi32(offset, scales, pair(&sums.of_16, span));
            }
            let offset = _mm512_slli_epi32::<5>(offset);
            let offset = _mm512_sub_epi32(_mm512_setzero_si512(), offset);
            (_mm512_cvtepi32_ps(offset), total)
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
        unsafe fn d(&self) -> __m512 {
            halves(&self.d)
        }
    }

    /// Returns the scales of both halves of a span, 16 bits each.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn scale_pairs(tile: &TileQ6K, span: usize) -> __m512i {
        // SAFETY: 16 pairs of bytes.
        _mm512_cvtepi8_epi16(unsafe { _mm256_loadu_si256(tile.scales[span].as_ptr().cast()) })
    }
}
