//! Chooses one sequence's next token from its logits: all steps in their order, with buffers that are reused.

use std::sync::Arc;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    Candidate, Logprobs, SamplingParams, Vocabulary, argmax, banned::Banned, bias, candidates,
    draw, dry::Dry, logprobs::logprobs, mirostat::Mirostat, penalties::Penalties, truncation, xtc,
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

    /// Whether a choice depends on more than which logit is the largest.
    pub fn wants_logits(&self) -> bool {
        self.adjusts() || self.params.temperature != 0.0 || self.params.logprobs.is_some()
    }

    /// Whether anything changes logits before the choice; greedy requests without it read the model's logits in place.
    fn adjusts(&self) -> bool {
        !self.params.logit_bias.is_empty()
            || self.banned.is_some()
            || self.penalties.is_some()
            || self.dry.is_some()
    }

    fn adjust(&mut self, logits: &mut [f32]) {
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
        if params.xtc_probability > 0.0 && rng.random::<f32>() < params.xtc_probability {
            xtc::exclude_top_choices(candidates, params.xtc_threshold);
        }
        draw::temperature(candidates, params.temperature);
        Ok(draw::draw(candidates, rng.random(), weights).id)
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
