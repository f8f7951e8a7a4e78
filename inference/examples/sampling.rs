//! What it costs to choose a token from a row of logits, and from the candidates that a device chooses from it.
//!
//! `cargo run --release -p inference --example sampling [VOCABULARY]` prints microseconds a token and how often the row was needed.

use std::{sync::Arc, time::Instant};

use inference::{
    SamplingParams,
    sampling::{ROW_CANDIDATES, RowCandidates, Sampler, Vocabulary},
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const TOKENS: usize = 400;
/// Rows that are made before anything is timed.
const ROWS: usize = 8;

/// A row with its best tokens.
struct Row {
    logits: Vec<f32>,
    best: Vec<f32>,
    ids: Vec<u32>,
    rest: f32,
}

impl Row {
    /// Some words are likely, as in a model's rows.
    fn new(rng: &mut ChaCha8Rng, width: usize) -> Self {
        let logit = |id: usize| {
            let noise: f32 = (0..4).map(|_| rng.random_range(-1.5..1.5f32)).sum();
            noise + if id.is_multiple_of(997) { 11.0 } else { 0.0 }
        };
        let logits: Vec<f32> = (0..width).map(logit).collect();
        let mut ids: Vec<u32> = (0..width as u32).collect();
        ids.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
        let others = ids.split_off(ROW_CANDIDATES.min(width));
        let largest = logits[ids[0] as usize];
        Self {
            best: ids.iter().map(|&id| logits[id as usize]).collect(),
            rest: others
                .iter()
                .map(|&id| (logits[id as usize] - largest).exp())
                .sum(),
            ids,
            logits,
        }
    }

    fn candidates(&self) -> RowCandidates<'_> {
        RowCandidates {
            logits: &self.best,
            ids: &self.ids,
            rest: self.rest,
            width: self.logits.len(),
        }
    }
}

#[allow(clippy::print_stdout)]
fn main() {
    let argument = std::env::args().nth(1);
    let width = argument.map_or(Ok(151_936), |width| width.parse());
    let width = width.expect("the vocabulary is a number");
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let rows: Vec<Row> = (0..ROWS).map(|_| Row::new(&mut rng, width)).collect();
    let warm = SamplingParams {
        temperature: 1.0,
        seed: Some(3),
        ..SamplingParams::default()
    };
    let all = [
        ("temperature 1", warm.clone()),
        (
            "temperature .7, top-p .9",
            SamplingParams {
                temperature: 0.7,
                top_p: 0.9,
                ..warm.clone()
            },
        ),
        (
            "top-k 40, min-p .05",
            SamplingParams {
                top_k: 40,
                min_p: 0.05,
                ..warm.clone()
            },
        ),
        (
            "repetition 1.1, 5 log-probabilities",
            SamplingParams {
                repetition_penalty: 1.1,
                logprobs: Some(5),
                ..warm
            },
        ),
    ];
    for (name, params) in all {
        let prompt: Vec<u32> = (0..500).map(|token| token * 7 % width as u32).collect();
        let sampler = || Sampler::new(params.clone(), &prompt, &Arc::new(Vocabulary::default()), 0);
        let (mut of_rows, mut of_candidates) = (sampler(), sampler());
        let started = Instant::now();
        for row in rows.iter().cycle().take(TOKENS) {
            of_rows.sample(&row.logits).expect("valid logits");
        }
        let from_row = started.elapsed();
        let started = Instant::now();
        let mut needed = 0;
        for row in rows.iter().cycle().take(TOKENS) {
            let choice = of_candidates.sample_candidates(row.candidates());
            if choice.expect("valid logits").is_none() {
                needed += 1;
                of_candidates.sample(&row.logits).expect("valid logits");
            }
        }
        let from_candidates = started.elapsed();
        let us = |took: std::time::Duration| took.as_secs_f64() * 1e6 / TOKENS as f64;
        println!(
            "{name}: from the row {:.0} us, from candidates and where needed the row {:.1} us, needed for {needed} of {TOKENS}",
            us(from_row),
            us(from_candidates)
        );
    }
}
