//! Scalar truth of the product: rounded activations times rounded weights.

use super::Bf16Rows;

/// Returns `[num_rows, out]` for the rounded `weights` as f32: `[out, width]`.
pub fn matmul(rows: &Bf16Rows, weights: &[f32], out: usize) -> Vec<f32> {
    let mut y = Vec::with_capacity(rows.num_rows * out);
    for row in 0..rows.num_rows {
        for weights in weights.chunks_exact(rows.width) {
            let products = weights
                .iter()
                .enumerate()
                .map(|(column, weight)| f64::from(*weight) * f64::from(rows.value(row, column)));
            y.push(products.sum::<f64>() as f32);
        }
    }
    y
}
