//! Routing on the CPU: tokens grouped by expert.

use candle_core::{Result, Tensor};

use super::{MIN_SUM, RoutingRule};
use crate::ops::cpu::with_f32;

/// The tokens of one expert.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExpertRows {
    /// Ascending.
    pub tokens: Vec<u32>,
    /// One a token.
    pub weights: Vec<f32>,
}

/// Returns the tokens of every expert. `logits`: `[num_tokens, num_experts]` f32.
///
/// # Errors
/// A candle error unless `logits` is such a tensor on the CPU with at least as many experts as are used.
pub fn by_expert(logits: &Tensor, rule: RoutingRule) -> Result<Vec<ExpertRows>> {
    let (_, num_experts) = logits.dims2()?;
    if rule.num_used == 0 || rule.num_used > num_experts {
        candle_core::bail!("{} of {num_experts} experts", rule.num_used);
    }
    let mut rows = vec![ExpertRows::default(); num_experts];
    with_f32(logits, |logits| {
        let mut order: Vec<usize> = (0..num_experts).collect();
        for (token, logits) in logits.chunks_exact(num_experts).enumerate() {
            // Stable, and from ascending indices: of equal experts the first wins.
            order.sort_unstable();
            order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
            let max = logits[order[0]];
            let total: f32 = logits.iter().map(|logit| (logit - max).exp()).sum();
            let chosen = &order[..rule.num_used];
            let probability = |expert: usize| (logits[expert] - max).exp() / total;
            let sum: f32 = chosen.iter().map(|&expert| probability(expert)).sum();
            let divisor = if rule.normalise {
                sum.max(MIN_SUM)
            } else {
                1.0
            };
            for &expert in chosen {
                rows[expert].tokens.push(token as u32);
                rows[expert]
                    .weights
                    .push(probability(expert) / divisor * rule.scale);
            }
        }
        Ok(())
    })?;
    Ok(rows)
}
