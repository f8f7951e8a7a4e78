//! Scalar truth of the product: rounded activations times dequantized weights.

use super::{BLOCK, QuantizedRows};

/// Returns `[num_rows, out]` for dequantized `weights`: `[out, width]`.
pub fn matmul(rows: &QuantizedRows, weights: &[f32], out: usize) -> Vec<f32> {
    let width = rows.blocks_per_row * BLOCK;
    let mut y = Vec::with_capacity(rows.num_rows * out);
    for row in 0..rows.num_rows {
        for weights in weights.chunks_exact(width) {
            let products = weights.iter().enumerate().map(|(column, weight)| {
                let (scale, quant) = rows.value(row, column);
                f64::from(*weight) * f64::from(scale) * f64::from(quant)
            });
            y.push(products.sum::<f64>() as f32);
        }
    }
    y
}
