//! Greedy text and perplexity against llama.cpp's.
//!
//! Both sides quantize activations, each in its own block sizes, so their logits agree only closely. Where
//! the greedy token differs, llama.cpp's own gap between its two best tokens must be smaller than
//! `MAX_GAP`, and ours must be its second choice. The run then goes on from llama.cpp's token, so that every
//! position is compared, not only those before the first difference.

use std::collections::BTreeMap;

use inference::{
    Engine, EngineConfig, FinishReason, GenerateRequest, Priority, SamplingParams, perplexity,
};
use serde::Deserialize;

use crate::common::{collect, load, real_model};
use crate::golden::{QWEN_05B, QWEN_15B, SMOLLM2, golden, prose};

/// Largest gap between llama.cpp's two best logits at which another choice counts as a near tie.
const MAX_GAP: f32 = 0.25;

/// Largest relative difference of perplexity.
const MAX_PERPLEXITY_DIFFERENCE: f64 = 0.005;

#[derive(Deserialize)]
struct GreedyGolden {
    system: String,
    runs: Vec<Run>,
}

/// 64 greedy tokens, fewer if the last is an end token.
#[derive(Deserialize)]
struct Run {
    question: Option<String>,
    completion: Option<String>,
    prompt_tokens: usize,
    tokens: Vec<u32>,
    /// The second-best token of each position.
    seconds: Vec<u32>,
    /// Logit of the best minus that of the second best.
    gaps: Vec<f32>,
}

#[derive(Deserialize)]
struct PerplexityGolden {
    window: usize,
    models: BTreeMap<String, Perplexity>,
}

#[derive(Deserialize)]
struct Perplexity {
    perplexity: f64,
    tokens: usize,
}

#[test]
fn smollm2_greedy_text_equals_that_of_llama_cpp() {
    check_greedy(SMOLLM2);
}

#[test]
fn qwen_05b_greedy_text_equals_that_of_llama_cpp() {
    check_greedy(QWEN_05B);
}

#[test]
fn qwen_15b_greedy_text_equals_that_of_llama_cpp() {
    check_greedy(QWEN_15B);
}

#[test]
fn smollm2_perplexity_equals_that_of_llama_cpp() {
    check_perplexity(SMOLLM2);
}

#[test]
fn qwen_05b_perplexity_equals_that_of_llama_cpp() {
    check_perplexity(QWEN_05B);
}

#[test]
fn qwen_15b_perplexity_equals_that_of_llama_cpp() {
    check_perplexity(QWEN_15B);
}

fn check_greedy(model: &str) {
    let Some(path) = real_model(model) else {
        return;
    };
    let golden: GreedyGolden = golden(&format!("greedy-{model}.json"));
    let engine = load(&path, |config| config.kv_cache_tokens = 4096);
    let prompts: Vec<Vec<u32>> = golden
        .runs
        .iter()
        .map(|run| prompt(&engine, &golden.system, run))
        .collect();
    // All first attempts run together, as they would on a server; the runs after a difference are rare.
    let streams: Vec<_> = golden
        .runs
        .iter()
        .zip(&prompts)
        .map(|(run, prompt)| submit(&engine, prompt, run, 0))
        .collect();
    let (mut equal, mut positions) = (0, 0);
    let mut differences = Vec::new();
    for (index, (run, stream)) in golden.runs.iter().zip(streams).enumerate() {
        let mut output = collect_tokens(&engine, stream, run.tokens.len());
        let mut start = 0;
        positions += run.tokens.len();
        while let Some(offset) = output
            .iter()
            .zip(&run.tokens[start..])
            .position(|(ours, theirs)| ours != theirs)
        {
            let at = start + offset;
            differences.push(Difference {
                run: index,
                at,
                ours: output[offset],
                second: run.seconds[at],
                gap: run.gaps[at],
            });
            start = at + 1;
            if start == run.tokens.len() {
                break;
            }
            let stream = submit(&engine, &prompts[index], run, start);
            output = collect_tokens(&engine, stream, run.tokens.len() - start);
        }
        equal += usize::from(
            differences
                .last()
                .is_none_or(|difference| difference.run != index),
        );
    }
    println!(
        "{model}: {equal} of {} texts equal; {} of {positions} positions differ",
        golden.runs.len(),
        differences.len()
    );
    for difference in &differences {
        println!(
            "  text {:2} position {:2}: llama.cpp's best two are {:.4} apart",
            difference.run, difference.at, difference.gap
        );
    }
    for difference in &differences {
        assert!(
            difference.gap < MAX_GAP,
            "text {} position {}: not a near tie",
            difference.run,
            difference.at
        );
        assert_eq!(
            difference.ours, difference.second,
            "text {} position {}",
            difference.run, difference.at
        );
    }
}

/// A position at which our greedy token is another.
struct Difference {
    run: usize,
    at: usize,
    ours: u32,
    second: u32,
    gap: f32,
}

fn prompt(engine: &Engine, system: &str, run: &Run) -> Vec<u32> {
    use inference::{AddSpecial, ChatMessage, Role};
    let ids = match (&run.question, &run.completion) {
        (Some(question), _) => {
            let messages = [
                ChatMessage::new(Role::System, system),
                ChatMessage::new(Role::User, question.as_str()),
            ];
            engine.encode_chat(&messages).unwrap()
        }
        (None, Some(text)) => engine.tokenizer().encode(text, AddSpecial::Yes),
        (None, None) => panic!("a run has a question or a text to complete"),
    };
    assert_eq!(ids.len(), run.prompt_tokens);
    ids
}

/// Continues `prompt` and the first `start` golden tokens.
fn submit(engine: &Engine, prompt: &[u32], run: &Run, start: usize) -> inference::TokenStream {
    let sampling = SamplingParams {
        max_tokens: run.tokens.len() - start,
        ..SamplingParams::default()
    };
    let prompt = [prompt, &run.tokens[..start]].concat();
    engine
        .submit(GenerateRequest {
            prompt,
            sampling,
            priority: Priority::Interactive,
        })
        .expect("accepted")
}

/// Returns the tokens of a stream, with an end token where the model stopped before `wanted` tokens; the engine
/// does not hand that token out.
fn collect_tokens(engine: &Engine, stream: inference::TokenStream, wanted: usize) -> Vec<u32> {
    let output = collect(stream);
    let mut tokens = output.tokens;
    if output.reason == FinishReason::Stop && tokens.len() < wanted {
        tokens.push(
            engine
                .tokenizer()
                .eos_id()
                .expect("the models name an end token"),
        );
    }
    tokens
}

fn check_perplexity(model: &str) {
    let Some(path) = real_model(model) else {
        return;
    };
    let golden: PerplexityGolden = golden("perplexity.json");
    let expected = &golden.models[model];
    let report = perplexity(&EngineConfig::new(&path), &prose(), golden.window).unwrap();
    let difference = (report.perplexity / expected.perplexity - 1.0).abs();
    println!(
        "{model}: perplexity {:.4}, llama.cpp {:.4}, {:.3} % apart",
        report.perplexity,
        expected.perplexity,
        difference * 100.0
    );
    assert_eq!(report.tokens, expected.tokens);
    assert!(difference < MAX_PERPLEXITY_DIFFERENCE, "{difference}");
}
