//! How many tokens a step may run.
//!
//! A long prefill chunk makes every running answer wait for it. While answers are running, the tokens of a step are
//! therefore limited to what fits `target_step` by the measured cost of a token; alone, a prompt may use the whole
//! `max_num_batched_tokens`. The measurements come from outside, so this module has no clock.

use std::time::Duration;

/// Smallest chunk beside running answers: below it the fixed cost of a step outweighs the tokens.
const MIN_MIXED_TOKENS: usize = 32;
/// Weight of the newest measurement in the running mean.
const SMOOTHING: f64 = 0.2;

/// Token budget with an online cost model.
#[derive(Debug, Clone)]
pub struct TokenBudget {
    max_num_batched_tokens: usize,
    target_step: Duration,
    /// Running mean; `None` until a step was measured.
    seconds_per_token: Option<f64>,
}

impl TokenBudget {
    /// `target_step` is how long running answers may wait for a step with prefill in it.
    pub fn new(max_num_batched_tokens: usize, target_step: Duration) -> Self {
        Self {
            max_num_batched_tokens,
            target_step,
            seconds_per_token: None,
        }
    }

    /// Returns the tokens of the next step, given how many sequences decode in it.
    pub fn tokens(&self, num_decodes: usize) -> usize {
        let max = self.max_num_batched_tokens;
        match self.seconds_per_token {
            Some(seconds) if num_decodes > 0 => {
                let affordable = (self.target_step.as_secs_f64() / seconds) as usize;
                affordable
                    .clamp(MIN_MIXED_TOKENS.min(max), max)
                    .max(num_decodes)
            }
            _ => max,
        }
    }

    /// Learns from a finished step. Steps of few tokens say more about the weights than about tokens and are ignored.
    pub fn observe(&mut self, num_tokens: usize, took: Duration) {
        if num_tokens < MIN_MIXED_TOKENS {
            return;
        }
        let seconds = took.as_secs_f64() / num_tokens as f64;
        self.seconds_per_token = Some(match self.seconds_per_token {
            Some(mean) => mean + SMOOTHING * (seconds - mean),
            None => seconds,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_alone_gets_everything_and_beside_answers_what_fits_the_target() {
        let mut budget = TokenBudget::new(256, Duration::from_millis(500));
        assert_eq!(budget.tokens(1), 256, "nothing was measured yet");
        budget.observe(100, Duration::from_secs(1));
        assert_eq!(budget.tokens(0), 256);
        assert_eq!(budget.tokens(1), 50);
    }

    #[test]
    fn the_budget_never_falls_below_the_decodes_or_a_useful_chunk() {
        let mut budget = TokenBudget::new(256, Duration::from_millis(1));
        budget.observe(64, Duration::from_secs(10));
        assert_eq!(budget.tokens(3), MIN_MIXED_TOKENS);
        assert_eq!(budget.tokens(40), 40);
    }

    #[test]
    fn short_steps_teach_nothing() {
        let mut budget = TokenBudget::new(256, Duration::from_millis(100));
        budget.observe(1, Duration::from_secs(1));
        assert_eq!(budget.tokens(1), 256);
    }
}
