//! Scalar truth of the root-mean-square norm.

/// Returns the normalised rows of `x`: `[num_tokens, weight.len()]`.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let mut y = Vec::with_capacity(x.len());
    for row in x.chunks_exact(weight.len()) {
        let mean_square = row.iter().map(|v| v * v).sum::<f32>() / row.len() as f32;
        let scale = 1.0 / (mean_square + eps).sqrt();
        y.extend(row.iter().zip(weight).map(|(v, w)| v * scale * w));
    }
    y
}
