//! The steps that cut the tail of the distribution off. Each keeps at least one candidate.
//!
//! Probabilities are those of the candidates that are left when a step begins.

use std::cmp::Ordering;

use super::candidates::{
    Candidate, better_first, in_order, keep_until, largest_logit, total_weight, weight,
};

/// Keeps logits at most `n` standard deviations below the largest; 0 keeps all. Source: arXiv 2411.07641.
pub fn top_n_sigma(candidates: &mut Vec<Candidate>, n: f32) {
    if n <= 0.0 || candidates.len() < 2 {
        return;
    }
    let count = candidates.len() as f64;
    let logits = || {
        candidates
            .iter()
            .map(|candidate| f64::from(candidate.logit))
    };
    let mean = logits().sum::<f64>() / count;
    let variance = logits().map(|logit| (logit - mean).powi(2)).sum::<f64>() / count;
    let bound = f64::from(largest_logit(candidates)) - f64::from(n) * variance.sqrt();
    candidates.retain(|candidate| f64::from(candidate.logit) >= bound);
}

/// Keeps the `k` best, in order; 0 keeps all.
pub fn top_k(candidates: &mut Vec<Candidate>, k: usize) {
    if k > 0 && k <= candidates.len() {
        candidates.select_nth_unstable_by(k - 1, better_first);
        candidates.truncate(k);
        in_order(candidates);
    }
}

/// A candidate with its distance from the expected surprise.
#[derive(Debug, Clone, Copy)]
pub struct Scored {
    distance: f64,
    probability: f64,
    candidate: Candidate,
}

/// Keeps the candidates whose surprise is nearest to the entropy until their probability exceeds `p`; 1 keeps all.
/// `scored` is a buffer. Source: locally typical sampling, arXiv 2202.00666.
pub fn typical(candidates: &mut Vec<Candidate>, p: f32, scored: &mut Vec<Scored>) {
    if p >= 1.0 {
        return;
    }
    let largest = largest_logit(candidates);
    let log_total = total_weight(candidates, largest).ln();
    scored.clear();
    scored.extend(candidates.iter().map(|&candidate| {
        let log_probability = f64::from(candidate.logit) - f64::from(largest) - log_total;
        Scored {
            distance: -log_probability,
            probability: log_probability.exp(),
            candidate,
        }
    }));
    let entropy: f64 = scored
        .iter()
        .map(|scored| scored.probability * scored.distance)
        .sum();
    for scored in scored.iter_mut() {
        scored.distance = (scored.distance - entropy).abs();
    }
    let mut reached = 0.0;
    keep_until(scored, nearer_first, |scored| {
        reached += scored.probability;
        reached > f64::from(p)
    });
    candidates.clear();
    candidates.extend(scored.iter().map(|scored| scored.candidate));
}

fn nearer_first(a: &Scored, b: &Scored) -> Ordering {
    a.distance
        .total_cmp(&b.distance)
        .then_with(|| better_first(&a.candidate, &b.candidate))
}

/// Keeps the smallest set of best candidates whose probability reaches `p`; 1 keeps all. Source: arXiv 1904.09751.
pub fn top_p(candidates: &mut Vec<Candidate>, p: f32) {
    if p >= 1.0 {
        return;
    }
    let largest = largest_logit(candidates);
    let enough = f64::from(p) * total_weight(candidates, largest);
    let mut reached = 0.0;
    keep_until(candidates, better_first, |candidate| {
        reached += weight(candidate.logit, largest);
        reached >= enough
    });
}

/// Keeps candidates at least `p` times as probable as the best; 0 keeps all. Source: arXiv 2407.01082.
pub fn min_p(candidates: &mut Vec<Candidate>, p: f32) {
    if p > 0.0 {
        let bound = largest_logit(candidates) + p.ln();
        candidates.retain(|candidate| candidate.logit >= bound);
    }
}
