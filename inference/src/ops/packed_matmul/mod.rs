//! Weights in the order in which a GPU's tensor cores read them, for `kernels/packed_gemv.cu`.
//!
//! `kernels/packed.cuh` describes the layout: 16 rows and 256 columns are a unit, numbers of 4 or 8 bits first, scales after them.
//! Nothing is rounded: a packed weight is the file's. Rows beyond a matrix and columns beyond its width are zero.

mod blocks;
mod pack;

use candle_core::quantized::GgmlDType;

pub use pack::pack;

/// Rows of a unit.
pub const TILE_ROWS: usize = 16;
/// Columns of a unit.
pub const UNIT: usize = 256;
/// Tokens that share their packed activations' units.
pub const TILE_TOKENS: usize = 8;
/// Bytes of packed activations of 8 tokens and 256 columns.
pub const X_UNIT_BYTES: usize = 4096 + 256 + 32;

/// Bytes of activations in f16 of 8 tokens and 256 columns.
pub const HALVES_UNIT_BYTES: usize = 4096;

/// How numbers and scales are kept; the values are those of `packed.cuh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum PackedFormat {
    /// Q4_K
    NibblesSpans = 0,
    /// Q4_0, Q4_1
    NibblesMinima = 1,
    /// Q5_K
    BytesSpans = 2,
    /// Q6_K
    BytesHalves = 3,
    /// Q5_0, Q8_0
    BytesFloats = 4,
    /// Q5_1
    BytesMinima = 5,
}

impl PackedFormat {
    /// Returns the format of a type of weights; `None` where there is none.
    pub fn of(dtype: GgmlDType) -> Option<Self> {
        Some(match dtype {
            GgmlDType::Q4K => Self::NibblesSpans,
            GgmlDType::Q4_0 | GgmlDType::Q4_1 => Self::NibblesMinima,
            GgmlDType::Q5K => Self::BytesSpans,
            GgmlDType::Q6K => Self::BytesHalves,
            GgmlDType::Q5_0 | GgmlDType::Q8_0 => Self::BytesFloats,
            GgmlDType::Q5_1 => Self::BytesMinima,
            _ => return None,
        })
    }

    fn has_nibbles(self) -> bool {
        matches!(self, Self::NibblesSpans | Self::NibblesMinima)
    }

    /// Returns the bytes of the numbers of a unit.
    fn number_bytes(self) -> usize {
        let numbers = TILE_ROWS * UNIT;
        if self.has_nibbles() {
            numbers / 2
        } else {
            numbers
        }
    }

    /// Returns the bytes that a warp of `packed_gemv.cu` has under way: two units.
    pub fn ring_bytes(self) -> usize {
        2 * self.unit_bytes()
    }

    /// Returns the bytes of a unit.
    pub fn unit_bytes(self) -> usize {
        let scales = match self {
            Self::BytesFloats => 16,
            Self::NibblesMinima | Self::BytesMinima => 32,
            Self::NibblesSpans | Self::BytesSpans | Self::BytesHalves => 20,
        };
        self.number_bytes() + TILE_ROWS * scales
    }
}

/// Returns the units of a row.
pub fn units_of(width: usize) -> usize {
    width.div_ceil(UNIT)
}

/// Returns the bytes of a packed matrix of this shape, `[out, width]`.
pub fn packed_bytes(format: PackedFormat, (out, width): (usize, usize)) -> usize {
    out.div_ceil(TILE_ROWS) * units_of(width) * format.unit_bytes()
}
