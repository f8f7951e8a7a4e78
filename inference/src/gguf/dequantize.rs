//! The weights that blocks of each ggml type stand for, as f32.
//!
//! One plain function a type, written like the format's definition: this is the truth that kernels, re-encodings and
//! the quantizer are held to. Products are taken in ggml's order, so every value equals ggml's bit for bit
//! (`tests/it/golden_types.rs`).
//! Source of the layouts: ggml's `ggml-common.h`; of MXFP4: OCP Microscaling Formats 1.0.

use half::{bf16, f16};

use super::GgmlType;

/// The 16 values of `IQ4_NL` and `IQ4_XS`, times the block's scale.
pub(super) const IQ4_VALUES: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];
/// Twice the 16 values of E2M1 (0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives), which are integers.
pub(super) const MXFP4_DOUBLED: [i8; 16] =
    [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Why blocks and weights could not be turned into each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    #[error("there is no such conversion for {ggml_type}")]
    Type { ggml_type: GgmlType },
    #[error("{bytes} bytes of {ggml_type} are not {weights} weights")]
    Length {
        ggml_type: GgmlType,
        bytes: usize,
        weights: usize,
    },
}

/// Writes the weights of whole blocks to `weights`.
///
/// # Errors
/// [`BlockError`] for a type outside [`GgmlType::SUPPORTED`], or unless `data` is exactly `weights.len()` weights.
pub fn dequantize(ggml_type: GgmlType, data: &[u8], weights: &mut [f32]) -> Result<(), BlockError> {
    let decode = decoder(ggml_type).ok_or(BlockError::Type { ggml_type })?;
    let (block_weights, block_bytes) = whole_blocks(ggml_type, data.len(), weights.len())?;
    let blocks = data.chunks_exact(block_bytes);
    for (block, weights) in blocks.zip(weights.chunks_exact_mut(block_weights)) {
        decode(block, weights);
    }
    Ok(())
}

/// Returns weights and bytes of a block.
///
/// # Errors
/// [`BlockError::Length`] unless `bytes` are exactly `weights` weights.
pub(super) fn whole_blocks(
    ggml_type: GgmlType,
    bytes: usize,
    weights: usize,
) -> Result<(usize, usize), BlockError> {
    ggml_type
        .block()
        .filter(|_| ggml_type.bytes_of(weights) == Some(bytes))
        .ok_or(BlockError::Length {
            ggml_type,
            bytes,
            weights,
        })
}

/// Takes one block apart.
type Decode = fn(&[u8], &mut [f32]);

fn decoder(ggml_type: GgmlType) -> Option<Decode> {
    Some(match ggml_type {
        GgmlType::F32 => |block, y| y[0] = f32::from_bits(word(block, 0)),
        GgmlType::F16 => |block, y| y[0] = half_at(block, 0),
        GgmlType::BF16 => |block, y| y[0] = bf16::from_le_bytes([block[0], block[1]]).to_f32(),
        GgmlType::Q4_0 => q4_0,
        GgmlType::Q4_1 => q4_1,
        GgmlType::Q5_0 => q5_0,
        GgmlType::Q5_1 => q5_1,
        GgmlType::Q8_0 => q8_0,
        GgmlType::Q2_K => q2_k,
        GgmlType::Q3_K => q3_k,
        GgmlType::Q4_K => q4_k,
        GgmlType::Q5_K => q5_k,
        GgmlType::Q6_K => q6_k,
        GgmlType::IQ4_NL => iq4_nl,
        GgmlType::IQ4_XS => iq4_xs,
        GgmlType::MXFP4 => mxfp4,
        _ => return None,
    })
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn word(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

/// Nibble `i` of a block of 32: the low nibbles of 16 bytes, then the high ones.
fn nibble(packed: &[u8], i: usize) -> u8 {
    packed[i % 16] >> (i / 16 * 4) & 15
}

/// As [`nibble`], with bit `i` of `high` as the fifth.
fn five_bits(packed: &[u8], high: u32, i: usize) -> u8 {
    nibble(packed, i) | ((high >> i & 1) as u8) << 4
}

/// d, 16 bytes of nibbles: `d * (q - 8)`.
fn q4_0(block: &[u8], y: &mut [f32]) {
    let d = half_at(block, 0);
    for (i, y) in y.iter_mut().enumerate() {
        *y = d * (f32::from(nibble(&block[2..], i)) - 8.0);
    }
}

/// d, m, 16 bytes of nibbles: `d * q + m`.
fn q4_1(block: &[u8], y: &mut [f32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for (i, y) in y.iter_mut().enumerate() {
        *y = d * f32::from(nibble(&block[4..], i)) + m;
    }
}

/// d, 32 fifth bits, 16 bytes of nibbles: `d * (q - 16)`.
fn q5_0(block: &[u8], y: &mut [f32]) {
    let (d, high) = (half_at(block, 0), word(block, 2));
    for (i, y) in y.iter_mut().enumerate() {
        *y = d * (f32::from(five_bits(&block[6..], high, i)) - 16.0);
    }
}

/// d, m, 32 fifth bits, 16 bytes of nibbles: `d * q + m`.
fn q5_1(block: &[u8], y: &mut [f32]) {
    let (d, m, high) = (half_at(block, 0), half_at(block, 2), word(block, 4));
    for (i, y) in y.iter_mut().enumerate() {
        *y = d * f32::from(five_bits(&block[8..], high, i)) + m;
    }
}

/// d, 32 signed bytes: `d * q`.
fn q8_0(block: &[u8], y: &mut [f32]) {
    let d = half_at(block, 0);
    for (y, &q) in y.iter_mut().zip(&block[2..]) {
        *y = d * f32::from(q as i8);
    }
}

/// 16 bytes of 4-bit scales and mins, 64 bytes of 2 bits, d, dmin: `d * scale * q - dmin * min` of each 16.
fn q2_k(block: &[u8], y: &mut [f32]) {
    let (scales, quants) = (&block[..16], &block[16..80]);
    let (d, dmin) = (half_at(block, 80), half_at(block, 82));
    for (i, y) in y.iter_mut().enumerate() {
        let scale = scales[i / 16];
        let q = two_bits(quants, i);
        *y = d * f32::from(scale & 15) * f32::from(q) - dmin * f32::from(scale >> 4);
    }
}

/// Two bits of column `i` of 256: of each half of 128, 32 bytes hold four runs of 32, each 2 bits further up.
fn two_bits(quants: &[u8], i: usize) -> u8 {
    quants[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3
}

/// 32 bytes of third bits, 64 bytes of 2 bits, 12 bytes of 16 6-bit scales, d: `d * (scale - 32) * q`, where q is 4
/// less if its third bit is not set.
fn q3_k(block: &[u8], y: &mut [f32]) {
    let (thirds, quants, packed) = (&block[..32], &block[32..96], &block[96..108]);
    let d = half_at(block, 108);
    for (i, y) in y.iter_mut().enumerate() {
        let span = i / 16;
        let low = packed[span % 8] >> (span / 8 * 4) & 15;
        let high = packed[8 + span % 4] >> (span / 4 * 2) & 3;
        let scale = f32::from(low | high << 4) - 32.0;
        let third = thirds[i % 32] >> (i / 32) & 1;
        let q = f32::from(two_bits(quants, i)) - if third == 1 { 0.0 } else { 4.0 };
        *y = d * scale * q;
    }
}

/// Scale and min of span `span` of 8, 6 bits each in 12 bytes: 0 to 3 are the low 6 bits of bytes 0 to 7; the others
/// have 4 bits in bytes 8 to 11 and 2 at the top of bytes 0 to 7.
fn scale_and_min(packed: &[u8], span: usize) -> (f32, f32) {
    let (scale, min) = if span < 4 {
        (packed[span] & 63, packed[span + 4] & 63)
    } else {
        let low = packed[span + 4];
        (
            low & 15 | packed[span - 4] >> 6 << 4,
            low >> 4 | packed[span] >> 6 << 4,
        )
    };
    (f32::from(scale), f32::from(min))
}

/// Nibble of column `i` of 256: of each 64, 32 bytes hold two runs of 32, low and high.
fn k_nibble(quants: &[u8], i: usize) -> u8 {
    quants[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4) & 15
}

/// d, dmin, 12 bytes of scales and mins, 128 bytes of nibbles: `d * scale * q - dmin * min` of each 32.
fn q4_k(block: &[u8], y: &mut [f32]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    for (i, y) in y.iter_mut().enumerate() {
        let (scale, min) = scale_and_min(&block[4..16], i / 32);
        *y = d * scale * f32::from(k_nibble(&block[16..], i)) - dmin * min;
    }
}

/// As `Q4_K`, with 32 bytes of fifth bits before the nibbles: bit `span` of byte `i % 32`.
fn q5_k(block: &[u8], y: &mut [f32]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    let (fifths, quants) = (&block[16..48], &block[48..]);
    for (i, y) in y.iter_mut().enumerate() {
        let (scale, min) = scale_and_min(&block[4..16], i / 32);
        let q = k_nibble(quants, i) | (fifths[i % 32] >> (i / 32) & 1) << 4;
        *y = d * scale * f32::from(q) - dmin * min;
    }
}

/// 128 bytes of nibbles, 64 of upper pairs of bits, 16 signed scales, d: `d * scale * (q - 32)` of each 16.
fn q6_k(block: &[u8], y: &mut [f32]) {
    let (low, upper, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = half_at(block, 208);
    for (i, y) in y.iter_mut().enumerate() {
        // Of each 128 columns: two runs of 32 low nibbles, then the same bytes' high ones.
        let nibble = low[i / 128 * 64 + i % 64] >> (i % 128 / 64 * 4) & 15;
        let q = f32::from(nibble | two_bits(upper, i) << 4) - 32.0;
        *y = d * f32::from(scales[i / 16] as i8) * q;
    }
}

/// d, 16 bytes of nibbles: `d * value[q]`.
fn iq4_nl(block: &[u8], y: &mut [f32]) {
    let d = half_at(block, 0);
    for (i, y) in y.iter_mut().enumerate() {
        *y = d * f32::from(IQ4_VALUES[usize::from(nibble(&block[2..], i))]);
    }
}

/// d, 16 upper bits of 8 scales, 4 bytes of lower ones, 128 bytes of nibbles: `d * (scale - 32) * value[q]` of each 32.
fn iq4_xs(block: &[u8], y: &mut [f32]) {
    for (span, y) in y.chunks_exact_mut(32).enumerate() {
        let scale = iq4_xs_scale(block, span);
        for (i, y) in y.iter_mut().enumerate() {
            let q = nibble(&block[8 + span * 16..], i);
            *y = scale * f32::from(IQ4_VALUES[usize::from(q)]);
        }
    }
}

/// Scale of a span of 32 of an `IQ4_XS` block.
pub(super) fn iq4_xs_scale(block: &[u8], span: usize) -> f32 {
    let upper = u16::from_le_bytes([block[2], block[3]]) >> (2 * span) & 3;
    let lower = block[4 + span / 2] >> (span % 2 * 4) & 15;
    half_at(block, 0) * (f32::from(lower) + 16.0 * f32::from(upper) - 32.0)
}

/// Exponent, 16 bytes of nibbles: `2^(exponent - 127) * value[q]`.
fn mxfp4(block: &[u8], y: &mut [f32]) {
    let half_scale = mxfp4_half_scale(block[0]);
    for (i, y) in y.iter_mut().enumerate() {
        *y = half_scale * f32::from(MXFP4_DOUBLED[usize::from(nibble(&block[1..], i))]);
    }
}

/// Returns `2^(exponent - 128)`, the scale of the doubled values. The format's NaN, 255, is 2^127 as in ggml.
pub(super) fn mxfp4_half_scale(exponent: u8) -> f32 {
    f32::from_bits(match exponent {
        // Below the smallest normal number.
        0 | 1 => 0x0020_0000 << exponent,
        _ => u32::from(exponent - 1) << 23,
    })
}
