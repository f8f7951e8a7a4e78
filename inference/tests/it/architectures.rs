//! Every supported architecture and type, as a synthetic model, against Hugging Face transformers and llama.cpp.
//!
//! Keys and values are F32 here, and the weights of all but the models of types, so that programs differ by the order of
//! additions only.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use base64::Engine as _;
use candle_core::Device;
use inference::{
    CudaOptions, GenerateRequest, GgufFile, KvCacheDtype, Priority, SamplingParams,
    gguf::synthetic::{SyntheticModel, catalogue, types},
    kv_cache::{BlockId, blocks_for},
    model::{Architecture, KvCache, Model, ModelConfig, ModelUse},
    runner::StepInput,
    sequence::{Sequence, SequenceId},
};
use serde::Deserialize;

use crate::common::{TinyModel, generate, load, tiny};
use crate::golden::{fnv1a_of_bytes, golden};

/// Largest difference of a logit from transformers'.
const MAX_LOGIT_DIFFERENCE: f32 = 1e-4;

/// Gap between llama.cpp's two best logits below which either may win where weights are F32.
const MAX_GAP: f32 = 1e-3;

/// The same in units of llama.cpp's noise where both programs round activations. The noise of a difference of two logits
/// is 1.4 units, so this is three standard deviations; 768 positions are compared.
const MAX_GAP_IN_NOISE: f32 = 4.2;

#[derive(Deserialize)]
struct LogitsGolden {
    models: BTreeMap<String, Logits>,
}

#[derive(Deserialize)]
struct Logits {
    file: String,
    runs: Vec<Run>,
}

/// Logits after some tokens of one text.
#[derive(Deserialize)]
struct Run {
    num_tokens: usize,
    positions: Vec<usize>,
    /// `[positions, vocabulary]` little-endian f32.
    logits: String,
}

#[derive(Deserialize)]
struct GreedyGolden {
    prompt_tokens: usize,
    models: BTreeMap<String, Greedy>,
}

#[derive(Deserialize)]
struct Greedy {
    file: String,
    /// Root mean square of the difference of llama.cpp's logits from its own with keys and values in F16.
    noise: f32,
    tokens: Vec<u32>,
    /// llama.cpp's best logit minus its second best.
    gaps: Vec<f32>,
}

/// The text of the goldens, as in `scripts/goldens`.
pub fn text(num_tokens: usize) -> Vec<u32> {
    let token = |i: usize| ((i * i * 7 + i * 31 + 5) % 256) as u32;
    (0..num_tokens).map(token).collect()
}

/// Writes the model of this name and checks that it is the one the golden was made from.
fn written(name: &str, hash: &str) -> TinyModel {
    let mut models = catalogue().into_iter().chain(types());
    let (_, model) = models
        .find(|(known, _)| *known == name)
        .unwrap_or_else(|| panic!("the catalogue has no `{name}`"));
    let model = tiny(&model);
    let bytes = std::fs::read(&model.path).unwrap();
    assert_eq!(fnv1a_of_bytes(&bytes), hash, "{name} is another file");
    model
}

/// Returns the logits after every token of `text`, run in steps of `chunk` tokens by a model loaded for `max_len`.
pub fn logits(model: &TinyModel, text: &[u32], max_len: usize, chunk: usize) -> Vec<Vec<f32>> {
    logits_of(&model.path, text, max_len, chunk)
}

/// [`logits`] of any file.
pub fn logits_of(path: &Path, text: &[u32], max_len: usize, chunk: usize) -> Vec<Vec<f32>> {
    let file = GgufFile::open(path).unwrap();
    let config = ModelConfig::from_gguf(&file).unwrap();
    let blocks = blocks_for(text.len());
    let layout = config.cache_layout(blocks, KvCacheDtype::F32);
    let model = Model::load(
        &file,
        config,
        ModelUse {
            vocab_size: 0,
            max_len,
            kv_cache_dtype: KvCacheDtype::F32,
            cuda: CudaOptions::default(),
        },
        &Device::Cpu,
        &|_| (),
    )
    .unwrap();
    let cache = KvCache::new(layout, &Device::Cpu).unwrap();
    let mut sequence = Sequence::new(SequenceId(0), Priority::Batch, text.to_vec());
    // From the last block to the first: neighbours in the table are not neighbours in memory.
    sequence.block_table = (0..blocks as u32).rev().map(BlockId).collect();
    let mut rows = Vec::new();
    for start in (0..text.len()).step_by(chunk) {
        let len = chunk.min(text.len() - start);
        let mut step = StepInput::default();
        step.push(&sequence, start, len);
        step.logits_rows = (0..len as u32).collect();
        let output = model.forward(&step, &cache).unwrap().unwrap();
        assert!(output.is_valid.iter().all(|is_valid| *is_valid));
        rows.extend(output.logits.to_vec2::<f32>().unwrap());
    }
    rows
}

pub fn largest_difference(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    let differences = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f32::max)
}

#[test]
fn logits_equal_those_of_transformers() {
    let golden: LogitsGolden = golden("transformers-logits.json");
    for (name, expected) in &golden.models {
        let model = written(name, &expected.file);
        for run in &expected.runs {
            // A model loaded for no more than its first context takes its short factors.
            let max_len = if run.num_tokens <= SyntheticModel::ORIGINAL_CONTEXT {
                SyntheticModel::ORIGINAL_CONTEXT
            } else {
                512
            };
            let rows = logits(&model, &text(run.num_tokens), max_len, run.num_tokens);
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(&run.logits)
                .unwrap();
            let theirs: Vec<f32> = bytes
                .chunks_exact(4)
                .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
                .collect();
            let vocabulary = theirs.len() / run.positions.len();
            let difference = run
                .positions
                .iter()
                .zip(theirs.chunks_exact(vocabulary))
                .map(|(&at, theirs)| largest_difference(&rows[at], theirs))
                .fold(0.0, f32::max);
            println!("{name}, {} tokens: {difference:.1e}", run.num_tokens);
            assert!(
                difference < MAX_LOGIT_DIFFERENCE,
                "{name}, {} tokens: {difference}",
                run.num_tokens
            );
        }
    }
}

#[test]
fn greedy_tokens_equal_those_of_llama_cpp_for_every_architecture_and_type() {
    let golden: GreedyGolden = golden("greedy-synthetic.json");
    let rounds = |name: &str| types().iter().any(|(known, _)| *known == name);
    let compared = golden.models.keys().filter(|name| rounds(name)).count();
    assert_eq!(compared, types().len());
    for (name, expected) in &golden.models {
        let max_gap = if rounds(name) {
            MAX_GAP_IN_NOISE * expected.noise
        } else {
            MAX_GAP
        };
        let model = written(name, &expected.file);
        let engine = load(&model.path, |config| {
            config.kv_cache_dtype = KvCacheDtype::F32;
        });
        let prompt = text(golden.prompt_tokens);
        let mut start = 0;
        // After a near tie that fell the other way the run goes on from llama.cpp's token.
        while start < expected.tokens.len() {
            let request = GenerateRequest {
                prompt: [&prompt, &expected.tokens[..start]].concat(),
                sampling: SamplingParams {
                    max_tokens: expected.tokens.len() - start,
                    ignore_eos: true,
                    ..Default::default()
                },
                priority: Priority::Interactive,
            };
            let tokens = generate(&engine, request).tokens;
            let mut pairs = tokens.iter().zip(&expected.tokens[start..]);
            let Some(offset) = pairs.position(|(ours, theirs)| ours != theirs) else {
                break;
            };
            let (at, gap) = (start + offset, expected.gaps[start + offset]);
            println!("{name}: token {at} is another; llama.cpp's best two are {gap} apart");
            assert!(gap < max_gap, "{name}: token {at} is no near tie: {gap}");
            start = at + 1;
        }
    }
}

#[test]
fn every_supported_architecture_is_in_the_catalogue() {
    let supported: BTreeSet<&str> = Architecture::SUPPORTED
        .iter()
        .map(Architecture::name)
        .collect();
    let models = catalogue();
    let built: BTreeSet<&str> = models.iter().map(|(_, model)| model.architecture).collect();
    assert_eq!(built, supported);
    let logits: LogitsGolden = golden("transformers-logits.json");
    let greedy: GreedyGolden = golden("greedy-synthetic.json");
    for (name, _) in models {
        assert!(
            logits.models.contains_key(name) || greedy.models.contains_key(name),
            "{name} is compared with nothing"
        );
    }
}

#[test]
fn logits_are_the_same_in_pieces_and_whole() {
    for (name, model) in catalogue() {
        let model = tiny(&model);
        let whole = logits(&model, &text(90), 512, 90);
        for chunk in [1, 7, 16] {
            let pieces = logits(&model, &text(90), 512, chunk);
            for (at, (piece, whole)) in pieces.iter().zip(&whole).enumerate() {
                let difference = largest_difference(piece, whole);
                assert!(difference < 2e-5, "{name} by {chunk}: {difference} at {at}");
            }
        }
    }
}

#[test]
fn the_documentation_names_every_supported_architecture() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/models.md");
    let models = std::fs::read_to_string(path).unwrap();
    for architecture in Architecture::SUPPORTED {
        let name = format!("`{}`", architecture.name());
        assert!(
            models.contains(&name),
            "docs/models.md does not name {name}"
        );
    }
}
