//! What the products with quantized weights share ([`super::block_matmul`], [`super::superblock_matmul`]): activations
//! rounded to 8 bits, the loop over tiles of 16 outputs and groups of rows, and the choice of instructions. Knows no
//! weight format.

#[cfg(target_arch = "x86_64")]
mod avx2;
pub(super) mod instructions;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

pub use instructions::{Instructions, instructions};

use candle_core::{Result, Tensor};
use half::f16;

use super::cpu::{DisjointMut, LANES, MOST_ROWS, parallel, with_f32};

/// Rows of a group. Of one, products, scaled sums and totals are 24 of 32 registers; of [`GROUPS`] only the products stay in registers.
/// Measured with 4, 6, 8, 10 and 12: `inference/kernels/lab/cpu-matmul.md`.
pub const ROW_GROUP: usize = MOST_ROWS;
/// Columns whose quants lie side by side.
pub const SPAN: usize = 32;
/// Elements below which waking other threads costs more than it saves.
const WORTH_THREADS: usize = 16_384;
/// Bytes of quants that stay in a core's cache while all tiles pass by.
const CACHED_QUANTS: usize = 384 * 1024;

/// Groups of rows that a kernel is given at once where both are whole: 16 sums in registers, as many as keep two units busy whose
/// products take five cycles each.
pub const GROUPS: usize = 2;

/// Sums of the products of a group of rows with a tile of outputs.
pub type GroupSums = [[f32; LANES]; ROW_GROUP];

/// Rows of activations rounded to 8 bits: one scale for `BLOCK` columns, and sums `S` of their quants.
///
/// Rows come in groups of [`ROW_GROUP`], the last one shorter; a kernel reads a group from front to end.
#[derive(Debug, PartialEq)]
pub struct QuantizedRows<S, const BLOCK: usize> {
    pub num_rows: usize,
    pub blocks_per_row: usize,
    /// Of each group `[blocks_per_row, BLOCK / SPAN, rows of the group, SPAN]`.
    quants: Vec<i8>,
    /// Of each group `[blocks_per_row, rows of the group]`: a value is `scale * quant`.
    scales: Vec<f32>,
    /// Of each group `[blocks_per_row, rows of the group]`: what a format needs of the quants besides themselves.
    sums: Vec<S>,
}

/// A group of a [`QuantizedRows`], whose fields are the group's parts of its fields.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowGroup<'a, S> {
    pub rows: usize,
    pub quants: &'a [i8],
    pub scales: &'a [f32],
    pub sums: &'a [S],
}

impl<'a, S> RowGroup<'a, S> {
    /// Returns scales and sums, those of a block's rows together.
    ///
    /// # Panics
    /// Unless the group is `R` rows of so many blocks: kernels read its quants by pointer.
    #[inline]
    pub fn factors<const R: usize, const BLOCK: usize>(
        &self,
        blocks: usize,
    ) -> (&'a [[f32; R]], &'a [[S; R]]) {
        assert!(self.rows == R && self.quants.len() == blocks * R * BLOCK);
        (self.scales.as_chunks().0, self.sums.as_chunks().0)
    }
}

/// Some blocks of a matrix to round: blocks are counted group by group, within a group along the row.
pub(super) struct Strip<'a> {
    /// `[num_rows, blocks_per_row * BLOCK]`
    x: &'a [f32],
    num_rows: usize,
    blocks_per_row: usize,
    blocks: std::ops::Range<usize>,
}

/// How a format rounds a block: fills `quants`, returns the scale and the sums. Both ways give the same. (They are no
/// closures, because those would be compiled apart, for the baseline.)
pub(super) trait RoundBlock<const BLOCK: usize>: Copy {
    fn round(x: &[f32; BLOCK], quants: &mut [i8; BLOCK]) -> (f32, Self);

    /// # Safety
    /// [`has_vnni`]
    #[cfg(target_arch = "x86_64")]
    unsafe fn round_vnni(x: &[f32; BLOCK], quants: &mut [i8; BLOCK]) -> (f32, Self);
}

/// Rounds the blocks of a strip into quants, scales and sums.
pub(super) type RoundStrip<S> = fn(&Strip<'_>, &mut [i8], &mut [f32], &mut [S]);

impl<S: Copy + Default + Send, const BLOCK: usize> QuantizedRows<S, BLOCK> {
    /// Rounds `x`: `[num_rows, width]` f32 on the CPU, a multiple of `BLOCK` wide.
    ///
    /// # Errors
    /// A candle error for any other tensor.
    pub(super) fn round(x: &Tensor, round_strip: RoundStrip<S>) -> Result<Self> {
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
            sums: vec![S::default(); num_blocks],
        };
        with_f32(x, |x| {
            let quants = DisjointMut::new(&mut rows.quants);
            let scales = DisjointMut::new(&mut rows.scales);
            let sums = DisjointMut::new(&mut rows.sums);
            let items = num_rows.div_ceil(ROW_GROUP) * blocks_per_row;
            parallel(items, x.len() >= WORTH_THREADS, |blocks| {
                let start = place(num_rows, blocks_per_row, blocks.start);
                let len = place(num_rows, blocks_per_row, blocks.end) - start;
                // SAFETY: ranges of blocks do not overlap, so neither do their parts of the three arrays.
                let quants = unsafe { quants.range(start * BLOCK, len * BLOCK) };
                // SAFETY: as above.
                let scales = unsafe { scales.range(start, len) };
                // SAFETY: as above.
                let sums = unsafe { sums.range(start, len) };
                let strip = Strip {
                    x,
                    num_rows,
                    blocks_per_row,
                    blocks,
                };
                round_strip(&strip, quants, scales, sums);
            });
            Ok(())
        })?;
        Ok(rows)
    }

    /// Returns group `index` of `num_rows.div_ceil(ROW_GROUP)`.
    pub(super) fn group(&self, index: usize) -> RowGroup<'_, S> {
        let first = index * ROW_GROUP;
        let rows = ROW_GROUP.min(self.num_rows - first);
        let (at, len) = (first * self.blocks_per_row, rows * self.blocks_per_row);
        RowGroup {
            rows,
            quants: &self.quants[at * BLOCK..][..len * BLOCK],
            scales: &self.scales[at..][..len],
            sums: &self.sums[at..][..len],
        }
    }

    /// Returns the scale of a column and its quant.
    pub fn value(&self, row: usize, column: usize) -> (f32, i8) {
        let group = self.group(row / ROW_GROUP);
        let row = row % ROW_GROUP;
        let span = column / SPAN * group.rows + row;
        (
            group.scales[column / BLOCK * group.rows + row],
            group.quants[span * SPAN + column % SPAN],
        )
    }
}

/// Returns how many blocks of rows precede block `index` of a strip's count.
fn place(num_rows: usize, blocks_per_row: usize, index: usize) -> usize {
    let (first, block) = (index / blocks_per_row * ROW_GROUP, index % blocks_per_row);
    let rows = ROW_GROUP.min(num_rows - first.min(num_rows));
    first.min(num_rows) * blocks_per_row + block * rows
}

impl Strip<'_> {
    /// Rounds each block of each row, in portable code.
    #[inline(always)]
    pub(super) fn round<S: RoundBlock<BLOCK>, const BLOCK: usize>(
        &self,
        quants: &mut [i8],
        scales: &mut [f32],
        sums: &mut [S],
    ) {
        // SAFETY: the portable method needs no features.
        unsafe { self.round_by::<S, BLOCK, false>(quants, scales, sums) }
    }

    /// Rounds each block of each row.
    ///
    /// # Safety
    /// [`has_vnni`], if `VNNI`.
    #[inline(always)]
    unsafe fn round_by<S: RoundBlock<BLOCK>, const BLOCK: usize, const VNNI: bool>(
        &self,
        quants: &mut [i8],
        scales: &mut [f32],
        sums: &mut [S],
    ) {
        let width = self.blocks_per_row * BLOCK;
        let mut at = 0;
        for index in self.blocks.clone() {
            let first = index / self.blocks_per_row * ROW_GROUP;
            let column = index % self.blocks_per_row * BLOCK;
            let rows = ROW_GROUP.min(self.num_rows - first);
            for row in 0..rows {
                let x = &self.x[(first + row) * width + column..];
                let Some(x) = x.first_chunk::<BLOCK>() else {
                    continue;
                };
                let mut rounded = [0i8; BLOCK];
                (scales[at + row], sums[at + row]) = match VNNI {
                    // SAFETY: the caller's promise.
                    #[cfg(target_arch = "x86_64")]
                    true => unsafe { S::round_vnni(x, &mut rounded) },
                    _ => S::round(x, &mut rounded),
                };
                for (span, rounded) in rounded.chunks_exact(SPAN).enumerate() {
                    let place = at * BLOCK + (span * rows + row) * SPAN;
                    quants[place..place + SPAN].copy_from_slice(rounded);
                }
            }
            at += rows;
        }
    }
}

/// Returns the largest magnitude of `x`, a multiple of [`LANES`] long; NaN where there is one. Rounded to integers, NaN
/// would become an ordinary number; in the scale it stays what it is and reaches the check of the logits.
#[inline(always)]
pub(super) fn largest_magnitude(x: &[f32]) -> f32 {
    // Magnitudes are ordered as their bits are, infinity after all numbers and NaN last.
    let mut largest = [0u32; LANES];
    for chunk in x.as_chunks::<LANES>().0 {
        for lane in 0..LANES {
            largest[lane] = largest[lane].max(chunk[lane].abs().to_bits());
        }
    }
    // Halves against each other: four steps, where a fold waits for sixteen.
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            largest[lane] = largest[lane].max(largest[lane + half]);
        }
    }
    f32::from_bits(largest[0])
}

/// Rounds `x * inverse` to the nearest integers and returns their sum. Lengths are equal multiples of [`LANES`].
#[inline(always)]
pub(super) fn round_into(quants: &mut [i8], x: &[f32], inverse: f32) -> i32 {
    // 1.5 * 2^23: adding it rounds to the nearest integer, which is then in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // Only NaN and infinity overflow, and their scale says so.
    let mut totals = [0i32; LANES];
    let chunks = quants.as_chunks_mut::<LANES>().0;
    for (quants, x) in chunks.iter_mut().zip(x.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            let bits = (x[lane] * inverse + ROUND).to_bits();
            let rounded = bits.wrapping_sub(ROUND.to_bits()) as i32;
            quants[lane] = rounded as i8;
            totals[lane] = totals[lane].wrapping_add(rounded);
        }
    }
    totals.into_iter().fold(0, i32::wrapping_add)
}

/// Builds the tiles `[columns, blocks_per_row]` on all threads: `build(column, block)` makes one.
pub(super) fn build_tiles<T: Send>(
    columns: usize,
    blocks_per_row: usize,
    build: impl Fn(usize, usize) -> T + Sync,
) -> Vec<T> {
    let len = columns * blocks_per_row;
    let mut tiles = Vec::with_capacity(len);
    let places = DisjointMut::new(&mut tiles.spare_capacity_mut()[..len]);
    parallel(columns, true, |range| {
        for column in range {
            // SAFETY: each tile column is in one range.
            let places = unsafe { places.range(column * blocks_per_row, blocks_per_row) };
            for (block, place) in places.iter_mut().enumerate() {
                place.write(build(column, block));
            }
        }
    });
    // SAFETY: `parallel` has covered all columns (it panics otherwise), so all `len` elements are written.
    unsafe { tiles.set_len(len) };
    tiles
}

/// Returns the products plus the bias (`[out]` f32), `[num_rows, out]`: `kernel(groups, tile_column, sums)` writes the
/// products of a group of rows, or of [`GROUPS`] whole ones, with the [`LANES`] outputs of a tile column.
///
/// Tile columns are handed out to threads. Many rows are taken in parts whose quants stay in the cache.
pub(super) fn products<S: Copy + Default + Send + Sync, const BLOCK: usize>(
    rows: &QuantizedRows<S, BLOCK>,
    out: usize,
    bias: Option<&[f32]>,
    kernel: impl Fn(&[RowGroup<'_, S>], usize, &mut [GroupSums]) + Sync,
) -> Vec<f32> {
    assert!(bias.is_none_or(|bias| bias.len() == out) && out.is_multiple_of(LANES));
    let len = rows.num_rows * out;
    // Not zeroed first: that took a tenth of the time of a long prompt.
    let mut y = Vec::with_capacity(len);
    let shared = DisjointMut::new(&mut y.spare_capacity_mut()[..len]);
    let groups: Vec<_> = (0..rows.num_rows.div_ceil(ROW_GROUP))
        .map(|index| rows.group(index))
        .collect();
    let group_bytes = ROW_GROUP * rows.blocks_per_row * BLOCK;
    let cached = (CACHED_QUANTS / group_bytes.max(1))
        .max(1)
        .next_multiple_of(GROUPS);
    parallel(out / LANES, true, |columns| {
        for part in (0..groups.len()).step_by(cached) {
            let groups = &groups[..groups.len().min(part + cached)];
            for column in columns.clone() {
                let bias = bias.map(|bias| &bias[column * LANES..][..LANES]);
                let place = |row: usize| row * out + column * LANES;
                let mut index = part;
                while index < groups.len() {
                    let together = taken_together(&groups[index..]);
                    let count = together.iter().map(|group| group.rows).sum::<usize>();
                    let rows = index * ROW_GROUP..index * ROW_GROUP + count;
                    // On their way while the kernel runs.
                    rows.clone().for_each(|row| shared.fetch(place(row), LANES));
                    let mut sums = [[[0f32; LANES]; ROW_GROUP]; GROUPS];
                    kernel(together, column, &mut sums[..together.len()]);
                    for (row, sums) in rows.zip(sums.as_flattened_mut()) {
                        if let Some(bias) = bias {
                            sums.iter_mut()
                                .zip(bias)
                                .for_each(|(sum, bias)| *sum += bias);
                        }
                        // SAFETY: a tile column is in one range, and its rows are apart.
                        let y = unsafe { shared.range(place(row), LANES) };
                        y.write_copy_of_slice(sums);
                    }
                    index += together.len();
                }
            }
        }
    });
    // SAFETY: `parallel` has covered all tile columns (it panics otherwise), and each wrote its part of every row.
    unsafe { y.set_len(len) };
    y
}

/// Returns the first groups that a kernel takes at once: [`GROUPS`] whole ones, or one.
fn taken_together<'a, 'b, S>(groups: &'a [RowGroup<'b, S>]) -> &'a [RowGroup<'b, S>] {
    match groups.get(..GROUPS) {
        Some(first) if first.iter().all(|group| group.rows == ROW_GROUP) => first,
        _ => &groups[..1],
    }
}

/// Whether this CPU has the instructions of the integer kernels: AVX-512F, BW and VNNI.
pub(super) fn has_vnni() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512bw")
            && std::arch::is_x86_feature_detected!("avx512vnni")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// Calls `run` with the bias of a layer that has one.
pub(super) fn with_bias<R>(
    bias: Option<&Tensor>,
    run: impl FnOnce(Option<&[f32]>) -> R,
) -> Result<R> {
    match bias {
        Some(bias) => with_f32(bias, |bias| Ok(run(Some(bias)))),
        None => Ok(run(None)),
    }
}

/// Reads a little-endian f16 of a quantized block.
pub(super) fn half_at(raw: &[u8], at: usize) -> f16 {
    f16::from_le_bytes([raw[at], raw[at + 1]])
}

/// Building blocks of the kernels.
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512 {
    use std::{
        arch::{asm, x86_64::*},
        sync::OnceLock,
    };

    use half::f16;

    use super::{LANES, RoundBlock, SPAN, Strip};

    /// Adds the products of 4 columns of `R` rows. `quants`: the first row's; a row is [`SPAN`] bytes further on.
    ///
    /// # Safety
    /// From `quants` on, `(R - 1) * SPAN + 4` bytes are readable.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub unsafe fn add_products<const R: usize>(
        products: &mut [__m512i; R],
        weights: __m512i,
        quants: *const i8,
    ) {
        for (row, products) in products.iter_mut().enumerate() {
            // SAFETY: `row` is below R: the caller's promise.
            let four = unsafe { quants.add(row * SPAN).cast::<i32>().read_unaligned() };
            *products = _mm512_dpbusd_epi32(*products, weights, _mm512_set1_epi32(four));
        }
    }

    /// Adds the products of pairs of 16 bits with `pair`. Written by name: for the intrinsic the compiler puts a broadcast, a
    /// product and a sum, which take two instructions' time more.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub fn add_pairs(mut sums: __m512i, pairs: __m512i, pair: &[i16; 2]) -> __m512i {
        // SAFETY: it reads the 4 bytes of `pair` and writes no memory.
        unsafe {
            asm!(
                "vpdpwssd {sums}, {pairs}, dword ptr [{pair}]{{1to16}}",
                sums = inout(zmm_reg) sums,
                pairs = in(zmm_reg) pairs,
                pair = in(reg) pair.as_ptr(),
                options(pure, readonly, nostack, preserves_flags),
            );
        }
        sums
    }

    /// Loads 16 halves as f32.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn halves(values: &[f16; LANES]) -> __m512 {
        // SAFETY: 16 halves are 32 bytes.
        _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(values.as_ptr().cast()) })
    }

    /// Loads 64 bytes from `at`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn bytes(bytes: &[u8], at: usize) -> __m512i {
        assert!(at + 64 <= bytes.len());
        // SAFETY: 64 bytes from `at` are inside (line above).
        unsafe { _mm512_loadu_si512(bytes.as_ptr().add(at).cast()) }
    }

    /// Returns 4 columns of half a span, of 4 bits: the low nibbles of vector `group`, or the high ones.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn nibbles(all: &[u8; SPAN * LANES / 2], half: usize, group: usize) -> __m512i {
        let both = bytes(all, group * 64);
        let nibbles = if half == 0 {
            both
        } else {
            _mm512_srli_epi32::<4>(both)
        };
        _mm512_and_si512(nibbles, _mm512_set1_epi8(15))
    }

    /// The same with a fifth bit, which of group `g` is bit `g` of its byte.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn five_bits(
        all: &[u8; SPAN * LANES / 2],
        fifth: &[u8; SPAN * LANES / 8],
        half: usize,
        group: usize,
    ) -> __m512i {
        let fifth = bytes(fifth, 0);
        // Bit `4 * half + group` to bit 4.
        let fifth = match (half, group) {
            (0, 0) => _mm512_slli_epi32::<4>(fifth),
            (0, 1) => _mm512_slli_epi32::<3>(fifth),
            (0, 2) => _mm512_slli_epi32::<2>(fifth),
            (0, _) => _mm512_slli_epi32::<1>(fifth),
            (_, 0) => fifth,
            (_, 1) => _mm512_srli_epi32::<1>(fifth),
            (_, 2) => _mm512_srli_epi32::<2>(fifth),
            (_, _) => _mm512_srli_epi32::<3>(fifth),
        };
        let fifth = _mm512_and_si512(fifth, _mm512_set1_epi8(16));
        _mm512_or_si512(nibbles(all, half, group), fifth)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn store(totals: &[__m512], out: &mut [[f32; LANES]]) {
        for (out, total) in out.iter_mut().zip(totals) {
            // SAFETY: `out` is 64 bytes.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr(), *total) };
        }
    }

    /// Bytes between the weights in use and those that are fetched.
    const AHEAD: usize = 4096;
    /// Rows from which on weights are asked for on CPUs of others than Intel. With fewer rows their hardware fetches ahead
    /// faster when left alone; with more it falls behind, because a line is in use for longer than it looks ahead.
    const PREFETCH_ROWS: usize = 5;

    /// Returns how many bytes ahead a product of some rows asks for its weights; `None`: not at all. Intel's hardware
    /// does not fetch ahead across the end of a page of 4 KiB, which comes after every few tiles.
    pub fn ahead(rows: usize) -> Option<usize> {
        static INTEL: OnceLock<bool> = OnceLock::new();
        let is_intel = INTEL.get_or_init(|| {
            let vendor = __cpuid(0);
            [vendor.ebx, vendor.edx, vendor.ecx]
                .map(u32::to_le_bytes)
                .concat()
                == b"GenuineIntel"
        });
        (rows >= PREFETCH_ROWS || *is_intel).then_some(AHEAD)
    }

    /// Asks for part `part` of `parts` of the tile that is `ahead` bytes behind this one.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn prefetch<T>(tile: &T, (part, parts): (usize, usize), ahead: Option<usize>) {
        let Some(ahead) = ahead else {
            return;
        };
        let bytes = size_of::<T>() / parts;
        let start = std::ptr::from_ref(tile).cast::<i8>();
        for line in 0..bytes.div_ceil(64) {
            // May lie behind the last tile: a hint reads nothing.
            let at = ahead + part * bytes + line * 64;
            _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(at));
        }
    }

    /// Rounds each block of each row of a strip.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub fn round_strip<S: RoundBlock<BLOCK>, const BLOCK: usize>(
        strip: &Strip<'_>,
        quants: &mut [i8],
        scales: &mut [f32],
        sums: &mut [S],
    ) {
        // SAFETY: this function has the features.
        unsafe { strip.round_by::<S, BLOCK, true>(quants, scales, sums) }
    }

    /// Rounds `x` with 127 for the largest magnitude; returns that, and the sum of the quants in each of 16 columns
    /// modulo 16.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn round<const BLOCK: usize>(x: &[f32; BLOCK], quants: &mut [i8; BLOCK]) -> (f32, __m512i) {
        let chunks = x.as_chunks::<LANES>().0;
        // By their bits, as in `largest_magnitude`: NaN must not get lost.
        let mut largest = _mm512_setzero_si512();
        for x in chunks {
            largest = _mm512_max_epu32(largest, _mm512_castps_si512(_mm512_abs_ps(lanes(x))));
        }
        let largest = f32::from_bits(_mm512_reduce_max_epu32(largest));
        let inverse = _mm512_set1_ps(if largest > 0.0 { 127.0 / largest } else { 0.0 });
        let mut totals = _mm512_setzero_si512();
        for (x, quants) in chunks.iter().zip(quants.as_chunks_mut::<LANES>().0) {
            let rounded = _mm512_cvtps_epi32(_mm512_mul_ps(lanes(x), inverse));
            totals = _mm512_add_epi32(totals, rounded);
            // SAFETY: `quants` is 16 bytes.
            unsafe {
                _mm_storeu_si128(quants.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(rounded));
            }
        }
        (largest, totals)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn lanes(x: &[f32; LANES]) -> __m512 {
        // SAFETY: 64 bytes.
        unsafe { _mm512_loadu_ps(x.as_ptr()) }
    }
}
