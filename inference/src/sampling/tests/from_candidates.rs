//! Candidates of a row lead to the same answer as the row, or ask for it.

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use super::{
    super::{
        Candidate, Dry, Mirostat, ROW_CANDIDATES, RowCandidates, SampleError, Sampler,
        SamplingParams, Vocabulary, Wanted,
        candidates::{better_first, collect},
    },
    vocabulary, warm,
};

/// What a device leaves of a row.
struct Chosen {
    logits: Vec<f32>,
    ids: Vec<u32>,
    rest: f32,
    width: usize,
}

impl Chosen {
    /// `error` is the relative error of the device's sum.
    fn of(row: &[f32], most: usize, error: f64) -> Self {
        let mut all: Vec<Candidate> = row
            .iter()
            .zip(0..)
            .map(|(&logit, id)| Candidate { logit, id })
            .collect();
        all.sort_by(better_first);
        let rest = all.split_off(most.min(all.len()));
        let largest = all[0].logit;
        let exponential = |candidate: &Candidate| f64::from(candidate.logit - largest).exp();
        let sum: f64 = if largest > f32::NEG_INFINITY {
            rest.iter().map(exponential).sum()
        } else {
            0.0
        };
        Self {
            logits: all.iter().map(|candidate| candidate.logit).collect(),
            ids: all.iter().map(|candidate| candidate.id).collect(),
            rest: (sum * (1.0 + error)) as f32,
            width: row.len(),
        }
    }

    fn row(&self) -> RowCandidates<'_> {
        RowCandidates {
            logits: &self.logits,
            ids: &self.ids,
            rest: self.rest,
            width: self.width,
        }
    }
}

/// Logits from flat to certain, some of them equal, some forbidden, zeros of both signs.
fn random_row(rng: &mut ChaCha8Rng, len: usize) -> Vec<f32> {
    let (scale, has_ties) = (
        *[0.1, 1.0, 3.0, 8.0, 30.0].choose(rng).unwrap(),
        rng.random_bool(0.3),
    );
    let forbidden = if rng.random_bool(0.3) { 0.2 } else { 0.0 };
    let mut row: Vec<f32> = (0..len)
        .map(|_| {
            if rng.random_bool(forbidden) {
                return f32::NEG_INFINITY;
            }
            let normal: f32 = (0..6).map(|_| rng.random_range(-0.7..0.7f32)).sum();
            let logit = scale * normal;
            if has_ties {
                (logit * 2.0).round() / 2.0
            } else {
                logit
            }
        })
        .collect();
    row[0] = row[0].max(-1.0);
    row
}

/// Each step with its chance of being on.
fn random_params(rng: &mut ChaCha8Rng, width: usize) -> SamplingParams {
    let id = |rng: &mut ChaCha8Rng| rng.random_range(0..width as u32);
    let mut params = SamplingParams {
        temperature: *[0.0, 0.3, 0.7, 1.0, 1.0, 1.3, 3.0].choose(rng).unwrap(),
        seed: Some(rng.random()),
        ..SamplingParams::default()
    };
    let mut on = |share: f64| rng.random_bool(share);
    let (k, p, min_p, typical, sigma, xtc) =
        (on(0.3), on(0.4), on(0.3), on(0.1), on(0.05), on(0.1));
    let (mirostat, logprobs, bias, bans) = (on(0.05), on(0.3), on(0.3), on(0.2));
    let (repetition, presence, dry) = (on(0.3), on(0.3), on(0.2));
    if k {
        params.top_k = rng.random_range(1..300);
    }
    if p {
        params.top_p = rng.random_range(0.05..1.0);
    }
    if min_p {
        params.min_p = rng.random_range(0.001..0.9);
    }
    if typical {
        params.typical_p = rng.random_range(0.1..1.0);
    }
    if sigma {
        params.top_n_sigma = rng.random_range(0.5..3.0);
    }
    if xtc {
        params.xtc_probability = 0.5;
    }
    params.mirostat = mirostat.then(Mirostat::default);
    params.logprobs = logprobs.then(|| rng.random_range(0..21));
    if bias {
        params.logit_bias = (0..rng.random_range(1..6))
            .map(|_| {
                (
                    id(rng),
                    *[-100.0, -3.0, -0.5, 0.0, 2.0].choose(rng).unwrap(),
                )
            })
            .collect();
    }
    if bans {
        params.banned_sequences = (0..3).map(|_| vec![id(rng)]).collect();
    }
    if repetition {
        params.repetition_penalty = *[0.8, 1.1, 1.5].choose(rng).unwrap();
    }
    if presence {
        params.presence_penalty = *[-0.5, 0.4, 1.5].choose(rng).unwrap();
        params.frequency_penalty = rng.random_range(0.0..0.5);
    }
    if dry {
        params.dry = Dry {
            multiplier: 0.8,
            allowed_length: 1,
            ..Dry::default()
        };
    }
    params
}

/// Two samplers of one request: one sees rows, the other candidates while they suffice.
struct Pair {
    of_row: Sampler,
    of_candidates: Sampler,
    answered: usize,
}

impl Pair {
    fn new(params: &SamplingParams, prompt: &[u32]) -> Self {
        let vocabulary = if params.needs_vocabulary() {
            vocabulary()
        } else {
            std::sync::Arc::new(Vocabulary::default())
        };
        let sampler = || Sampler::new(params.clone(), prompt, &vocabulary, 0);
        Self {
            of_row: sampler(),
            of_candidates: sampler(),
            answered: 0,
        }
    }

    fn step(&mut self, row: &[f32], chosen: &Chosen, case: &dyn Fn() -> String) {
        let before = self.of_candidates.rng().clone();
        let want = self.of_row.sample(row);
        let got = match self.of_candidates.sample_candidates(chosen.row()) {
            Ok(None) => {
                assert_eq!(*self.of_candidates.rng(), before, "{}", case());
                self.of_candidates.sample(row).map(Some)
            }
            got => {
                self.answered += 1;
                got
            }
        };
        assert_eq!(self.of_candidates.rng(), self.of_row.rng(), "{}", case());
        let (want, got) = match (want, got) {
            (Ok(want), Ok(Some(got))) => (want, got),
            (want, got) => return assert_eq!(got, want.map(Some), "{}", case()),
        };
        assert_eq!(got.token, want.token, "{}", case());
        assert_eq!(got.logprobs.is_some(), want.logprobs.is_some());
        let (Some(want), Some(got)) = (want.logprobs, got.logprobs) else {
            return;
        };
        let close = |got: f32, want: f32| {
            assert!(
                (got - want).abs() <= 1e-6 * want.abs().max(1.0),
                "{got}, not {want}: {}",
                case()
            );
        };
        close(got.chosen, want.chosen);
        assert_eq!(got.top.len(), want.top.len(), "{}", case());
        for (got, want) in got.top.iter().zip(&want.top) {
            assert_eq!(got.0, want.0, "{}", case());
            close(got.1, want.1);
        }
    }
}

#[test]
fn candidates_answer_as_their_row_does_or_ask_for_it() {
    let mut rng = ChaCha8Rng::seed_from_u64(21);
    let (mut steps, mut answered) = (0, 0);
    for case in 0..6_000 {
        let len = if case % 4 == 0 {
            rng.random_range(257..3_000)
        } else {
            rng.random_range(1..60)
        };
        let most = *[1, 4, 20, ROW_CANDIDATES].choose(&mut rng).unwrap();
        let mut params = random_params(&mut rng, len);
        // As many as any device chooses.
        params.logprobs = params.logprobs.map(|count| count.min(most));
        let prompt: Vec<u32> = (0..8).map(|_| rng.random_range(0..len as u32)).collect();
        let mut pair = Pair::new(&params, &prompt);
        for _ in 0..4 {
            let row = random_row(&mut rng, len);
            let chosen = Chosen::of(&row, most, rng.random_range(-1e-6..1e-6));
            pair.step(&row, &chosen, &|| {
                format!("case {case}: {len}, {most}, {params:?}")
            });
            steps += 1;
        }
        answered += pair.answered;
    }
    // The rest asked for the row: most of these parameters are unusual, and most of these devices choose few.
    assert!(
        answered * 3 > steps && answered < steps,
        "{answered} of {steps}"
    );
}

#[test]
fn usual_parameters_rarely_need_the_row() {
    // Logits of a vocabulary of 50,000 in which some words are likely, as a model's are.
    let mut rng = ChaCha8Rng::seed_from_u64(22);
    let share = |params: &SamplingParams, rng: &mut ChaCha8Rng| {
        let mut pair = Pair::new(params, &[1, 2, 3]);
        let steps = 60;
        for _ in 0..steps {
            let row: Vec<f32> = (0..50_000)
                .map(|id| {
                    let noise: f32 = (0..4).map(|_| rng.random_range(-1.5..1.5f32)).sum();
                    noise + if id % 997 == 0 { 11.0 } else { 0.0 }
                })
                .collect();
            let chosen = Chosen::of(&row, ROW_CANDIDATES, 0.0);
            pair.step(&row, &chosen, &|| format!("{params:?}"));
        }
        pair.answered as f64 / f64::from(steps)
    };
    let nucleus = SamplingParams {
        top_p: 0.9,
        temperature: 0.7,
        ..warm()
    };
    let penalised = SamplingParams {
        frequency_penalty: 0.3,
        repetition_penalty: 1.1,
        ..nucleus.clone()
    };
    let forty = SamplingParams {
        top_k: 40,
        typical_p: 0.9,
        ..warm()
    };
    let xtc = SamplingParams {
        min_p: 0.05,
        xtc_probability: 0.5,
        ..warm()
    };
    let greedy = SamplingParams {
        temperature: 0.0,
        logprobs: Some(5),
        presence_penalty: 1.0,
        ..warm()
    };
    for params in [warm(), nucleus, penalised, forty, xtc, greedy] {
        assert!(share(&params, &mut rng) > 0.9, "{params:?}");
    }
}

#[test]
fn what_a_request_wants_is_known_before_its_step() {
    let wanted = |params: SamplingParams| Sampler::new(params, &[], &vocabulary(), 0).wanted();
    let greedy = SamplingParams::default();
    assert_eq!(wanted(greedy.clone()), Wanted::Largest);
    assert_eq!(
        wanted(SamplingParams {
            top_n_sigma: 1.0,
            ..greedy.clone()
        }),
        Wanted::Largest
    );
    assert_eq!(
        wanted(SamplingParams {
            logprobs: Some(0),
            ..greedy.clone()
        }),
        Wanted::Candidates
    );
    assert_eq!(
        wanted(SamplingParams {
            presence_penalty: 1.0,
            ..greedy
        }),
        Wanted::Candidates
    );
    assert_eq!(wanted(warm()), Wanted::Candidates);
    for needs_row in [
        SamplingParams {
            mirostat: Some(Mirostat::default()),
            ..warm()
        },
        SamplingParams {
            top_n_sigma: 1.0,
            ..warm()
        },
        SamplingParams {
            typical_p: 0.9,
            ..warm()
        },
        SamplingParams {
            typical_p: 0.9,
            top_k: ROW_CANDIDATES + 1,
            ..warm()
        },
        SamplingParams {
            xtc_probability: 0.5,
            ..warm()
        },
    ] {
        assert_eq!(wanted(needs_row.clone()), Wanted::Row, "{needs_row:?}");
        // And such a request does ask.
        let row: Vec<f32> = (0..600).map(|id| (id % 100) as f32 * 0.1).collect();
        let chosen = Chosen::of(&row, ROW_CANDIDATES, 0.0);
        let mut sampler = Sampler::new(needs_row, &[], &vocabulary(), 0);
        assert_eq!(sampler.sample_candidates(chosen.row()), Ok(None));
    }
}

#[test]
fn a_row_that_is_invalid_or_empty_is_an_error_from_candidates_too() {
    let mut sampler = Sampler::new(warm(), &[], &vocabulary(), 0);
    let with = |logits: &[f32], rest: f32, sampler: &mut Sampler| {
        let ids: Vec<u32> = (0..logits.len() as u32).collect();
        sampler.sample_candidates(RowCandidates {
            logits,
            ids: &ids,
            rest,
            width: 9,
        })
    };
    assert_eq!(
        with(&[1.0, 0.5], f32::NAN, &mut sampler),
        Err(SampleError::InvalidLogits)
    );
    assert_eq!(
        with(&[], 0.0, &mut sampler),
        Err(SampleError::InvalidLogits)
    );
    assert_eq!(
        with(&[f32::NEG_INFINITY; 2], 0.0, &mut sampler),
        Err(SampleError::NothingLeft)
    );
    let forbidding = SamplingParams {
        logit_bias: vec![(0, -100.0)],
        ..warm()
    };
    let mut sampler = Sampler::new(forbidding, &[], &vocabulary(), 0);
    assert_eq!(
        with(&[2.0, f32::NEG_INFINITY], 0.0, &mut sampler),
        Err(SampleError::NothingLeft)
    );
    // Something else is left, but who knows which.
    assert_eq!(with(&[2.0], 0.5, &mut sampler), Ok(None));
}

#[test]
fn a_lowered_candidate_never_stands_before_a_token_that_may_be_better() {
    // Token 0 falls among the tokens that are not known.
    let row: Vec<f32> = [9.0, 5.0, 4.0, 3.5, 3.4].to_vec();
    let params = SamplingParams {
        logit_bias: vec![(0, -5.2)],
        temperature: 0.0,
        ..warm()
    };
    let chosen = Chosen::of(&row, 3, 0.0);
    let mut sampler = Sampler::new(params.clone(), &[], &vocabulary(), 0);
    assert_eq!(
        sampler
            .sample_candidates(chosen.row())
            .unwrap()
            .unwrap()
            .token,
        1
    );
    let banned = SamplingParams {
        logit_bias: vec![(0, -5.2), (1, -100.0), (2, -100.0)],
        ..params
    };
    let mut sampler = Sampler::new(banned, &[], &vocabulary(), 0);
    assert_eq!(sampler.sample_candidates(chosen.row()), Ok(None));
    assert_eq!(sampler.sample(&row).unwrap().token, 0);
}

#[test]
fn candidates_are_what_a_row_is_collected_to() {
    let row = random_row(&mut ChaCha8Rng::seed_from_u64(23), 700);
    let chosen = Chosen::of(&row, ROW_CANDIDATES, 0.0);
    let (mut got, mut want) = (Vec::new(), Vec::new());
    chosen.row().collect(&mut got);
    collect(&mut want, &row);
    want.sort_by(better_first);
    assert_eq!(got, want[..got.len()]);
}
