//! Chooses one sequence's next token from its logits.
//!
//! The random numbers belong to the sequence, so its answer does not depend on what else is in the batch.

use std::collections::HashMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{SamplingParams, processors};

/// Logits with NaN or plus infinity in them, from which nothing can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the logits are not valid numbers")]
pub struct InvalidLogits;

/// A token that may be chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    pub logit: f32,
    pub id: u32,
}

/// Sampling state of one sequence.
#[derive(Debug)]
pub struct Sampler {
    params: SamplingParams,
    rng: ChaCha8Rng,
    /// Tokens of prompt and answer with their number of occurrences in the answer; empty without penalties.
    occurrences: HashMap<u32, u32>,
    candidates: Vec<Candidate>,
}

impl Sampler {
    /// `entropy` seeds the draws of a request without a seed.
    pub fn new(params: SamplingParams, prompt: &[u32], entropy: u64) -> Self {
        let seed = params.seed.unwrap_or(entropy);
        let occurrences = if processors::has_penalties(&params) {
            prompt.iter().map(|&id| (id, 0)).collect()
        } else {
            HashMap::new()
        };
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            params,
            occurrences,
            candidates: Vec::new(),
        }
    }

    /// Returns the next token. `logits` covers the vocabulary only: rows that pad the matrix must be cut off.
    ///
    /// # Errors
    /// [`InvalidLogits`] when a logit is NaN or plus infinity, or none is finite.
    pub fn sample(&mut self, logits: &[f32]) -> Result<u32, InvalidLogits> {
        let id = if processors::has_penalties(&self.params) {
            let mut logits = logits.to_vec();
            processors::penalize(&mut logits, &self.occurrences, &self.params);
            self.choose(&logits)?
        } else {
            self.choose(logits)?
        };
        if processors::has_penalties(&self.params) {
            *self.occurrences.entry(id).or_insert(0) += 1;
        }
        Ok(id)
    }

    fn choose(&mut self, logits: &[f32]) -> Result<u32, InvalidLogits> {
        let best = argmax(logits)?;
        if self.params.temperature == 0.0 {
            return Ok(best.id);
        }
        let candidates = &mut self.candidates;
        candidates.clear();
        candidates.extend(
            logits
                .iter()
                .zip(0..)
                .map(|(&logit, id)| Candidate { logit, id }),
        );
        processors::top_k(candidates, self.params.top_k);
        processors::top_p(candidates, self.params.top_p, best.logit);
        processors::min_p(candidates, self.params.min_p, best.logit);
        Ok(draw(
            candidates,
            self.params.temperature,
            best,
            self.rng.random(),
        ))
    }
}

/// Returns the largest logit, of equals the one with the lowest id.
pub fn argmax(logits: &[f32]) -> Result<Candidate, InvalidLogits> {
    // NaN fails both comparisons, so one pass finds NaN and plus infinity.
    let valid = logits
        .iter()
        .fold(true, |valid, logit| valid & (*logit < f32::INFINITY));
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if !valid || max == f32::NEG_INFINITY {
        return Err(InvalidLogits);
    }
    let id = logits
        .iter()
        .position(|&logit| logit == max)
        .ok_or(InvalidLogits)?;
    Ok(Candidate {
        logit: max,
        id: id as u32,
    })
}

/// Returns the candidate in whose share of the total weight `uniform` (from 0 to 1) falls.
fn draw(candidates: &[Candidate], temperature: f32, best: Candidate, uniform: f64) -> u32 {
    let weight =
        |candidate: &Candidate| f64::from((candidate.logit - best.logit) / temperature).exp();
    let total: f64 = candidates.iter().map(weight).sum();
    let mut left = uniform * total;
    for candidate in candidates {
        left -= weight(candidate);
        if left < 0.0 {
            return candidate.id;
        }
    }
    // Rounding left a crumb.
    best.id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample_many(params: SamplingParams, logits: &[f32], count: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(params, &[], 7);
        (0..count)
            .map(|_| sampler.sample(logits).unwrap())
            .collect()
    }

    fn warm() -> SamplingParams {
        SamplingParams {
            temperature: 1.0,
            seed: Some(3),
            ..Default::default()
        }
    }

    #[test]
    fn greedy_takes_the_best_and_of_equals_the_first() {
        assert_eq!(
            sample_many(SamplingParams::default(), &[0.0, 2.0, 2.0, 1.0], 3),
            [1, 1, 1]
        );
    }

    #[test]
    fn temperature_zero_ignores_top_p() {
        let params = SamplingParams {
            top_p: 0.01,
            top_k: 3,
            ..Default::default()
        };
        assert_eq!(sample_many(params, &[0.0, 2.0, 1.9], 1), [1]);
    }

    #[test]
    fn the_same_seed_gives_the_same_tokens_and_another_seed_others() {
        let logits: Vec<f32> = (0..100).map(|id| (id % 7) as f32 * 0.3).collect();
        let first = sample_many(warm(), &logits, 50);
        assert_eq!(first, sample_many(warm(), &logits, 50));
        assert_ne!(
            first,
            sample_many(
                SamplingParams {
                    seed: Some(4),
                    ..warm()
                },
                &logits,
                50
            )
        );
    }

    #[test]
    fn draws_follow_the_softmax_of_the_logits() {
        let logits = [2f32.ln(), 0.0, 5f32.ln(), f32::NEG_INFINITY];
        let drawn = sample_many(warm(), &logits, 40_000);
        for (id, want) in [(0, 0.25), (1, 0.125), (2, 0.625), (3, 0.0)] {
            let share = drawn.iter().filter(|&&token| token == id).count() as f64 / 40_000.0;
            assert!(
                (share - want).abs() < 0.01,
                "token {id}: {share}, not {want}"
            );
        }
    }

    #[test]
    fn a_low_temperature_prefers_the_best() {
        let params = SamplingParams {
            temperature: 0.05,
            ..warm()
        };
        assert!(
            sample_many(params, &[0.0, 1.0], 200)
                .iter()
                .all(|&token| token == 1)
        );
    }

    #[test]
    fn top_k_top_p_and_min_p_cut_the_tail() {
        // Probabilities .5, .25, .15, .1 for ids 2, 0, 3, 1.
        let logits = [0.25f32.ln(), 0.1f32.ln(), 0.5f32.ln(), 0.15f32.ln()];
        let kept = |params: SamplingParams| {
            let mut tokens = sample_many(params, &logits, 2_000);
            tokens.sort_unstable();
            tokens.dedup();
            tokens
        };
        assert_eq!(kept(warm()), [0, 1, 2, 3]);
        assert_eq!(kept(SamplingParams { top_k: 2, ..warm() }), [0, 2]);
        assert_eq!(
            kept(SamplingParams {
                top_p: 0.8,
                ..warm()
            }),
            [0, 2, 3]
        );
        assert_eq!(
            kept(SamplingParams {
                top_p: 0.001,
                ..warm()
            }),
            [2]
        );
        assert_eq!(
            kept(SamplingParams {
                min_p: 0.4,
                ..warm()
            }),
            [0, 2]
        );
        assert_eq!(
            kept(SamplingParams {
                min_p: 1.0,
                ..warm()
            }),
            [2]
        );
    }

    #[test]
    fn penalties_count_as_documented() {
        // Repetition: prompt and answer. 4 / 2 = 2 falls below 3.
        let params = SamplingParams {
            repetition_penalty: 2.0,
            ..Default::default()
        };
        assert_eq!(
            Sampler::new(params.clone(), &[0], 0).sample(&[4.0, 3.0]),
            Ok(1)
        );
        assert_eq!(Sampler::new(params, &[], 0).sample(&[4.0, 3.0]), Ok(0));
        // Presence: the answer only, once.
        let params = SamplingParams {
            presence_penalty: 1.5,
            ..Default::default()
        };
        let mut sampler = Sampler::new(params, &[0], 0);
        assert_eq!(
            [0; 3].map(|_| sampler.sample(&[4.0, 3.0]).unwrap()),
            [0, 1, 0]
        );
        // Frequency: grows with every occurrence.
        let params = SamplingParams {
            frequency_penalty: 0.6,
            ..Default::default()
        };
        let mut sampler = Sampler::new(params, &[], 0);
        assert_eq!(
            [0; 5].map(|_| sampler.sample(&[4.0, 3.0]).unwrap()),
            [0, 0, 1, 0, 1]
        );
    }

    #[test]
    fn invalid_logits_are_an_error_and_never_a_token() {
        for logits in [
            &[0.0, f32::NAN][..],
            &[f32::INFINITY, 0.0],
            &[f32::NEG_INFINITY],
            &[],
        ] {
            for params in [SamplingParams::default(), warm()] {
                assert_eq!(
                    Sampler::new(params, &[], 0).sample(logits),
                    Err(InvalidLogits)
                );
            }
        }
    }
}
