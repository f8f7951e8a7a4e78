//! Weights and activations rounded to bf16 and laid out as the product reads them.

use candle_core::{Result, Tensor};
use half::bf16;

use crate::ops::{
    cpu::{DisjointMut, LANES, multiversion, parallel, with_f32},
    quantized_matmul::build_tiles,
};

/// Elements below which waking other threads costs more than it saves.
const WORTH_THREADS: usize = 65_536;

/// Two columns of 16 rows, one vector.
pub(super) type Pair = [[bf16; 2]; LANES];

/// A weight matrix.
#[derive(Debug, Clone)]
pub struct Bf16Weights {
    pub out: usize,
    pub width: usize,
    /// `[out / 16, width / 2]`
    pub(super) pairs: Vec<Pair>,
}

impl Bf16Weights {
    /// Whether there is a kernel for a matrix `[out, width]` on this CPU.
    pub fn takes(out: usize, width: usize) -> bool {
        out > 0 && out.is_multiple_of(LANES) && width.is_multiple_of(2) && has_bf16()
    }

    /// Rounds a matrix `[out, width]`; `None` where [`Self::takes`] says no, or for weights of another shape.
    pub fn pack((out, width): (usize, usize), weights: &[f32]) -> Option<Self> {
        if !Self::takes(out, width) || weights.len() != out * width {
            return None;
        }
        let pairs = build_tiles(out / LANES, width / 2, |column, pair| {
            std::array::from_fn(|lane| {
                let at = (column * LANES + lane) * width + pair * 2;
                [bf16::from_f32(weights[at]), bf16::from_f32(weights[at + 1])]
            })
        });
        Some(Self { out, width, pairs })
    }
}

/// Whether this CPU multiplies bf16.
pub(super) fn has_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512bw")
            && std::arch::is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// Rows of activations.
#[derive(Debug)]
pub struct Bf16Rows {
    pub num_rows: usize,
    pub width: usize,
    /// `[num_rows, width]`
    pub(super) values: Vec<bf16>,
}

impl Bf16Rows {
    /// Rounds `x`: `[num_rows, width]` f32 on the CPU.
    ///
    /// # Errors
    /// A candle error for any other tensor.
    pub fn new(x: &Tensor) -> Result<Self> {
        let (num_rows, width) = x.dims2()?;
        let mut values = vec![bf16::ZERO; num_rows * width];
        with_f32(x, |x| {
            let shared = DisjointMut::new(&mut values);
            parallel(num_rows, x.len() >= WORTH_THREADS, |rows| {
                let (start, len) = (rows.start * width, rows.len() * width);
                // SAFETY: ranges of rows do not overlap.
                round(&x[start..][..len], unsafe { shared.range(start, len) });
            });
            Ok(())
        })?;
        Ok(Self {
            num_rows,
            width,
            values,
        })
    }

    /// Returns a rounded activation, for the reference.
    pub fn value(&self, row: usize, column: usize) -> f32 {
        self.values[row * self.width + column].to_f32()
    }
}

multiversion! {
    fn round(x: &[f32], rounded: &mut [bf16]) = round_body
}

/// To the nearest, ties to even, without the branches of `half`, which do not become vector code.
#[inline(always)]
fn round_body<const FUSED: bool>(x: &[f32], rounded: &mut [bf16]) {
    for (rounded, x) in rounded.iter_mut().zip(x) {
        let bits = x.to_bits();
        let up = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        // A NaN must not be rounded up to infinity.
        let quiet = bits >> 16 | 0x40;
        let is_nan = bits & 0x7fff_ffff > 0x7f80_0000;
        *rounded = bf16::from_bits(if is_nan { quiet } else { up } as u16);
    }
}
