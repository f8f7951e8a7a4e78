//! Logits that bias, bans, penalties and DRY change: those of a whole row, or of the candidates that a device has chosen from it.

use super::{
    candidates::{Candidate, better_first, weight},
    rest::Rest,
    row_candidates::RowCandidates,
};

/// Logits by token.
pub(super) trait Adjust {
    /// Changes a token's logit; tokens outside the vocabulary are ignored. `lowers` says that no logit becomes larger by the change.
    fn adjust(&mut self, id: u32, lowers: bool, change: impl Fn(f32) -> f32);
}

impl Adjust for Vec<f32> {
    fn adjust(&mut self, id: u32, _: bool, change: impl Fn(f32) -> f32) {
        if let Some(logit) = self.get_mut(id as usize) {
            *logit = change(*logit);
        }
    }
}

/// Candidates of a row while they are changed, and what becomes of the other tokens.
#[derive(Debug)]
pub(super) struct AdjustedCandidates<'a> {
    row: RowCandidates<'a>,
    /// Ascending in id.
    candidates: &'a mut Vec<Candidate>,
    has_changed: bool,
    /// Changes that lowered a token whose logit is not known.
    lowered_others: usize,
    /// Whether one was raised.
    raises_others: bool,
}

impl<'a> AdjustedCandidates<'a> {
    /// `buffer` receives the candidates.
    pub fn new(row: RowCandidates<'a>, buffer: &'a mut Vec<Candidate>) -> Self {
        row.collect(buffer);
        buffer.sort_unstable_by_key(|candidate| candidate.id);
        Self {
            row,
            candidates: buffer,
            has_changed: false,
            lowered_others: 0,
            raises_others: false,
        }
    }

    /// Leaves the candidates that are certainly better than every other token, best first, and returns what is known of the others;
    /// `None` when that is too little.
    ///
    /// Only lowered ones may have come among the others, so whatever is still above the least of the original candidates is in
    /// its place.
    pub fn finish(self) -> Option<Rest> {
        let Self {
            row,
            candidates,
            has_changed,
            lowered_others,
            raises_others,
        } = self;
        let mut rest = row.rest();
        if raises_others && rest.count > 0 {
            return None;
        }
        // What is infinite is an error that the whole row tells.
        if candidates
            .iter()
            .any(|candidate| candidate.logit == f32::INFINITY)
        {
            return None;
        }
        candidates.retain(|candidate| candidate.logit > f32::NEG_INFINITY);
        candidates.sort_unstable_by(better_first);
        let largest = candidates
            .first()
            .map_or(row.largest(), |candidate| candidate.logit);
        rest.measure_from(row.largest(), largest);
        rest.lower(lowered_others);
        if has_changed && rest.count > 0 {
            let most = rest.most;
            let certain = candidates.partition_point(|candidate| candidate.logit > most);
            for candidate in candidates.drain(certain..) {
                rest.add(weight(candidate.logit, largest));
            }
        }
        Some(rest)
    }
}

impl Adjust for AdjustedCandidates<'_> {
    fn adjust(&mut self, id: u32, lowers: bool, change: impl Fn(f32) -> f32) {
        let found = self
            .candidates
            .binary_search_by_key(&id, |candidate| candidate.id);
        match found {
            Ok(index) => {
                let logit = &mut self.candidates[index].logit;
                *logit = change(*logit);
                self.has_changed = true;
            }
            Err(_) if id as usize >= self.row.width => {}
            Err(_) if lowers => self.lowered_others += 1,
            Err(_) => self.raises_others = true,
        }
    }
}
