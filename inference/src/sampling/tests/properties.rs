//! Each step keeps what its naive reference keeps, on seeded random input.

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use super::{
    super::{
        Dry, SamplingParams,
        banned::Banned,
        bias,
        candidates::{self, Candidate},
        dry,
        logprobs::logprobs,
        mirostat::Mirostat,
        params,
        penalties::Penalties,
        truncation, xtc,
    },
    TEXTS,
    reference::{self, Kept},
    vocabulary,
};

const CASES: usize = 3_000;

/// Logits of which some are equal and some are minus infinity.
fn random_logits(rng: &mut ChaCha8Rng, len: usize) -> Vec<f32> {
    let has_ties = rng.random_bool(0.3);
    let mut logit = || match rng.random_range(0..12) {
        0 => f32::NEG_INFINITY,
        _ if has_ties => rng.random_range(-6..6) as f32 * 0.75,
        _ => rng.random_range(-8.0..8.0),
    };
    let mut logits: Vec<f32> = (0..len).map(|_| logit()).collect();
    logits[0] = logits[0].max(-8.0);
    logits
}

fn sorted_ids(candidates: &[Candidate]) -> Vec<u32> {
    let mut ids: Vec<u32> = candidates.iter().map(|candidate| candidate.id).collect();
    ids.sort_unstable();
    ids
}

/// Compares a step with its reference on many random vocabularies, some of them longer than the sorted prefix.
fn check(
    step: impl Fn(&mut Vec<Candidate>, f32),
    naive: impl Fn(&Kept, f32) -> Kept,
    parameter: std::ops::Range<f32>,
) {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    for case in 0..CASES {
        let len = if case % 100 == 0 {
            rng.random_range(300..2_000)
        } else {
            rng.random_range(1..40)
        };
        let logits = random_logits(&mut rng, len);
        let value = rng.random_range(parameter.clone());
        let mut kept = Vec::new();
        candidates::collect(&mut kept, &logits);
        step(&mut kept, value);
        let want: Vec<u32> = naive(&reference::all(&logits), value)
            .iter()
            .map(|token| token.0)
            .collect();
        assert!(!kept.is_empty());
        assert_eq!(
            sorted_ids(&kept),
            want,
            "case {case}: parameter {value}, logits {logits:?}"
        );
    }
}

#[test]
fn top_k_keeps_the_k_best() {
    check(
        |kept, k| truncation::top_k(kept, k as usize),
        |kept, k| reference::top_k(kept, k as usize),
        0.0..50.0,
    );
}

#[test]
fn top_p_keeps_the_smallest_set_that_reaches_p() {
    check(truncation::top_p, reference::top_p, 0.001..1.1);
}

#[test]
fn min_p_keeps_what_is_probable_enough_beside_the_best() {
    check(truncation::min_p, reference::min_p, 0.0..1.0);
}

#[test]
fn typical_keeps_what_is_nearest_to_the_entropy() {
    // Equal distances on both sides of the entropy are ordered by chance of rounding; random logits have none.
    check(
        |kept, p| truncation::typical(kept, p, &mut Vec::new()),
        reference::typical,
        0.001..1.1,
    );
}

#[test]
fn top_n_sigma_keeps_what_is_near_the_best() {
    check(truncation::top_n_sigma, reference::top_n_sigma, 0.0..3.0);
}

#[test]
fn xtc_spares_the_least_probable_of_the_top_choices() {
    check(xtc::exclude_top_choices, reference::xtc, 0.001..0.6);
}

#[test]
fn mirostat_keeps_what_is_less_surprising_than_its_bound() {
    let truncate = |kept: &mut Vec<Candidate>, tau: f32| {
        Mirostat::new(params::Mirostat { tau, eta: 0.1 }).truncate(kept);
    };
    check(
        truncate,
        |kept, tau| reference::less_surprising(kept, 2.0 * tau),
        0.001..6.0,
    );
}

/// A sampler's worth of random parameters of the steps that change logits.
fn random_params(rng: &mut ChaCha8Rng) -> SamplingParams {
    const STRINGS: [&str; 8] = ["ab", "abc", "ca", "bca", "aaa", "é", "d", " a"];
    let window = |rng: &mut ChaCha8Rng| rng.random_bool(0.5).then(|| rng.random_range(0..12));
    let texts = |rng: &mut ChaCha8Rng| {
        let count = rng.random_range(0..3);
        STRINGS
            .choose_multiple(rng, count)
            .map(|text| (*text).to_owned())
            .collect()
    };
    let banned_sequences = (0..rng.random_range(0..3))
        .map(|_| random_tokens(rng, 1..4))
        .collect();
    SamplingParams {
        repetition_penalty: rng.random_range(0.5..2.0),
        presence_penalty: rng.random_range(-1.0..1.0),
        frequency_penalty: rng.random_range(-1.0..1.0),
        penalty_last_n: window(rng),
        logit_bias: vec![
            (rng.random_range(0..8), rng.random_range(-5.0..5.0)),
            (rng.random_range(8..16), -100.0),
        ],
        banned_strings: texts(rng),
        banned_sequences,
        dry: Dry {
            multiplier: rng.random_range(0.0..2.0),
            base: rng.random_range(1.0..3.0),
            allowed_length: rng.random_range(1..4),
            last_n: window(rng),
            sequence_breakers: texts(rng),
        },
        ..Default::default()
    }
}

/// Few different tokens, so that they repeat.
fn random_tokens(rng: &mut ChaCha8Rng, lengths: std::ops::Range<usize>) -> Vec<u32> {
    let variety = rng.random_range(2..=TEXTS.len() as u32);
    (0..rng.random_range(lengths))
        .map(|_| rng.random_range(0..variety))
        .collect()
}

#[test]
fn bias_bans_penalties_and_dry_change_logits_as_their_definitions_say() {
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    let vocabulary = vocabulary();
    for case in 0..CASES {
        let params = random_params(&mut rng);
        let (prompt, answer) = (
            random_tokens(&mut rng, 0..20),
            random_tokens(&mut rng, 0..20),
        );
        let logits = random_logits(&mut rng, TEXTS.len());
        let mut changed = logits.clone();
        let mut banned = Banned::new(&params, &vocabulary);
        let mut penalties = Penalties::new(&params, &prompt);
        let mut dry = dry::Dry::new(&params.dry, &prompt, &vocabulary);
        for &id in &answer {
            banned.iter_mut().for_each(|banned| banned.accept(id));
            penalties
                .iter_mut()
                .for_each(|penalties| penalties.accept(id));
            dry.iter_mut().for_each(|dry| dry.accept(id));
        }
        bias::apply(&mut changed, &params.logit_bias);
        banned.iter().for_each(|banned| banned.apply(&mut changed));
        penalties
            .iter()
            .for_each(|penalties| penalties.apply(&mut changed));
        dry.iter_mut().for_each(|dry| dry.apply(&mut changed));

        let want = reference::adjusted(&logits, &params, &prompt, &answer, &vocabulary);
        for (id, (got, want)) in changed.iter().zip(&want).enumerate() {
            let equal = got == want || (got - want).abs() < 1e-3 * want.abs().max(1.0);
            assert!(
                equal,
                "case {case}, token {id}: {got}, not {want}; {params:?} {prompt:?} {answer:?}"
            );
        }
    }
}

#[test]
fn logprobs_are_the_logarithms_of_the_softmax_best_first() {
    let mut rng = ChaCha8Rng::seed_from_u64(13);
    for _ in 0..CASES {
        let len = rng.random_range(1..60);
        let logits = random_logits(&mut rng, len);
        let count = rng.random_range(0..25);
        let got = logprobs(&logits, 0, count);
        let kept = reference::all(&logits);
        let mut want: Vec<(u32, f64)> = kept
            .iter()
            .map(|token| token.0)
            .zip(reference::softmax(&kept))
            .collect();
        assert!((f64::from(got.chosen) - want[0].1.ln()).abs() < 1e-4);
        want.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        want.truncate(count);
        assert_eq!(got.top.len(), want.len());
        for ((id, logprob), (want_id, probability)) in got.top.iter().zip(want) {
            assert_eq!(*id, want_id);
            assert!((f64::from(*logprob) - probability.ln()).abs() < 1e-4);
        }
    }
}
