//! XTC ("exclude top choices"): removes what everybody would say, as long as something else is likely enough.
//!
//! Source: the sampler's description in text-generation-webui, pull request 6335.

use super::candidates::{Candidate, better_first, largest_logit, total_weight, weight};

/// Removes, of the candidates at least `threshold` probable, all but the least probable one.
pub fn exclude_top_choices(candidates: &mut Vec<Candidate>, threshold: f32) {
    let largest = largest_logit(candidates);
    let bound = f64::from(threshold) * total_weight(candidates, largest);
    let is_top = |candidate: &Candidate| weight(candidate.logit, largest) >= bound;
    let tops = candidates.iter().copied().filter(is_top);
    if let Some(spared) = tops.max_by(better_first) {
        candidates.retain(|candidate| candidate.id == spared.id || !is_top(candidate));
    }
}
