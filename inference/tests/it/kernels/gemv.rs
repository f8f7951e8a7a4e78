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

fn check(case: &str, ggml_type: GgmlType, bytes_per_256: usize, shapes: &[(usize, usize, usize)]) {
    for &(width, out, batch) in shapes {
        let weights = random(width as u64, out * width);
        let mut blocks = vec![0u8; out * width * bytes_per_256 / 256];
        encode(ggml_type, &weights, &mut blocks).unwrap();
        let mut exact = vec![0.0; weights.len()];
        dequantize(ggml_type, &blocks, &mut exact).unwrap();
        let x = random(7, batch * width);
        let y = Case::new(case)
            .size("width", width)
            .size("out", out)
            .size("batch", batch)
            .buffer("weights", &blocks)
            .buffer("x", &x)
            .run();
        let want = matmul(&x, &exact, width);
        // Sums of a thousand f32 products in another order.
        assert_close(
            &format!("{case} {width} x {out}, {batch} rows"),
            &y.get("y"),
            &want,
            2e-5,
        );
    }
}

#[test]
fn q8_0_is_the_product_with_dequantized_weights() {
    check("gemv_q8_0", GgmlType::Q8_0, 272, &SHAPES);
    check(
        "gemv_q8_0",
        GgmlType::Q8_0,
        272,
        &[(32, 3, 1), (96, 4, 2), (288, 11, 5)],
    );
}

#[test]
fn q4_k_is_the_product_with_dequantized_weights() {
    check("gemv_q4_k", GgmlType::Q4_K, 144, &SHAPES);
}

#[test]
fn q6_k_is_the_product_with_dequantized_weights() {
    check("gemv_q6_k", GgmlType::Q6_K, 210, &SHAPES);
}
