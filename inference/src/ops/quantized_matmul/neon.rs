//! [`Simd`] with NEON: 4 outputs a vector. With the dot product of Armv8.2 four columns of four outputs are one
//! instruction, without it products are summed in 16 bits, as many of them as fit.
#![allow(
    clippy::needless_range_loop,
    reason = "a row or lane index addresses several arrays at once"
)]

use std::arch::{aarch64::*, asm};

use half::f16;

use super::instructions::{Kernel, Simd};

const WIDTH: usize = 4;

/// Proof that the CPU has NEON, and the dot product if `DOT`.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops) struct Neon<const DOT: bool>(());

/// Evaluates a call of instructions.
macro_rules! neon {
    ($call:expr) => {{
        // SAFETY: a `Neon` exists only where the CPU has the features. Where memory is read or written, the line above has
        // checked that it is there.
        unsafe { $call }
    }};
}

impl<const DOT: bool> Neon<DOT> {
    pub fn detect() -> Option<Self> {
        let has = std::arch::is_aarch64_feature_detected!("neon")
            && (!DOT || std::arch::is_aarch64_feature_detected!("dotprod"));
        has.then_some(Self(()))
    }

    /// Runs a kernel for all `R` rows, compiled for this instruction set.
    #[inline]
    pub fn run<K: Kernel, const R: usize>(self, kernel: &mut K) {
        if DOT {
            // SAFETY: a `Neon<true>` exists only where the CPU has the features.
            unsafe { run_dot::<K, R>(Neon(()), kernel) }
        } else {
            // SAFETY: a `Neon` exists only where the CPU has the features.
            unsafe { run_neon::<K, R>(Neon(()), kernel) }
        }
    }

    /// Adds the products of 16 columns by way of 16 bits.
    #[inline(always)]
    fn add_by_16_bits(
        self,
        mut products: int32x4_t,
        weights: &[int32x4_t; 4],
        quants: &[i8; 16],
        bits: u32,
    ) -> int32x4_t {
        // Products whose pairs fit into 16 bits: 8 * 31 * 127, 4 * 63 * 127, and 2 * 128 * 127.
        let groups = match bits {
            ..6 => 4,
            6 => 2,
            _ => 1,
        };
        for first in (0..4).step_by(groups) {
            let mut sums = [neon!(vdupq_n_s16(0)); 2];
            for group in first..first + groups {
                let four = quants.as_chunks::<4>().0[group].map(|quant| quant as u8);
                let quants = neon!(vreinterpretq_s8_s32(vdupq_n_s32(i32::from_le_bytes(four))));
                let weights = neon!(vreinterpretq_s8_s32(weights[group]));
                sums[0] = neon!(vmlal_s8(sums[0], vget_low_s8(weights), vget_low_s8(quants)));
                sums[1] = neon!(vmlal_high_s8(sums[1], weights, quants));
            }
            products = neon!(vpadalq_s16(products, vpaddq_s16(sums[0], sums[1])));
        }
        products
    }
}

#[target_feature(enable = "neon,dotprod")]
fn run_dot<K: Kernel, const R: usize>(neon: Neon<true>, kernel: &mut K) {
    kernel.run::<_, R>(neon, 0);
}

#[target_feature(enable = "neon")]
fn run_neon<K: Kernel, const R: usize>(neon: Neon<false>, kernel: &mut K) {
    kernel.run::<_, R>(neon, 0);
}

/// Adds the products of 16 columns. (The intrinsics are not stable in Rust 1.95.)
///
/// # Safety
/// The CPU has the dot product.
#[inline(always)]
unsafe fn dot(mut products: int32x4_t, weights: &[int32x4_t; 4], quants: int8x16_t) -> int32x4_t {
    // SAFETY: the caller's promise; registers alone are read and written.
    unsafe {
        asm!(
            "sdot {p:v}.4s, {a:v}.16b, {x:v}.4b[0]",
            "sdot {p:v}.4s, {b:v}.16b, {x:v}.4b[1]",
            "sdot {p:v}.4s, {c:v}.16b, {x:v}.4b[2]",
            "sdot {p:v}.4s, {d:v}.16b, {x:v}.4b[3]",
            p = inout(vreg) products,
            a = in(vreg) weights[0],
            b = in(vreg) weights[1],
            c = in(vreg) weights[2],
            d = in(vreg) weights[3],
            x = in(vreg) quants,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    products
}

impl<const DOT: bool> Simd for Neon<DOT> {
    const WIDTH: usize = WIDTH;
    const SIGNED_BYTES: bool = true;

    type Ints = int32x4_t;
    type Floats = float32x4_t;

    #[inline(always)]
    fn splat(self, value: i32) -> int32x4_t {
        neon!(vdupq_n_s32(value))
    }

    #[inline(always)]
    fn load(self, bytes: &[u8]) -> int32x4_t {
        let bytes = &bytes[..4 * WIDTH];
        neon!(vreinterpretq_s32_u8(vld1q_u8(bytes.as_ptr())))
    }

    #[inline(always)]
    fn and(self, a: int32x4_t, b: int32x4_t) -> int32x4_t {
        neon!(vandq_s32(a, b))
    }

    #[inline(always)]
    fn or(self, a: int32x4_t, b: int32x4_t) -> int32x4_t {
        neon!(vorrq_s32(a, b))
    }

    #[inline(always)]
    fn xor(self, a: int32x4_t, b: int32x4_t) -> int32x4_t {
        neon!(veorq_s32(a, b))
    }

    #[inline(always)]
    fn sub(self, a: int32x4_t, b: int32x4_t) -> int32x4_t {
        neon!(vsubq_s32(a, b))
    }

    #[inline(always)]
    fn up<const BITS: i32>(self, a: int32x4_t) -> int32x4_t {
        neon!(vshlq_n_s32::<BITS>(a))
    }

    #[inline(always)]
    fn down<const BITS: i32>(self, a: int32x4_t) -> int32x4_t {
        neon!(vreinterpretq_s32_u32(vshrq_n_u32::<BITS>(
            vreinterpretq_u32_s32(a)
        )))
    }

    #[inline(always)]
    fn down_signed<const BITS: i32>(self, a: int32x4_t) -> int32x4_t {
        neon!(vshrq_n_s32::<BITS>(a))
    }

    #[inline(always)]
    fn pairs(self, pairs: &[[u8; 2]]) -> int32x4_t {
        let pairs = pairs[..WIDTH].as_flattened();
        neon!(vreinterpretq_s32_u16(vmovl_u8(vld1_u8(pairs.as_ptr()))))
    }

    #[inline(always)]
    fn signed_pairs(self, pairs: &[[i8; 2]]) -> int32x4_t {
        let pairs = pairs[..WIDTH].as_flattened();
        neon!(vreinterpretq_s32_s16(vmovl_s8(vld1_s8(pairs.as_ptr()))))
    }

    #[inline(always)]
    fn add_pairs(self, sums: int32x4_t, a: int32x4_t, b: int32x4_t) -> int32x4_t {
        let (a, b) = neon!((vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b)));
        let low = neon!(vmull_s16(vget_low_s16(a), vget_low_s16(b)));
        neon!(vaddq_s32(sums, vpaddq_s32(low, vmull_high_s16(a, b))))
    }

    #[inline(always)]
    fn add_products(
        self,
        products: int32x4_t,
        weights: &[int32x4_t; 4],
        quants: &[i8; 16],
        bits: u32,
    ) -> int32x4_t {
        if !DOT {
            return self.add_by_16_bits(products, weights, quants, bits);
        }
        neon!(dot(products, weights, vld1q_s8(quants.as_ptr())))
    }

    #[inline(always)]
    fn splat_float(self, value: f32) -> float32x4_t {
        neon!(vdupq_n_f32(value))
    }

    #[inline(always)]
    fn to_floats(self, ints: int32x4_t) -> float32x4_t {
        neon!(vcvtq_f32_s32(ints))
    }

    #[inline(always)]
    fn floats(self, values: &[f32]) -> float32x4_t {
        let values = &values[..WIDTH];
        neon!(vld1q_f32(values.as_ptr()))
    }

    #[inline(always)]
    fn halves(self, values: &[f16]) -> float32x4_t {
        let values = &values[..WIDTH];
        let halves = neon!(vld1_u16(values.as_ptr().cast()));
        neon!(vcvt_f32_f16(vreinterpret_f16_u16(halves)))
    }

    #[inline(always)]
    fn bytes(self, values: &[u8]) -> float32x4_t {
        let word = u32::from_le_bytes([values[0], values[1], values[2], values[3]]);
        let words = neon!(vmovl_u8(vcreate_u8(u64::from(word))));
        neon!(vcvtq_f32_u32(vmovl_u16(vget_low_u16(words))))
    }

    #[inline(always)]
    fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        neon!(vmulq_f32(a, b))
    }

    #[inline(always)]
    fn fma(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        neon!(vfmaq_f32(c, a, b))
    }

    #[inline(always)]
    fn store(self, values: float32x4_t, out: &mut [f32]) {
        let out = &mut out[..WIDTH];
        neon!(vst1q_f32(out.as_mut_ptr(), values));
    }
}
