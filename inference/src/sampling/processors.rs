//! The steps between logits and the draw, each on its own.

use std::{cmp::Ordering, collections::HashMap};

use super::{SamplingParams, sampler::Candidate};

/// Logit distance below the best at which a token's share is under 1e-13: the smallest nucleus never reaches it.
const NEGLIGIBLE: f32 = 30.0;

pub fn has_penalties(params: &SamplingParams) -> bool {
    params.repetition_penalty != 1.0
        || params.presence_penalty != 0.0
        || params.frequency_penalty != 0.0
}

/// Lowers the logits of tokens that occurred: those in `occurrences`, which counts the answer's.
pub fn penalize(logits: &mut [f32], occurrences: &HashMap<u32, u32>, params: &SamplingParams) {
    for (&id, &count) in occurrences {
        let Some(logit) = logits.get_mut(id as usize) else {
            continue;
        };
        if *logit > 0.0 {
            *logit /= params.repetition_penalty;
        } else {
            *logit *= params.repetition_penalty;
        }
        if count > 0 {
            *logit -= params.presence_penalty + params.frequency_penalty * count as f32;
        }
    }
}

/// Larger logits first, of equals the lower id.
fn better_first(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

/// Keeps the `k` best candidates; 0 keeps all.
pub fn top_k(candidates: &mut Vec<Candidate>, k: usize) {
    if k > 0 && k < candidates.len() {
        candidates.select_nth_unstable_by(k - 1, better_first);
        candidates.truncate(k);
    }
}

/// Keeps the smallest set of best candidates whose probability reaches `p`; at least one.
pub fn top_p(candidates: &mut Vec<Candidate>, p: f32, best: f32) {
    if p >= 1.0 {
        return;
    }
    let weight = |candidate: &Candidate| f64::from(candidate.logit - best).exp();
    let total: f64 = candidates.iter().map(weight).sum();
    candidates.retain(|candidate| candidate.logit > best - NEGLIGIBLE);
    candidates.sort_unstable_by(better_first);
    let mut reached = 0.0;
    let enough = candidates.iter().position(|candidate| {
        reached += weight(candidate);
        reached >= f64::from(p) * total
    });
    candidates.truncate(enough.map_or(candidates.len(), |index| index + 1));
}

/// Keeps candidates at least `p` times as probable as the best; 0 keeps all.
pub fn min_p(candidates: &mut Vec<Candidate>, p: f32, best: f32) {
    if p > 0.0 {
        let bound = best + p.ln();
        candidates.retain(|candidate| candidate.logit >= bound);
    }
}
