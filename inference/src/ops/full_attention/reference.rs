//! Scalar truth of attention over whole texts.

use super::FullAttention;

/// Returns `[num_tokens, num_heads * head_dim]`.
pub fn full_attention(q: &[f32], k: &[f32], v: &[f32], shape: &FullAttention<'_>) -> Vec<f32> {
    let (dim, width) = (shape.head_dim, shape.num_heads * shape.head_dim);
    let mut out = vec![0f32; q.len()];
    let mut start = 0;
    for &len in shape.lengths {
        for query in start..start + len {
            for head in 0..shape.num_heads {
                let row = |values: &[f32], token: usize, d: usize| {
                    f64::from(values[token * width + head * dim + d])
                };
                let scores: Vec<f64> = (start..start + len)
                    .map(|key| {
                        (0..dim)
                            .map(|d| row(q, query, d) * row(k, key, d))
                            .sum::<f64>()
                    })
                    .map(|score| score / (dim as f64).sqrt())
                    .collect();
                let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
                let total: f64 = weights.iter().sum();
                for d in 0..dim {
                    let values = (start..start + len).map(|token| row(v, token, d));
                    let sum: f64 = weights.iter().zip(values).map(|(w, v)| w * v).sum();
                    out[query * width + head * dim + d] = (sum / total) as f32;
                }
            }
        }
        start += len;
    }
    out
}
