//! Every weight type: values of blocks against the `gguf` package's, bit for bit, and greedy tokens of a small model of
//! each type against llama.cpp's. `scripts/goldens/types.py` writes the goldens.
//!
//! Of the quantized models, 5 of 16 types differ in 1 to 6 of 64 tokens. That this is rounding and nothing else is shown
//! in two ways:
//! - with the same weights written out as F32, bit for bit the same values, neither program rounds activations, and all
//!   64 tokens of all 16 types are equal (`types-exact.json`), though their two best logits come as close as 0.0037;
//! - rounding activations moves llama.cpp's own logits by 0.02 to 0.11 (root mean square, `rounding`), and wherever our
//!   token of a quantized model is another, the F32 model's two best are no further apart than twice that: at the first
//!   such position 1.8 times for `Q4_0`, 0.5 for `Q4_1`, 0.4 for `Q2_K`, 0.6 for `Q6_K` and 1.9 for `IQ4_XS`.
//!
//! The models are made from a seed here and written for the script by an ignored test, so no weights are committed.

use std::{collections::BTreeMap, path::Path};

use candle_core::Device;
use inference::gguf::{
    self, GgmlType, GgufFile, Recipe, synthetic::SyntheticModel, writer::GgufWriter,
};
use inference::{
    Engine, Event, FinishReason, GenerateRequest, KvCacheDtype, Priority, SamplingParams,
};
use serde::Deserialize;

use crate::common::{collect, load, real_model};
use crate::golden::{QWEN_05B, QWEN_15B, SMOLLM2, fnv1a_of_bytes, golden};
use crate::golden_perplexity::quantize;

pub const HIDDEN: usize = 256;
const FFN: usize = 512;
const KV_ROWS: usize = 128;
const NUM_LAYERS: usize = 2;

/// Gap between llama.cpp's two best logits below which either may win.
const MAX_GAP: f32 = 1e-3;
/// The same in units of llama.cpp's noise, which `golden_engine.rs` explains.
const MAX_GAP_IN_NOISE: f32 = 6.0;
/// Gap between the F32 model's two best logits, in units of what rounding does to a logit, below which a quantized model
/// may pick the other: three standard deviations of a difference of two logits. Measured is 1.9 at most.
const MAX_GAP_IN_ROUNDING: f32 = 4.2;

#[derive(Deserialize)]
struct BlocksGolden {
    weights: usize,
    types: BTreeMap<String, BlocksOfType>,
}

#[derive(Deserialize)]
struct BlocksOfType {
    hash: String,
    first: Vec<f32>,
}

#[derive(Deserialize)]
struct GreedyGolden {
    prompt: Vec<u32>,
    types: BTreeMap<String, Greedy>,
}

#[derive(Deserialize)]
struct Greedy {
    tokens: Vec<u32>,
    /// Logit of the best minus that of the second best.
    gaps: Vec<f32>,
    /// Root mean square difference of llama.cpp's logits with keys and values in f16 from those in f32.
    noise: f32,
}

#[derive(Deserialize)]
struct ExactGolden {
    prompt: Vec<u32>,
    types: BTreeMap<String, Exact>,
}

/// llama.cpp on the dequantized weights.
#[derive(Deserialize)]
struct Exact {
    tokens: Vec<u32>,
    gaps: Vec<f32>,
    /// Root mean square difference of the quantized model's logits from this one's, along the quantized model's text.
    rounding: f32,
    /// Gaps of this model along the quantized model's text.
    exact_gaps: Vec<f32>,
}

#[derive(Deserialize)]
struct QuantizeGolden {
    weights: usize,
    /// Hash of the blocks of each type.
    types: BTreeMap<String, String>,
}

/// Bytes of the generator splitmix64, as in `types.py`.
fn splitmix64(seed: u64, count: usize) -> Vec<u8> {
    let words = (1..=count.div_ceil(8) as u64).map(|index| {
        let state = seed.wrapping_add(index.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let state = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let state = (state ^ state >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        state ^ state >> 31
    });
    let mut bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    bytes.truncate(count);
    bytes
}

/// A type's blocks as random bytes with sane scales.
struct RandomBlocks {
    ggml_type: GgmlType,
    /// Offset of the scale in f16.
    scale: usize,
    /// Offset of the offset in f16, and what it is in scales so that the mean of the weights is 0.
    offset: Option<(usize, f32)>,
    /// Root mean square of the weights at a scale of 1.
    rms: f32,
}

#[rustfmt::skip]
const RANDOM_BLOCKS: [RandomBlocks; 12] = [
    RandomBlocks { ggml_type: GgmlType::Q4_0, scale: 0, offset: None, rms: 4.6 },
    RandomBlocks { ggml_type: GgmlType::Q4_1, scale: 0, offset: Some((2, -7.5)), rms: 4.6 },
    RandomBlocks { ggml_type: GgmlType::Q5_0, scale: 0, offset: None, rms: 9.2 },
    RandomBlocks { ggml_type: GgmlType::Q5_1, scale: 0, offset: Some((2, -15.5)), rms: 9.2 },
    RandomBlocks { ggml_type: GgmlType::Q8_0, scale: 0, offset: None, rms: 74.0 },
    RandomBlocks { ggml_type: GgmlType::Q2_K, scale: 80, offset: Some((82, 1.5)), rms: 14.0 },
    RandomBlocks { ggml_type: GgmlType::Q3_K, scale: 108, offset: None, rms: 43.0 },
    RandomBlocks { ggml_type: GgmlType::Q4_K, scale: 0, offset: Some((2, 7.5)), rms: 258.0 },
    RandomBlocks { ggml_type: GgmlType::Q5_K, scale: 0, offset: Some((2, 15.5)), rms: 526.0 },
    RandomBlocks { ggml_type: GgmlType::Q6_K, scale: 208, offset: None, rms: 1368.0 },
    RandomBlocks { ggml_type: GgmlType::IQ4_NL, scale: 0, offset: None, rms: 67.0 },
    RandomBlocks { ggml_type: GgmlType::IQ4_XS, scale: 0, offset: None, rms: 1240.0 },
];

/// Random weights of a type with about this root mean square.
fn random_data(ggml_type: GgmlType, seed: u64, count: usize, rms: f32) -> Vec<u8> {
    let bytes = ggml_type.bytes_of(count).expect("whole blocks");
    if ggml_type == GgmlType::MXFP4 {
        let mut data = splitmix64(seed, bytes);
        let exponent = 128 + (rms / 5.9).log2().round() as i32;
        for block in data.chunks_exact_mut(17) {
            block[0] = (exponent + i32::from(block[0] & 1)) as u8;
        }
        return data;
    }
    let Some(kind) = RANDOM_BLOCKS
        .iter()
        .find(|kind| kind.ggml_type == ggml_type)
    else {
        let mut data = vec![0; bytes];
        gguf::encode(ggml_type, &uniform(seed, count, rms), &mut data).expect("a float type");
        return data;
    };
    let mut data = splitmix64(seed, bytes);
    let (_, block_bytes) = ggml_type.block().expect("a known type");
    for block in data.chunks_exact_mut(block_bytes) {
        // From half to one and a half times the mean.
        let scale = rms / kind.rms * (0.5 + f32::from(block[kind.scale]) / 256.0);
        block[kind.scale..][..2].copy_from_slice(&half::f16::from_f32(scale).to_le_bytes());
        if let Some((at, times)) = kind.offset {
            block[at..][..2].copy_from_slice(&half::f16::from_f32(scale * times).to_le_bytes());
        }
    }
    data
}

fn uniform(seed: u64, count: usize, rms: f32) -> Vec<f32> {
    let units = uniform_units(seed, count);
    units
        .into_iter()
        .map(|unit| unit * rms * 3f32.sqrt())
        .collect()
}

/// Numbers from -1 to 1.
fn uniform_units(seed: u64, count: usize) -> Vec<f32> {
    let bytes = splitmix64(seed, 4 * count);
    let (words, _) = bytes.as_chunks::<4>();
    // 24 bits are exact in f32.
    words
        .iter()
        .map(|&word| (u32::from_le_bytes(word) >> 8) as f32 / 8_388_608.0 - 1.0)
        .collect()
}

/// A model whose matrices are all of one type; norms are F32. Only the vocabulary and the hyperparameters are those of
/// [`SyntheticModel`].
pub fn type_model(ggml_type: GgmlType) -> GgufWriter {
    type_model_as(ggml_type, |data, _| (ggml_type, data))
}

/// The model of a type with its weights written out as F32.
pub fn exact_type_model(ggml_type: GgmlType) -> GgufWriter {
    type_model_as(ggml_type, |data, count| {
        let mut weights = vec![0f32; count];
        gguf::dequantize(ggml_type, &data, &mut weights).expect("whole blocks");
        let data = weights.iter().flat_map(|weight| weight.to_le_bytes());
        (GgmlType::F32, data.collect())
    })
}

/// The model of a type in another form: `store` gets a matrix's blocks and its number of weights.
fn type_model_as(
    ggml_type: GgmlType,
    store: impl Fn(Vec<u8>, usize) -> (GgmlType, Vec<u8>),
) -> GgufWriter {
    let frame = SyntheticModel {
        hidden: HIDDEN,
        ffn: FFN,
        num_layers: NUM_LAYERS,
        num_heads: 4,
        num_kv_heads: 2,
        head_dim: 64,
        ..SyntheticModel::default()
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("frame.gguf");
    frame.write(&path).expect("written");
    let frame = GgufFile::open(&path).expect("a model");
    let rows = frame
        .tensor("token_embd.weight")
        .expect("an embedding")
        .shape[0];
    let mut writer = GgufWriter::new();
    for (key, value) in frame.metadata() {
        writer.set(key, value.clone());
    }
    let mut matrices = vec![
        ("token_embd.weight".to_owned(), rows, HIDDEN, 0.3),
        ("output.weight".to_owned(), rows, HIDDEN, 0.2),
    ];
    let mut norms = vec!["output_norm.weight".to_owned()];
    for layer in 0..NUM_LAYERS {
        let parts = [
            ("attn_q", HIDDEN, HIDDEN),
            ("attn_k", KV_ROWS, HIDDEN),
            ("attn_v", KV_ROWS, HIDDEN),
            ("attn_output", HIDDEN, HIDDEN),
            ("ffn_gate", FFN, HIDDEN),
            ("ffn_up", FFN, HIDDEN),
            ("ffn_down", HIDDEN, FFN),
        ];
        for (name, rows, width) in parts {
            let rms = 1.0 / (width as f32).sqrt();
            matrices.push((format!("blk.{layer}.{name}.weight"), rows, width, rms));
        }
        norms.extend(["attn_norm", "ffn_norm"].map(|name| format!("blk.{layer}.{name}.weight")));
    }
    for (index, (name, rows, width, rms)) in matrices.into_iter().enumerate() {
        let seed = 1_000 * u64::from(ggml_type.0) + index as u64;
        let count = rows * width;
        let (stored_type, data) = store(random_data(ggml_type, seed, count, rms), count);
        writer.tensor(&name, &[rows, width], stored_type, data);
    }
    for (index, name) in norms.into_iter().enumerate() {
        let weights = uniform(77_000 + index as u64, HIDDEN, 0.1);
        let data = weights
            .iter()
            .flat_map(|weight| (1.0 + weight).to_le_bytes())
            .collect();
        writer.tensor(&name, &[HIDDEN], GgmlType::F32, data);
    }
    writer
}

#[test]
#[ignore = "writes files for scripts/goldens/types.py"]
fn writes_the_models_of_the_goldens() {
    let folder =
        std::env::var_os("CLOISTER_GOLDEN_MODELS").expect("CLOISTER_GOLDEN_MODELS names a folder");
    let folder = Path::new(&folder);
    for ggml_type in GgmlType::SUPPORTED {
        let path = folder.join(format!("{ggml_type}.gguf"));
        type_model(ggml_type).write(&path).unwrap();
    }
    if let Some(model) = real_model(SMOLLM2) {
        for recipe in Recipe::ALL {
            quantize(&model, recipe, folder);
        }
    }
}

/// Scales that make weights infinite must not take the process down: the request fails, and so does the next.
#[test]
fn a_model_whose_scales_are_infinite_fails_its_requests_and_nothing_else() {
    // 0x7c00 is infinity in f16, 0x7e00 NaN; the exponent 255 of MXFP4 is 2^127 to ggml.
    type Spoil = fn(&mut [u8]);
    let table: [(GgmlType, Spoil); 3] = [
        (GgmlType::MXFP4, |data| {
            data.chunks_exact_mut(17).for_each(|block| block[0] = 255)
        }),
        (GgmlType::IQ4_NL, |data| {
            data.chunks_exact_mut(18)
                .for_each(|block| block[..2].copy_from_slice(&[0, 0x7c]))
        }),
        (GgmlType::IQ4_XS, |data| {
            data.chunks_exact_mut(136)
                .for_each(|block| block[..2].copy_from_slice(&[0, 0x7e]))
        }),
    ];
    for (ggml_type, spoil) in table {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        let mut writer = type_model(ggml_type);
        let count = 512 * HIDDEN;
        let mut data = random_data(ggml_type, 1, count, 0.1);
        spoil(&mut data);
        writer.replace_tensor("blk.1.ffn_up.weight", ggml_type, data);
        writer.write(&path).unwrap();
        let engine = load(&path, |_| {});
        for _ in 0..2 {
            let request = GenerateRequest {
                prompt: vec![1, 2, 3],
                sampling: SamplingParams::default(),
                priority: Priority::Interactive,
            };
            let mut stream = engine.submit(request).expect("accepted");
            let mut failed = false;
            while let Some(event) = stream.blocking_next() {
                failed = matches!(event, Event::Failed(_));
                assert!(failed, "{ggml_type}: {event:?}");
            }
            assert!(failed, "{ggml_type}");
        }
    }
}

#[test]
fn values_of_every_type_equal_those_of_the_gguf_package_bit_for_bit() {
    let golden: BlocksGolden = golden("types-blocks.json");
    assert_eq!(golden.types.len(), GgmlType::SUPPORTED.len());
    let folder = tempfile::tempdir().unwrap();
    for ggml_type in GgmlType::SUPPORTED {
        let name = ggml_type.name();
        let want = &golden.types[&name];
        let data = random_blocks(ggml_type, golden.weights);
        let mut weights = vec![0f32; golden.weights];
        gguf::dequantize(ggml_type, &data, &mut weights).unwrap();
        assert_eq!(weights[..4], want.first, "{name}");
        assert_eq!(hash(&weights), want.hash, "{name}");
        // The tensor that is computed with has the same values: exactly, but for the scales of IQ4_XS.
        let path = folder.path().join("tensor.gguf");
        let mut writer = GgufWriter::new();
        writer.tensor("w", &[golden.weights / 256, 256], ggml_type, data);
        writer.write(&path).unwrap();
        let tensor = GgufFile::open(&path)
            .unwrap()
            .load_tensor("w", &Device::Cpu)
            .unwrap();
        let loaded = tensor.dequantize(&Device::Cpu).unwrap();
        let loaded: Vec<f32> = loaded.flatten_all().unwrap().to_vec1().unwrap();
        if ggml_type == GgmlType::IQ4_XS {
            for (loaded, weight) in loaded.iter().zip(&weights) {
                // Half a bit of f16, absolute where the scale is below its normal range.
                let bound = weight.abs() / 2048.0 + 127.0 / 2f32.powi(25);
                assert!((loaded - weight).abs() <= bound, "{loaded}, not {weight}");
            }
        } else {
            assert_eq!(hash(&loaded), want.hash, "{name} as loaded");
        }
    }
}

fn hash(weights: &[f32]) -> String {
    // The sign of a zero carries no weight, but the package's and ours agree on it too.
    let bytes: Vec<u8> = weights
        .iter()
        .flat_map(|weight| weight.to_le_bytes())
        .collect();
    fnv1a_of_bytes(&bytes)
}

/// Random blocks whose floats are finite, as `types.py` makes them.
fn random_blocks(ggml_type: GgmlType, weights: usize) -> Vec<u8> {
    let (block_weights, block_bytes) = ggml_type.block().expect("a known type");
    let mut data = splitmix64(
        u64::from(ggml_type.0),
        weights / block_weights * block_bytes,
    );
    let floats: Vec<usize> = match ggml_type {
        GgmlType::F32 => vec![2],
        GgmlType::F16 | GgmlType::BF16 => vec![0],
        _ => RANDOM_BLOCKS
            .iter()
            .filter(|kind| kind.ggml_type == ggml_type)
            .flat_map(|kind| [Some(kind.scale), kind.offset.map(|offset| offset.0)])
            .flatten()
            .collect(),
    };
    for block in data.chunks_exact_mut(block_bytes) {
        for at in &floats {
            block[at + 1] &= 0xbf;
        }
        if ggml_type == GgmlType::MXFP4 {
            block[0] &= 0xf7;
        }
    }
    data
}

#[test]
fn greedy_tokens_of_every_type_equal_those_of_llama_cpp() {
    let golden: GreedyGolden = golden("types-greedy.json");
    let exact: ExactGolden = self::golden("types-exact.json");
    assert_eq!(golden.types.len(), GgmlType::SUPPORTED.len());
    let mut failures = Vec::new();
    for ggml_type in GgmlType::SUPPORTED {
        let name = ggml_type.name();
        let (want, exact) = (&golden.types[&name], &exact.types[&name]);
        let positions = differences(&type_model(ggml_type), &golden.prompt, &want.tokens);
        for at in positions {
            let (gap, exact_gap) = (want.gaps[at], exact.exact_gaps[at]);
            println!("{name}: token {at} differs, gap {gap}, {exact_gap} unrounded");
            let is_tie = gap < MAX_GAP.max(MAX_GAP_IN_NOISE * want.noise);
            let is_explained = exact_gap < MAX_GAP.max(MAX_GAP_IN_ROUNDING * exact.rounding);
            if !(is_tie && is_explained) {
                failures.push((name.clone(), at, gap, exact_gap));
            }
        }
    }
    assert!(failures.is_empty(), "not near ties: {failures:?}");
}

#[test]
fn greedy_tokens_of_every_type_written_out_as_f32_equal_those_of_llama_cpp() {
    let golden: ExactGolden = golden("types-exact.json");
    assert_eq!(golden.types.len(), GgmlType::SUPPORTED.len());
    for ggml_type in GgmlType::SUPPORTED {
        let name = ggml_type.name();
        let want = &golden.types[&name];
        let positions = differences(&exact_type_model(ggml_type), &golden.prompt, &want.tokens);
        let gaps: Vec<_> = positions.iter().map(|&at| (at, want.gaps[at])).collect();
        assert!(gaps.is_empty(), "{name}: {gaps:?}");
    }
}

/// Returns the positions at which a model's greedy token is not the wanted one. After a difference the run goes on from
/// the wanted token, so that every position is compared.
fn differences(model: &GgufWriter, prompt: &[u32], want: &[u32]) -> Vec<usize> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    model.write(&path).unwrap();
    let engine = load(&path, |config| config.kv_cache_dtype = KvCacheDtype::F32);
    let mut start = 0;
    let mut differences = Vec::new();
    while start < want.len() {
        let rest = &want[start..];
        let tokens = greedy(&engine, [prompt, &want[..start]].concat(), rest);
        match tokens.iter().zip(rest).position(|(a, b)| a != b) {
            Some(offset) => {
                differences.push(start + offset);
                start += offset + 1;
            }
            None => start += tokens.len(),
        }
    }
    differences
}

/// Returns up to as many greedy tokens as are wanted. The engine does not hand out the end token at which a text ends;
/// it is taken to be the wanted one if that is an end token too.
fn greedy(engine: &Engine, prompt: Vec<u32>, want: &[u32]) -> Vec<u32> {
    let sampling = SamplingParams {
        max_tokens: want.len(),
        ..SamplingParams::default()
    };
    let request = GenerateRequest {
        prompt,
        sampling,
        priority: Priority::Interactive,
    };
    let output = collect(engine.submit(request).expect("accepted"));
    let mut tokens = output.tokens;
    if output.reason == FinishReason::Stop {
        let ends = engine.tokenizer().eos_ids();
        let wanted = want.get(tokens.len()).filter(|id| ends.contains(id));
        tokens.extend(wanted.or(ends.first()));
    }
    tokens
}

#[test]
fn quantized_blocks_equal_those_of_llama_cpp_bit_for_bit() {
    let golden: QuantizeGolden = golden("types-quantize.json");
    let uniform = uniform_units(4, 2 * golden.weights);
    let (first, second) = uniform.split_at(golden.weights);
    let mut weights: Vec<f32> = first.iter().zip(second).map(|(a, b)| a * b).collect();
    weights[..256].fill(0.0);
    weights[256..512].fill(0.375);
    for (name, want) in &golden.types {
        let ggml_type = GgmlType::SUPPORTED
            .into_iter()
            .find(|ggml_type| ggml_type.name() == *name)
            .expect("a supported type");
        let mut data = vec![0; ggml_type.bytes_of(weights.len()).unwrap()];
        gguf::encode(ggml_type, &weights, &mut data).unwrap();
        assert_eq!(fnv1a_of_bytes(&data), *want, "{name}");
    }
}

/// The files of the Qwen models were made by llama.cpp of 2024, which counted layers in the order of their names as
/// text (1, 10, 11, ..., 2); so only the number of matrices of a kind that got a type is compared, not their layers.
#[test]
fn the_recipe_gives_as_many_matrices_of_a_kind_a_type_as_llama_cpp_did_in_real_files() {
    for model in [QWEN_05B, QWEN_15B] {
        let Some(path) = real_model(model) else {
            continue;
        };
        let file = GgufFile::open(&path).unwrap();
        let file_type = file.get_u32("general.file_type");
        assert_eq!(file_type, Some(Recipe::Q4KM.file_type()));
        let (mut ours, mut theirs) = (BTreeMap::new(), BTreeMap::new());
        let kind = |name: &str| name.rsplit('.').nth(1).map(str::to_owned);
        for (name, ggml_type) in Recipe::Q4KM.types(&file) {
            *ours.entry((kind(&name), ggml_type.name())).or_insert(0) += 1;
            let ggml_type = file.tensor(&name).unwrap().ggml_type;
            *theirs.entry((kind(&name), ggml_type.name())).or_insert(0) += 1;
        }
        assert_eq!(ours, theirs, "{model}");
        assert!(ours.len() >= 9, "{ours:?}");
    }
}
