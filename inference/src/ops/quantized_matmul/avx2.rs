//! [`Simd`] with AVX2: 8 outputs a vector. With AVX-VNNI a dot product is one instruction, without it `vpmaddubsw` sums
//! pairs into 16 bits, as many of them as fit.
#![allow(
    clippy::needless_range_loop,
    reason = "a row or lane index addresses several arrays at once"
)]

use std::arch::x86_64::*;

use half::f16;

use super::{
    avx512::ahead,
    instructions::{Kernel, Simd},
};

const WIDTH: usize = 8;

/// Proof that the CPU has AVX2, FMA and F16C, and AVX-VNNI if `VNNI`.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops) struct Avx<const VNNI: bool>(());

/// Evaluates a call of instructions.
macro_rules! avx {
    ($call:expr) => {{
        // SAFETY: an `Avx` exists only where the CPU has the features. Where memory is read or written, the line above has
        // checked that it is there.
        unsafe { $call }
    }};
}

impl<const VNNI: bool> Avx<VNNI> {
    pub fn detect() -> Option<Self> {
        let has = std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("fma")
            && std::arch::is_x86_feature_detected!("f16c")
            && (!VNNI || std::arch::is_x86_feature_detected!("avxvnni"));
        has.then_some(Self(()))
    }

    /// Runs a kernel for all `R` rows, compiled for this instruction set.
    #[inline]
    pub fn run<K: Kernel, const R: usize>(self, kernel: &mut K) {
        if VNNI {
            // SAFETY: an `Avx<true>` exists only where the CPU has the features.
            unsafe { run_vnni::<K, R>(Avx(()), kernel) }
        } else {
            // SAFETY: an `Avx` exists only where the CPU has the features.
            unsafe { run_avx2::<K, R>(Avx(()), kernel) }
        }
    }

    /// Returns 4 quants in every lane.
    #[inline(always)]
    fn four(self, quants: &[i8; 16], group: usize) -> __m256i {
        let four = quants.as_chunks::<4>().0[group].map(|quant| quant as u8);
        self.splat(i32::from_le_bytes(four))
    }

    /// Adds the products of 16 columns by way of 16 bits.
    #[inline(always)]
    fn add_by_16_bits(
        self,
        mut products: __m256i,
        weights: &[__m256i; 4],
        quants: &[i8; 16],
        bits: u32,
    ) -> __m256i {
        // Pairs that fit into 16 bits: 8 * 31 * 127, 4 * 63 * 127, and 2 * 128 * 127.
        let groups = match bits {
            ..6 => 4,
            6 => 2,
            _ => 1,
        };
        for first in (0..4).step_by(groups) {
            let mut sums = self.pair_sums(weights[first], self.four(quants, first), bits);
            for group in first + 1..first + groups {
                let more = self.pair_sums(weights[group], self.four(quants, group), bits);
                sums = avx!(_mm256_add_epi16(sums, more));
            }
            let sums = avx!(_mm256_madd_epi16(sums, _mm256_set1_epi16(1)));
            products = avx!(_mm256_add_epi32(products, sums));
        }
        products
    }

    /// Returns products summed in pairs. One factor has to be unsigned: weights of 8 bits give their sign to the quants.
    #[inline(always)]
    fn pair_sums(self, weights: __m256i, quants: __m256i, bits: u32) -> __m256i {
        if bits < 8 {
            return avx!(_mm256_maddubs_epi16(weights, quants));
        }
        let signed = avx!(_mm256_sign_epi8(quants, weights));
        avx!(_mm256_maddubs_epi16(_mm256_abs_epi8(weights), signed))
    }
}

#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn run_vnni<K: Kernel, const R: usize>(avx: Avx<true>, kernel: &mut K) {
    kernel.run::<_, R>(avx, 0);
}

#[target_feature(enable = "avx2,fma,f16c")]
fn run_avx2<K: Kernel, const R: usize>(avx: Avx<false>, kernel: &mut K) {
    kernel.run::<_, R>(avx, 0);
}

impl<const VNNI: bool> Simd for Avx<VNNI> {
    const WIDTH: usize = WIDTH;
    const SIGNED_BYTES: bool = !VNNI;

    type Ints = __m256i;
    type Floats = __m256;

    #[inline(always)]
    fn splat(self, value: i32) -> __m256i {
        avx!(_mm256_set1_epi32(value))
    }

    #[inline(always)]
    fn load(self, bytes: &[u8]) -> __m256i {
        let bytes = &bytes[..4 * WIDTH];
        avx!(_mm256_loadu_si256(bytes.as_ptr().cast()))
    }

    #[inline(always)]
    fn and(self, a: __m256i, b: __m256i) -> __m256i {
        avx!(_mm256_and_si256(a, b))
    }

    #[inline(always)]
    fn or(self, a: __m256i, b: __m256i) -> __m256i {
        avx!(_mm256_or_si256(a, b))
    }

    #[inline(always)]
    fn xor(self, a: __m256i, b: __m256i) -> __m256i {
        avx!(_mm256_xor_si256(a, b))
    }

    #[inline(always)]
    fn sub(self, a: __m256i, b: __m256i) -> __m256i {
        avx!(_mm256_sub_epi32(a, b))
    }

    #[inline(always)]
    fn up<const BITS: i32>(self, a: __m256i) -> __m256i {
        avx!(_mm256_slli_epi32::<BITS>(a))
    }

    #[inline(always)]
    fn down<const BITS: i32>(self, a: __m256i) -> __m256i {
        avx!(_mm256_srli_epi32::<BITS>(a))
    }

    #[inline(always)]
    fn down_signed<const BITS: i32>(self, a: __m256i) -> __m256i {
        avx!(_mm256_srai_epi32::<BITS>(a))
    }

    #[inline(always)]
    fn pairs(self, pairs: &[[u8; 2]]) -> __m256i {
        let pairs = &pairs[..WIDTH];
        avx!(_mm256_cvtepu8_epi16(_mm_loadu_si128(pairs.as_ptr().cast())))
    }

    #[inline(always)]
    fn signed_pairs(self, pairs: &[[i8; 2]]) -> __m256i {
        let pairs = &pairs[..WIDTH];
        avx!(_mm256_cvtepi8_epi16(_mm_loadu_si128(pairs.as_ptr().cast())))
    }

    #[inline(always)]
    fn add_pairs(self, sums: __m256i, a: __m256i, b: __m256i) -> __m256i {
        avx!(_mm256_add_epi32(sums, _mm256_madd_epi16(a, b)))
    }

    #[inline(always)]
    fn add_products(
        self,
        mut products: __m256i,
        weights: &[__m256i; 4],
        quants: &[i8; 16],
        bits: u32,
    ) -> __m256i {
        if !VNNI {
            return self.add_by_16_bits(products, weights, quants, bits);
        }
        for (group, weights) in weights.iter().enumerate() {
            let four = self.four(quants, group);
            products = avx!(_mm256_dpbusd_avx_epi32(products, *weights, four));
        }
        products
    }

    #[inline(always)]
    fn splat_float(self, value: f32) -> __m256 {
        avx!(_mm256_set1_ps(value))
    }

    #[inline(always)]
    fn to_floats(self, ints: __m256i) -> __m256 {
        avx!(_mm256_cvtepi32_ps(ints))
    }

    #[inline(always)]
    fn floats(self, values: &[f32]) -> __m256 {
        let values = &values[..WIDTH];
        avx!(_mm256_loadu_ps(values.as_ptr()))
    }

    #[inline(always)]
    fn halves(self, values: &[f16]) -> __m256 {
        let values = &values[..WIDTH];
        avx!(_mm256_cvtph_ps(_mm_loadu_si128(values.as_ptr().cast())))
    }

    #[inline(always)]
    fn bytes(self, values: &[u8]) -> __m256 {
        let values = &values[..WIDTH];
        let bytes = avx!(_mm_loadl_epi64(values.as_ptr().cast()));
        avx!(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)))
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        avx!(_mm256_mul_ps(a, b))
    }

    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        avx!(_mm256_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn store(self, values: __m256, out: &mut [f32]) {
        let out = &mut out[..WIDTH];
        avx!(_mm256_storeu_ps(out.as_mut_ptr(), values));
    }

    #[inline(always)]
    fn ahead(self, rows: usize) -> Option<usize> {
        ahead(rows)
    }

    #[inline(always)]
    fn prefetch(self, line: *const i8) {
        avx!(_mm_prefetch::<_MM_HINT_T0>(line));
    }
}
