//! The numbers and scales of 256 weights of a row, from the blocks of a GGUF file (ggml's `block_*`).

use candle_core::quantized::GgmlDType;
use half::f16;

use super::UNIT;

/// Weights of a block of the types that have blocks of 32.
const BLOCK: usize = 32;

/// Scales of 256 weights: a weight is `scale * number - minimum`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scales {
    /// Bytes for each 32, and what they are multiplied by.
    Spans {
        scales: [u8; 8],
        minima: [u8; 8],
        scale: f16,
        min_scale: f16,
    },
    /// Signed bytes for each 16, and what they are multiplied by.
    Halves { scales: [u8; 16], scale: f16 },
    /// Of each 32.
    Floats { scales: [f16; 8], minima: [f16; 8] },
}

/// 256 weights of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct RowUnit {
    /// Nibbles from 0 to 15, bytes signed.
    pub numbers: [u8; UNIT],
    pub scales: Scales,
}

/// Reads the columns from `256 * unit` of a row; those beyond the row are zero.
pub fn read(dtype: GgmlDType, row: &[u8], unit: usize) -> RowUnit {
    let size = dtype.type_size();
    match dtype {
        GgmlDType::Q4K => q4_k(&row[unit * size..][..size]),
        GgmlDType::Q5K => q5_k(&row[unit * size..][..size]),
        GgmlDType::Q6K => q6_k(&row[unit * size..][..size]),
        _ => of_blocks(dtype, row.get(unit * 8 * size..).unwrap_or(&[]), size),
    }
}

fn half(bytes: &[u8]) -> f16 {
    f16::from_le_bytes([bytes[0], bytes[1]])
}

/// Returns the 6-bit scales and minima of Q4_K and Q5_K from their 12 bytes.
fn six_bits(packed: &[u8]) -> ([u8; 8], [u8; 8]) {
    let (mut scales, mut minima) = ([0; 8], [0; 8]);
    for i in 0..4 {
        scales[i] = packed[i] & 63;
        minima[i] = packed[i + 4] & 63;
        scales[i + 4] = packed[i + 8] & 15 | packed[i] >> 6 << 4;
        minima[i + 4] = packed[i + 8] >> 4 | packed[i + 4] >> 6 << 4;
    }
    (scales, minima)
}

/// Spans `2 j` and `2 j + 1` are the low and high halves of bytes `32 j..`.
fn nibbles(packed: &[u8]) -> [u8; UNIT] {
    let mut numbers = [0; UNIT];
    for (pair, bytes) in packed.chunks_exact(BLOCK).enumerate() {
        for (i, byte) in bytes.iter().enumerate() {
            numbers[64 * pair + i] = byte & 15;
            numbers[64 * pair + BLOCK + i] = byte >> 4;
        }
    }
    numbers
}

fn spans(block: &[u8]) -> Scales {
    let (scales, minima) = six_bits(&block[4..16]);
    Scales::Spans {
        scales,
        minima,
        scale: half(block),
        min_scale: half(&block[2..]),
    }
}

fn q4_k(block: &[u8]) -> RowUnit {
    RowUnit {
        numbers: nibbles(&block[16..]),
        scales: spans(block),
    }
}

fn q5_k(block: &[u8]) -> RowUnit {
    let (high, low) = block[16..].split_at(BLOCK);
    let mut numbers = nibbles(low);
    for (span, numbers) in numbers.chunks_exact_mut(BLOCK).enumerate() {
        for (number, high) in numbers.iter_mut().zip(high) {
            *number |= (high >> span & 1) << 4;
        }
    }
    RowUnit {
        numbers,
        scales: spans(block),
    }
}

fn q6_k(block: &[u8]) -> RowUnit {
    let (low, high) = (&block[..128], &block[128..192]);
    let mut numbers = [0; UNIT];
    for (i, number) in numbers.iter_mut().enumerate() {
        let (half, quarter, column) = (i / 128, i % 128 / BLOCK, i % BLOCK);
        let low = low[64 * half + BLOCK * (quarter % 2) + column] >> (4 * (quarter / 2)) & 15;
        let high = high[BLOCK * half + column] >> (2 * quarter) & 3;
        *number = (low | high << 4).wrapping_sub(32);
    }
    let mut scales = [0; 16];
    scales.copy_from_slice(&block[192..208]);
    RowUnit {
        numbers,
        scales: Scales::Halves {
            scales,
            scale: half(&block[208..]),
        },
    }
}

/// Reads up to 8 blocks of 32.
fn of_blocks(dtype: GgmlDType, blocks: &[u8], size: usize) -> RowUnit {
    let mut numbers = [0; UNIT];
    let (mut scales, mut minima) = ([f16::ZERO; 8], [f16::ZERO; 8]);
    for (span, block) in blocks.chunks_exact(size).take(8).enumerate() {
        let numbers = &mut numbers[BLOCK * span..][..BLOCK];
        scales[span] = half(block);
        minima[span] = match dtype {
            // Exact unless the scale is within a factor of 8 of the largest half.
            GgmlDType::Q4_0 => f16::from_f32(8.0 * scales[span].to_f32()),
            GgmlDType::Q4_1 | GgmlDType::Q5_1 => -half(&block[2..]),
            _ => f16::ZERO,
        };
        match dtype {
            GgmlDType::Q8_0 => numbers.copy_from_slice(&block[2..]),
            GgmlDType::Q4_0 => low_and_high(&block[2..], numbers),
            GgmlDType::Q4_1 => low_and_high(&block[4..], numbers),
            GgmlDType::Q5_0 => {
                low_and_high(&block[6..], numbers);
                fifth_bits(&block[2..6], numbers);
                numbers
                    .iter_mut()
                    .for_each(|number| *number = number.wrapping_sub(16));
            }
            GgmlDType::Q5_1 => {
                low_and_high(&block[8..], numbers);
                fifth_bits(&block[4..8], numbers);
            }
            other => unreachable!("{other:?} has no packed format"),
        }
    }
    RowUnit {
        numbers,
        scales: Scales::Floats { scales, minima },
    }
}

fn low_and_high(packed: &[u8], numbers: &mut [u8]) {
    for (i, byte) in packed.iter().enumerate() {
        numbers[i] = byte & 15;
        numbers[16 + i] = byte >> 4;
    }
}

fn fifth_bits(bits: &[u8], numbers: &mut [u8]) {
    for (i, number) in numbers.iter_mut().enumerate() {
        *number |= (bits[i / 8] >> (i % 8) & 1) << 4;
    }
}
