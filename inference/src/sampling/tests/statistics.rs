//! Draws follow the distribution that the parameters define: chi-square tests with fixed seeds.

use super::{
    super::{Mirostat, Sampler, SamplingParams, mirostat, params},
    TEXTS, reference, vocabulary, warm,
};

const DRAWS: u64 = 20_000;

/// Some probable and some improbable tokens, with a tie and one that is impossible.
fn logits() -> Vec<f32> {
    let mut logits: Vec<f32> = (0..TEXTS.len())
        .map(|id| 2.0 - 0.35 * ((id * 7) % 16) as f32)
        .collect();
    logits[5] = logits[2];
    logits[11] = f32::NEG_INFINITY;
    logits
}

/// Largest plausible chi-square value: one in a thousand is above (Wilson and Hilferty's approximation).
fn critical_value(degrees_of_freedom: usize) -> f64 {
    let k = degrees_of_freedom as f64;
    k * (1.0 - 2.0 / (9.0 * k) + 3.09 * (2.0 / (9.0 * k)).sqrt()).powi(3)
}

/// Returns by how much `counts` exceed what chance explains: above 1 they do not follow `probabilities`.
fn misfit(counts: &[u64], probabilities: &[f64]) -> f64 {
    let draws = counts.iter().sum::<u64>() as f64;
    let (mut chi_square, mut cells) = (0.0, 0);
    // Cells that expect less than 5 are counted as one.
    let (mut rare, mut rare_expected) = (0.0, 0.0);
    for (&count, &probability) in counts.iter().zip(probabilities) {
        let expected = probability * draws;
        assert!(
            count == 0 || probability > 0.0,
            "an excluded token was drawn {count} times"
        );
        if expected < 5.0 {
            rare += count as f64;
            rare_expected += expected;
        } else {
            chi_square += (count as f64 - expected).powi(2) / expected;
            cells += 1;
        }
    }
    if rare_expected >= 1.0 {
        chi_square += (rare - rare_expected).powi(2) / rare_expected;
        cells += 1;
    }
    if cells < 2 {
        0.0
    } else {
        chi_square / critical_value(cells - 1)
    }
}

/// First draws after `answer` of as many requests as there are seeds.
fn draw(params: &SamplingParams, prompt: &[u32], answer: &[u32]) -> Vec<u64> {
    let (logits, vocabulary) = (logits(), vocabulary());
    let mut counts = vec![0; logits.len()];
    for seed in 0..DRAWS {
        let params = SamplingParams {
            seed: Some(seed),
            ..params.clone()
        };
        let mut sampler = Sampler::new(params, prompt, &vocabulary, 0);
        for &id in answer {
            let mut forced = vec![f32::NEG_INFINITY; logits.len()];
            forced[id as usize] = 0.0;
            assert_eq!(sampler.sample(&forced).unwrap().token, id);
        }
        counts[sampler.sample(&logits).unwrap().token as usize] += 1;
    }
    counts
}

fn expected(params: &SamplingParams, prompt: &[u32], answer: &[u32]) -> Vec<f64> {
    let adjusted = reference::adjusted(&logits(), params, prompt, answer, &vocabulary());
    let without = reference::distribution(&adjusted, params, false);
    let with = reference::distribution(&adjusted, params, true);
    let strikes = f64::from(params.xtc_probability);
    without
        .iter()
        .zip(with)
        .map(|(without, with)| (1.0 - strikes) * without + strikes * with)
        .collect()
}

/// Name, parameters, prompt, answer so far.
type Case = (&'static str, SamplingParams, &'static [u32], &'static [u32]);

fn with(change: impl FnOnce(&mut SamplingParams)) -> SamplingParams {
    let mut params = SamplingParams {
        temperature: 1.0,
        ..Default::default()
    };
    change(&mut params);
    params
}

fn everything(p: &mut SamplingParams) {
    (p.temperature, p.top_k, p.top_p, p.min_p) = (1.3, 12, 0.95, 0.02);
    (p.typical_p, p.top_n_sigma) = (0.98, 2.5);
    (p.xtc_probability, p.xtc_threshold) = (0.5, 0.1);
    (
        p.repetition_penalty,
        p.presence_penalty,
        p.frequency_penalty,
    ) = (1.2, 0.3, 0.2);
    p.logit_bias = vec![(3, 1.0)];
    p.banned_strings = vec!["x".into()];
}

fn dry(p: &mut SamplingParams) {
    (p.dry.multiplier, p.dry.allowed_length) = (0.8, 1);
}

fn windowed(p: &mut SamplingParams) {
    (p.repetition_penalty, p.penalty_last_n) = (3.0, Some(2));
}

fn mirostat_2(p: &mut SamplingParams) {
    p.mirostat = Some(Mirostat { tau: 1.5, eta: 0.1 });
}

fn xtc(p: &mut SamplingParams) {
    (p.xtc_probability, p.xtc_threshold) = (0.4, 0.08);
}

#[rustfmt::skip]
fn cases() -> Vec<Case> {
    vec![
        ("plain", with(|_| ()), &[], &[]),
        ("temperature", with(|p| p.temperature = 0.6), &[], &[]),
        ("high temperature", with(|p| p.temperature = 2.5), &[], &[]),
        ("top_k", with(|p| p.top_k = 5), &[], &[]),
        ("top_p", with(|p| p.top_p = 0.7), &[], &[]),
        ("min_p", with(|p| p.min_p = 0.2), &[], &[]),
        ("typical_p", with(|p| p.typical_p = 0.5), &[], &[]),
        ("top_n_sigma", with(|p| p.top_n_sigma = 1.2), &[], &[]),
        ("xtc", with(xtc), &[], &[]),
        ("mirostat", with(mirostat_2), &[], &[]),
        ("repetition_penalty", with(|p| p.repetition_penalty = 1.6), &[0, 1, 0], &[2]),
        ("a penalty's window", with(windowed), &[0, 1, 3], &[2]),
        ("presence_penalty", with(|p| p.presence_penalty = 1.1), &[0, 0], &[1, 1, 2]),
        ("frequency_penalty", with(|p| p.frequency_penalty = 0.5), &[0, 0], &[1, 1, 2]),
        ("dry", with(dry), &[4, 0, 1, 4, 0, 2, 4, 0, 1], &[4, 0]),
        ("logit_bias", with(|p| p.logit_bias = vec![(0, -1.5), (3, 2.0), (7, -100.0)]), &[], &[]),
        ("banned_strings", with(|p| p.banned_strings = vec!["ab".into()]), &[], &[0]),
        ("banned_sequences", with(|p| p.banned_sequences = vec![vec![4, 1], vec![9]]), &[], &[4]),
        ("all together", with(everything), &[0, 1], &[2, 4]),
    ]
}

#[test]
fn every_sampler_draws_from_the_distribution_that_its_definition_gives() {
    for (name, params, prompt, answer) in cases() {
        params.validate().unwrap();
        let misfit = misfit(
            &draw(&params, prompt, answer),
            &expected(&params, prompt, answer),
        );
        assert!(
            misfit < 1.0,
            "{name}: {misfit:.2} times the largest plausible chi-square"
        );
    }
}

#[test]
fn every_sampler_differs_from_plain_sampling_and_the_test_notices() {
    let plain = expected(
        &SamplingParams {
            temperature: 1.0,
            ..Default::default()
        },
        &[],
        &[],
    );
    let counts = draw(
        &SamplingParams {
            temperature: 1.0,
            ..Default::default()
        },
        &[],
        &[],
    );
    for (name, params, prompt, answer) in cases().into_iter().skip(1) {
        let other = expected(&params, prompt, answer);
        // Smoothed, because the draws would reach what the other distribution excludes.
        let other: Vec<f64> = other
            .iter()
            .zip(&plain)
            .map(|(other, plain)| 0.98 * other + 0.02 * plain)
            .collect();
        assert!(
            misfit(&counts, &other) > 1.0,
            "{name} could not be told from plain sampling"
        );
    }
}

#[test]
fn draws_of_one_sequence_are_independent_of_each_other() {
    let mut sampler = Sampler::new(warm(), &[], &vocabulary(), 0);
    let drawn: Vec<usize> = (0..DRAWS)
        .map(|_| sampler.sample(&logits()).unwrap().token as usize)
        .collect();
    let expected = expected(&warm(), &[], &[]);
    let mut pairs = vec![0; 16 * 16];
    for pair in drawn.windows(2) {
        pairs[pair[0] * 16 + pair[1]] += 1;
    }
    let product: Vec<f64> = expected
        .iter()
        .flat_map(|first| expected.iter().map(move |second| first * second))
        .collect();
    assert!(misfit(&pairs, &product) < 1.0);
}

#[test]
fn mirostat_keeps_the_mean_surprise_at_its_target() {
    // A long tail: plain sampling has an entropy of 6.9 bits.
    let zipf: Vec<f32> = (0..400).map(|rank| -((rank + 1) as f32).ln()).collect();
    for tau in [2.0, 3.0, 4.0] {
        let mut candidates = Vec::new();
        let mut mirostat = mirostat::Mirostat::new(params::Mirostat { tau, eta: 0.1 });
        let params = SamplingParams {
            mirostat: Some(params::Mirostat { tau, eta: 0.1 }),
            ..warm()
        };
        let mut sampler = Sampler::new(params, &[], &vocabulary(), 0);
        let (mut surprise, steps) = (0.0, 4_000);
        for step in 0..steps {
            // The same state beside the sampler's, to know what each draw was made from.
            super::super::candidates::collect(&mut candidates, &zipf);
            mirostat.truncate(&mut candidates);
            let token = sampler.sample(&zipf).unwrap().token;
            let chosen = candidates
                .iter()
                .copied()
                .find(|candidate| candidate.id == token)
                .unwrap();
            let before = mirostat.bound();
            mirostat.observe(&candidates, chosen);
            if step >= 200 {
                surprise +=
                    f64::from(tau + (before - mirostat.bound()) / 0.1) / f64::from(steps - 200);
            }
        }
        assert!(
            (surprise - f64::from(tau)).abs() < 0.05,
            "{surprise:.3} bits instead of {tau}"
        );
    }
}
