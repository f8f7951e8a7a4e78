//! Types without kernels, turned into types with kernels when they are loaded.
//!
//! | type   | becomes | loss                                              | memory, bits a weight |
//! |--------|---------|---------------------------------------------------|-----------------------|
//! | IQ4_NL | Q8_0    | none: `d * value`, values are 8-bit integers      | 8.5 for 4.5           |
//! | MXFP4  | Q8_0    | none: powers of two from 2^-24 to 2^15 are f16    | 8.5 for 4.25          |
//! | IQ4_XS | Q8_0    | the scale of 32 weights is rounded to f16: 2^-11  | 8.5 for 4.25          |
//!
//! The loss of IQ4_XS is an eighth of what the product loses by rounding activations to 8 bits. A tensor with a scale
//! that f16 does not hold (below 2^-24 or above 65,504 in magnitude: no model worth running has one) becomes F32, which
//! is exact and takes 32 bits a weight.

use candle_core::quantized::GgmlDType;
use half::f16;

use super::{
    BlockError, GgmlType,
    dequantize::{IQ4_VALUES, MXFP4_DOUBLED, dequantize, iq4_xs_scale, mxfp4_half_scale},
};

/// Weights of the blocks that become blocks of `Q8_0`.
const BLOCK: usize = 32;

/// A tensor's data in a type that candle computes with.
pub(super) struct Reencoded {
    pub dtype: GgmlDType,
    pub data: Vec<u8>,
}

/// Re-encodes whole blocks of `IQ4_NL`, `IQ4_XS` or `MXFP4`.
///
/// # Errors
/// [`BlockError`] for other types, or when `data` is not whole blocks.
pub(super) fn reencode(ggml_type: GgmlType, data: &[u8]) -> Result<Reencoded, BlockError> {
    let blocks = match ggml_type {
        GgmlType::IQ4_NL => iq4_nl(data),
        GgmlType::IQ4_XS => iq4_xs(data),
        GgmlType::MXFP4 => mxfp4(data),
        _ => return Err(BlockError::Type { ggml_type }),
    };
    if let Some(data) = blocks {
        return Ok(Reencoded {
            dtype: GgmlDType::Q8_0,
            data,
        });
    }
    let (block_weights, block_bytes) = ggml_type.block().unwrap_or((1, 1));
    let mut weights = vec![0f32; data.len() / block_bytes * block_weights];
    dequantize(ggml_type, data, &mut weights)?;
    Ok(Reencoded {
        dtype: GgmlDType::F32,
        data: weights.iter().flat_map(|w| w.to_le_bytes()).collect(),
    })
}

fn iq4_nl(data: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(data.len() / 18 * 34);
    for block in data.chunks_exact(18) {
        put_block(&mut out, [block[0], block[1]], &IQ4_VALUES, &block[2..]);
    }
    Some(out)
}

fn iq4_xs(data: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(data.len() / 136 * 272);
    for block in data.chunks_exact(136) {
        for span in 0..8 {
            let scale = f16_scale(iq4_xs_scale(block, span))?;
            let nibbles = &block[8 + span * 16..][..16];
            put_block(&mut out, scale, &IQ4_VALUES, nibbles);
        }
    }
    Some(out)
}

fn mxfp4(data: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(data.len() / 17 * 34);
    for block in data.chunks_exact(17) {
        let scale = match f16_scale(mxfp4_half_scale(block[0])) {
            Some(scale) => scale,
            // Zeros (of either sign) are zeros at any scale.
            None if block[1..].iter().all(|byte| byte & 0x77 == 0) => [0, 0],
            None => return None,
        };
        put_block(&mut out, scale, &MXFP4_DOUBLED, &block[1..]);
    }
    Some(out)
}

/// Returns the scale as f16, `None` when that is out of its range.
fn f16_scale(scale: f32) -> Option<[u8; 2]> {
    let half = f16::from_f32(scale);
    let fits = half.is_finite() && (scale == 0.0 || half != f16::ZERO);
    fits.then(|| half.to_le_bytes())
}

/// Appends a block of `Q8_0`: the scale and the values of 32 nibbles.
fn put_block(out: &mut Vec<u8>, scale: [u8; 2], values: &[i8; 16], nibbles: &[u8]) {
    out.extend(scale);
    out.extend((0..BLOCK).map(|i| values[usize::from(nibbles[i % 16] >> (i / 16 * 4) & 15)] as u8));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(ggml_type: GgmlType, data: &[u8], count: usize) -> Vec<f32> {
        let mut weights = vec![0.0; count];
        dequantize(ggml_type, data, &mut weights).unwrap();
        weights
    }

    fn mxfp4_blocks(exponents: &[u8], nibbles: u8) -> Vec<u8> {
        exponents
            .iter()
            .flat_map(|&exponent| [[exponent].as_slice(), &[nibbles; 16]].concat())
            .collect()
    }

    #[test]
    fn mxfp4_is_exact_in_the_range_of_f16_and_f32_outside() {
        let table = [
            (vec![104, 127, 143], 0x5d, GgmlDType::Q8_0),
            // A block of zeros may have any exponent.
            (vec![0, 127, 255], 0x80, GgmlDType::Q8_0),
            (vec![127, 103], 0x5d, GgmlDType::F32),
            (vec![144], 0x5d, GgmlDType::F32),
        ];
        for (exponents, nibbles, dtype) in table {
            let data = mxfp4_blocks(&exponents, nibbles);
            let reencoded = reencode(GgmlType::MXFP4, &data).unwrap();
            assert_eq!(reencoded.dtype, dtype, "{exponents:?}");
            let count = exponents.len() * BLOCK;
            let ggml_type = match dtype {
                GgmlDType::F32 => GgmlType::F32,
                _ => GgmlType::Q8_0,
            };
            assert_eq!(
                weights(ggml_type, &reencoded.data, count),
                weights(GgmlType::MXFP4, &data, count)
            );
        }
    }

    #[test]
    fn iq4_xs_loses_at_most_half_a_bit_of_f16() {
        let mut block: Vec<u8> = (0..136u8).map(|i| i.wrapping_mul(37)).collect();
        block[..2].copy_from_slice(&f16::from_f32(0.013).to_le_bytes());
        let reencoded = reencode(GgmlType::IQ4_XS, &block).unwrap();
        let (got, want) = (
            weights(GgmlType::Q8_0, &reencoded.data, 256),
            weights(GgmlType::IQ4_XS, &block, 256),
        );
        for (got, want) in got.into_iter().zip(want) {
            assert!(
                (got - want).abs() <= want.abs() / 2048.0,
                "{got}, not {want}"
            );
        }
        block[..2].copy_from_slice(&f16::MAX.to_le_bytes());
        let reencoded = reencode(GgmlType::IQ4_XS, &block).unwrap();
        assert_eq!(reencoded.dtype, GgmlDType::F32);
    }
}
