//! Log-probabilities under the model's own distribution.

use super::candidates::{Candidate, better_first};

/// Natural logarithms of the probability of the chosen token and of the best alternatives.
#[derive(Debug, Clone, PartialEq)]
pub struct Logprobs {
    pub chosen: f32,
    /// Best first, of equals the lower id; fewer than asked for when fewer tokens are possible at all.
    pub top: Vec<(u32, f32)>,
}

/// Returns the log-probability of `chosen` and of the `count` best tokens.
///
/// `logits` are valid: all below infinity and at least one finite. One pass for the sum, one for the best.
pub fn logprobs(logits: &[f32], chosen: u32, count: usize) -> Logprobs {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits
        .iter()
        .map(|&logit| f64::from((logit - largest).exp()))
        .sum();
    let log_total = f64::from(largest) + total.ln();
    let logprob = |logit: f32| (f64::from(logit) - log_total) as f32;
    let chosen = logits
        .get(chosen as usize)
        .copied()
        .unwrap_or(f32::NEG_INFINITY);
    Logprobs {
        chosen: logprob(chosen),
        top: best(logits, count)
            .iter()
            .map(|best| (best.id, logprob(best.logit)))
            .collect(),
    }
}

/// Returns the `count` best tokens, best first.
fn best(logits: &[f32], count: usize) -> Vec<Candidate> {
    let mut best: Vec<Candidate> = Vec::with_capacity(count + 1);
    let mut bound = f32::NEG_INFINITY;
    for (&logit, id) in logits.iter().zip(0..) {
        // An equal logit has the higher id, so it is not among the best either.
        if count == 0 || logit <= bound {
            continue;
        }
        let candidate = Candidate { logit, id };
        let at = best.partition_point(|other| better_first(other, &candidate).is_lt());
        best.insert(at, candidate);
        best.truncate(count);
        if best.len() == count {
            bound = best[count - 1].logit;
        }
    }
    best
}
