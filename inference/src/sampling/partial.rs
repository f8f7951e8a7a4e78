//! The steps of [`truncation`] for the best candidates of a row, in order, beside a [`Rest`]: what they leave when that is certain.
//!
//! | step | candidates suffice |
//! |---|---|
//! | bias, bans, penalties, DRY | what they raise is a candidate; what is left of the candidates is above the least of them (see [`super::adjust`]) |
//! | top-n-sigma, Mirostat | never: a standard deviation, a state that follows the exact total |
//! | top-k | `k` candidates are left; otherwise the rest stays, smaller |
//! | typical, XTC | a step before has taken the rest away |
//! | top-p | the cut falls on the same candidate for every weight of the rest |
//! | min-p | the rest is below the bound; otherwise it stays, smaller |
//! | temperature, draw | the draw falls on the same candidate for every weight of the rest (see [`super::draw`]) |
//! | log-probabilities | always: the total is known, and at most 20 tokens are asked for |

use super::{
    Candidate, ROW_CANDIDATES, SamplingParams,
    candidates::{largest_logit, total_weight, weight},
    rest::{Rest, SUM_ERROR},
    truncation::{self, Scored},
};

/// Whether candidates never suffice for a request at a temperature above 0.
pub(super) fn always_needs_row(params: &SamplingParams) -> bool {
    let cuts_by_count = (1..=ROW_CANDIDATES).contains(&params.top_k);
    let cuts = cuts_by_count || params.top_p < 1.0 || params.min_p > 0.0;
    params.mirostat.is_some()
        || params.top_n_sigma > 0.0
        || params.typical_p < 1.0 && !cuts_by_count
        || params.xtc_probability > 0.0 && !cuts
}

/// Leaves what all steps before XTC leave. Returns what is beside that; no rest is left in most cases. `None`: the row is needed.
pub(super) fn truncate(
    candidates: &mut Vec<Candidate>,
    rest: Rest,
    params: &SamplingParams,
    scored: &mut Vec<Scored>,
) -> Option<Option<Rest>> {
    if params.mirostat.is_some() || params.top_n_sigma > 0.0 {
        return None;
    }
    let rest = top_k(candidates, rest, params.top_k);
    if rest.is_some() && params.typical_p < 1.0 {
        return None;
    }
    truncation::typical(candidates, params.typical_p, scored);
    let rest = top_p(candidates, rest, params.top_p)?;
    let rest = min_p(candidates, rest, params.min_p);
    if rest.is_some() && params.xtc_probability > 0.0 {
        return None;
    }
    if rest.is_none() {
        super::candidates::in_order(candidates);
    }
    Some(rest)
}

fn top_k(candidates: &mut Vec<Candidate>, mut rest: Rest, k: usize) -> Option<Rest> {
    let count = candidates.len();
    if k > 0 && k <= count {
        candidates.truncate(k);
        return None;
    }
    if k > 0 && k < count + rest.count {
        rest.keep_some(k - count);
    }
    Some(rest)
}

/// Returns the rest that is left: none beside candidates of which it cuts some.
fn top_p(candidates: &mut Vec<Candidate>, rest: Option<Rest>, p: f32) -> Option<Option<Rest>> {
    let Some(rest) = rest.filter(|_| p < 1.0) else {
        truncation::top_p(candidates, p);
        return Some(rest);
    };
    let largest = largest_logit(candidates);
    let own = total_weight(candidates, largest);
    let [low, high] = rest.mass();
    let enough_low = f64::from(p) * (own + low) * (1.0 - SUM_ERROR);
    let enough_high = f64::from(p) * (own + high) * (1.0 + SUM_ERROR);
    let mut reached = 0.0;
    let cut = candidates.iter().position(|candidate| {
        reached += weight(candidate.logit, largest);
        reached >= enough_low
    })?;
    // What is enough for the least total must be enough for the greatest.
    if reached < enough_high {
        return None;
    }
    candidates.truncate(cut + 1);
    Some(None)
}

fn min_p(candidates: &mut Vec<Candidate>, rest: Option<Rest>, p: f32) -> Option<Rest> {
    let bound = largest_logit(candidates) + p.ln();
    truncation::min_p(candidates, p);
    let mut rest = rest?;
    if p > 0.0 {
        if rest.most < bound {
            return None;
        }
        rest.keep_some(rest.count);
    }
    Some(rest)
}
