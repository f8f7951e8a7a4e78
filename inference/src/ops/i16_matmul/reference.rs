//! Scalar truth of the product: whole numbers summed in 64 bits, then both scales.

use super::{Int16Rows, Int16Weights};

/// Returns `[num_rows, out]`.
pub fn matmul(rows: &Int16Rows, weights: &Int16Weights) -> Vec<f32> {
    let mut y = Vec::with_capacity(rows.num_rows * weights.out);
    for row in 0..rows.num_rows {
        let (x_scale, x) = rows.row(row);
        for out in 0..weights.out {
            let (w_scale, w) = weights.row(out);
            let sum: i64 = x
                .iter()
                .zip(&w)
                .map(|(x, w)| i64::from(*x) * i64::from(*w))
                .sum();
            y.push((sum as f64 * f64::from(w_scale) * f64::from(x_scale)) as f32);
        }
    }
    y
}
