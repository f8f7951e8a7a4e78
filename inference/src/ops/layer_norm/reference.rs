//! Scalar truth of the layer norm.

/// Returns the normalised rows of `x + residual`: `[num_tokens, weight.len()]`.
pub fn add_layer_norm(
    x: &[f32],
    residual: &[f32],
    weight: &[f32],
    bias: &[f32],
    eps: f64,
) -> Vec<f32> {
    let mut y = Vec::with_capacity(x.len());
    let rows = x.chunks_exact(weight.len());
    for (x, residual) in rows.zip(residual.chunks_exact(weight.len())) {
        let sums: Vec<f64> = x
            .iter()
            .zip(residual)
            .map(|(a, b)| f64::from(*a) + f64::from(*b))
            .collect();
        let mean = sums.iter().sum::<f64>() / sums.len() as f64;
        let variance = sums.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / sums.len() as f64;
        let scale = 1.0 / (variance + eps).sqrt();
        let parameters = weight.iter().zip(bias);
        y.extend(sums.iter().zip(parameters).map(|(value, (weight, bias))| {
            ((value - mean) * scale * f64::from(*weight) + f64::from(*bias)) as f32
        }));
    }
    y
}
