//! What the CPU paths share: slices of tensors, parallel loops, an exponential that vectorises, and the choice of
//! instruction set.
//!
//! Kernels are plain loops over arrays of 16 lanes in an `#[inline(always)]` body; [`multiversion!`] compiles the
//! body for AVX-512, for AVX2 and for the baseline and picks at run time. Threads are those of [`super::pool`].

use candle_core::{CpuStorage, Error, Result, Storage, Tensor};

/// Lanes of the vector loops: one AVX-512 register of f32.
pub const LANES: usize = 16;

/// Calls `run` with the elements of a contiguous f32 CPU tensor.
///
/// # Errors
/// A candle error unless the tensor is contiguous f32 on the CPU, and whatever `run` fails with.
pub fn with_f32<R>(tensor: &Tensor, run: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        return Err(Error::Msg("a contiguous tensor is needed".into()));
    };
    match &*storage {
        Storage::Cpu(CpuStorage::F32(data)) => run(&data[start..end]),
        _ => Err(Error::Msg("an f32 tensor on the CPU is needed".into())),
    }
}

/// Runs `body` on sub-ranges of `0..items` on all threads, or here when the work is too small to be worth waking them.
pub fn parallel(items: usize, worth_it: bool, body: impl Fn(std::ops::Range<usize>) + Sync) {
    if items == 0 {
        return;
    }
    if worth_it && items > 1 {
        super::pool::pool(None).run(items, &body);
    } else {
        body(0..items);
    }
}

/// A slice that several threads write, each to parts of its own.
pub struct DisjointMut<'a, T> {
    start: *mut T,
    len: usize,
    slice: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: threads only get at the elements through `range`, whose caller promises that ranges do not overlap.
unsafe impl<T: Send> Sync for DisjointMut<'_, T> {}

impl<'a, T> DisjointMut<'a, T> {
    pub fn new(slice: &'a mut [T]) -> Self {
        Self {
            start: slice.as_mut_ptr(),
            len: slice.len(),
            slice: std::marker::PhantomData,
        }
    }

    /// Returns a part of the slice.
    ///
    /// # Safety
    /// No two parts that are alive at the same time may overlap.
    ///
    /// # Panics
    /// When the part does not lie inside the slice.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn range(&self, start: usize, len: usize) -> &mut [T] {
        assert!(
            start.checked_add(len).is_some_and(|end| end <= self.len),
            "{start}+{len} of {}",
            self.len
        );
        // SAFETY: inside the slice (line above), which is borrowed mutably for 'a; disjointness is the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }

    /// Asks for the cache lines of a part that is soon written, where the CPU takes such hints.
    #[inline]
    pub fn fetch(&self, start: usize, len: usize) {
        #[cfg(target_arch = "x86_64")]
        for at in [start, start + len.max(1) - 1] {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: a hint reads nothing, wherever it points.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(self.start.wrapping_add(at).cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (start, len);
    }
}

/// Returns `e^x` within 2e-7 relative error for `x <= 88`; below -87 the smallest normal numbers.
///
/// No branches and no calls, so loops over it become vector code. Source: Cephes `expf`.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // 1.5 * 2^23: adding it rounds to the nearest integer, which is then in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits());
    let power = f32::from_bits(exponent.wrapping_add(127) << 23);
    // ln 2 in two parts, the first exact in few bits, so that `r` keeps full precision.
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    (p * r * r + r + 1.0) * power
}

/// Returns `a * b + c`, fused where the caller is compiled for a CPU that can.
#[inline(always)]
pub fn fma<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    // Without the instruction `mul_add` is a slow library call.
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// Returns an f16 as f32, exact for all finite values, without a call.
#[inline(always)]
pub fn f16_to_f32(half: half::f16) -> f32 {
    let bits = u32::from(half.to_bits());
    // 2^112 moves the exponent bias from 15 to 127 and normalises subnormals on the way.
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits((127 + 112) << 23);
    f32::from_bits(magnitude.to_bits() | (bits & 0x8000) << 16)
}

/// Whether this CPU has the AVX-512 that vector loops are compiled for: F, VL, BW and DQ, and fused multiplication.
#[cfg(target_arch = "x86_64")]
pub fn has_avx512() -> bool {
    std::arch::is_x86_feature_detected!("fma")
        && std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512vl")
        && std::arch::is_x86_feature_detected!("avx512bw")
        && std::arch::is_x86_feature_detected!("avx512dq")
}

/// Rows of the largest group that [`for_rows!`] knows.
pub const MOST_ROWS: usize = 8;

/// Calls what is compiled for each number of rows: `for_rows!(count, R => kernel::<R>(arguments))`; more than
/// [`MOST_ROWS`] are that many.
macro_rules! for_rows {
    (@arms $rows:expr, $R:ident => $call:expr; $($number:literal)+) => {
        match $rows {
            $($number => {
                const $R: usize = $number;
                $call
            })+
            _ => {
                const $R: usize = $crate::ops::cpu::MOST_ROWS;
                $call
            }
        }
    };
    ($rows:expr, $R:ident => $call:expr) => {
        $crate::ops::cpu::for_rows!(@arms $rows, $R => $call; 1 2 3 4 5 6 7)
    };
}
pub(crate) use for_rows;

/// Defines `fn $name(args)` that runs `$body::<FUSED>(args)` compiled for the best instruction set of this CPU.
macro_rules! multiversion {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) = $body:ident) => {
        $(#[$doc])*
        $vis fn $name($($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,fma")]
                fn avx512($($arg: $type),*) {
                    $body::<true>($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $type),*) {
                    $body::<true>($($arg),*)
                }
                let has_fma = std::arch::is_x86_feature_detected!("fma");
                if $crate::ops::cpu::has_avx512() {
                    // SAFETY: the CPU has these features (lines above).
                    return unsafe { avx512($($arg),*) };
                }
                if has_fma && std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: the CPU has these features (line above).
                    return unsafe { avx2($($arg),*) };
                }
            }
            $body::<false>($($arg),*)
        }
    };
}
pub(crate) use multiversion;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_its_bound() {
        for step in -8_600..8_700 {
            let x = step as f32 * 0.01;
            let (got, want) = (f64::from(exp(x)), f64::from(x).exp());
            assert!(
                ((got - want) / want).abs() < 2e-7,
                "exp({x}) = {got}, not {want}"
            );
        }
        assert!(exp(f32::NEG_INFINITY) < 2e-38);
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn every_finite_f16_converts_exactly() {
        for bits in 0..=u16::MAX {
            let half = half::f16::from_bits(bits);
            if half.is_finite() {
                assert_eq!(
                    f16_to_f32(half).to_bits(),
                    half.to_f32().to_bits(),
                    "{bits:#x}"
                );
            }
        }
    }

    #[test]
    fn parallel_ranges_cover_every_item_once() {
        let mut counts = vec![0u8; 1_000];
        let shared = DisjointMut::new(&mut counts);
        parallel(1_000, true, |range| {
            for item in range {
                // SAFETY: each item is in one range.
                let count = unsafe { shared.range(item, 1) };
                count[0] += 1;
            }
        });
        assert!(counts.iter().all(|&count| count == 1));
    }
}
