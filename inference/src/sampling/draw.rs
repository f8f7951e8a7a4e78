//! Temperature and the draw.

use super::candidates::{Candidate, largest_logit, weight};

/// Divides all logits by `temperature`, which is above 0.
pub fn temperature(candidates: &mut [Candidate], temperature: f32) {
    if temperature != 1.0 {
        // Relative to the largest, because at 1e-30 the quotients themselves would be infinite.
        let largest = largest_logit(candidates);
        for candidate in candidates {
            candidate.logit = ((candidate.logit - largest) / temperature).max(f32::MIN);
        }
    }
}

/// Returns the candidate in whose share of the total weight `uniform` (from 0 to 1) falls. `weights` is a buffer.
///
/// # Panics
/// Without candidates.
pub fn draw(candidates: &[Candidate], uniform: f64, weights: &mut Vec<f64>) -> Candidate {
    let largest = largest_logit(candidates);
    weights.clear();
    weights.extend(
        candidates
            .iter()
            .map(|candidate| weight(candidate.logit, largest)),
    );
    let mut left = uniform * weights.iter().sum::<f64>();
    let mut last = 0;
    for (index, &weight) in weights
        .iter()
        .enumerate()
        .filter(|(_, weight)| **weight > 0.0)
    {
        left -= weight;
        last = index;
        if left < 0.0 {
            break;
        }
    }
    // Rounding may leave a crumb, which belongs to the last that can be chosen at all.
    candidates[last]
}
