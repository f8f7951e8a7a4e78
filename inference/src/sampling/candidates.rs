//! Tokens that may still be chosen, their order and their weights.

use std::cmp::Ordering;

use super::{SampleError, row_candidates::ROW_CANDIDATES};

/// A token that may be chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Finite.
    pub logit: f32,
    pub id: u32,
}

/// Larger logits first, of equals the lower id. The zeros of both signs are equal, as everywhere but in `total_cmp`: the sum of
/// minus zero and zero is zero.
pub(super) fn better_first(a: &Candidate, b: &Candidate) -> Ordering {
    let by_logit = (b.logit + 0.0).total_cmp(&(a.logit + 0.0));
    by_logit.then(a.id.cmp(&b.id))
}

/// Brings the best candidates to the front, best first: as many as a device would choose from the row. So whatever is drawn from
/// few is drawn in the same order, wherever they come from.
pub(super) fn in_order(candidates: &mut [Candidate]) {
    let best = candidates.len().min(ROW_CANDIDATES);
    if best < candidates.len() {
        candidates.select_nth_unstable_by(best - 1, better_first);
    }
    candidates[..best].sort_unstable_by(better_first);
}

/// Replaces `candidates` by the tokens with a finite logit.
pub(super) fn collect(candidates: &mut Vec<Candidate>, logits: &[f32]) {
    candidates.clear();
    let all = logits.iter().zip(0..);
    candidates.extend(
        all.filter(|(logit, _)| **logit > f32::NEG_INFINITY)
            .map(|(&logit, id)| Candidate { logit, id }),
    );
}

/// Returns the largest logit; minus infinity of none.
pub(super) fn largest_logit(candidates: &[Candidate]) -> f32 {
    let logits = candidates.iter().map(|candidate| candidate.logit);
    logits.fold(f32::NEG_INFINITY, f32::max)
}

/// Returns the probability of `logit` times a constant that is the same for all candidates of one step.
pub(super) fn weight(logit: f32, largest: f32) -> f64 {
    // The exponential in f32 is exact to 1e-7 and three times as fast; sums over a vocabulary need f64.
    f64::from((logit - largest).exp())
}

/// Returns the sum of all weights.
pub(super) fn total_weight(candidates: &[Candidate], largest: f32) -> f64 {
    candidates
        .iter()
        .map(|candidate| weight(candidate.logit, largest))
        .sum()
}

/// Sorts `items` as far as needed and cuts them after the first for which `is_enough`, or nowhere.
pub(super) fn keep_until<T>(
    items: &mut Vec<T>,
    order: impl Fn(&T, &T) -> Ordering,
    mut is_enough: impl FnMut(&T) -> bool,
) {
    // Of a vocabulary of 150,000 a step keeps some dozens; sorting all of it would take longer than everything else.
    let mut sorted = 0;
    let mut next = ROW_CANDIDATES.min(items.len());
    while sorted < items.len() {
        let unsorted = &mut items[sorted..];
        if next - sorted < unsorted.len() {
            unsorted.select_nth_unstable_by(next - sorted - 1, &order);
        }
        items[sorted..next].sort_unstable_by(&order);
        if let Some(last) = items[sorted..next].iter().position(&mut is_enough) {
            items.truncate(sorted + last + 1);
            return;
        }
        sorted = next;
        next = (4 * next).min(items.len());
    }
}

/// Returns the largest logit with its token, of equals the one with the lowest id.
///
/// # Errors
/// [`SampleError::InvalidLogits`] when a logit is NaN or plus infinity, or there is none;
/// [`SampleError::NothingLeft`] when all are minus infinity.
pub fn argmax(logits: &[f32]) -> Result<Candidate, SampleError> {
    let (largest, valid) = largest(logits);
    if !valid || logits.is_empty() {
        return Err(SampleError::InvalidLogits);
    }
    let is_largest = |logit: &f32| *logit == largest;
    // Sixteen at a time, until one of them is it.
    let (chunks, _) = logits.as_chunks::<LANES>();
    let before = chunks
        .iter()
        .position(|chunk| {
            chunk
                .iter()
                .fold(false, |found, logit| found | is_largest(logit))
        })
        .unwrap_or(chunks.len())
        * LANES;
    let first = logits[before..]
        .iter()
        .position(is_largest)
        .map(|at| before + at);
    match first {
        Some(id) if largest > f32::NEG_INFINITY => Ok(Candidate {
            logit: largest,
            id: id as u32,
        }),
        _ => Err(SampleError::NothingLeft),
    }
}

/// Logits that are compared side by side: a fold over single ones waits for each comparison.
const LANES: usize = 16;

/// Returns the largest logit, and whether none is NaN or plus infinity.
fn largest(logits: &[f32]) -> (f32, bool) {
    let mut most = [f32::NEG_INFINITY; LANES];
    let mut valid = [true; LANES];
    let (chunks, rest) = logits.as_chunks::<LANES>();
    for part in chunks.iter().map(<[f32; LANES]>::as_slice).chain([rest]) {
        for ((most, valid), &logit) in most.iter_mut().zip(&mut valid).zip(part) {
            // NaN fails both comparisons.
            *most = if logit > *most { logit } else { *most };
            *valid &= logit < f32::INFINITY;
        }
    }
    let largest = most.into_iter().fold(f32::NEG_INFINITY, f32::max);
    (largest, valid.into_iter().all(|valid| valid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_largest_is_found_wherever_it_lies() {
        for len in 1..70 {
            for at in 0..len {
                let mut logits = vec![-3.0; len];
                logits[at] = -0.5;
                // A later one of the same size does not count.
                logits[len - 1] = -0.5;
                let best = argmax(&logits).unwrap();
                assert_eq!((best.id, best.logit), (at as u32, -0.5), "{len}");
            }
        }
    }

    #[test]
    fn numbers_that_are_no_logits_are_found_wherever_they_lie() {
        for bad in [f32::NAN, f32::INFINITY] {
            for at in 0..40 {
                let mut logits = vec![1.0; 40];
                logits[at] = bad;
                assert_eq!(
                    argmax(&logits),
                    Err(SampleError::InvalidLogits),
                    "{bad} at {at}"
                );
            }
        }
        assert_eq!(argmax(&[]), Err(SampleError::InvalidLogits));
        assert_eq!(
            argmax(&[f32::NEG_INFINITY; 20]),
            Err(SampleError::NothingLeft)
        );
    }
}
