//! Chooses one sequence's next token from its logits: all steps in their order, with buffers that are reused.

use std::sync::Arc;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    Candidate, Logprobs, RowCandidates, SamplingParams, Vocabulary,
    adjust::{Adjust, AdjustedCandidates},
    argmax,
    banned::Banned,
    bias, candidates, draw,
    dry::Dry,
    logprobs::logprobs,
    mirostat::Mirostat,
    partial,
    penalties::Penalties,
    rest::Rest,
    truncation, xtc,
};

/// Why no token can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// NaN or plus infinity.
    #[error("the logits are not valid numbers")]
    InvalidLogits,
    /// Every token has been excluded.
    #[error("every token is excluded")]
    NothingLeft,
}

/// What of a row of logits the next token depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Which is the largest.
    Largest,
    /// The candidates, nearly always: [`Sampler::sample_candidates`].
    Candidates,
    /// All of it.
    Row,
}

/// The chosen token, and its log-probabilities if they were asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    pub token: u32,
    pub logprobs: Option<Logprobs>,
}

/// Sampling state of one sequence.
#[derive(Debug)]
pub struct Sampler {
    params: SamplingParams,
    rng: ChaCha8Rng,
    banned: Option<Banned>,
    penalties: Option<Penalties>,
    dry: Option<Dry>,
    mirostat: Option<Mirostat>,
    buffers: Buffers,
}

/// Memory that is used again for every token. What a request does not need is never allocated.
#[derive(Debug, Default)]
struct Buffers {
    /// Logits after bias, bans and penalties.
    adjusted: Vec<f32>,
    candidates: Vec<Candidate>,
    scored: Vec<truncation::Scored>,
    weights: Vec<f64>,
}

impl Sampler {
    /// Returns a sampler at the start of an answer. `entropy` seeds the draws of a request without a seed;
    /// `vocabulary` is looked at only if [`SamplingParams::needs_vocabulary`].
    pub fn new(
        params: SamplingParams,
        prompt: &[u32],
        vocabulary: &Arc<Vocabulary>,
        entropy: u64,
    ) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(params.seed.unwrap_or(entropy));
        // Streams of one seed do not overlap; a seed for each answer would make answer 1 of seed 7 that of seed 8.
        rng.set_stream(params.answer_idx);
        Self {
            rng,
            banned: Banned::new(&params, vocabulary),
            penalties: Penalties::new(&params, prompt),
            dry: Dry::new(&params.dry, prompt, vocabulary),
            mirostat: params.mirostat.map(Mirostat::new),
            buffers: Buffers::default(),
            params,
        }
    }

    /// Returns the next token. `logits` covers the vocabulary only: rows that pad the matrix must be cut off.
    ///
    /// # Errors
    /// [`SampleError::InvalidLogits`] when a logit is NaN or plus infinity; [`SampleError::NothingLeft`] when all are
    /// minus infinity or forbidden. The state is then as it was.
    pub fn sample(&mut self, logits: &[f32]) -> Result<Choice, SampleError> {
        let token = if self.adjusts() {
            argmax(logits)?;
            let mut adjusted = std::mem::take(&mut self.buffers.adjusted);
            adjusted.clear();
            adjusted.extend_from_slice(logits);
            self.adjust(&mut adjusted);
            let token = self.choose(&adjusted);
            self.buffers.adjusted = adjusted;
            token?
        } else {
            self.choose(logits)?
        };
        self.accept(token);
        let logprobs = self
            .params
            .logprobs
            .map(|count| logprobs(logits, token, count));
        Ok(Choice { token, logprobs })
    }

    /// As [`Self::sample`] from the best tokens of a row, with the same token and log-probabilities within rounding; `None`, with the state as it was, when that depends on
    /// the others too and the row is needed.
    ///
    /// # Errors
    /// As of [`Self::sample`].
    pub fn sample_candidates(
        &mut self,
        row: RowCandidates<'_>,
    ) -> Result<Option<Choice>, SampleError> {
        row.check()?;
        let mut candidates = std::mem::take(&mut self.buffers.candidates);
        let rest = if self.adjusts() {
            let mut adjusted = AdjustedCandidates::new(row, &mut candidates);
            self.adjust(&mut adjusted);
            adjusted.finish()
        } else {
            row.collect(&mut candidates);
            Some(row.rest())
        };
        let token = rest.map_or(Ok(None), |rest| self.choose_beside(&mut candidates, rest));
        self.buffers.candidates = candidates;
        let Some(token) = token? else {
            return Ok(None);
        };
        self.accept(token);
        let logprobs = self.params.logprobs;
        let logprobs = logprobs.map(|count| row.logprobs(token, count));
        Ok(Some(Choice { token, logprobs }))
    }

    /// Returns what the next token depends on.
    pub fn wanted(&self) -> Wanted {
        let params = &self.params;
        if params.temperature == 0.0 {
            return if self.adjusts() || params.logprobs.is_some() {
                Wanted::Candidates
            } else {
                Wanted::Largest
            };
        }
        if partial::always_needs_row(params) {
            Wanted::Row
        } else {
            Wanted::Candidates
        }
    }

    /// Whether anything changes logits before the choice; greedy requests without it read the model's logits in place.
    fn adjusts(&self) -> bool {
        !self.params.logit_bias.is_empty()
            || self.banned.is_some()
            || self.penalties.is_some()
            || self.dry.is_some()
    }

    fn adjust(&mut self, logits: &mut impl Adjust) {
        bias::apply(logits, &self.params.logit_bias);
        if let Some(banned) = &self.banned {
            banned.apply(logits);
        }
        if let Some(penalties) = &self.penalties {
            penalties.apply(logits);
        }
        if let Some(dry) = &mut self.dry {
            dry.apply(logits);
        }
    }

    fn choose(&mut self, logits: &[f32]) -> Result<u32, SampleError> {
        let best = argmax(logits)?;
        if self.params.temperature == 0.0 {
            return Ok(best.id);
        }
        let Buffers {
            candidates,
            scored,
            weights,
            ..
        } = &mut self.buffers;
        let (params, rng) = (&self.params, &mut self.rng);
        candidates::collect(candidates, logits);
        if let Some(mirostat) = &mut self.mirostat {
            draw::temperature(candidates, params.temperature);
            mirostat.truncate(candidates);
            let chosen = draw::draw(candidates, rng.random(), weights);
            mirostat.observe(candidates, chosen);
            return Ok(chosen.id);
        }
        truncation::top_n_sigma(candidates, params.top_n_sigma);
        truncation::top_k(candidates, params.top_k);
        truncation::typical(candidates, params.typical_p, scored);
        truncation::top_p(candidates, params.top_p);
        truncation::min_p(candidates, params.min_p);
        candidates::in_order(candidates);
        exclude_top_choices(candidates, params, rng);
        draw::temperature(candidates, params.temperature);
        Ok(draw::draw(candidates, rng.random(), weights).id)
    }

    /// Chooses among the best candidates, in order, beside which there is a rest.
    fn choose_beside(
        &mut self,
        candidates: &mut Vec<Candidate>,
        rest: Rest,
    ) -> Result<Option<u32>, SampleError> {
        let Some(best) = candidates.first() else {
            return if rest.count == 0 {
                Err(SampleError::NothingLeft)
            } else {
                Ok(None)
            };
        };
        let params = &self.params;
        if params.temperature == 0.0 {
            return Ok(Some(best.id));
        }
        let Buffers {
            scored, weights, ..
        } = &mut self.buffers;
        let Some(rest) = partial::truncate(candidates, rest, params, scored) else {
            return Ok(None);
        };
        let before = self.rng.clone();
        exclude_top_choices(candidates, params, &mut self.rng);
        draw::temperature(candidates, params.temperature);
        let uniform = self.rng.random();
        let chosen = match rest {
            None => Some(draw::draw(candidates, uniform, weights)),
            Some(rest) => {
                let mass = rest.mass_at(params.temperature);
                draw::draw_beside(candidates, mass, uniform, weights)
            }
        };
        if chosen.is_none() {
            self.rng = before;
        }
        Ok(chosen.map(|chosen| chosen.id))
    }

    fn accept(&mut self, token: u32) {
        if let Some(banned) = &mut self.banned {
            banned.accept(token);
        }
        if let Some(penalties) = &mut self.penalties {
            penalties.accept(token);
        }
        if let Some(dry) = &mut self.dry {
            dry.accept(token);
        }
    }

    /// The state of the random numbers.
    #[cfg(test)]
    pub(super) fn rng(&self) -> &ChaCha8Rng {
        &self.rng
    }

    /// Bytes held by the buffers.
    #[cfg(test)]
    pub(super) fn buffer_bytes(&self) -> usize {
        let Buffers {
            adjusted,
            candidates,
            scored,
            weights,
        } = &self.buffers;
        adjusted.capacity() * size_of::<f32>()
            + candidates.capacity() * size_of::<Candidate>()
            + scored.capacity() * size_of::<truncation::Scored>()
            + weights.capacity() * size_of::<f64>()
    }
}

/// XTC, where it strikes.
fn exclude_top_choices(
    candidates: &mut Vec<Candidate>,
    params: &SamplingParams,
    rng: &mut ChaCha8Rng,
) {
    if params.xtc_probability > 0.0 && rng.random::<f32>() < params.xtc_probability {
        xtc::exclude_top_choices(candidates, params.xtc_threshold);
    }
}
