//! Which instruction sets the products are written for, and which of them this CPU has.
//!
//! A kernel is written once, over [`Simd`]: vectors of 32-bit lanes, one output a lane. A value of a type that implements
//! it exists only on CPUs that have the instructions, which makes its methods safe. AVX-512-VNNI has kernels of its own.

use std::sync::OnceLock;

use half::f16;

#[cfg(target_arch = "x86_64")]
use super::avx2::Avx;
#[cfg(target_arch = "aarch64")]
use super::neon::Neon;
use super::portable::Portable;
use crate::ops::cpu::for_rows;

/// An instruction set that this CPU has.
#[derive(Debug, Clone, Copy)]
pub struct Instructions(pub(in crate::ops) Set);

/// What [`Instructions`] stands for: fields are proofs that the CPU has them.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops) enum Set {
    /// AVX-512F, BW and VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    /// AVX2 and the dot product of AVX-VNNI.
    #[cfg(target_arch = "x86_64")]
    AvxVnni(Avx<true>),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx<false>),
    /// NEON and the dot product of Armv8.2.
    #[cfg(target_arch = "aarch64")]
    NeonDot(Neon<true>),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon<false>),
    /// What every CPU of the target has.
    Portable(Portable),
}

/// Proof that the CPU has AVX-512F, BW and VNNI.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy)]
pub(in crate::ops) struct Avx512(());

/// Vectors of `WIDTH` lanes of 32 bits. Methods are `#[inline(always)]`, because what they call is compiled to
/// instructions only inside of a function that has the features: the one that a [`Kernel`] is run in.
pub(in crate::ops) trait Simd: Copy {
    /// Outputs of a tile in a vector, 4 bytes each.
    const WIDTH: usize;
    /// Whether weights of 8 bits are multiplied as signed numbers. Narrower ones may be taken for either.
    const SIGNED_BYTES: bool;

    type Ints: Copy;
    type Floats: Copy;

    fn splat(self, value: i32) -> Self::Ints;
    /// Loads the first `4 * WIDTH` bytes.
    fn load(self, bytes: &[u8]) -> Self::Ints;
    fn and(self, a: Self::Ints, b: Self::Ints) -> Self::Ints;
    fn or(self, a: Self::Ints, b: Self::Ints) -> Self::Ints;
    fn xor(self, a: Self::Ints, b: Self::Ints) -> Self::Ints;
    fn sub(self, a: Self::Ints, b: Self::Ints) -> Self::Ints;
    /// Shifts lanes up.
    fn up<const BITS: i32>(self, a: Self::Ints) -> Self::Ints;
    /// Shifts lanes down, zeros from above.
    fn down<const BITS: i32>(self, a: Self::Ints) -> Self::Ints;
    /// Shifts lanes down, the sign from above.
    fn down_signed<const BITS: i32>(self, a: Self::Ints) -> Self::Ints;

    /// Widens the first `WIDTH` pairs of unsigned bytes to pairs of 16 bits.
    fn pairs(self, pairs: &[[u8; 2]]) -> Self::Ints;
    /// The same of signed bytes.
    fn signed_pairs(self, pairs: &[[i8; 2]]) -> Self::Ints;
    /// Adds the products of pairs of signed 16 bits to the sums.
    fn add_pairs(self, sums: Self::Ints, a: Self::Ints, b: Self::Ints) -> Self::Ints;

    /// Adds the products of 16 columns, 4 a vector of weights. `bits`: of the weights, 4, 5, 6 or 8; those of 8 are
    /// signed if [`Self::SIGNED_BYTES`]. Quants are no lower than -127.
    fn add_products(
        self,
        products: Self::Ints,
        weights: &[Self::Ints; 4],
        quants: &[i8; 16],
        bits: u32,
    ) -> Self::Ints;

    fn splat_float(self, value: f32) -> Self::Floats;
    fn to_floats(self, ints: Self::Ints) -> Self::Floats;
    /// Loads the first `WIDTH`.
    fn floats(self, values: &[f32]) -> Self::Floats;
    /// Loads the first `WIDTH`.
    fn halves(self, values: &[f16]) -> Self::Floats;
    /// Loads the first `WIDTH`.
    fn bytes(self, values: &[u8]) -> Self::Floats;
    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// Returns `a * b + c`.
    fn fma(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// Stores into the first `WIDTH`.
    fn store(self, values: Self::Floats, out: &mut [f32]);

    /// Returns how many bytes ahead a product of some rows asks for its weights; `None`: not at all.
    #[inline(always)]
    fn ahead(self, _rows: usize) -> Option<usize> {
        None
    }

    /// Asks for a line of memory, which may be anywhere: a hint reads nothing.
    #[inline(always)]
    fn prefetch(self, _line: *const i8) {}
}

/// Work on a group of rows of activations.
pub(in crate::ops) trait Kernel {
    fn rows(&self) -> usize;

    /// Does the rows `first..first + R`. To be `#[inline(always)]`, and free of closures, which are functions apart.
    fn run<S: Simd, const R: usize>(&mut self, simd: S, first: usize);
}

impl Instructions {
    /// Returns those that this CPU has, the fastest first.
    pub fn available() -> Vec<Self> {
        let mut sets = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            sets.extend(super::has_vnni().then_some(Set::Avx512(Avx512(()))));
            sets.extend(Avx::detect().map(Set::AvxVnni));
            sets.extend(Avx::detect().map(Set::Avx2));
        }
        #[cfg(target_arch = "aarch64")]
        {
            sets.extend(Neon::detect().map(Set::NeonDot));
            sets.extend(Neon::detect().map(Set::Neon));
        }
        sets.push(Set::Portable(Portable));
        sets.into_iter().map(Self).collect()
    }

    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(_) => "avx512-vnni",
            #[cfg(target_arch = "x86_64")]
            Set::AvxVnni(_) => "avx-vnni",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => "avx2",
            #[cfg(target_arch = "aarch64")]
            Set::NeonDot(_) => "neon-dotprod",
            #[cfg(target_arch = "aarch64")]
            Set::Neon(_) => "neon",
            Set::Portable(_) => "portable",
        }
    }

    /// Runs a kernel.
    ///
    /// # Panics
    /// With AVX-512, whose kernels are not written as a [`Kernel`].
    #[inline]
    pub(in crate::ops) fn run<K: Kernel>(self, kernel: &mut K) {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(_) => unreachable!("AVX-512 has kernels of its own"),
            #[cfg(target_arch = "x86_64")]
            Set::AvxVnni(avx) => for_rows!(kernel.rows(), R => avx.run::<K, R>(kernel)),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(avx) => for_rows!(kernel.rows(), R => avx.run::<K, R>(kernel)),
            #[cfg(target_arch = "aarch64")]
            Set::NeonDot(neon) => for_rows!(kernel.rows(), R => neon.run::<K, R>(kernel)),
            #[cfg(target_arch = "aarch64")]
            Set::Neon(neon) => for_rows!(kernel.rows(), R => neon.run::<K, R>(kernel)),
            // One row at a time: a CPU of the last resort is not worth eight kernels for each type.
            Set::Portable(portable) => {
                (0..kernel.rows()).for_each(|row| kernel.run::<_, 1>(portable, row));
            }
        }
    }
}

/// Returns the instructions that products use: the fastest of this CPU, or those that the first call asked for.
pub fn instructions(wanted: Option<Instructions>) -> Instructions {
    static CHOICE: OnceLock<Instructions> = OnceLock::new();
    *CHOICE.get_or_init(|| wanted.unwrap_or_else(|| Instructions::available()[0]))
}

/// Asks for piece `piece` of `pieces` of the tile that is `ahead` bytes behind this one.
#[inline(always)]
pub(in crate::ops) fn prefetch<S: Simd, T>(
    simd: S,
    tile: &T,
    (piece, pieces): (usize, usize),
    ahead: Option<usize>,
) {
    let Some(ahead) = ahead else {
        return;
    };
    let bytes = size_of::<T>() / pieces;
    let start = std::ptr::from_ref(tile).cast::<i8>();
    for line in 0..bytes.div_ceil(64) {
        simd.prefetch(start.wrapping_add(ahead + piece * bytes + line * 64));
    }
}

/// Returns 4 bits of half a span of part `part` of a tile, 4 columns a vector: the low nibbles of its 4 vectors, or the
/// high ones.
#[inline(always)]
pub(in crate::ops) fn nibbles<S: Simd>(
    simd: S,
    all: &[u8],
    part: usize,
    half: usize,
) -> [S::Ints; 4] {
    let low = simd.splat(0x0f0f_0f0f);
    let mut nibbles = [low; 4];
    for (group, nibbles) in nibbles.iter_mut().enumerate() {
        let both = simd.load(&all[group * 64 + part * 4 * S::WIDTH..]);
        let both = if half == 0 {
            both
        } else {
            simd.down::<4>(both)
        };
        *nibbles = simd.and(both, low);
    }
    nibbles
}

/// The same with a fifth bit, which of group `g` is bit `g` of its byte.
#[inline(always)]
pub(in crate::ops) fn five_bits<S: Simd>(
    simd: S,
    (all, fifth): (&[u8], &[u8]),
    part: usize,
    half: usize,
) -> [S::Ints; 4] {
    let fifth = simd.load(&fifth[part * 4 * S::WIDTH..]);
    // Bit `4 * half + group` to bit 4.
    let fifth = if half == 0 {
        [
            simd.up::<4>(fifth),
            simd.up::<3>(fifth),
            simd.up::<2>(fifth),
            simd.up::<1>(fifth),
        ]
    } else {
        [
            fifth,
            simd.down::<1>(fifth),
            simd.down::<2>(fifth),
            simd.down::<3>(fifth),
        ]
    };
    let mut weights = nibbles(simd, all, part, half);
    for (weights, fifth) in weights.iter_mut().zip(fifth) {
        let bit = simd.and(fifth, simd.splat(0x1010_1010));
        *weights = simd.or(*weights, bit);
    }
    weights
}
