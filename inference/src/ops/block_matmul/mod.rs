//! Matrix product on the CPU with weights in blocks of 32: `Q4_0`, `Q4_1`, `Q5_0`, `Q5_1`, `Q8_0`.
//!
//! candle multiplies `Q4_1`, `Q5_0` and `Q5_1` with scalar code, and models whose width is not a multiple of 256 have
//! little else. All five formats are `w = d * u + m` with an unsigned `u` of 4, 5 or 8 bits, so one kernel with three ways
//! to unpack `u` serves them. The conversion is exact. Activations are rounded to 8 bits, one scale a block, as ggml does.
//!
//! Other devices use candle's kernels, of which `candle.rs` is here the one-line twin.

pub mod candle;
pub mod cpu;
mod kernel;
mod pack;
pub mod reference;

pub use pack::{BLOCK, BlockWeights};

use candle_core::{Result, Tensor};

use super::quantized_matmul::{self, instructions};

/// Sum of a block's quants.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct BlockSum {
    /// Times their scale.
    scaled: f32,
    /// Times -1.
    negated: i32,
}

/// Rows of activations rounded to 8 bits, one scale a block of 32.
pub type QuantizedRows = quantized_matmul::QuantizedRows<BlockSum, BLOCK>;

impl QuantizedRows {
    /// Rounds `x`: `[num_rows, width]` f32 on the CPU, a multiple of 32 wide.
    ///
    /// # Errors
    /// A candle error for any other tensor.
    pub fn new(x: &Tensor) -> Result<Self> {
        Self::round(x, cpu::round_strip)
    }
}

/// Returns `x W^T + b`, `[num_rows, out]` f32; `bias` is `[out]` f32.
///
/// # Errors
/// A candle error unless the shapes fit.
pub fn matmul(
    rows: &QuantizedRows,
    weights: &BlockWeights,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    if bias.is_some_and(|bias| bias.dims() != [weights.out]) {
        candle_core::bail!("a bias of another size than {} outputs", weights.out);
    }
    if rows.blocks_per_row != weights.blocks_per_row {
        candle_core::bail!(
            "{} blocks a row times {}",
            rows.blocks_per_row,
            weights.blocks_per_row
        );
    }
    cpu::matmul(rows, weights, bias, instructions(None))
}

#[cfg(test)]
mod tests {
    use candle_core::{
        Device,
        quantized::{GgmlDType, QTensor},
    };

    use super::*;
    use crate::ops::{
        Instructions,
        testing::{assert_close, random, tensor, values},
    };

    const TYPES: [GgmlDType; 5] = [
        GgmlDType::Q4_0,
        GgmlDType::Q4_1,
        GgmlDType::Q5_0,
        GgmlDType::Q5_1,
        GgmlDType::Q8_0,
    ];

    fn weights(dtype: GgmlDType, out: usize, width: usize) -> QTensor {
        QTensor::quantize(&tensor(&random(1, out * width), &[out, width]), dtype).unwrap()
    }

    fn pack(weights: &QTensor) -> Option<BlockWeights> {
        let shape = weights.shape().dims2().unwrap();
        BlockWeights::pack(weights.dtype(), shape, &weights.data().unwrap())
    }

    #[test]
    fn packing_loses_nothing() {
        for dtype in TYPES {
            let weights = weights(dtype, 32, 96);
            let packed = pack(&weights).expect("packable");
            let want = values(&weights.dequantize(&Device::Cpu).unwrap());
            let mut got = Vec::new();
            (0..32).for_each(|row| packed.push_row(row, &mut got));
            assert_eq!(got, want, "{dtype:?}");
        }
    }

    /// The product by each instruction set that this CPU has.
    fn by_all(
        rows: &QuantizedRows,
        weights: &BlockWeights,
    ) -> impl Iterator<Item = (&'static str, Vec<f32>)> {
        Instructions::available().into_iter().map(|instructions| {
            let y = cpu::matmul(rows, weights, None, instructions).unwrap();
            (instructions.name(), values(&y))
        })
    }

    #[test]
    fn all_instructions_agree_with_the_reference_on_odd_shapes() {
        for dtype in TYPES {
            let odd = [(3, 576, 48), (33, 896, 32), (1, 4864, 16), (0, 64, 16)];
            for (num_rows, width, out) in (1..20).map(|rows| (rows, 32, 16)).chain(odd) {
                let weights = weights(dtype, out, width);
                let packed = pack(&weights).expect("packable");
                let rows =
                    QuantizedRows::new(&tensor(&random(2, num_rows * width), &[num_rows, width]))
                        .unwrap();
                let want = reference::matmul(
                    &rows,
                    &values(&weights.dequantize(&Device::Cpu).unwrap()),
                    out,
                );
                for (_, got) in by_all(&rows, &packed) {
                    assert_close(&got, &want, 1e-3);
                }
            }
        }
    }

    #[test]
    fn the_largest_numbers_fit_into_the_sums_of_all_instructions() {
        let one = half::f16::ONE.to_le_bytes();
        let mut x = [1.0; 3 * 64];
        x[64..].fill(-1.0);
        x[128..].iter_mut().step_by(3).for_each(|x| *x = 1.0);
        let rows = QuantizedRows::new(&tensor(&x, &[3, 64])).unwrap();
        for dtype in TYPES {
            // The bytes of quants; the scale, and the offset where there is one, is 1.
            for byte in [0x00, 0x7f, 0x80, 0xff] {
                let mut block = vec![byte; dtype.type_size()];
                block[..2].copy_from_slice(&one);
                if matches!(dtype, GgmlDType::Q4_1 | GgmlDType::Q5_1) {
                    block[2..4].copy_from_slice(&one);
                }
                let packed = BlockWeights::pack(dtype, (16, 64), &block.repeat(32)).unwrap();
                let mut weights = Vec::new();
                (0..16).for_each(|row| packed.push_row(row, &mut weights));
                let want = reference::matmul(&rows, &weights, 16);
                for (name, got) in by_all(&rows, &packed) {
                    println!("{dtype:?} of {byte:#x}, {name}");
                    assert_close(&got, &want, 1e-5);
                }
            }
        }
    }

    #[test]
    fn a_row_is_bit_for_bit_the_same_alone_and_in_a_batch() {
        for dtype in TYPES {
            let packed = pack(&weights(dtype, 48, 576)).expect("packable");
            for num_rows in [2, 7, 13, 16, 35] {
                let x = tensor(&random(2, num_rows * 576), &[num_rows, 576]);
                for (name, together) in by_all(&QuantizedRows::new(&x).unwrap(), &packed) {
                    for row in 0..num_rows {
                        let alone = x.narrow(0, row, 1).unwrap().contiguous().unwrap();
                        let alone = QuantizedRows::new(&alone).unwrap();
                        let (_, alone) = by_all(&alone, &packed)
                            .find(|(other, _)| *other == name)
                            .unwrap();
                        let same = &together[row * 48..][..48];
                        assert_eq!(alone, same, "{dtype:?}, {name}, row {row}");
                    }
                }
            }
        }
    }

    #[test]
    fn numbers_that_are_not_finite_stay_so_and_stay_in_their_row() {
        let packed = pack(&weights(GgmlDType::Q8_0, 16, 64)).expect("packable");
        let good = random(2, 3 * 64);
        let rows = QuantizedRows::new(&tensor(&good, &[3, 64])).unwrap();
        let want = values(&matmul(&rows, &packed, None).unwrap());
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = good.clone();
            x[64 + 40] = bad;
            let rows = QuantizedRows::new(&tensor(&x, &[3, 64])).unwrap();
            for (_, got) in by_all(&rows, &packed) {
                assert_close(&got[..16], &want[..16], 1e-5);
                assert!(got[16..32].iter().all(|y| !y.is_finite()), "{bad}: {got:?}");
                assert_close(&got[32..], &want[32..], 1e-5);
            }
        }
    }

    #[test]
    fn both_ways_to_round_give_the_same() {
        let mut x = random(4, 11 * 96);
        x[96..128].fill(0.0);
        x[200] = 1e4;
        let x = tensor(&x, &[11, 96]);
        let fast = QuantizedRows::new(&x).unwrap();
        assert_eq!(fast, QuantizedRows::round(&x, cpu::round_portable).unwrap());
    }

    #[test]
    fn activations_are_rounded_to_half_a_step() {
        let x = random(3, 4 * 64);
        let rows = QuantizedRows::new(&tensor(&x, &[4, 64])).unwrap();
        for (index, want) in x.iter().enumerate() {
            let (scale, quant) = rows.value(index / 64, index % 64);
            let got = scale * f32::from(quant);
            // The scale itself is rounded to f16.
            assert!((got - want).abs() <= scale * 0.57, "{got}, not {want}");
        }
        let zero = QuantizedRows::new(&tensor(&[0.0; 32], &[1, 32])).unwrap();
        assert_eq!(zero.value(0, 31), (0.0, 0));
        assert_eq!(zero.group(0).sums[0].scaled, 0.0);
    }

    #[test]
    fn the_candle_kernels_agree_within_their_rounding() {
        let weights = std::sync::Arc::new(weights(GgmlDType::Q8_0, 32, 64));
        let x = tensor(&random(2, 3 * 64), &[3, 64]);
        let packed = pack(&weights).expect("packable");
        let want = values(&candle::matmul(&x, &weights).unwrap());
        assert_close(
            &values(&matmul(&QuantizedRows::new(&x).unwrap(), &packed, None).unwrap()),
            &want,
            2e-2,
        );
    }

    #[test]
    fn other_types_and_odd_heights_are_left_to_candle() {
        assert!(pack(&weights(GgmlDType::Q4_1, 17, 32)).is_none());
        assert!(pack(&weights(GgmlDType::Q4K, 16, 256)).is_none());
    }
}
