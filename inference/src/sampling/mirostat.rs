//! Mirostat 2.0: a bound on surprise that follows what was chosen. Source: arXiv 2007.14966, algorithm 2.

use super::{
    candidates::{Candidate, better_first, largest_logit, total_weight, weight},
    params,
};

/// State of one sequence.
#[derive(Debug, Clone)]
pub struct Mirostat {
    params: params::Mirostat,
    /// Largest surprise in bits that a candidate may have.
    bound: f32,
}

impl Mirostat {
    pub fn new(params: params::Mirostat) -> Self {
        Self {
            params,
            bound: 2.0 * params.tau,
        }
    }

    /// Removes the candidates that are more surprising than the bound; the best always stays.
    pub fn truncate(&self, candidates: &mut Vec<Candidate>) {
        let largest = largest_logit(candidates);
        let least = total_weight(candidates, largest) * (-f64::from(self.bound)).exp2();
        let best = candidates.iter().copied().min_by(better_first);
        candidates.retain(|candidate| weight(candidate.logit, largest) >= least);
        if candidates.is_empty() {
            candidates.extend(best);
        }
    }

    /// Moves the bound by how surprising the chosen token was among the candidates it was drawn from.
    pub fn observe(&mut self, candidates: &[Candidate], chosen: Candidate) {
        let largest = largest_logit(candidates);
        let probability = weight(chosen.logit, largest) / total_weight(candidates, largest);
        let surprise = -probability.log2() as f32;
        self.bound -= self.params.eta * (surprise - self.params.tau);
    }

    #[cfg(test)]
    pub fn bound(&self) -> f32 {
        self.bound
    }
}
