//! Matrix product on the CPU with weights in super-blocks of 256: `Q4_K`, `Q5_K` and `Q6_K`.
//!
//! Tiles keep the integer scales of the format (4.6, 5.6 and 6.6 bits a weight; candle's tiles with f32 scales have 6
//! to 10), and products stay integers until a whole super-block is summed, as in ggml. Other devices use candle's kernels.

pub mod cpu;
mod kernel;
mod pack;
pub mod reference;

pub use pack::SuperblockWeights;

use candle_core::{Result, Tensor};

use super::quantized_matmul::{self, instructions};

/// Weights of a super-block.
pub const SUPERBLOCK: usize = 256;
/// Columns that share a sum of activations.
const SUM_COLUMNS: usize = 16;

/// Sums of the quants of a super-block.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct BlockSums {
    of_16: [i16; SUPERBLOCK / SUM_COLUMNS],
    of_32: [i16; SUPERBLOCK / SUM_COLUMNS / 2],
}

/// Rows of activations rounded to 8 bits, one scale a super-block, and sums of quants: ggml's `Q8_K`.
pub type QuantizedRows = quantized_matmul::QuantizedRows<BlockSums, SUPERBLOCK>;

impl QuantizedRows {
    /// Rounds `x`: `[num_rows, width]` f32 on the CPU, a multiple of 256 wide.
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
    weights: &SuperblockWeights,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    if bias.is_some_and(|bias| bias.dims() != [weights.out]) {
        candle_core::bail!("a bias of another size than {} outputs", weights.out);
    }
    if rows.blocks_per_row != weights.blocks_per_row {
        candle_core::bail!(
            "{} super-blocks a row times {}",
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

    fn weights(dtype: GgmlDType, out: usize, width: usize) -> QTensor {
        QTensor::quantize(&tensor(&random(1, out * width), &[out, width]), dtype).unwrap()
    }

    fn pack(weights: &QTensor) -> Option<SuperblockWeights> {
        let shape = weights.shape().dims2().unwrap();
        SuperblockWeights::pack(weights.dtype(), shape, &weights.data().unwrap())
    }

    #[test]
    fn packing_loses_nothing() {
        for dtype in [GgmlDType::Q4K, GgmlDType::Q5K, GgmlDType::Q6K] {
            let weights = weights(dtype, 32, 512);
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
        weights: &SuperblockWeights,
    ) -> impl Iterator<Item = (&'static str, Vec<f32>)> {
        Instructions::available().into_iter().map(|instructions| {
            let y = cpu::matmul(rows, weights, None, instructions).unwrap();
            (instructions.name(), values(&y))
        })
    }

    #[test]
    fn all_instructions_agree_with_the_reference_on_odd_shapes() {
        for dtype in [GgmlDType::Q4K, GgmlDType::Q5K, GgmlDType::Q6K] {
            let odd = [(3, 1536, 48), (33, 512, 32), (1, 8960, 16), (0, 256, 16)];
            for (num_rows, width, out) in (1..20).map(|rows| (rows, 256, 16)).chain(odd) {
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
        let mut x = [1.0; 3 * 512];
        x[512..].fill(-1.0);
        x[1024..].iter_mut().step_by(3).for_each(|x| *x = 1.0);
        let rows = QuantizedRows::new(&tensor(&x, &[3, 512])).unwrap();
        // Where the float scales are; all other bytes are the same.
        let both = &[0, 2][..];
        for (dtype, scales) in [
            (GgmlDType::Q4K, both),
            (GgmlDType::Q5K, both),
            (GgmlDType::Q6K, &[208]),
        ] {
            for byte in [0x00, 0x7f, 0x80, 0xff] {
                let mut block = vec![byte; dtype.type_size()];
                for &at in scales {
                    block[at..at + 2].copy_from_slice(&one);
                }
                let packed = SuperblockWeights::pack(dtype, (16, 512), &block.repeat(32)).unwrap();
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
        for dtype in [GgmlDType::Q4K, GgmlDType::Q5K, GgmlDType::Q6K] {
            let packed = pack(&weights(dtype, 48, 512)).expect("packable");
            for num_rows in [2, 7, 13, 16, 35] {
                let x = tensor(&random(2, num_rows * 512), &[num_rows, 512]);
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
    fn both_ways_to_round_give_the_same() {
        let mut x = random(4, 11 * 512);
        x[256..512].fill(0.0);
        x[1000] = 1e4;
        let x = tensor(&x, &[11, 512]);
        let fast = QuantizedRows::new(&x).unwrap();
        assert_eq!(fast, QuantizedRows::round(&x, cpu::round_portable).unwrap());
    }

    #[test]
    fn activations_are_rounded_to_half_a_step_and_summed() {
        let x = random(3, 2 * 512);
        let rows = QuantizedRows::new(&tensor(&x, &[2, 512])).unwrap();
        for (index, want) in x.iter().enumerate() {
            let (scale, quant) = rows.value(index / 512, index % 512);
            let got = scale * f32::from(quant);
            assert!((got - want).abs() <= scale * 0.501, "{got}, not {want}");
        }
        for row in 0..2 {
            for block in 0..2 {
                let sums = rows.group(0).sums[block * 2 + row];
                let sum = |columns: std::ops::Range<usize>| {
                    columns
                        .map(|column| i16::from(rows.value(row, block * SUPERBLOCK + column).1))
                        .sum::<i16>()
                };
                for (index, got) in sums.of_16.iter().enumerate() {
                    assert_eq!(*got, sum(index * 16..index * 16 + 16));
                }
                for (index, got) in sums.of_32.iter().enumerate() {
                    assert_eq!(*got, sum(index * 32..index * 32 + 32));
                }
            }
        }
    }

    #[test]
    fn numbers_that_are_not_finite_stay_so_and_stay_in_their_row() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = random(3, 3 * 512);
            x[512 + 300] = bad;
            let x = tensor(&x, &[3, 512]);
            for rows in [
                QuantizedRows::new(&x).unwrap(),
                QuantizedRows::round(&x, cpu::round_portable).unwrap(),
            ] {
                assert!(!rows.value(1, 300).0.is_finite(), "{bad}");
                assert!(rows.value(0, 300).0.is_finite() && rows.value(2, 300).0.is_finite());
            }
        }
    }
}
