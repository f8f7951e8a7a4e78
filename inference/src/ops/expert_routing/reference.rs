//! Scalar truth of routing.

use super::{MIN_SUM, RoutingRule};

/// Returns `[num_tokens, num_experts]`: the weight of each expert for each token, 0 where it is not used.
pub fn weights(logits: &[f32], num_experts: usize, rule: RoutingRule) -> Vec<f32> {
    let mut weights = vec![0.0; logits.len()];
    for (logits, weights) in logits
        .chunks_exact(num_experts)
        .zip(weights.chunks_exact_mut(num_experts))
    {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total: f32 = logits.iter().map(|logit| (logit - max).exp()).sum();
        let mut order: Vec<usize> = (0..num_experts).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        let chosen = &order[..rule.num_used];
        let probability = |expert: usize| (logits[expert] - max).exp() / total;
        let sum: f32 = chosen.iter().map(|&expert| probability(expert)).sum();
        let divisor = if rule.normalise {
            sum.max(MIN_SUM)
        } else {
            1.0
        };
        for &expert in chosen {
            weights[expert] = probability(expert) / divisor * rule.scale;
        }
    }
    weights
}
