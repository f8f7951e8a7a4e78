//! Matrix product on the CPU with weights and activations rounded to bf16 and sums in f32, where the CPU has AVX-512-BF16.
//!
//! For networks whose activations have outliers that 8 bits do not bear, such as sentence encoders: bf16 rounds each
//! number by at most 2^-9 of itself, whatever its neighbours are. Half the memory of f32; an encoder runs 1.9 times as fast as
//! with candle's f32 (two cores of an Intel Xeon, `scripts/compare-embedding`).

pub mod cpu;
mod pack;
pub mod reference;

pub use pack::{Bf16Rows, Bf16Weights};

use candle_core::{Result, Tensor};

/// Returns `x W^T + b`, `[num_rows, out]` f32; `bias` is `[out]` f32.
///
/// # Errors
/// A candle error unless the shapes fit.
pub fn matmul(rows: &Bf16Rows, weights: &Bf16Weights, bias: Option<&Tensor>) -> Result<Tensor> {
    if rows.width != weights.width {
        candle_core::bail!("rows of {} times rows of {}", rows.width, weights.width);
    }
    if bias.is_some_and(|bias| bias.dims() != [weights.out]) {
        candle_core::bail!("a bias of another size than {} outputs", weights.out);
    }
    cpu::matmul(rows, weights, bias)
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;
    use crate::ops::testing::{assert_close, random, tensor, values};

    const SHAPES: [(usize, usize, usize); 6] = [
        (1, 2, 16),
        (3, 384, 48),
        (33, 96, 32),
        (1, 1536, 16),
        (0, 64, 16),
        (8, 30, 160),
    ];

    #[test]
    fn the_kernel_agrees_with_the_reference_on_odd_shapes() {
        let rows = (1..20).map(|rows| (rows, 64, 32));
        for (num_rows, width, out) in rows.chain(SHAPES) {
            let weights = random(1, out * width);
            let Some(packed) = Bf16Weights::pack((out, width), &weights) else {
                println!("skipped: this CPU has no AVX-512-BF16");
                return;
            };
            let x = tensor(&random(2, num_rows * width), &[num_rows, width]);
            let bias = random(3, out);
            let rows = Bf16Rows::new(&x).unwrap();
            let rounded: Vec<f32> = weights
                .iter()
                .map(|w| bf16::from_f32(*w).to_f32())
                .collect();
            let mut want = reference::matmul(&rows, &rounded, out);
            let got = matmul(&rows, &packed, None).unwrap();
            assert_eq!(got.dims(), [num_rows, out]);
            assert_close(&values(&got), &want, 1e-4);
            for (want, bias) in want.iter_mut().zip(bias.iter().cycle()) {
                *want += bias;
            }
            let got = matmul(&rows, &packed, Some(&tensor(&bias, &[out]))).unwrap();
            assert_close(&values(&got), &want, 1e-4);
        }
    }

    #[test]
    fn activations_are_rounded_to_the_nearest() {
        let mut x = random(4, 3 * 40);
        x[..6].copy_from_slice(&[0.0, -0.0, 1e30, -1e-30, f32::INFINITY, f32::NAN]);
        let rows = Bf16Rows::new(&tensor(&x, &[3, 40])).unwrap();
        for (index, x) in x.iter().enumerate() {
            let got = rows.value(index / 40, index % 40);
            let want = bf16::from_f32(*x).to_f32();
            assert!(
                got == want || got.is_nan() && want.is_nan(),
                "{got}, not {want}"
            );
        }
    }

    #[test]
    fn a_row_is_bit_for_bit_the_same_alone_and_in_a_batch() {
        let Some(packed) = Bf16Weights::pack((48, 96), &random(1, 48 * 96)) else {
            return;
        };
        for num_rows in [2, 7, 13] {
            let x = tensor(&random(2, num_rows * 96), &[num_rows, 96]);
            let together = matmul(&Bf16Rows::new(&x).unwrap(), &packed, None).unwrap();
            for row in 0..num_rows {
                let alone = x.narrow(0, row, 1).unwrap().contiguous().unwrap();
                let alone = matmul(&Bf16Rows::new(&alone).unwrap(), &packed, None).unwrap();
                let same = together.narrow(0, row, 1).unwrap();
                assert_eq!(values(&alone), values(&same), "row {row}");
            }
        }
    }

    #[test]
    fn other_shapes_are_refused() {
        assert!(Bf16Weights::pack((17, 32), &[0.0; 17 * 32]).is_none());
        assert!(Bf16Weights::pack((16, 3), &[0.0; 48]).is_none());
        assert!(Bf16Weights::pack((16, 4), &[0.0; 63]).is_none());
    }
}
