//! How a request wants its tokens chosen, and the check that the numbers make sense.

/// Most alternatives of a token that a request may ask for; OpenAI's limit.
pub const MOST_TOP_LOGPROBS: usize = 20;
/// Most entries of `logit_bias` and `banned_sequences`; each costs work in every step.
const MOST_ENTRIES: usize = 1_024;
/// Most entries of `banned_strings` and `dry.sequence_breakers`: each banned string is looked for in the whole
/// vocabulary, 2 ms for 150,000 tokens, before the request is queued.
const MOST_TEXTS: usize = 128;
/// Longest banned string and sequence breaker in bytes, longest banned sequence in tokens.
const LONGEST_ENTRY: usize = 256;

/// Sampling of one request. The default is greedy, 256 tokens.
///
/// The module's header gives the order in which the fields apply.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingParams {
    /// Divides the logits before the draw; 0 is greedy and ignores every field from `top_k` to `mirostat`.
    pub temperature: f32,
    /// Keeps the `top_k` best tokens; 0 keeps all.
    pub top_k: usize,
    /// Keeps the smallest set of best tokens whose probability reaches `top_p`; 1 keeps all.
    pub top_p: f32,
    /// Keeps tokens at least `min_p` times as probable as the best; 0 keeps all.
    pub min_p: f32,
    /// Keeps the tokens whose surprise is nearest to the expected one, until their probability exceeds `typical_p`;
    /// 1 keeps all.
    pub typical_p: f32,
    /// Keeps tokens whose logit is at most `top_n_sigma` standard deviations below the best; 0 keeps all.
    pub top_n_sigma: f32,
    /// How often, of the tokens at least `xtc_threshold` probable, all but the least probable are removed; 0 is never.
    pub xtc_probability: f32,
    /// See `xtc_probability`. Above 0.5 no two tokens reach it, so nothing is ever removed.
    pub xtc_threshold: f32,
    /// Chooses by a target surprise instead of `top_n_sigma`, `top_k`, `typical_p`, `top_p`, `min_p` and XTC.
    pub mirostat: Option<Mirostat>,
    /// Divides positive and multiplies negative logits of tokens in prompt or answer; 1 is off.
    pub repetition_penalty: f32,
    /// Subtracted from the logit of every token in the answer.
    pub presence_penalty: f32,
    /// Subtracted from a token's logit for every occurrence in the answer.
    pub frequency_penalty: f32,
    /// The three penalties look at this many last tokens of prompt and answer together; `None` at all, 0 at none.
    pub penalty_last_n: Option<usize>,
    /// Penalty for continuing a repetition.
    pub dry: Dry,
    /// Token ids with what is added to their logits, from -100 to 100; -100 forbids the token.
    pub logit_bias: Vec<(u32, f32)>,
    /// Texts that may not appear in the answer, whatever tokens would spell them; upper and lower case differ.
    pub banned_strings: Vec<String>,
    /// Token sequences that may not appear in the answer.
    pub banned_sequences: Vec<Vec<u32>>,
    /// Reports each token's log-probability and this many best alternatives; `None` reports nothing. They come from
    /// the model's own distribution: before bias, penalties and temperature.
    pub logprobs: Option<usize>,
    /// Same seed, prompt and parameters: same answer. `None` draws a seed.
    pub seed: Option<u64>,
    /// Which of several answers to the same request this is: with one seed, each index draws its own random numbers.
    pub answer_idx: u64,
    /// Most tokens to generate.
    pub max_tokens: usize,
    /// Texts that end the answer and are not part of it.
    pub stop: Vec<String>,
    /// Goes on past end tokens, which have no text. For benchmarks.
    pub ignore_eos: bool,
}

/// DRY ("don't repeat yourself"): a token that would continue a repetition of `n` tokens loses
/// `multiplier * base ^ (n - allowed_length)` of its logit once `n` reaches `allowed_length`.
///
/// Source: the sampler's description in text-generation-webui, pull request 5677; defaults as in llama.cpp.
#[derive(Debug, Clone, PartialEq)]
pub struct Dry {
    /// 0 is off.
    pub multiplier: f32,
    /// At least 1.
    pub base: f32,
    /// Repetitions shorter than this cost nothing.
    pub allowed_length: usize,
    /// Looks at this many last tokens of prompt and answer; `None` at all.
    pub last_n: Option<usize>,
    /// Texts across which nothing counts as a repetition.
    pub sequence_breakers: Vec<String>,
}

impl Default for Dry {
    fn default() -> Self {
        Self {
            multiplier: 0.0,
            base: 1.75,
            allowed_length: 2,
            last_n: None,
            sequence_breakers: ["\n", ":", "\"", "*"].map(str::to_owned).to_vec(),
        }
    }
}

/// Mirostat 2.0: keeps the surprise of the chosen tokens near a target. Source: arXiv 2007.14966, algorithm 2.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mirostat {
    /// Target surprise in bits.
    pub tau: f32,
    /// How fast the bound follows.
    pub eta: f32,
}

impl Default for Mirostat {
    fn default() -> Self {
        Self { tau: 5.0, eta: 0.1 }
    }
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            top_n_sigma: 0.0,
            xtc_probability: 0.0,
            xtc_threshold: 0.1,
            mirostat: None,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            penalty_last_n: None,
            dry: Dry::default(),
            logit_bias: Vec::new(),
            banned_strings: Vec::new(),
            banned_sequences: Vec::new(),
            logprobs: None,
            seed: None,
            answer_idx: 0,
            max_tokens: 256,
            stop: Vec::new(),
            ignore_eos: false,
        }
    }
}

/// A sampling parameter outside its range. `name` is the field's name in the OpenAI-compatible endpoints.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{name} is {value}; it must be {range}")]
pub struct InvalidSampling {
    pub name: &'static str,
    pub value: String,
    pub range: &'static str,
}

impl SamplingParams {
    /// Whether the steps need the tokens' texts.
    pub fn needs_vocabulary(&self) -> bool {
        !self.banned_strings.is_empty() || self.dry.is_on()
    }

    /// Checks every number and list.
    ///
    /// # Errors
    /// [`InvalidSampling`] for the first that is out of range or not finite.
    pub fn validate(&self) -> Result<(), InvalidSampling> {
        for (name, value, range, ok) in self.numbers() {
            if !value.is_finite() || !ok {
                return Err(invalid(name, value, range));
            }
        }
        if let Some((_, bias)) = self
            .logit_bias
            .iter()
            .find(|(_, bias)| !(-100.0..=100.0).contains(bias))
        {
            return Err(invalid(
                "logit_bias",
                bias,
                "from -100 to 100 for each token",
            ));
        }
        if let Some(count) = self.logprobs.filter(|&count| count > MOST_TOP_LOGPROBS) {
            return Err(invalid("top_logprobs", count, "from 0 to 20"));
        }
        if self.max_tokens == 0 {
            return Err(invalid("max_tokens", 0, "at least 1"));
        }
        if self.stop.iter().any(String::is_empty) {
            return Err(invalid("stop", "\"\"", "a text that is not empty"));
        }
        self.validate_lists()
    }

    /// Name, value, range in words, and whether the value is in it.
    fn numbers(&self) -> [(&'static str, f32, &'static str, bool); 15] {
        let Mirostat { tau, eta } = self.mirostat.unwrap_or_default();
        let within = |value: f32, low: f32, high: f32| (low..=high).contains(&value);
        let share = |value: f32| value > 0.0 && value <= 1.0;
        let (repetition, dry) = (self.repetition_penalty, &self.dry);
        let allowed = dry.allowed_length as f32;
        [
            (
                "temperature",
                self.temperature,
                "from 0 to 5",
                within(self.temperature, 0.0, 5.0),
            ),
            (
                "top_p",
                self.top_p,
                "above 0 and at most 1",
                share(self.top_p),
            ),
            (
                "min_p",
                self.min_p,
                "from 0 to 1",
                within(self.min_p, 0.0, 1.0),
            ),
            (
                "typical_p",
                self.typical_p,
                "above 0 and at most 1",
                share(self.typical_p),
            ),
            (
                "top_n_sigma",
                self.top_n_sigma,
                "from 0 to 100",
                within(self.top_n_sigma, 0.0, 100.0),
            ),
            (
                "xtc_probability",
                self.xtc_probability,
                "from 0 to 1",
                within(self.xtc_probability, 0.0, 1.0),
            ),
            (
                "xtc_threshold",
                self.xtc_threshold,
                "above 0 and at most 1",
                share(self.xtc_threshold),
            ),
            (
                "mirostat_tau",
                tau,
                "above 0 and at most 20",
                tau > 0.0 && tau <= 20.0,
            ),
            ("mirostat_eta", eta, "above 0 and at most 1", share(eta)),
            (
                "repetition_penalty",
                repetition,
                "from 0.01 to 10",
                within(repetition, 0.01, 10.0),
            ),
            (
                "presence_penalty",
                self.presence_penalty,
                "from -2 to 2",
                within(self.presence_penalty, -2.0, 2.0),
            ),
            (
                "frequency_penalty",
                self.frequency_penalty,
                "from -2 to 2",
                within(self.frequency_penalty, -2.0, 2.0),
            ),
            (
                "dry_multiplier",
                dry.multiplier,
                "from 0 to 100",
                within(dry.multiplier, 0.0, 100.0),
            ),
            (
                "dry_base",
                dry.base,
                "from 1 to 10",
                within(dry.base, 1.0, 10.0),
            ),
            (
                "dry_allowed_length",
                allowed,
                "at least 1",
                dry.allowed_length >= 1,
            ),
        ]
    }

    fn validate_lists(&self) -> Result<(), InvalidSampling> {
        let texts = |texts: &[String]| texts.iter().map(String::len).collect();
        let tokens = |lists: &[Vec<u32>]| lists.iter().map(Vec::len).collect();
        let (texts_range, entries_range) =
            ("at most 128 entries long", "at most 1024 entries long");
        let lists: [(_, Vec<usize>, _, _); 4] = [
            (
                "logit_bias",
                vec![1; self.logit_bias.len()],
                MOST_ENTRIES,
                entries_range,
            ),
            (
                "banned_strings",
                texts(&self.banned_strings),
                MOST_TEXTS,
                texts_range,
            ),
            (
                "banned_sequences",
                tokens(&self.banned_sequences),
                MOST_ENTRIES,
                entries_range,
            ),
            (
                "dry_sequence_breakers",
                texts(&self.dry.sequence_breakers),
                MOST_TEXTS,
                texts_range,
            ),
        ];
        for (name, lengths, most, range) in lists {
            if lengths.len() > most {
                let there = format!("a list of {}", lengths.len());
                return Err(invalid(name, there, range));
            }
            if let Some(length) = lengths
                .iter()
                .find(|length| !(1..=LONGEST_ENTRY).contains(*length))
            {
                let there = format!("a list with an entry of length {length}");
                return Err(invalid(
                    name,
                    there,
                    "made of entries of 1 to 256 bytes (of tokens, for sequences)",
                ));
            }
        }
        Ok(())
    }
}

impl Dry {
    pub(super) fn is_on(&self) -> bool {
        self.multiplier > 0.0
    }
}

fn invalid(name: &'static str, value: impl ToString, range: &'static str) -> InvalidSampling {
    InvalidSampling {
        name,
        value: value.to_string(),
        range,
    }
}
