//! Temperature and the draw.

use super::{
    candidates::{Candidate, largest_logit, weight},
    rest::SUM_ERROR,
};

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
    let total = weigh(candidates, weights);
    // Rounding may leave a crumb, which belongs to the last that can be chosen at all.
    let (Ok(place) | Err(place)) = place_of(uniform * total, weights);
    candidates[place]
}

/// As [`draw`] where there are more candidates, of a weight between these bounds, after the given ones; `None` when it depends on
/// them which is drawn.
pub fn draw_beside(
    candidates: &[Candidate],
    [low, high]: [f64; 2],
    uniform: f64,
    weights: &mut Vec<f64>,
) -> Option<Candidate> {
    let own = weigh(candidates, weights);
    let first = place_of(uniform * (own + low) * (1.0 - SUM_ERROR), weights).ok()?;
    let last = place_of(uniform * (own + high) * (1.0 + SUM_ERROR), weights).ok()?;
    (first == last).then(|| candidates[first])
}

/// Fills `weights` and returns their sum.
fn weigh(candidates: &[Candidate], weights: &mut Vec<f64>) -> f64 {
    let largest = largest_logit(candidates);
    weights.clear();
    weights.extend(
        candidates
            .iter()
            .map(|candidate| weight(candidate.logit, largest)),
    );
    weights.iter().sum()
}

/// Returns where the sum of the weights passes `left`; as an error the last weight above 0 when it does not.
fn place_of(mut left: f64, weights: &[f64]) -> Result<usize, usize> {
    let mut last = 0;
    for (index, &weight) in weights
        .iter()
        .enumerate()
        .filter(|(_, weight)| **weight > 0.0)
    {
        left -= weight;
        last = index;
        if left < 0.0 {
            return Ok(index);
        }
    }
    Err(last)
}
