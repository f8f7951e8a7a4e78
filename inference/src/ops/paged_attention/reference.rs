//! Scalar truth of paged attention.

use super::{AttentionSequence, AttentionShape};
use crate::kv_cache::BLOCK_SIZE;

/// Returns the attention output in the layout of `q`; see [`super::paged_attention`]. Caches as f32.
pub fn paged_attention(
    q: &[f32],
    k_cache: &[f32],
    v_cache: &[f32],
    sequences: &[AttentionSequence],
    shape: AttentionShape,
) -> Vec<f32> {
    let AttentionShape {
        num_heads,
        num_kv_heads,
        head_dim,
        ..
    } = shape;
    let mut out = vec![0.0; q.len()];
    for sequence in sequences {
        for row in 0..sequence.q_len {
            let position = sequence.context_len - sequence.q_len + row;
            for head in 0..num_heads {
                let kv_head = head / shape.group();
                let at = ((sequence.q_start + row) * num_heads + head) * head_dim;
                let key = |t: usize, d: usize| {
                    let block = sequence.block_table[t / BLOCK_SIZE] as usize;
                    k_cache[((block * num_kv_heads + kv_head) * head_dim + d) * BLOCK_SIZE
                        + t % BLOCK_SIZE]
                };
                let value = |t: usize, d: usize| {
                    let block = sequence.block_table[t / BLOCK_SIZE] as usize;
                    v_cache[((block * num_kv_heads + kv_head) * BLOCK_SIZE + t % BLOCK_SIZE)
                        * head_dim
                        + d]
                };
                let score = |t: usize| {
                    let score = (0..head_dim).map(|d| q[at + d] * key(t, d)).sum::<f32>();
                    let score = score * shape.scale;
                    shape
                        .softcap
                        .map_or(score, |softcap| softcap * (score / softcap).tanh())
                };
                let visible = shape.first_visible(position)..=position;
                let scores: Vec<f32> = visible.clone().map(score).collect();
                let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let weights: Vec<f32> = scores.iter().map(|score| (score - max).exp()).collect();
                let total: f32 = weights.iter().sum();
                for d in 0..head_dim {
                    let sum: f32 = weights
                        .iter()
                        .zip(visible.clone())
                        .map(|(weight, t)| weight * value(t, d))
                        .sum();
                    out[at + d] = sum / total;
                }
            }
        }
    }
    out
}
