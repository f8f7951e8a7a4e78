//! The best tokens of a row of logits, chosen where the row is, so that the row itself need not come here.

use super::{
    Logprobs, SampleError,
    candidates::{Candidate, weight},
    rest::Rest,
};

/// How many tokens a device chooses from a row; `CANDIDATES` of `candidates_of_row.cu`.
pub const ROW_CANDIDATES: usize = 256;

/// The largest logits of a row, at most [`ROW_CANDIDATES`], and the weight of all others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowCandidates<'a> {
    /// Descending; of equals the lower id first. Minus infinity where the row has no more.
    pub logits: &'a [f32],
    pub ids: &'a [u32],
    /// Sum of the exponentials of all other logits less the largest; NaN when a logit of the row is NaN or plus infinity.
    pub rest: f32,
    /// Logits of the row.
    pub width: usize,
}

impl RowCandidates<'_> {
    /// # Errors
    /// As of [`super::argmax`] of the whole row.
    pub(super) fn check(&self) -> Result<(), SampleError> {
        if self.rest.is_nan() || self.logits.is_empty() {
            return Err(SampleError::InvalidLogits);
        }
        if self.largest() == f32::NEG_INFINITY {
            return Err(SampleError::NothingLeft);
        }
        Ok(())
    }

    pub(super) fn largest(&self) -> f32 {
        self.logits.first().copied().unwrap_or(f32::NEG_INFINITY)
    }

    /// Replaces `candidates` by those with a finite logit, best first.
    pub(super) fn collect(&self, candidates: &mut Vec<Candidate>) {
        candidates.clear();
        candidates.extend(self.iter());
    }

    fn iter(&self) -> impl Iterator<Item = Candidate> {
        let all = self.logits.iter().zip(self.ids);
        all.map(|(&logit, &id)| Candidate { logit, id })
            .take_while(|candidate| candidate.logit > f32::NEG_INFINITY)
    }

    /// Returns what is known of the tokens that are no candidates.
    pub(super) fn rest(&self) -> Rest {
        let least = self.logits.last().copied().unwrap_or(f32::NEG_INFINITY);
        // Behind minus infinity there is nothing else.
        let count = if least > f32::NEG_INFINITY {
            self.width.saturating_sub(self.logits.len())
        } else {
            0
        };
        Rest::new(count, least, self.largest(), self.rest)
    }

    /// Returns the log-probability of `chosen`, which is a candidate, and of the `count` best tokens, which are at most as many.
    pub(super) fn logprobs(&self, chosen: u32, count: usize) -> Logprobs {
        let largest = self.largest();
        let weights = self
            .iter()
            .map(|candidate| weight(candidate.logit, largest));
        let total = weights.sum::<f64>() + f64::from(self.rest);
        let log_total = f64::from(largest) + total.ln();
        let logprob = |logit: f32| (f64::from(logit) - log_total) as f32;
        let found = self.iter().find(|candidate| candidate.id == chosen);
        let chosen = found.map_or(f32::NEG_INFINITY, |candidate| candidate.logit);
        Logprobs {
            chosen: logprob(chosen),
            top: self
                .iter()
                .take(count)
                .map(|candidate| (candidate.id, logprob(candidate.logit)))
                .collect(),
        }
    }
}
