//! Greedy text against llama.cpp's.
//!
//! Both programs round activations to 8 bits at every product, so a change in the last bit of a sum
//! spreads through the layers. How far that goes is measured by llama.cpp against itself, with keys
//! and values in f16 (its default) and in f32 (`noise.json`): for SmolLM2 the logits differ by 0.2
//! (root mean square) and one greedy token in twenty is another. No engine can be closer to
//! llama.cpp than that by more than luck, so this is what is asked of ours:
//!
//! - where our greedy token is another, llama.cpp's own two best are closer than `MAX_GAP_IN_NOISE`
//!   times that noise;
//! - it is another no more often than llama.cpp's is.
//!
//! After a difference the run goes on from llama.cpp's token, so that every position is compared,
//! not only those before the first difference.
//!
//! The same models with their weights written out as f32 round nothing, so there the two programs must
//! agree to `MAX_EXACT_GAP` (`exact-*.json`); that is what shows that both compute the same model.

use std::{collections::BTreeMap, path::Path};

use candle_core::{Device, quantized::GgmlDType};
use inference::{
    Engine, FinishReason, GenerateRequest, GgufFile, KvCacheDtype, Priority, SamplingParams,
    gguf::writer::GgufWriter,
};
use serde::Deserialize;

use crate::common::{collect, load, real_model};
use crate::golden::{QWEN_05B, QWEN_15B, SMOLLM2, golden};

/// Gap between llama.cpp's two best logits, in units of its noise, below which either may win. The
/// noise of a difference of two logits is 1.4 units, so this is four standard deviations; a thousand
/// positions are compared.
const MAX_GAP_IN_NOISE: f32 = 6.0;

/// Gap between llama.cpp's two best logits below which either may win when nothing is rounded.
const MAX_EXACT_GAP: f32 = 1e-3;

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
    /// Logit of the best minus that of the second best.
    gaps: Vec<f32>,
}

#[derive(Deserialize)]
struct NoiseGolden {
    models: BTreeMap<String, Noise>,
}

/// llama.cpp against itself.
#[derive(Deserialize)]
struct Noise {
    logit_rms: f32,
    positions: usize,
    other_greedy_tokens: usize,
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
fn smollm2_text_of_dequantized_weights_equals_that_of_llama_cpp() {
    check_exact(SMOLLM2);
}

#[test]
fn qwen_05b_text_of_dequantized_weights_equals_that_of_llama_cpp() {
    check_exact(QWEN_05B);
}

#[test]
#[ignore = "takes 14 GB of memory, 7 of temporary space and some minutes"]
fn qwen_15b_text_of_dequantized_weights_equals_that_of_llama_cpp() {
    check_exact(QWEN_15B);
}

fn check_greedy(model: &str) {
    let Some(path) = real_model(model) else {
        return;
    };
    let golden: GreedyGolden = golden(&format!("greedy-{model}.json"));
    let engine = load(&path, |config| config.kv_cache_tokens = 4096);
    let (positions, differences) = compare(model, &engine, &golden);
    let noise = golden_noise(model);
    for Difference { run, at, gap } in &differences {
        assert!(
            *gap < MAX_GAP_IN_NOISE * noise.logit_rms,
            "text {run} position {at}: not a near tie"
        );
    }
    let (ours, theirs) = (differences.len(), noise.other_greedy_tokens);
    assert!(
        ours * noise.positions <= theirs * positions,
        "{ours} of {positions} positions differ; llama.cpp from itself {theirs} of {}",
        noise.positions
    );
}

fn check_exact(model: &str) {
    let Some(path) = real_model(model) else {
        return;
    };
    let golden: GreedyGolden = golden(&format!("exact-{model}.json"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let exact = folder.path().join("exact.gguf");
    dequantize(&path, &exact);
    let engine = load(&exact, |config| {
        config.kv_cache_tokens = 4096;
        config.kv_cache_dtype = KvCacheDtype::F32;
    });
    let (_, differences) = compare(model, &engine, &golden);
    for Difference { run, at, gap } in &differences {
        assert!(*gap < MAX_EXACT_GAP, "text {run} position {at}: not a tie");
    }
}

/// Writes a model again with every weight as the f32 number that its quantized form stands for.
pub fn dequantize(path: &Path, out: &Path) {
    let file = GgufFile::open(path).expect("a real model");
    let mut writer = GgufWriter::new();
    for (key, value) in file.metadata() {
        writer.set(key, value.clone());
    }
    for (name, info) in file.tensors() {
        let weights = file.load_tensor(name, &Device::Cpu).expect("a known type");
        let weights = weights.dequantize(&Device::Cpu).expect("dequantized");
        let weights: Vec<f32> = weights.flatten_all().unwrap().to_vec1().unwrap();
        writer
            .quantize(name, &info.shape, GgmlDType::F32, &weights)
            .expect("f32 has no blocks");
    }
    writer.write(out).expect("written");
}

/// Runs all texts and returns how many tokens were compared, and which were others.
fn compare(model: &str, engine: &Engine, golden: &GreedyGolden) -> (usize, Vec<Difference>) {
    let prompts: Vec<Vec<u32>> = golden
        .runs
        .iter()
        .map(|run| prompt(engine, &golden.system, run))
        .collect();
    // All first attempts run together, as they would on a server; the runs after a difference are rare.
    let streams: Vec<_> = golden
        .runs
        .iter()
        .zip(&prompts)
        .map(|(run, prompt)| submit(engine, prompt, run, 0))
        .collect();
    let (mut equal, mut positions) = (0, 0);
    let mut differences = Vec::new();
    for (index, (run, stream)) in golden.runs.iter().zip(streams).enumerate() {
        let mut output = collect_tokens(engine, stream, run.tokens.len());
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
                gap: run.gaps[at],
            });
            start = at + 1;
            if start == run.tokens.len() {
                break;
            }
            let stream = submit(engine, &prompts[index], run, start);
            output = collect_tokens(engine, stream, run.tokens.len() - start);
        }
        equal += usize::from(
            differences
                .last()
                .is_none_or(|difference| difference.run != index),
        );
    }
    report(model, equal, golden.runs.len(), positions, &differences);
    (positions, differences)
}

fn golden_noise(model: &str) -> Noise {
    let mut golden: NoiseGolden = golden("noise.json");
    golden
        .models
        .remove(model)
        .expect("the noise of every model is committed")
}

/// A position at which our greedy token is another.
struct Difference {
    run: usize,
    at: usize,
    /// llama.cpp's best logit minus its second best.
    gap: f32,
}

fn report(model: &str, equal: usize, texts: usize, positions: usize, differences: &[Difference]) {
    println!(
        "{model}: {equal} of {texts} texts equal; {} of {positions} positions differ",
        differences.len()
    );
    for Difference { run, at, gap } in differences {
        println!("  text {run:2} position {at:2}: llama.cpp's best two are {gap:.4} apart");
    }
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
