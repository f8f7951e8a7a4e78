//! Repetition, presence and frequency penalties over a window of the last tokens.
//!
//! The repetition penalty looks at prompt and answer (CTRL, arXiv 1909.05858); presence and frequency look at the answer
//! alone, as in OpenAI's API. llama.cpp counts the prompt for all three.

use std::collections::{HashMap, VecDeque};

use super::{SamplingParams, adjust::Adjust};

/// Occurrences of one token inside the window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Occurrences {
    anywhere: u32,
    in_answer: u32,
}

/// State of one sequence.
#[derive(Debug, Clone)]
pub struct Penalties {
    repetition: f32,
    presence: f32,
    frequency: f32,
    last_n: Option<usize>,
    /// The tokens inside the window and whether they are the answer's; empty without a window.
    window: VecDeque<(u32, bool)>,
    occurrences: HashMap<u32, Occurrences>,
}

impl Penalties {
    /// Returns `None` when no penalty is asked for.
    pub fn new(params: &SamplingParams, prompt: &[u32]) -> Option<Self> {
        let is_off = params.repetition_penalty == 1.0
            && params.presence_penalty == 0.0
            && params.frequency_penalty == 0.0;
        if is_off || params.penalty_last_n == Some(0) {
            return None;
        }
        let mut penalties = Self {
            repetition: params.repetition_penalty,
            presence: params.presence_penalty,
            frequency: params.frequency_penalty,
            last_n: params.penalty_last_n,
            window: VecDeque::new(),
            occurrences: HashMap::new(),
        };
        for &id in prompt {
            penalties.push(id, false);
        }
        Some(penalties)
    }

    /// Lowers the logits of the tokens inside the window.
    pub(super) fn apply(&self, logits: &mut impl Adjust) {
        for (&id, occurrences) in &self.occurrences {
            let answer = (occurrences.in_answer > 0)
                .then_some(self.presence + self.frequency * occurrences.in_answer as f32);
            let lowers = self.repetition >= 1.0 && answer.is_none_or(|penalty| penalty >= 0.0);
            logits.adjust(id, lowers, |logit| {
                // Dividing a negative logit would raise it.
                let repeated = if logit > 0.0 {
                    logit / self.repetition
                } else {
                    logit * self.repetition
                };
                answer.map_or(repeated, |penalty| repeated - penalty)
            });
        }
    }

    /// Takes the chosen token into account.
    pub fn accept(&mut self, id: u32) {
        self.push(id, true);
    }

    fn push(&mut self, id: u32, is_answer: bool) {
        let occurrences = self.occurrences.entry(id).or_default();
        occurrences.anywhere += 1;
        occurrences.in_answer += u32::from(is_answer);
        let Some(last_n) = self.last_n else {
            return;
        };
        self.window.push_back((id, is_answer));
        if self.window.len() > last_n
            && let Some((oldest, was_answer)) = self.window.pop_front()
            && let Some(occurrences) = self.occurrences.get_mut(&oldest)
        {
            occurrences.anywhere -= 1;
            occurrences.in_answer -= u32::from(was_answer);
            if occurrences.anywhere == 0 {
                self.occurrences.remove(&oldest);
            }
        }
    }
}
