//! Matrix product on the CPU with weights and activations rounded to 16-bit whole numbers, one scale a row, summed exactly in
//! 32 bits, where the CPU has AVX-512-VNNI.
//!
//! For networks whose activations have outliers that 8 bits do not bear, such as sentence encoders. Rows are scaled to a
//! length, not to a largest number: by the inequality of Cauchy and Schwarz no sum of products can then leave 32 bits,
//! and a number of average size keeps 10 to 11 bits below it, two more than bf16 has. `vpdpwssd` multiplies twice as
//! many numbers a cycle as `vdpbf16ps` on CPUs with two vector ports. Ladder: `inference/kernels/lab/cpu-encoder.md`.

pub mod cpu;
mod pack;
pub mod reference;

pub use pack::{Int16Rows, Int16Weights};

use candle_core::{Result, Tensor};

/// Returns `x W^T + b`, `[num_rows, out]` f32; `bias` is `[out]` f32.
///
/// # Errors
/// A candle error unless the shapes fit.
pub fn matmul(rows: &Int16Rows, weights: &Int16Weights, bias: Option<&Tensor>) -> Result<Tensor> {
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
    use super::*;
    use crate::ops::testing::{assert_close, random, tensor, values};

    const SHAPES: [(usize, usize, usize); 6] = [
        (1, 2, 32),
        (3, 384, 96),
        (33, 96, 32),
        (1, 1536, 32),
        (0, 64, 32),
        (8, 30, 160),
    ];

    fn packed(out: usize, width: usize, weights: &[f32]) -> Option<Int16Weights> {
        let packed = Int16Weights::pack((out, width), weights);
        if packed.is_none() {
            println!("skipped: this CPU has no AVX-512-VNNI");
        }
        packed
    }

    #[test]
    fn the_kernel_agrees_with_the_reference_on_odd_shapes() {
        let rows = (1..20).map(|rows| (rows, 64, 32));
        for (num_rows, width, out) in rows.chain(SHAPES) {
            let weights = random(1, out * width);
            let Some(packed) = packed(out, width, &weights) else {
                return;
            };
            let x = tensor(&random(2, num_rows * width), &[num_rows, width]);
            let rows = Int16Rows::new(&x).unwrap();
            let mut want = reference::matmul(&rows, &packed);
            let got = matmul(&rows, &packed, None).unwrap();
            assert_eq!(got.dims(), [num_rows, out]);
            assert_close(&values(&got), &want, 1e-5);
            let bias = random(3, out);
            for (want, bias) in want.iter_mut().zip(bias.iter().cycle()) {
                *want += bias;
            }
            let got = matmul(&rows, &packed, Some(&tensor(&bias, &[out]))).unwrap();
            assert_close(&values(&got), &want, 1e-5);
        }
    }

    #[test]
    fn sums_of_equal_signs_and_of_one_number_stay_within_32_bits() {
        let width = 4096;
        let one =
            |at: usize| -> Vec<f32> { (0..width).map(|i| f32::from(u8::from(i == at))).collect() };
        for row in [vec![1.0; width], vec![-3e30; width], one(7), one(4095)] {
            let weights = row.repeat(32);
            let Some(packed) = packed(32, width, &weights) else {
                return;
            };
            let rows = Int16Rows::new(&tensor(&row, &[1, width])).unwrap();
            let got = matmul(&rows, &packed, None).unwrap();
            let want: f64 = row.iter().map(|x| f64::from(*x).powi(2)).sum();
            for got in values(&got) {
                let off = (f64::from(got) - want).abs() / want;
                assert!(
                    off < 1e-3 || want > 1e38 && got == f32::INFINITY,
                    "{got}, {want}"
                );
            }
        }
    }

    #[test]
    fn numbers_are_rounded_to_the_nearest_step_of_their_row() {
        for width in [2, 15, 384, 4096] {
            let mut x = random(4, width);
            x[width / 2] *= 60.0;
            let length = x.iter().map(|x| x * x).sum::<f32>().sqrt();
            let packed = packed(32, width, &x.repeat(32));
            let rows = Int16Rows::new(&tensor(&x, &[1, width])).unwrap();
            let (scale, numbers) = rows.row(0);
            let largest = x.iter().fold(0f32, |largest, x| largest.max(x.abs()));
            assert!(scale <= (length / 46_000.0).max(largest / 32_767.0) * 1.001);
            for (x, number) in x.iter().zip(numbers) {
                let off = (x - scale * f32::from(*number)).abs();
                assert!(off <= scale * 0.501, "{x}: {number} times {scale}");
            }
            if let Some(packed) = packed {
                assert_eq!(packed.row(31), (scale, numbers.to_vec()));
            }
        }
    }

    #[test]
    fn what_is_no_number_stays_none() {
        let Some(packed) = packed(32, 40, &random(1, 32 * 40)) else {
            return;
        };
        let mut x = random(4, 3 * 40);
        x[3] = f32::NAN;
        x[45] = f32::INFINITY;
        let rows = Int16Rows::new(&tensor(&x, &[3, 40])).unwrap();
        let got = values(&matmul(&rows, &packed, None).unwrap());
        assert!(got[..64].iter().all(|y| y.is_nan()));
        assert!(got[64..].iter().all(|y| y.is_finite()));
        let rows = Int16Rows::new(&tensor(&[0.0; 40], &[1, 40])).unwrap();
        assert_eq!(values(&matmul(&rows, &packed, None).unwrap()), [0.0; 32]);
    }

    #[test]
    fn a_row_is_bit_for_bit_the_same_alone_and_in_a_batch() {
        let Some(packed) = packed(64, 96, &random(1, 64 * 96)) else {
            return;
        };
        for num_rows in [2, 7, 13] {
            let x = tensor(&random(2, num_rows * 96), &[num_rows, 96]);
            let together = matmul(&Int16Rows::new(&x).unwrap(), &packed, None).unwrap();
            for row in 0..num_rows {
                let alone = x.narrow(0, row, 1).unwrap().contiguous().unwrap();
                let alone = matmul(&Int16Rows::new(&alone).unwrap(), &packed, None).unwrap();
                let same = together.narrow(0, row, 1).unwrap();
                assert_eq!(values(&alone), values(&same), "row {row}");
            }
        }
    }

    #[test]
    fn other_shapes_are_refused() {
        assert!(Int16Weights::pack((48, 32), &[0.0; 48 * 32]).is_none());
        assert!(Int16Weights::pack((32, 3), &[0.0; 96]).is_none());
        assert!(Int16Weights::pack((32, 4), &[0.0; 127]).is_none());
        assert!(!Int16Weights::takes(32, 1 << 17));
    }
}
