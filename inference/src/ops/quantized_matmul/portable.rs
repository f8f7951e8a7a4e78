//! [`Simd`] as loops over four lanes, which the compiler makes vectors of where it can.
#![allow(
    clippy::needless_range_loop,
    reason = "a lane index addresses several arrays at once"
)]

use half::f16;

use super::instructions::Simd;
use crate::ops::cpu::{f16_to_f32, fma};

/// Lanes of the smallest vectors of 64-bit CPUs.
const WIDTH: usize = 4;
/// Whether every CPU of the target multiplies and adds in one instruction.
const FUSED: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

#[derive(Debug, Clone, Copy)]
pub(in crate::ops) struct Portable;

/// Evaluates an expression for each lane.
macro_rules! lanes {
    ($lane:ident => $value:expr) => {{
        let mut out = [Default::default(); WIDTH];
        for $lane in 0..WIDTH {
            out[$lane] = $value;
        }
        out
    }};
}

impl Simd for Portable {
    const WIDTH: usize = WIDTH;
    const SIGNED_BYTES: bool = false;

    type Ints = [i32; WIDTH];
    type Floats = [f32; WIDTH];

    #[inline(always)]
    fn splat(self, value: i32) -> Self::Ints {
        [value; WIDTH]
    }

    #[inline(always)]
    fn load(self, bytes: &[u8]) -> Self::Ints {
        let words = &bytes.as_chunks::<4>().0[..WIDTH];
        lanes!(lane => i32::from_le_bytes(words[lane]))
    }

    #[inline(always)]
    fn and(self, a: Self::Ints, b: Self::Ints) -> Self::Ints {
        lanes!(lane => a[lane] & b[lane])
    }

    #[inline(always)]
    fn or(self, a: Self::Ints, b: Self::Ints) -> Self::Ints {
        lanes!(lane => a[lane] | b[lane])
    }

    #[inline(always)]
    fn xor(self, a: Self::Ints, b: Self::Ints) -> Self::Ints {
        lanes!(lane => a[lane] ^ b[lane])
    }

    #[inline(always)]
    fn sub(self, a: Self::Ints, b: Self::Ints) -> Self::Ints {
        lanes!(lane => a[lane].wrapping_sub(b[lane]))
    }

    #[inline(always)]
    fn up<const BITS: i32>(self, a: Self::Ints) -> Self::Ints {
        lanes!(lane => a[lane] << BITS)
    }

    #[inline(always)]
    fn down<const BITS: i32>(self, a: Self::Ints) -> Self::Ints {
        lanes!(lane => (a[lane] as u32 >> BITS) as i32)
    }

    #[inline(always)]
    fn down_signed<const BITS: i32>(self, a: Self::Ints) -> Self::Ints {
        lanes!(lane => a[lane] >> BITS)
    }

    #[inline(always)]
    fn pairs(self, pairs: &[[u8; 2]]) -> Self::Ints {
        let pairs = &pairs[..WIDTH];
        lanes!(lane => i32::from(pairs[lane][0]) | i32::from(pairs[lane][1]) << 16)
    }

    #[inline(always)]
    fn signed_pairs(self, pairs: &[[i8; 2]]) -> Self::Ints {
        let pairs = &pairs[..WIDTH];
        lanes!(lane => i32::from(pairs[lane][0]) & 0xffff | i32::from(pairs[lane][1]) << 16)
    }

    #[inline(always)]
    fn add_pairs(self, sums: Self::Ints, a: Self::Ints, b: Self::Ints) -> Self::Ints {
        lanes!(lane => {
            let low = i32::from(a[lane] as i16) * i32::from(b[lane] as i16);
            let high = (a[lane] >> 16) * (b[lane] >> 16);
            sums[lane].wrapping_add(low).wrapping_add(high)
        })
    }

    #[inline(always)]
    fn add_products(
        self,
        mut products: Self::Ints,
        weights: &[Self::Ints; 4],
        quants: &[i8; 16],
        _: u32,
    ) -> Self::Ints {
        for group in 0..4 {
            for column in 0..4 {
                let quant = i32::from(quants[group * 4 + column]);
                for lane in 0..WIDTH {
                    let weight = weights[group][lane] >> (8 * column) & 0xff;
                    products[lane] = products[lane].wrapping_add(weight * quant);
                }
            }
        }
        products
    }

    #[inline(always)]
    fn splat_float(self, value: f32) -> Self::Floats {
        [value; WIDTH]
    }

    #[inline(always)]
    fn to_floats(self, ints: Self::Ints) -> Self::Floats {
        lanes!(lane => ints[lane] as f32)
    }

    #[inline(always)]
    fn floats(self, values: &[f32]) -> Self::Floats {
        let values = &values[..WIDTH];
        lanes!(lane => values[lane])
    }

    #[inline(always)]
    fn halves(self, values: &[f16]) -> Self::Floats {
        let values = &values[..WIDTH];
        lanes!(lane => f16_to_f32(values[lane]))
    }

    #[inline(always)]
    fn bytes(self, values: &[u8]) -> Self::Floats {
        let values = &values[..WIDTH];
        lanes!(lane => f32::from(values[lane]))
    }

    #[inline(always)]
    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        lanes!(lane => a[lane] * b[lane])
    }

    #[inline(always)]
    fn fma(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        lanes!(lane => fma::<FUSED>(a[lane], b[lane], c[lane]))
    }

    #[inline(always)]
    fn store(self, values: Self::Floats, out: &mut [f32]) {
        out[..WIDTH].copy_from_slice(&values);
    }
}
