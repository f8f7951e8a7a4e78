//! Sampling through the whole engine: log-probabilities beside the text, several answers, bans, failures, pitfalls.

use candle_core::quantized::GgmlDType;
use inference::{
    Detokenizer, Dry, Engine, EngineError, Event, FinishReason, GenerateRequest, Mirostat,
    Priority, SamplingParams, SubmitError, TokenLogprobs, TokenStream,
    gguf::synthetic::SyntheticModel,
};

use crate::common::{TinyModel, collect, generate, load, tiny};

fn request(prompt: &[u32], sampling: SamplingParams) -> GenerateRequest {
    GenerateRequest {
        prompt: prompt.to_vec(),
        sampling,
        priority: Priority::Interactive,
    }
}

/// Random enough that bytes of unfinished characters, bytes that are no text, and control tokens occur.
fn hot(seed: u64, max_tokens: usize) -> SamplingParams {
    SamplingParams {
        temperature: 2.0,
        seed: Some(seed),
        max_tokens,
        ignore_eos: true,
        logprobs: Some(3),
        ..Default::default()
    }
}

fn engine() -> (Engine, TinyModel) {
    let model = tiny(&SyntheticModel {
        padding_rows: 5,
        ..Default::default()
    });
    (load(&model.path, |_| ()), model)
}

/// Text so far and log-probabilities so far after each event, and how it ended.
struct Followed {
    states: Vec<(String, Vec<TokenLogprobs>)>,
    tokens: Vec<u32>,
    reason: FinishReason,
}

impl Followed {
    fn last(&self) -> &(String, Vec<TokenLogprobs>) {
        self.states.last().unwrap()
    }
}

fn follow(mut stream: TokenStream) -> Followed {
    let (mut states, mut tokens) = (vec![(String::new(), Vec::new())], Vec::new());
    while let Some(event) = stream.blocking_next() {
        match event {
            Event::Delta {
                text,
                tokens: ids,
                logprobs,
            } => {
                let (mut text_so_far, mut logprobs_so_far) = states.last().unwrap().clone();
                text_so_far.push_str(&text);
                logprobs_so_far.extend(logprobs);
                states.push((text_so_far, logprobs_so_far));
                tokens.extend(ids);
            }
            Event::Finished { reason, .. } => {
                return Followed {
                    states,
                    tokens,
                    reason,
                };
            }
            Event::Failed(error) => panic!("failed: {error}"),
        }
    }
    panic!("the stream ended without a last event")
}

/// The text that the reported tokens complete; control tokens have none.
fn text_of(engine: &Engine, logprobs: &[TokenLogprobs]) -> String {
    let mut detokenizer = Detokenizer::new();
    let ids = logprobs.iter().map(|token| token.chosen.id);
    ids.map(|id| detokenizer.push(engine.tokenizer(), id))
        .collect()
}

#[test]
fn logprobs_cover_exactly_the_text_that_was_sent() {
    let (engine, _model) = engine();
    let mut in_groups = 0;
    for seed in 0..40 {
        let followed = follow(engine.submit(request(&[1, 2, 3], hot(seed, 60))).unwrap());
        let mut reported = 0;
        for (text, logprobs) in &followed.states {
            // At the end a character that never ended is replaced; compared below.
            let is_end = logprobs.len() == followed.tokens.len();
            assert!(is_end || text_of(&engine, logprobs).starts_with(text.as_str()));
            let without_last = &logprobs[..logprobs.len().saturating_sub(1)];
            let is_needed = text_of(&engine, without_last).len() < text.len();
            assert!(logprobs.is_empty() || is_end || is_needed);
            in_groups += usize::from(logprobs.len() > reported + 1);
            reported = logprobs.len();
        }
        let (text, logprobs) = followed.last();
        let ids: Vec<u32> = logprobs.iter().map(|token| token.chosen.id).collect();
        assert_eq!(ids, followed.tokens);
        assert_eq!(engine.tokenizer().decode(&ids), *text);
    }
    assert!(
        in_groups > 100,
        "no token waited for the end of a character"
    );
}

#[test]
fn a_stop_string_takes_the_tokens_inside_it_out_of_the_logprobs() {
    let (engine, _model) = engine();
    let mut cut_tokens = 0;
    for seed in 0..40 {
        let whole = generate(&engine, request(&[1, 2, 3], hot(seed, 40)));
        let characters: Vec<char> = whole.text.chars().collect();
        let stop: String = characters[15..18].iter().collect();
        if stop.contains('\u{FFFD}') {
            continue;
        }
        let sampling = SamplingParams {
            stop: vec![stop.clone()],
            ..hot(seed, 40)
        };
        let stopped = follow(engine.submit(request(&[1, 2, 3], sampling)).unwrap());
        let (text, logprobs) = stopped.last();
        assert_eq!(
            (stopped.reason, text.as_str()),
            (FinishReason::Stop, whole.text.split(&stop).next().unwrap())
        );
        let covered = text_of(&engine, logprobs);
        assert!(covered.starts_with(text.as_str()));
        assert!(text_of(&engine, &logprobs[..logprobs.len() - 1]).len() < text.len());
        cut_tokens += stopped.tokens.len() - logprobs.len();
    }
    assert!(cut_tokens > 0);
}

#[test]
fn logprobs_are_those_of_the_model_whatever_the_sampling() {
    let (engine, _model) = engine();
    let first = |sampling: SamplingParams| {
        let sampling = SamplingParams {
            max_tokens: 1,
            logprobs: Some(20),
            ignore_eos: true,
            ..sampling
        };
        follow(engine.submit(request(&[1, 2, 3], sampling)).unwrap())
            .last()
            .1[0]
            .clone()
    };
    let greedy = first(SamplingParams::default());
    assert_eq!(greedy.top.len(), 20);
    assert_eq!(greedy.top[0], greedy.chosen);
    assert!(
        greedy
            .top
            .windows(2)
            .all(|pair| pair[0].logprob >= pair[1].logprob)
    );
    assert!(greedy.top.iter().map(|top| top.logprob.exp()).sum::<f32>() <= 1.0);
    let (best, second) = (greedy.top[0].id, greedy.top[1].id);
    let changed = first(SamplingParams {
        temperature: 0.3,
        top_k: 1,
        repetition_penalty: 1.5,
        logit_bias: vec![(best, -100.0), (second, 100.0)],
        ..Default::default()
    });
    assert_eq!(changed.chosen, greedy.top[1]);
    assert_eq!(changed.top, greedy.top);
    let none = follow(
        engine
            .submit(request(
                &[1],
                SamplingParams {
                    logprobs: None,
                    ..hot(1, 5)
                },
            ))
            .unwrap(),
    );
    assert!(none.last().1.is_empty());
}

#[test]
fn a_control_token_in_the_logprobs_shows_its_name() {
    let (engine, _model) = engine();
    let end = engine.tokenizer().eos_ids()[0];
    let force = SamplingParams {
        logit_bias: vec![(end, 100.0)],
        max_tokens: 3,
        ignore_eos: true,
        logprobs: Some(0),
        ..Default::default()
    };
    let followed = follow(engine.submit(request(&[1], force.clone())).unwrap());
    let (text, logprobs) = followed.last();
    assert_eq!((text.as_str(), logprobs.len()), ("", 3));
    let name = engine.tokenizer().token_text(end).unwrap();
    assert!(
        logprobs
            .iter()
            .all(|token| token.chosen.bytes == name.as_bytes() && token.top.is_empty())
    );
    // Without `ignore_eos` the end token ends the answer and is no part of it.
    let ended = follow(
        engine
            .submit(request(
                &[1],
                SamplingParams {
                    ignore_eos: false,
                    ..force
                },
            ))
            .unwrap(),
    );
    assert_eq!(
        (ended.reason, ended.tokens.len(), ended.last().1.len()),
        (FinishReason::Stop, 0, 0)
    );
}

#[test]
fn several_answers_to_one_request_differ_and_each_is_repeatable() {
    let (engine, _model) = engine();
    let answer = |answer_idx| {
        request(
            &[1, 2, 3],
            SamplingParams {
                answer_idx,
                ..hot(5, 30)
            },
        )
    };
    let streams: Vec<TokenStream> = (0..4)
        .map(|index| engine.submit(answer(index)).unwrap())
        .collect();
    let together: Vec<_> = streams.into_iter().map(collect).collect();
    for (index, output) in together.iter().enumerate() {
        assert_eq!(*output, generate(&engine, answer(index as u64)));
        assert!(
            together[..index]
                .iter()
                .all(|earlier| earlier.tokens != output.tokens)
        );
    }
    assert_eq!(
        together[0],
        generate(&engine, request(&[1, 2, 3], hot(5, 30)))
    );
    // One of them is dropped in the middle; the others do not notice.
    let mut streams: Vec<TokenStream> = (0..3)
        .map(|index| engine.submit(answer(index)).unwrap())
        .collect();
    drop(streams.remove(1));
    let rest: Vec<_> = streams.into_iter().map(collect).collect();
    assert_eq!(rest, [together[0].clone(), together[2].clone()]);
}

#[test]
fn a_banned_text_does_not_appear_and_the_answer_goes_on() {
    let (engine, _model) = engine();
    let free = generate(&engine, request(&[1, 2, 3], hot(9, 80)));
    let letters: Vec<char> = free.text.chars().filter(|c| *c != '\u{FFFD}').collect();
    let banned: Vec<String> = letters
        .chunks(2)
        .take(20)
        .map(|pair| pair.iter().collect())
        .collect();
    assert!(banned.iter().any(|text| free.text.contains(text.as_str())));
    let sampling = SamplingParams {
        banned_strings: banned.clone(),
        ..hot(9, 80)
    };
    let output = generate(&engine, request(&[1, 2, 3], sampling));
    assert_eq!(output.tokens.len(), 80);
    for text in banned {
        assert!(
            !output.text.contains(&text),
            "{text:?} in {:?}",
            output.text
        );
    }
}

#[test]
fn pitfall_18_a_request_that_excludes_every_token_fails_alone() {
    let (engine, _model) = engine();
    let vocab_size = engine.tokenizer().vocab_size() as u32;
    let nothing = (0..vocab_size).map(|id| (id, -100.0)).collect();
    let masked = SamplingParams {
        logit_bias: nothing,
        ..hot(1, 20)
    };
    let others: Vec<TokenStream> = (0..3)
        .map(|seed| engine.submit(request(&[1, 2, 3], hot(seed, 20))).unwrap())
        .collect();
    let mut failing = engine.submit(request(&[1, 2, 3], masked)).unwrap();
    let events: Vec<Event> = std::iter::from_fn(|| failing.blocking_next()).collect();
    assert_eq!(events, [Event::Failed(EngineError::NothingLeft)]);
    for (seed, stream) in others.into_iter().enumerate() {
        assert_eq!(
            collect(stream),
            generate(&engine, request(&[1, 2, 3], hot(seed as u64, 20)))
        );
    }
    assert_eq!(engine.stats().free_blocks, engine.stats().num_blocks);
}

#[test]
fn pitfall_19_a_seed_does_not_depend_on_the_batch_with_any_sampler() {
    let (engine, _model) = engine();
    let with = |change: &dyn Fn(&mut SamplingParams)| {
        let mut sampling = hot(3, 40);
        change(&mut sampling);
        request(&[1, 2, 3], sampling)
    };
    let requests = [
        with(&|sampling| (sampling.top_k, sampling.top_p, sampling.min_p) = (40, 0.9, 0.01)),
        with(&|sampling| (sampling.typical_p, sampling.top_n_sigma) = (0.9, 2.0)),
        with(&|sampling| (sampling.xtc_probability, sampling.xtc_threshold) = (0.5, 0.02)),
        with(&|sampling| sampling.mirostat = Some(Mirostat::default())),
        with(&|sampling| {
            sampling.dry = Dry {
                multiplier: 0.8,
                ..Dry::default()
            }
        }),
        with(&|sampling| (sampling.repetition_penalty, sampling.penalty_last_n) = (1.3, Some(16))),
        with(&|sampling| sampling.banned_strings = vec!["e".into(), " the".into()]),
    ];
    let alone: Vec<_> = requests
        .iter()
        .map(|request| generate(&engine, request.clone()))
        .collect();
    let streams: Vec<TokenStream> = requests
        .iter()
        .map(|request| engine.submit(request.clone()).unwrap())
        .collect();
    let together: Vec<_> = streams.into_iter().map(collect).collect();
    assert_eq!(together, alone);
    let plain = generate(&engine, with(&|_| ()));
    let changed = alone
        .iter()
        .filter(|output| output.tokens != plain.tokens)
        .count();
    assert!(changed >= 5, "only {changed} samplers changed anything");
}

#[test]
fn pitfall_19_tokens_outside_the_vocabulary_are_refused_by_name() {
    let (engine, _model) = engine();
    let vocab_size = engine.tokenizer().vocab_size();
    let token = vocab_size as u32;
    let biased = SamplingParams {
        logit_bias: vec![(token, 1.0)],
        ..Default::default()
    };
    let banned = SamplingParams {
        banned_sequences: vec![vec![1, token]],
        ..Default::default()
    };
    for (name, sampling) in [("logit_bias", biased), ("banned_sequences", banned)] {
        let refused = engine.submit(request(&[1], sampling)).unwrap_err();
        assert_eq!(
            refused,
            SubmitError::InvalidSamplingToken {
                name,
                token,
                vocab_size
            }
        );
    }
}

#[test]
fn pitfall_20_an_answer_continues_the_same_from_any_of_its_tokens() {
    let (engine, _model) = engine();
    let greedy = |max_tokens| SamplingParams {
        max_tokens,
        ignore_eos: true,
        ..Default::default()
    };
    let prompt: Vec<u32> = (0..13).map(|id| id * 19 % 256).collect();
    let whole = generate(&engine, request(&prompt, greedy(40)));
    // Positions 13 to 53: past three edges of blocks. Each restart runs what the whole run had in its cache.
    for known in 0..40 {
        let longer = [prompt.as_slice(), &whole.tokens[..known]].concat();
        let rest = generate(&engine, request(&longer, greedy(40 - known)));
        assert_eq!(rest.tokens, whole.tokens[known..], "after {known} tokens");
    }
}

#[test]
fn pitfall_20_the_context_is_used_to_its_last_token_and_no_further() {
    let model = tiny(&SyntheticModel::default());
    let engine = load(&model.path, |config| config.max_model_len = Some(33));
    for prompt_len in [1, 15, 16, 17, 31, 32] {
        let prompt = vec![5; prompt_len];
        let sampling = |max_tokens| SamplingParams {
            max_tokens,
            ignore_eos: true,
            ..Default::default()
        };
        let filled = generate(&engine, request(&prompt, sampling(33 - prompt_len)));
        assert_eq!(
            (filled.reason, filled.tokens.len()),
            (FinishReason::Length, 33 - prompt_len)
        );
        let refused = engine
            .submit(request(&prompt, sampling(34 - prompt_len)))
            .unwrap_err();
        let (max_tokens, limit) = (34 - prompt_len, 33);
        assert_eq!(
            refused,
            SubmitError::PromptTooLong {
                prompt_tokens: prompt_len,
                max_tokens,
                limit
            }
        );
    }
}

#[test]
fn pitfall_22_rows_that_are_no_whole_superblocks_and_padding_rows_give_valid_logits() {
    // 96 and 160 are no multiples of 256: what a quantizer stores as Q5_0 or Q8_0 instead.
    for weights in [GgmlDType::Q5_0, GgmlDType::Q8_0, GgmlDType::F16] {
        let exact = SyntheticModel {
            hidden: 96,
            ffn: 160,
            head_dim: 24,
            weights: GgmlDType::F32,
            padding_rows: 7,
            ..Default::default()
        };
        let rounded = SyntheticModel {
            weights,
            ..exact.clone()
        };
        let top = |model: &SyntheticModel| {
            let model = tiny(model);
            let engine = load(&model.path, |_| ());
            let vocab_size = engine.tokenizer().vocab_size() as u32;
            let sampling = SamplingParams {
                max_tokens: 1,
                logprobs: Some(20),
                ..hot(1, 1)
            };
            let token = follow(engine.submit(request(&[9, 8, 7, 6, 5], sampling)).unwrap())
                .last()
                .1[0]
                .clone();
            assert!(
                token.top.iter().all(|top| top.id < vocab_size),
                "a padding row is among the best"
            );
            token.top
        };
        let (exact, rounded) = (top(&exact), top(&rounded));
        for token in &exact[..5] {
            let same = rounded.iter().find(|other| other.id == token.id);
            let distance =
                same.map_or(f32::INFINITY, |other| (other.logprob - token.logprob).abs());
            assert!(
                distance < 0.25,
                "{weights:?}: token {} is {distance} off",
                token.id
            );
        }
    }
}

#[test]
fn pitfall_26_logprobs_are_bit_for_bit_the_same_alone_and_in_any_batch() {
    let (engine, _model) = engine();
    let numbers = |followed: Followed| -> Vec<(u32, u32)> {
        followed
            .last()
            .1
            .iter()
            .map(|token| (token.chosen.id, token.chosen.logprob.to_bits()))
            .collect()
    };
    let alone = numbers(follow(
        engine.submit(request(&[1, 2, 3], hot(7, 30))).unwrap(),
    ));
    for batch in [2, 3, 5, 8] {
        let mut streams: Vec<TokenStream> = (0..batch as u64)
            .map(|index| {
                let prompt: Vec<u32> = if index == 0 {
                    vec![1, 2, 3]
                } else {
                    vec![index as u32; 11 * index as usize]
                };
                engine.submit(request(&prompt, hot(7 + index, 30))).unwrap()
            })
            .collect();
        assert_eq!(
            numbers(follow(streams.remove(0))),
            alone,
            "in a batch of {batch}"
        );
        streams.into_iter().for_each(|stream| drop(collect(stream)));
    }
}
