//! How a request wants its tokens chosen, and the check that the numbers make sense.

/// Sampling of one request. The default is greedy, 256 tokens.
///
/// Order of the steps, as in llama.cpp: penalties, top-k, top-p, min-p, temperature, draw. At temperature 0 the
/// penalties apply and the best token is taken.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingParams {
    /// 0 is greedy.
    pub temperature: f32,
    /// Keeps the `top_k` best tokens; 0 keeps all.
    pub top_k: usize,
    /// Keeps the smallest set of best tokens whose probability reaches `top_p`; 1 keeps all.
    pub top_p: f32,
    /// Keeps tokens at least `min_p` times as probable as the best; 0 keeps all.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of tokens already in prompt or answer; 1 is off.
    pub repetition_penalty: f32,
    /// Subtracted from the logit of every token already in the answer.
    pub presence_penalty: f32,
    /// Subtracted from a token's logit for every occurrence in the answer.
    pub frequency_penalty: f32,
    /// Same seed, prompt and parameters: same answer. `None` draws a seed.
    pub seed: Option<u64>,
    /// Most tokens to generate.
    pub max_tokens: usize,
    /// Texts that end the answer and are not part of it.
    pub stop: Vec<String>,
    /// Goes on past end tokens. For benchmarks.
    pub ignore_eos: bool,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: None,
            max_tokens: 256,
            stop: Vec::new(),
            ignore_eos: false,
        }
    }
}

/// A sampling parameter outside its range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{name} is {value}; it must be {range}")]
pub struct InvalidSampling {
    pub name: &'static str,
    pub value: String,
    pub range: &'static str,
}

impl SamplingParams {
    /// Checks every number.
    ///
    /// # Errors
    /// [`InvalidSampling`] for the first that is out of range or not finite.
    pub fn validate(&self) -> Result<(), InvalidSampling> {
        let check = |name, value: f32, range, ok: bool| {
            if value.is_finite() && ok {
                Ok(())
            } else {
                Err(InvalidSampling {
                    name,
                    value: value.to_string(),
                    range,
                })
            }
        };
        check(
            "temperature",
            self.temperature,
            "from 0 to 5",
            (0.0..=5.0).contains(&self.temperature),
        )?;
        check(
            "top_p",
            self.top_p,
            "above 0 and at most 1",
            self.top_p > 0.0 && self.top_p <= 1.0,
        )?;
        check(
            "min_p",
            self.min_p,
            "from 0 to 1",
            (0.0..=1.0).contains(&self.min_p),
        )?;
        let penalty = self.repetition_penalty;
        check(
            "repetition_penalty",
            penalty,
            "above 0 and at most 10",
            penalty > 0.0 && penalty <= 10.0,
        )?;
        let range = -2.0..=2.0;
        check(
            "presence_penalty",
            self.presence_penalty,
            "from -2 to 2",
            range.contains(&self.presence_penalty),
        )?;
        check(
            "frequency_penalty",
            self.frequency_penalty,
            "from -2 to 2",
            range.contains(&self.frequency_penalty),
        )?;
        if self.max_tokens == 0 {
            return Err(InvalidSampling {
                name: "max_tokens",
                value: "0".into(),
                range: "at least 1",
            });
        }
        if self.stop.iter().any(String::is_empty) {
            return Err(InvalidSampling {
                name: "stop",
                value: "\"\"".into(),
                range: "a text that is not empty",
            });
        }
        Ok(())
    }
}
