//! Products of few rows with quantized weights.

use inference::gguf::{GgmlType, dequantize, encode};

use super::{assert_close, random, runner::Case};

/// Rows of weights are not a multiple of what a block takes, batches are not powers of two.
const SHAPES: [(usize, usize, usize); 5] = [
    (256, 1, 1),
    (512, 9, 2),
    (768, 16, 3),
    (1024, 5, 7),
    (256, 33, 8),
];

/// Returns `[batch, out]` of `x`: `[batch, width]` and `weights`: `[out, width]`.
fn matmul(x: &[f32], weights: &[f32], width: usize) -> Vec<f32> {
    let dot = |x: &[f32], row: &[f32]| {
        let products = x
            .iter()
            .zip(row)
            .map(|(x, w)| f64::from(*x) * f64::from(*w));
        products.sum::<f64>() as f32
    };
    x.chunks_exact(width)
        .flat_map(|x| weights.chunks_exact(width).map(move |row| dot(x, row)))
        .collect()
}

/// A kernel and how exact it is.
struct Check {
    case: &'static str,
    ggml_type: GgmlType,
    bytes_per_256: usize,
    tolerance: f32,
}

impl Check {
    #[track_caller]
    fn run(&self, shapes: &[(usize, usize, usize)]) {
        for &(width, out, batch) in shapes {
            let weights = random(width as u64, out * width);
            let mut blocks = vec![0u8; out * width * self.bytes_per_256 / 256];
            encode(self.ggml_type, &weights, &mut blocks).unwrap();
            let mut exact = vec![0.0; weights.len()];
            dequantize(self.ggml_type, &blocks, &mut exact).unwrap();
            let x = random(7, batch * width);
            let y = Case::new(self.case)
                .size("width", width)
                .size("out", out)
                .size("batch", batch)
                .buffer("weights", &blocks)
                .buffer("x", &x)
                .run();
            let what = format!("{} {width} x {out}, {batch} rows", self.case);
            assert_close(
                &what,
                &y.get("y"),
                &matmul(&x, &exact, width),
                self.tolerance,
            );
        }
    }
}

/// Sums of a thousand f32 products in another order.
const ROUNDING: f32 = 2e-5;

#[test]
fn q8_0_is_the_product_with_dequantized_weights() {
    let check = Check {
        case: "gemv_q8_0",
        ggml_type: GgmlType::Q8_0,
        bytes_per_256: 272,
        tolerance: ROUNDING,
    };
    check.run(&SHAPES);
    check.run(&[(32, 3, 1), (96, 4, 2), (288, 11, 5)]);
}

#[test]
fn q4_k_is_the_product_with_dequantized_weights() {
    let check = Check {
        case: "gemv_q4_k",
        ggml_type: GgmlType::Q4_K,
        bytes_per_256: 144,
        tolerance: ROUNDING,
    };
    check.run(&SHAPES);
}

#[test]
fn q4_k_on_tensor_cores_is_the_product_with_dequantized_weights() {
    let check = Check {
        case: "q4_k_gemv",
        ggml_type: GgmlType::Q4_K,
        bytes_per_256: 144,
        // Activations keep 16 bits, and the integers times their scale reach 4 before the minimum is taken off: some 1e-5 a
        // product, of which a thousand add up at random.
        tolerance: 5e-4,
    };
    check.run(&SHAPES);
    // More superblocks than warps, and rows of one superblock.
    check.run(&[(2304, 17, 4), (256, 40, 6)]);
}

#[test]
fn q6_k_is_the_product_with_dequantized_weights() {
    let check = Check {
        case: "gemv_q6_k",
        ggml_type: GgmlType::Q6_K,
        bytes_per_256: 210,
        tolerance: ROUNDING,
    };
    check.run(&SHAPES);
}
