//! The sampler by example: greedy, seeds, order, failures, buffers.

use super::{super::*, TEXTS, vocabulary, warm};

fn sampler(params: SamplingParams, prompt: &[u32]) -> Sampler {
    Sampler::new(params, prompt, &vocabulary(), 7)
}

fn next(sampler: &mut Sampler, logits: &[f32]) -> u32 {
    sampler.sample(logits).unwrap().token
}

fn sample_many(params: SamplingParams, logits: &[f32], count: usize) -> Vec<u32> {
    let mut sampler = sampler(params, &[]);
    (0..count).map(|_| next(&mut sampler, logits)).collect()
}

/// The tokens that occur in many draws, ascending.
fn kept(params: SamplingParams, logits: &[f32]) -> Vec<u32> {
    let mut tokens = sample_many(params, logits, 2_000);
    tokens.sort_unstable();
    tokens.dedup();
    tokens
}

#[test]
fn greedy_takes_the_best_and_of_equals_the_first() {
    let greedy = SamplingParams::default();
    assert_eq!(sample_many(greedy, &[0.0, 2.0, 2.0, 1.0], 3), [1, 1, 1]);
}

#[test]
fn greedy_reads_the_logits_in_place_and_nothing_grows_from_token_to_token() {
    let logits: Vec<f32> = (0..10_000).map(|id| (id % 97) as f32 * 0.1).collect();
    let mut greedy = sampler(
        SamplingParams {
            logprobs: Some(5),
            ..Default::default()
        },
        &[],
    );
    next(&mut greedy, &logits);
    assert_eq!(greedy.buffer_bytes(), 0);

    let everything = SamplingParams {
        repetition_penalty: 1.1,
        top_k: 500,
        top_p: 0.9,
        typical_p: 0.9,
        min_p: 0.01,
        ..warm()
    };
    let mut sampler = sampler(everything, &[]);
    next(&mut sampler, &logits);
    let after_one = sampler.buffer_bytes();
    for _ in 0..20 {
        next(&mut sampler, &logits);
    }
    assert_eq!(sampler.buffer_bytes(), after_one);
}

#[test]
fn pitfall_19_temperature_zero_is_greedy_and_ignores_the_truncations() {
    let params = SamplingParams {
        top_p: 0.01,
        top_k: 3,
        typical_p: 0.1,
        xtc_probability: 1.0,
        mirostat: Some(Mirostat::default()),
        ..Default::default()
    };
    assert_eq!(sample_many(params, &[0.0, 2.0, 1.9], 5), [1; 5]);
}

#[test]
fn pitfall_19_the_steps_run_in_llama_cpps_order() {
    // Probabilities .4, .3, .2, .1 for ids 0 to 3.
    let logits = [0.4f32, 0.3, 0.2, 0.1].map(f32::ln);
    // Penalties before top-k: token 0 falls out of the best two.
    let penalised = SamplingParams {
        logit_bias: vec![(0, -5.0)],
        top_k: 2,
        ..warm()
    };
    assert_eq!(kept(penalised, &logits), [1, 2]);
    // Top-k before top-p: .4 is .571 of the best two, .7 of them needs both; of all four .7 would too, .55 would not.
    let both = SamplingParams {
        top_k: 2,
        top_p: 0.55,
        ..warm()
    };
    assert_eq!(kept(both, &logits), [0]);
    assert_eq!(
        kept(
            SamplingParams {
                top_p: 0.55,
                ..warm()
            },
            &logits
        ),
        [0, 1]
    );
    // Top-p before temperature: at temperature 5 the four are nearly equal, and .65 of them would be three.
    let hot = SamplingParams {
        top_p: 0.65,
        temperature: 5.0,
        ..warm()
    };
    assert_eq!(kept(hot, &logits), [0, 1]);
    // XTC after top-k: the spared token is the least probable of those that are left.
    let xtc = SamplingParams {
        top_k: 2,
        xtc_probability: 1.0,
        xtc_threshold: 0.1,
        ..warm()
    };
    assert_eq!(kept(xtc, &logits), [1]);
}

#[test]
fn pitfall_19_a_bias_of_minus_100_forbids_and_logprobs_come_from_before_everything() {
    let logits = [2.0, 1.0, 0.0];
    let params = SamplingParams {
        logit_bias: vec![(0, -100.0)],
        temperature: 0.7,
        top_k: 1,
        repetition_penalty: 2.0,
        logprobs: Some(2),
        ..warm()
    };
    let choice = sampler(params, &[1]).sample(&logits).unwrap();
    assert_eq!(choice.token, 1);
    let total: f32 = logits.iter().map(|logit: &f32| logit.exp()).sum();
    let logprobs = choice.logprobs.unwrap();
    assert!((logprobs.chosen - (1.0 - total.ln())).abs() < 1e-5);
    assert_eq!(
        logprobs.top.iter().map(|top| top.0).collect::<Vec<_>>(),
        [0, 1]
    );
}

#[test]
fn the_same_seed_gives_the_same_tokens_and_another_seed_or_answer_others() {
    let logits: Vec<f32> = (0..100).map(|id| (id % 7) as f32 * 0.3).collect();
    let first = sample_many(warm(), &logits, 50);
    assert_eq!(first, sample_many(warm(), &logits, 50));
    for other in [
        SamplingParams {
            seed: Some(4),
            ..warm()
        },
        SamplingParams {
            answer_idx: 1,
            ..warm()
        },
    ] {
        assert_ne!(first, sample_many(other, &logits, 50));
    }
    // The second answer of a seed is not the first of the next.
    let second = SamplingParams {
        answer_idx: 1,
        ..warm()
    };
    let next_seed = SamplingParams {
        seed: Some(4),
        ..warm()
    };
    assert_ne!(
        sample_many(second, &logits, 50),
        sample_many(next_seed, &logits, 50)
    );
}

#[test]
fn a_temperature_near_zero_takes_the_best() {
    for temperature in [0.05, 1e-30] {
        let params = SamplingParams {
            temperature,
            ..warm()
        };
        assert!(
            sample_many(params, &[0.0, 1.0, -1e30], 200)
                .iter()
                .all(|&token| token == 1)
        );
    }
}

#[test]
fn penalties_count_as_documented() {
    let logits = [4.0, 3.0];
    // Repetition: prompt and answer. 4 / 2 = 2 falls below 3.
    let repetition = SamplingParams {
        repetition_penalty: 2.0,
        ..Default::default()
    };
    assert_eq!(next(&mut sampler(repetition.clone(), &[0]), &logits), 1);
    assert_eq!(next(&mut sampler(repetition.clone(), &[]), &logits), 0);
    // Only the last token counts: 0 was the one before it.
    let short = SamplingParams {
        penalty_last_n: Some(1),
        ..repetition
    };
    assert_eq!(next(&mut sampler(short, &[0, 1]), &logits), 0);
    // Presence: the answer only, once.
    let presence = SamplingParams {
        presence_penalty: 1.5,
        ..Default::default()
    };
    let mut with_presence = sampler(presence, &[0]);
    assert_eq!([0; 3].map(|_| next(&mut with_presence, &logits)), [0, 1, 0]);
    // Frequency: grows with every occurrence.
    let frequency = SamplingParams {
        frequency_penalty: 0.6,
        ..Default::default()
    };
    let mut with_frequency = sampler(frequency, &[]);
    assert_eq!(
        [0; 5].map(|_| next(&mut with_frequency, &logits)),
        [0, 0, 1, 0, 1]
    );
}

#[test]
fn dry_breaks_a_loop_but_not_across_a_breaker() {
    let id = |text: &str| TEXTS.iter().position(|&other| other == text).unwrap() as u32;
    let (a, b, c) = (id("a"), id("b"), id("c"));
    // The best token continues "a b c a b".
    let mut logits = vec![0.0; TEXTS.len()];
    logits[c as usize] = 2.0;
    logits[a as usize] = 1.0;
    let dry = |breakers: &[&str]| SamplingParams {
        dry: Dry {
            multiplier: 1.5,
            sequence_breakers: breakers.iter().map(|text| (*text).to_owned()).collect(),
            ..Dry::default()
        },
        ..Default::default()
    };
    assert_eq!(next(&mut sampler(dry(&[]), &[a, b, c, a, b]), &logits), a);
    assert_eq!(next(&mut sampler(dry(&[]), &[b, c, a, a, b]), &logits), c);
    // A breaker that spans the last two tokens leaves nothing to repeat.
    assert_eq!(
        next(&mut sampler(dry(&["ab"]), &[a, b, c, a, b]), &logits),
        c
    );
    // A token that holds a breaker may always follow.
    assert_eq!(
        next(&mut sampler(dry(&["c"]), &[a, b, c, a, b]), &logits),
        c
    );
}

#[test]
fn a_banned_text_never_appears_whatever_tokens_would_spell_it() {
    let flat = vec![0.0; TEXTS.len()];
    let params = SamplingParams {
        banned_strings: vec!["abc".into(), "é".into(), "aa".into()],
        ..warm()
    };
    let text = |tokens: &[u32]| {
        tokens
            .iter()
            .map(|&id| TEXTS[id as usize])
            .collect::<String>()
    };
    let answer = text(&sample_many(params.clone(), &flat, 5_000));
    for banned in &params.banned_strings {
        assert!(!answer.contains(banned));
    }
    assert!(
        answer.contains("ab") && answer.contains("bc"),
        "only whole banned texts are forbidden"
    );
    let free = text(&sample_many(warm(), &flat, 5_000));
    assert!(
        params
            .banned_strings
            .iter()
            .all(|banned| free.contains(banned))
    );
}

#[test]
fn pitfall_18_invalid_logits_and_excluded_vocabularies_are_errors_and_never_a_token() {
    let nothing_left = SamplingParams {
        logit_bias: vec![(0, -100.0), (1, -100.0)],
        ..Default::default()
    };
    let banned = SamplingParams {
        banned_sequences: vec![vec![0], vec![1]],
        ..warm()
    };
    let penalised = SamplingParams {
        repetition_penalty: 1.5,
        ..warm()
    };
    let all = [
        SamplingParams::default(),
        warm(),
        penalised.clone(),
        nothing_left.clone(),
        banned.clone(),
    ];
    for params in all {
        for logits in [
            &[0.0, f32::NAN][..],
            &[f32::NAN, 0.0],
            &[f32::INFINITY, 0.0],
            &[],
        ] {
            let result = sampler(params.clone(), &[0]).sample(logits);
            assert_eq!(result, Err(SampleError::InvalidLogits), "{logits:?}");
        }
        let masked = sampler(params, &[0]).sample(&[f32::NEG_INFINITY; 2]);
        assert_eq!(masked, Err(SampleError::NothingLeft));
    }
    for params in [nothing_left, banned] {
        assert_eq!(
            sampler(params, &[]).sample(&[1.0, 2.0]),
            Err(SampleError::NothingLeft)
        );
    }
    assert_eq!(
        next(&mut sampler(penalised, &[0]), &[f32::NEG_INFINITY, 2.0]),
        1
    );
}

fn changed(change: impl FnOnce(&mut SamplingParams)) -> SamplingParams {
    let mut params = SamplingParams::default();
    change(&mut params);
    params
}

fn with_mirostat(tau: f32, eta: f32) -> SamplingParams {
    changed(|p| p.mirostat = Some(Mirostat { tau, eta }))
}

#[rustfmt::skip]
fn parameters_out_of_range() -> Vec<(&'static str, SamplingParams)> {
    vec![
        ("temperature", changed(|p| p.temperature = f32::NAN)),
        ("top_p", changed(|p| p.top_p = 0.0)),
        ("min_p", changed(|p| p.min_p = 1.1)),
        ("typical_p", changed(|p| p.typical_p = -0.1)),
        ("top_n_sigma", changed(|p| p.top_n_sigma = -1.0)),
        ("xtc_probability", changed(|p| p.xtc_probability = 1.5)),
        ("xtc_threshold", changed(|p| p.xtc_threshold = 0.0)),
        ("repetition_penalty", changed(|p| p.repetition_penalty = 0.0)),
        ("presence_penalty", changed(|p| p.presence_penalty = 2.1)),
        ("frequency_penalty", changed(|p| p.frequency_penalty = -2.1)),
        ("mirostat_tau", with_mirostat(0.0, 0.1)),
        ("mirostat_eta", with_mirostat(5.0, f32::INFINITY)),
        ("dry_multiplier", changed(|p| p.dry.multiplier = -1.0)),
        ("dry_base", changed(|p| p.dry.base = 0.5)),
        ("dry_allowed_length", changed(|p| p.dry.allowed_length = 0)),
        ("dry_sequence_breakers", changed(|p| p.dry.sequence_breakers = vec![String::new()])),
        ("logit_bias", changed(|p| p.logit_bias = vec![(1, 100.5)])),
        ("logit_bias", changed(|p| p.logit_bias = vec![(1, f32::NAN)])),
        ("banned_strings", changed(|p| p.banned_strings = vec!["x".repeat(257)])),
        ("banned_strings", changed(|p| p.banned_strings = vec!["x".into(); 129])),
        ("banned_sequences", changed(|p| p.banned_sequences = vec![vec![]])),
        ("banned_sequences", changed(|p| p.banned_sequences = vec![vec![1]; 1_025])),
        ("top_logprobs", changed(|p| p.logprobs = Some(21))),
        ("max_tokens", changed(|p| p.max_tokens = 0)),
        ("stop", changed(|p| p.stop = vec![String::new()])),
    ]
}

#[test]
fn parameters_outside_their_range_are_named() {
    for (name, params) in parameters_out_of_range() {
        assert_eq!(params.validate().unwrap_err().name, name);
    }
    assert_eq!(SamplingParams::default().validate(), Ok(()));
}
