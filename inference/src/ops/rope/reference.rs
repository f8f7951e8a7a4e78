//! Scalar truth of the rotary embedding.

use super::RopeLayout;

/// Returns `x`, `[positions.len(), num_heads * head_dim]`, with each head turned.
pub fn rope(
    x: &[f32],
    positions: &[u32],
    num_heads: usize,
    (inverse_frequencies, magnitude, layout): (&[f64], f64, RopeLayout),
) -> Vec<f32> {
    let mut y = x.to_vec();
    let head_dim = x.len() / positions.len() / num_heads;
    let half = inverse_frequencies.len();
    for (head_idx, head) in y.chunks_exact_mut(head_dim).enumerate() {
        let position = f64::from(positions[head_idx / num_heads]);
        for (i, frequency) in inverse_frequencies.iter().enumerate() {
            let (a, b) = match layout {
                RopeLayout::Interleaved => (2 * i, 2 * i + 1),
                RopeLayout::Halves => (i, i + half),
            };
            let (sin, cos) = (position * frequency).sin_cos();
            let (x, y) = (f64::from(head[a]), f64::from(head[b]));
            head[a] = ((x * cos - y * sin) * magnitude) as f32;
            head[b] = ((x * sin + y * cos) * magnitude) as f32;
        }
    }
    y
}
