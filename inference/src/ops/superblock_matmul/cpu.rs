//! The product on the CPU: a tile of 16 rows against up to 16 rows of activations. With AVX-512-VNNI eight `vpdpbusd` a span
//! and row of activations, scales applied to integer sums, one multiplication with both float scales a super-block;
//! `kernel.rs` is the product for other instructions.
//! A row's result does not depend on the other rows. One row is bound by reading the weights, many by `vpdpbusd`.

use candle_core::{Device, Result, Tensor};

use super::{
    BlockSums, QuantizedRows, SUM_COLUMNS, SUPERBLOCK,
    kernel::{Unpack, rows_times_tiles},
    pack::{SuperblockWeights, Tiles},
};
#[cfg(target_arch = "x86_64")]
use crate::ops::quantized_matmul::{avx512 as kernels, has_vnni, instructions::Set};
use crate::ops::{
    cpu::multiversion,
    quantized_matmul::{
        GroupSums, Instructions, RoundBlock, RowGroup, Strip, largest_magnitude, products,
        round_into, with_bias,
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
        products(rows, weights.out, bias, |groups, column, sums| {
            let tiles = column * weights.blocks_per_row..(column + 1) * weights.blocks_per_row;
            match &weights.tiles {
                Tiles::Q4K(all) => run(instructions, groups, &all[tiles], sums),
                Tiles::Q5K(all) => run(instructions, groups, &all[tiles], sums),
                Tiles::Q6K(all) => run(instructions, groups, &all[tiles], sums),
            }
        })
    })?;
    Tensor::from_vec(y, (rows.num_rows, weights.out), &Device::Cpu)
}

/// Runs groups of rows against a tile column.
fn run<T: Tile>(
    instructions: Instructions,
    groups: &[RowGroup<'_, BlockSums>],
    tiles: &[T],
    sums: &mut [GroupSums],
) {
    #[cfg(target_arch = "x86_64")]
    if let Set::Avx512(_) = instructions.0 {
        // SAFETY: the value says that the CPU has avx512f, avx512bw and avx512vnni.
        return unsafe { avx512::rows_times_tiles(groups, tiles, sums) };
    }
    for (group, sums) in groups.iter().zip(sums) {
        rows_times_tiles(instructions, group, tiles, sums);
    }
}

/// A tile that every kernel of this target takes.
#[cfg(target_arch = "x86_64")]
trait Tile: Unpack + avx512::Unpack {}
#[cfg(target_arch = "x86_64")]
impl<T: Unpack + avx512::Unpack> Tile for T {}
#[cfg(not(target_arch = "x86_64"))]
use Unpack as Tile;

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{BlockSums, GroupSums, RowGroup, SUPERBLOCK};
    use crate::ops::{
        cpu::{LANES, for_rows},
        quantized_matmul::{
            GROUPS, ROW_GROUP, SPAN,
            avx512::{
                add_pairs, add_products, ahead, bytes, five_bits, halves, nibbles, prefetch, store,
            },
        },
        superblock_matmul::pack::{SPANS, SpanQ4K, SpanQ5K, TileQ6K, TileWithMins},
    };

    /// What a format adds to the skeleton. A span is two halves of 16 columns, 4 vectors each.
    ///
    /// # Safety
    /// Of all methods: the CPU has avx512f, avx512bw and avx512vnni; spans are below [`SPANS`], halves below 2, `columns` below 4.
    pub trait Unpack: Sized {
        /// Whether the halves of a span have scales of their own.
        const SCALE_A_HALF: bool;

        /// Returns the unsigned weights of 4 columns of half a span, those from `4 * columns` on.
        unsafe fn vector(&self, span: usize, half: usize, columns: usize) -> __m512i;

        /// Returns the whole-number scales of half a span, or of the span after its second half.
        unsafe fn scale(&self, span: usize, half: usize) -> __m512;

        /// Returns what the weights' offsets come to: what the scaled sum starts with, and the total after them.
        /// `x`: the row's scale.
        unsafe fn start(&self, sums: &BlockSums, x: __m512, total: __m512) -> (__m512, __m512);

        unsafe fn d(&self) -> __m512;
    }

    /// Writes the products of groups of rows with a column of tiles.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub fn rows_times_tiles<T: Unpack>(
        groups: &[RowGroup<'_, BlockSums>],
        tiles: &[T],
        out: &mut [GroupSums],
    ) {
        if let (Some(groups), Some(out)) = (groups.as_array(), out.as_mut_array()) {
            return some_rows_times_tiles::<T, GROUPS, ROW_GROUP>(groups, tiles, out);
        }
        for (group, out) in groups.iter().zip(out) {
            let (groups, out) = (std::array::from_ref(group), std::array::from_mut(out));
            for_rows!(group.rows, R => some_rows_times_tiles::<T, 1, R>(groups, tiles, out));
        }
    }

    /// `G` groups of `R` rows.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn some_rows_times_tiles<T: Unpack, const G: usize, const R: usize>(
        groups: &[RowGroup<'_, BlockSums>; G],
        tiles: &[T],
        out: &mut [GroupSums; G],
    ) {
        let factors = groups.map(|group| group.factors::<R, SUPERBLOCK>(tiles.len()));
        let mut quants = groups.map(|group| group.quants.as_ptr());
        let ahead = ahead(G * R);
        let mut totals = [[_mm512_setzero_ps(); R]; G];
        for (index, tile) in tiles.iter().enumerate() {
            // In f32 a scale takes two instructions that every vector port has, in i32 three, two of them on one port.
            // Each product of a sum and its scale is exact: below 2^24.
            let mut scaled = [[_mm512_setzero_ps(); R]; G];
            for (group, (scaled, totals)) in scaled.iter_mut().zip(&mut totals).enumerate() {
                let (scales, sums) = (&factors[group].0[index], &factors[group].1[index]);
                for row in 0..R {
                    let x = _mm512_set1_ps(scales[row]);
                    // SAFETY: this function has the features.
                    (scaled[row], totals[row]) = unsafe { tile.start(&sums[row], x, totals[row]) };
                }
            }
            for span in 0..SPANS {
                prefetch(tile, (span, SPANS), ahead);
                // SAFETY: this function has the features; `span` is in range. Each group has R rows of SPAN bytes of every span of
                // every tile, as `factors` has checked.
                unsafe {
                    add_span::<T, G, R>(tile, span, quants, &mut scaled);
                    quants.iter_mut().for_each(|at| *at = at.add(R * SPAN));
                }
            }
            // SAFETY: this function has the features.
            let d = unsafe { tile.d() };
            for (group, (scaled, totals)) in scaled.iter().zip(&mut totals).enumerate() {
                let scales = &factors[group].0[index];
                for row in 0..R {
                    let d = _mm512_mul_ps(d, _mm512_set1_ps(scales[row]));
                    totals[row] = _mm512_fmadd_ps(scaled[row], d, totals[row]);
                }
            }
        }
        for (totals, out) in totals.iter().zip(out) {
            store(totals, out);
        }
    }

    /// Adds the scaled sums of a span.
    ///
    /// # Safety
    /// As of [`Unpack`]; each of `quants` is at R rows of SPAN bytes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn add_span<T: Unpack, const G: usize, const R: usize>(
        tile: &T,
        span: usize,
        quants: [*const i8; G],
        scaled: &mut [[__m512; R]; G],
    ) {
        let mut products = [[_mm512_setzero_si512(); R]; G];
        // Written out, because the compiler keeps the sums in memory where it does not unroll.
        macro_rules! add {
            ($half:literal, $($columns:literal)+) => {$(
                // SAFETY: the caller's promises.
                let weights = unsafe { tile.vector(span, $half, $columns) };
                for (products, quants) in products.iter_mut().zip(quants) {
                    // SAFETY: the caller's promise: 32 bytes a row, of which these are the `4 * $columns`th of its half.
                    unsafe { add_products(products, weights, quants.add($half * 16 + $columns * 4)) };
                }
            )+};
        }
        macro_rules! scale {
            ($half:literal) => {
                // SAFETY: the caller's promises.
                let scale = unsafe { tile.scale(span, $half) };
                let sums = products.as_flattened_mut().iter_mut();
                for (scaled, sum) in scaled.as_flattened_mut().iter_mut().zip(sums) {
                    *scaled = _mm512_fmadd_ps(_mm512_cvtepi32_ps(*sum), scale, *scaled);
                    *sum = _mm512_setzero_si512();
                }
            };
        }
        add!(0, 0 1 2 3);
        if T::SCALE_A_HALF {
            scale!(0);
        }
        add!(1, 0 1 2 3);
        scale!(1);
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

    /// The weights of a span of a [`TileWithMins`].
    ///
    /// # Safety
    /// As of [`Unpack`].
    pub trait SpanWeights {
        /// Returns those of 4 columns of half the span.
        unsafe fn vector(&self, half: usize, columns: usize) -> __m512i;
    }

    impl SpanWeights for SpanQ4K {
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
        unsafe fn vector(&self, half: usize, columns: usize) -> __m512i {
            nibbles(&self.nibbles, half, columns)
        }
    }

    impl SpanWeights for SpanQ5K {
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
        unsafe fn vector(&self, half: usize, columns: usize) -> __m512i {
            five_bits(&self.nibbles, &self.fifth, half, columns)
        }
    }

    impl<Q: SpanWeights> Unpack for TileWithMins<Q> {
        const SCALE_A_HALF: bool = false;

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
        unsafe fn vector(&self, span: usize, half: usize, columns: usize) -> __m512i {
            // SAFETY: the caller's promise.
            unsafe { self.spans[span].vector(half, columns) }
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
                offset = add_pairs(offset, mins, &sums.of_32.as_chunks().0[index]);
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
        unsafe fn vector(&self, span: usize, half: usize, columns: usize) -> __m512i {
            let upper = bytes(&self.spans[span].upper, half * 64);
            // The wanted bits to 4 and 5: each group has them 2 further up.
            let upper = match columns {
                0 => _mm512_slli_epi32::<4>(upper),
                1 => _mm512_slli_epi32::<2>(upper),
                2 => upper,
                _ => _mm512_srli_epi32::<2>(upper),
            };
            let upper = _mm512_and_si512(upper, _mm512_set1_epi8(0x30));
            _mm512_or_si512(nibbles(&self.spans[span].nibbles, half, columns), upper)
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
                offset = add_pairs(offset, scales, &sums.of_16.as_chunks().0[span]);
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
