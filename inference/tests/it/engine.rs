//! The engine as its callers see it.

use std::time::{Duration, Instant};

use candle_core::quantized::GgmlDType;
use futures_util::StreamExt;
use inference::{
    AddSpecial, ChatMessage, Engine, EngineError, EngineStats, Event, FinishReason,
    GenerateRequest, Priority, Role, SamplingParams, SubmitError,
    gguf::{
        GgmlType,
        synthetic::{SyntheticExperts, SyntheticModel, catalogue},
        writer::GgufWriter,
    },
};

use crate::common::{Output, collect, generate, load, real_model, tiny};

fn greedy(prompt: &[u32], max_tokens: usize) -> GenerateRequest {
    let sampling = SamplingParams {
        max_tokens,
        ignore_eos: true,
        ..Default::default()
    };
    GenerateRequest {
        prompt: prompt.to_vec(),
        sampling,
        priority: Priority::Interactive,
    }
}

/// Prompts of odd lengths around the block size.
fn prompts() -> Vec<Vec<u32>> {
    [1usize, 5, 15, 16, 17, 31, 40, 77]
        .iter()
        .enumerate()
        .map(|(index, &len)| {
            (0..len)
                .map(|i| ((i * 37 + index * 101) % 256) as u32)
                .collect()
        })
        .collect()
}

fn alone(engine: &Engine, prompts: &[Vec<u32>], max_tokens: usize) -> Vec<Output> {
    prompts
        .iter()
        .map(|prompt| generate(engine, greedy(prompt, max_tokens)))
        .collect()
}

fn together(engine: &Engine, prompts: &[Vec<u32>], max_tokens: usize) -> Vec<Output> {
    let streams: Vec<_> = prompts
        .iter()
        .map(|prompt| engine.submit(greedy(prompt, max_tokens)).expect("accepted"))
        .collect();
    streams.into_iter().map(collect).collect()
}

/// Every architecture, and the kinds of weights whose paths through the layers differ.
fn models() -> Vec<SyntheticModel> {
    let mut models = vec![
        SyntheticModel::default(),
        SyntheticModel::qwen2(),
        SyntheticModel {
            weights: GgmlDType::F32,
            rope_freqs: true,
            ..Default::default()
        },
        SyntheticModel {
            weights: GgmlDType::Q4_1,
            num_kv_heads: 1,
            padding_rows: 5,
            ..Default::default()
        },
        SyntheticModel {
            weights: GgmlDType::Q4K,
            hidden: 256,
            head_dim: 64,
            ffn: 256,
            ..SyntheticModel::qwen2()
        },
        SyntheticModel {
            num_heads: 6,
            layer_kv_heads: vec![2, 3],
            ..Default::default()
        },
    ];
    models.extend(catalogue().into_iter().map(|(_, model)| model));
    models
}

#[test]
fn a_request_gets_the_same_tokens_alone_and_in_a_batch() {
    for model in models() {
        let model = tiny(&model);
        let engine = load(&model.path, |_| ());
        assert_eq!(
            together(&engine, &prompts(), 20),
            alone(&engine, &prompts(), 20)
        );
    }
}

#[test]
fn chunked_prefill_gives_the_same_tokens_as_whole_prefill() {
    for model in models() {
        let model = tiny(&model);
        let whole = alone(&load(&model.path, |_| ()), &prompts(), 12);
        for max_num_batched_tokens in [3, 16] {
            let engine = load(&model.path, |config| {
                config.max_num_seqs = 3;
                config.max_num_batched_tokens = max_num_batched_tokens;
            });
            assert_eq!(alone(&engine, &prompts(), 12), whole);
            assert_eq!(together(&engine, &prompts(), 12), whole);
        }
    }
}

#[test]
fn preempted_and_resumed_requests_give_the_same_tokens_as_straight_ones() {
    for model in models() {
        let model = tiny(&model);
        let straight = alone(&load(&model.path, |_| ()), &prompts(), 40);
        // Eight blocks for eight sequences that want up to eight each.
        let engine = load(&model.path, |config| config.kv_cache_tokens = 128);
        assert_eq!(together(&engine, &prompts(), 40), straight);
        let stats = engine.stats();
        assert!(stats.preemptions_total > 0, "{stats:?}");
        assert_eq!((stats.running, stats.waiting, stats.free_blocks), (0, 0, 8));
    }
}

/// A model and a request that would run for a minute, so that a test can act while it does.
const ENDLESS: usize = 100_000;

fn endless_model() -> SyntheticModel {
    SyntheticModel {
        context: ENDLESS + 100,
        ..Default::default()
    }
}

#[test]
fn a_dropped_stream_frees_its_blocks_within_one_step() {
    let model = tiny(&endless_model());
    let engine = load(&model.path, |config| config.kv_cache_tokens = ENDLESS + 100);
    let mut stream = engine.submit(greedy(&[1, 2, 3], ENDLESS)).unwrap();
    assert!(matches!(stream.blocking_next(), Some(Event::Delta { .. })));
    let steps_before = engine.stats().steps_total;
    drop(stream);
    let steps_at_drop = engine.stats().steps_total;
    let deadline = Instant::now() + Duration::from_secs(10);
    // The counters change one after the other.
    let is_over = |stats: &EngineStats| {
        stats.free_blocks == stats.num_blocks && stats.cancelled_total == 1 && stats.running == 0
    };
    while !is_over(&engine.stats()) {
        assert!(Instant::now() < deadline, "{:?}", engine.stats());
    }
    let stats = engine.stats();
    // The step in which the stream was dropped may still finish.
    assert!(
        stats.steps_total <= steps_at_drop + 1,
        "{steps_before} {steps_at_drop} {stats:?}"
    );
}

#[test]
fn a_full_queue_refuses_with_a_time_to_retry_and_recovers() {
    let model = tiny(&endless_model());
    let engine = load(&model.path, |config| {
        config.kv_cache_tokens = ENDLESS + 100;
        config.max_num_seqs = 1;
        config.queue_capacity = 2;
    });
    let mut running = engine.submit(greedy(&[1], ENDLESS)).unwrap();
    assert!(matches!(running.blocking_next(), Some(Event::Delta { .. })));
    let waiting = [
        engine.submit(greedy(&[1], 5)).unwrap(),
        engine.submit(greedy(&[2], 5)).unwrap(),
    ];
    match engine.submit(greedy(&[3], 5)) {
        Err(SubmitError::QueueFull {
            capacity,
            retry_after,
        }) => {
            assert_eq!(capacity, 2);
            assert!((1..=120).contains(&retry_after.as_secs()));
        }
        other => panic!("{other:?}"),
    }
    drop(running);
    waiting
        .into_iter()
        .for_each(|stream| assert_eq!(collect(stream).usage.completion_tokens, 5));
    assert_eq!(
        generate(&engine, greedy(&[3], 5)).usage.completion_tokens,
        5
    );
}

#[test]
fn impossible_requests_are_refused_with_their_numbers() {
    let model = tiny(&SyntheticModel::default());
    let engine = load(&model.path, |config| config.max_model_len = Some(50));
    let refused = |request: GenerateRequest| engine.submit(request).unwrap_err();
    let too_long = refused(greedy(&[0; 45], 6));
    assert_eq!(
        too_long,
        SubmitError::PromptTooLong {
            prompt_tokens: 45,
            max_tokens: 6,
            limit: 50
        }
    );
    for number in ["45", "6", "50"] {
        assert!(too_long.to_string().contains(number), "{too_long}");
    }
    assert!(engine.submit(greedy(&[0; 45], 5)).is_ok());
    assert_eq!(refused(greedy(&[], 5)), SubmitError::EmptyPrompt);
    let vocab_size = engine.tokenizer().vocab_size();
    let foreign = vocab_size as u32;
    assert_eq!(
        refused(greedy(&[foreign], 5)),
        SubmitError::InvalidToken {
            token: foreign,
            vocab_size
        }
    );
    let mut hot = greedy(&[1], 5);
    hot.sampling.temperature = f32::NAN;
    assert!(matches!(refused(hot), SubmitError::InvalidSampling(_)));
    assert!(matches!(
        refused(greedy(&[1], 0)),
        SubmitError::InvalidSampling(_)
    ));
}

/// A file name, its bytes, and the pieces of the error.
type NoModel = (&'static str, Vec<u8>, &'static [&'static str]);

/// A good model whose embedding claims a type that nothing here computes with.
fn with_odd_type(model: &SyntheticModel) -> Vec<u8> {
    let mut odd_type = model.to_writer().unwrap().to_bytes();
    // The type of the embedding: after its name and two dimensions.
    let name = b"token_embd.weight";
    let at = odd_type
        .windows(name.len())
        .position(|window| window == name)
        .unwrap()
        + name.len()
        + 4
        + 16;
    odd_type[at..at + 4].copy_from_slice(&GgmlType::IQ4_XS.0.to_le_bytes());
    odd_type
}

fn damaged_files() -> Vec<NoModel> {
    let good = SyntheticModel::default();
    let whole = good.to_writer().unwrap().to_bytes();
    vec![
        (
            "text.gguf",
            b"hello, this is no model".to_vec(),
            &["text.gguf", "not a GGUF file"],
        ),
        (
            "cut.gguf",
            whole[..whole.len() - 4_096].to_vec(),
            &["cut.gguf", "past the end of the file"],
        ),
        (
            "head.gguf",
            whole[..40].to_vec(),
            &["head.gguf", "truncated"],
        ),
        ("type.gguf", with_odd_type(&good), &["type.gguf", "IQ4_XS"]),
    ]
}

fn models_with_wrong_metadata() -> Vec<NoModel> {
    let of = |model: SyntheticModel, change: &dyn Fn(&mut GgufWriter)| {
        let mut writer = model.to_writer().unwrap();
        change(&mut writer);
        writer.to_bytes()
    };
    let changed = |change: &dyn Fn(&mut GgufWriter)| of(SyntheticModel::default(), change);
    let set = |name: &'static str, value: u32| {
        changed(&|writer| {
            writer.set_u32(&format!("llama.{name}"), value);
        })
    };
    let with_experts = SyntheticModel {
        experts: Some(SyntheticExperts {
            count: 4,
            used: 2,
            ffn: 96,
            shared_ffn: None,
            split: false,
            router: GgmlDType::F16,
        }),
        ..Default::default()
    };
    let windowed = SyntheticModel {
        window: Some(64),
        ..SyntheticModel::qwen2()
    };
    #[rustfmt::skip]
    let table: Vec<NoModel> = vec![
        ("arch.gguf", changed(&|writer| { writer.set_str("general.architecture", "mamba"); }),
            &["arch.gguf", "`mamba` is not supported", "llama, mistral3, qwen2"]),
        ("key.gguf", changed(&|writer| { writer.remove("llama.block_count"); }),
            &["key.gguf", "llama.block_count", "missing"]),
        ("width.gguf", changed(&|writer| { writer.remove("llama.feed_forward_length"); }),
            &["width.gguf", "llama.feed_forward_length", "missing"]),
        ("layers.gguf", set("block_count", 3), &["layers.gguf", "no tensor `blk.2"]),
        ("fewer.gguf", set("block_count", 1), &["fewer.gguf", "tensor `blk.1", "no place"]),
        ("shape.gguf", set("feed_forward_length", 97), &["shape.gguf", "ffn_gate", "97"]),
        ("heads.gguf", set("attention.head_count_kv", 3), &["heads.gguf", "head_count_kv", "3"]),
        ("values.gguf", set("attention.value_length", 8), &["values.gguf", "values of 8 beside keys of 16"]),
        ("used.gguf", set("expert_count", 8), &["used.gguf", "llama.expert_used_count", "missing"]),
        ("routing.gguf", of(with_experts, &|writer| { writer.set_u32("llama.expert_gating_func", 2); }),
            &["routing.gguf", "`llama.expert_gating_func` of 2 is not supported"]),
        ("experts.gguf", of(SyntheticModel::qwen2(), &|writer| { writer.set_u32("qwen2.expert_count", 8); }),
            &["experts.gguf", "a mixture of experts in `qwen2` is not supported"]),
        ("window.gguf", of(windowed, &|_| ()),
            &["window.gguf", "a sliding window of 64 tokens in some layers of `qwen2` is not supported"]),
        ("rope.gguf", changed(&|writer| { writer.set_str("llama.rope.scaling.type", "su"); }),
            &["rope.gguf", "rope scaling `su`"]),
        ("tensor.gguf", changed(&|writer| {
            writer.tensor("blk.1.attn_sinks.weight", &[4], GgmlType::F32, vec![0; 16]);
        }), &["tensor.gguf", "`blk.1.attn_sinks.weight` has no place in a model of `llama`"]),
        ("vocabulary.gguf", changed(&|writer| { writer.set_str("tokenizer.ggml.model", "rwkv"); }),
            &["vocabulary.gguf", "rwkv"]),
    ];
    table
}

#[test]
fn loading_tells_of_every_part_once() {
    let model = SyntheticModel {
        num_layers: 3,
        ..SyntheticModel::default()
    };
    let model = tiny(&model);
    let told = std::sync::Mutex::new(Vec::new());
    let config = inference::EngineConfig::new(&model.path);
    Engine::load_with(config, &|progress| told.lock().unwrap().push(progress)).unwrap();
    let mut told = told.into_inner().unwrap();
    told.sort_by_key(|progress| progress.done);
    let want = (1..=4).map(|done| inference::LoadProgress { done, total: 4 });
    assert_eq!(told, want.collect::<Vec<_>>());
}

#[test]
fn files_that_are_no_models_are_refused_with_their_reason() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let table = damaged_files()
        .into_iter()
        .chain(models_with_wrong_metadata());
    for (name, bytes, wanted) in table {
        let path = write(name, &bytes);
        let error = Engine::load(inference::EngineConfig::new(path))
            .map(|_| ())
            .unwrap_err()
            .to_string();
        for part in wanted {
            assert!(
                error.contains(part),
                "{name}: `{error}` does not say `{part}`"
            );
        }
        assert!(!error.contains("panick"), "{error}");
    }
    let missing = Engine::load(inference::EngineConfig::new("/nonexistent/model.gguf"))
        .map(|_| ())
        .unwrap_err();
    assert!(
        missing.to_string().contains("/nonexistent/model.gguf"),
        "{missing}"
    );
}

#[test]
fn impossible_configurations_are_refused() {
    let model = tiny(&SyntheticModel::default());
    let refused = |change: &dyn Fn(&mut inference::EngineConfig)| {
        let mut config = inference::EngineConfig::new(&model.path);
        change(&mut config);
        Engine::load(config).map(|_| ()).unwrap_err().to_string()
    };
    assert!(refused(&|config| config.max_num_seqs = 0).contains("max_num_seqs"));
    assert!(refused(&|config| config.kv_cache_tokens = 0).contains("kv_cache_tokens"));
    assert!(
        refused(&|config| config.max_num_batched_tokens = 2).contains("max_num_batched_tokens")
    );
    assert!(refused(&|config| config.max_model_len = Some(100_000)).contains("512"));
    assert!(refused(&|config| config.threads = Some(1_000)).contains("1000"));
    #[cfg(not(feature = "cuda"))]
    assert!(refused(&|config| config.device = inference::DeviceChoice::Cuda(0)).contains("CUDA"));
}

#[test]
fn dropping_the_engine_fails_what_is_running() {
    let model = tiny(&endless_model());
    let engine = load(&model.path, |config| config.kv_cache_tokens = ENDLESS + 100);
    let mut stream = engine.submit(greedy(&[1], ENDLESS)).unwrap();
    assert!(matches!(stream.blocking_next(), Some(Event::Delta { .. })));
    drop(engine);
    let events: Vec<Event> = std::iter::from_fn(|| stream.blocking_next()).collect();
    assert_eq!(events.last(), Some(&Event::Failed(EngineError::Stopped)));
    assert_eq!(stream.blocking_next(), None);
}

#[test]
fn pitfall_18_and_21_a_nan_row_fails_its_request_alone_and_leaves_nothing_in_its_blocks() {
    let writer = SyntheticModel {
        tied: false,
        ..Default::default()
    }
    .to_writer()
    .unwrap();
    let mut bytes = writer.to_bytes();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.gguf");
    std::fs::write(&path, &bytes).unwrap();
    let file = inference::GgufFile::open(&path).unwrap();
    let data = file.tensor_data("token_embd.weight").unwrap().to_vec();
    let row_bytes = file.tensor("token_embd.weight").unwrap().bytes()
        / file.tensor("token_embd.weight").unwrap().shape[0];
    let at = bytes
        .windows(data.len())
        .position(|window| window == data)
        .unwrap()
        + 7 * row_bytes;
    // The scale of the first block of token 7's embedding: f16 NaN.
    bytes[at..at + 2].copy_from_slice(&0x7e00u16.to_le_bytes());
    drop(file);
    std::fs::write(&path, &bytes).unwrap();

    // Room for two requests: whoever comes next gets the blocks of the one that failed.
    let engine = load(&path, |config| {
        config.kv_cache_tokens = 96;
        config.max_num_seqs = 2;
    });
    let healthy = engine.submit(greedy(&[1, 2, 3], 30)).unwrap();
    let mut broken = engine.submit(greedy(&[1, 3, 7], 30)).unwrap();
    let events: Vec<Event> = std::iter::from_fn(|| broken.blocking_next()).collect();
    assert_eq!(events, [Event::Failed(EngineError::InvalidLogits)]);
    let healthy = collect(healthy);
    assert_eq!(healthy.usage.completion_tokens, 30);
    for _ in 0..3 {
        let again: Vec<_> = (0..2)
            .map(|_| engine.submit(greedy(&[1, 2, 3], 30)).unwrap())
            .collect();
        for stream in again {
            assert_eq!(collect(stream).tokens, healthy.tokens);
        }
    }
}

#[test]
fn pitfall_13_a_window_returns_its_blocks_and_answers_stay_the_same() {
    let windowed = SyntheticModel {
        window: Some(24),
        ..Default::default()
    };
    let endless = |first: u32| greedy(&[first, 2, 3, 4, 5], 100);
    // Seven blocks an answer without a window, three with it.
    for (model, is_preempted) in [(windowed, false), (SyntheticModel::default(), true)] {
        let model = tiny(&model);
        let roomy = load(&model.path, |config| config.max_num_seqs = 1);
        let alone: Vec<_> = (10..13)
            .map(|first| generate(&roomy, endless(first)))
            .collect();
        let engine = load(&model.path, |config| config.kv_cache_tokens = 10 * 16);
        let streams: Vec<_> = (10..13)
            .map(|first| engine.submit(endless(first)).unwrap())
            .collect();
        for (stream, alone) in streams.into_iter().zip(&alone) {
            assert_eq!(collect(stream).tokens, alone.tokens);
        }
        assert_eq!(engine.stats().preemptions_total > 0, is_preempted);
    }
}

#[test]
fn a_seed_makes_an_answer_repeatable_and_independent_of_the_batch() {
    let model = tiny(&SyntheticModel {
        padding_rows: 9,
        ..Default::default()
    });
    let engine = load(&model.path, |_| ());
    let hot = |seed| {
        let mut request = greedy(&[1, 2, 3], 60);
        request.sampling = SamplingParams {
            temperature: 2.0,
            top_p: 0.95,
            seed: Some(seed),
            ..request.sampling
        };
        request
    };
    let first = generate(&engine, hot(1));
    let others: Vec<_> = (2..6)
        .map(|seed| engine.submit(hot(seed)).unwrap())
        .collect();
    let again = generate(&engine, hot(1));
    assert_eq!(first, again);
    let vocab_size = engine.tokenizer().vocab_size() as u32;
    for other in others {
        let other = collect(other);
        assert_ne!(other.tokens, first.tokens);
        assert!(
            other.tokens.iter().all(|&token| token < vocab_size),
            "a padding row was chosen"
        );
    }
}

#[test]
fn an_answer_ends_at_its_limit_at_the_context_and_at_a_stop_string() {
    let model = tiny(&SyntheticModel::default());
    let engine = load(&model.path, |config| config.max_model_len = Some(64));
    let limited = generate(&engine, greedy(&[1, 2, 3], 7));
    assert_eq!(
        (
            limited.reason,
            limited.usage.completion_tokens,
            limited.tokens.len()
        ),
        (FinishReason::Length, 7, 7)
    );
    assert_eq!(limited.usage.prompt_tokens, 3);
    let full = generate(&engine, greedy(&[1, 2, 3], 61));
    assert_eq!(
        (full.reason, full.usage.completion_tokens),
        (FinishReason::Length, 61)
    );
    assert_eq!(full.text, engine.tokenizer().decode(&full.tokens));

    // Stop at a piece of the answer itself, cut out of its middle.
    let characters: Vec<char> = full.text.chars().collect();
    let stop: String = characters[10..13].iter().collect();
    let before = full.text.split(&stop).next().unwrap().to_owned();
    let mut request = greedy(&[1, 2, 3], 61);
    request.sampling.stop = vec![stop];
    let stopped = generate(&engine, request);
    assert_eq!((stopped.text, stopped.reason), (before, FinishReason::Stop));
}

#[tokio::test]
async fn events_arrive_as_an_async_stream() {
    let model = tiny(&SyntheticModel::default());
    let engine = tokio::task::spawn_blocking(move || (load(&model.path, |_| ()), model))
        .await
        .unwrap()
        .0;
    let stream = engine.submit(greedy(&[1, 2, 3], 5)).unwrap();
    let events: Vec<Event> = stream.collect().await;
    match events.last() {
        Some(Event::Finished {
            reason,
            usage,
            timings,
        }) => {
            assert_eq!(
                (*reason, usage.prompt_tokens, usage.completion_tokens),
                (FinishReason::Length, 3, 5)
            );
            assert!(
                timings.queue_ms >= 0.0 && timings.prefill_ms > 0.0 && timings.decode_ms > 0.0,
                "{timings:?}"
            );
        }
        other => panic!("{other:?}"),
    }
    tokio::task::spawn_blocking(move || drop(engine))
        .await
        .unwrap();
}

#[test]
fn a_real_model_answers_a_question_alone_and_in_a_batch() {
    let Some(path) = real_model("smollm2-135m-instruct") else {
        return;
    };
    let engine = load(&path, |_| ());
    let ask = |question: &str| {
        let prompt = engine
            .encode_chat(&[ChatMessage::new(Role::User, question)])
            .unwrap();
        let sampling = SamplingParams {
            max_tokens: 24,
            ..Default::default()
        };
        GenerateRequest {
            prompt,
            sampling,
            priority: Priority::Interactive,
        }
    };
    let questions = [
        "What is the capital of France?",
        "Name three colours.",
        "What is 2 + 2?",
    ];
    let raw = GenerateRequest {
        prompt: engine
            .tokenizer()
            .encode("The capital of France is", AddSpecial::No),
        ..ask("")
    };
    let completion = generate(&engine, raw);
    assert!(completion.text.contains("Paris"), "{}", completion.text);
    let alone = questions.map(|question| generate(&engine, ask(question)));
    let together = questions
        .map(|question| engine.submit(ask(question)).unwrap())
        .map(collect);
    assert_eq!(together, alone);
}
