//! Whether a GPU computes what the CPU does.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use candle_core::{Device, quantized::GgmlDType};
use inference::{
    CudaOptions, GgufFile, KvCacheDtype,
    gguf::{
        GgmlType,
        synthetic::{SyntheticExperts, SyntheticModel},
        writer::GgufWriter,
    },
    model::RowLogits,
    sampling::Wanted,
};

use super::{
    print_line,
    steps::{Loaded, Part, random_tokens},
};

/// Largest divergence of a position's distribution from that of exact weights and activations.
const MAX_DIVERGENCE: f64 = 1e-3;
const PROMPT: usize = 70;
const STEPS: usize = 6;
const SEQUENCES: usize = 20;
const MAX_LEN: usize = 256;

const TYPES: [GgmlDType; 8] = [
    GgmlDType::Q4K,
    GgmlDType::Q5K,
    GgmlDType::Q6K,
    GgmlDType::Q8_0,
    GgmlDType::Q4_0,
    GgmlDType::Q4_1,
    GgmlDType::Q5_0,
    GgmlDType::Q5_1,
];

pub fn run(
    files: &[PathBuf],
    only: Option<&str>,
    device: &Device,
    dtype: KvCacheDtype,
) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("gpu-check-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let mut failed = Vec::new();
    let mut note = |name: String, outcome: Result<()>| {
        if let Err(error) = outcome {
            print_line(&serde_json::json!({"check": name, "error": format!("{error:#}")}));
            failed.push(name);
        }
    };
    let is_wanted = |name: &str| only.is_none_or(|only| name.contains(only));
    for (name, model, dtype) in small_models() {
        if !is_wanted(&name) {
            continue;
        }
        let path = folder.join("model.gguf");
        model.write(&path)?;
        let outcome = compare(&name, &path, device, dtype);
        note(name, outcome);
    }
    for file in files {
        let name = file.display().to_string();
        let outcome = compare(&name, file, device, dtype);
        note(name, outcome);
    }
    std::fs::remove_dir_all(&folder)?;
    ensure!(
        failed.is_empty(),
        "{} checks failed: {}",
        failed.len(),
        failed.join(", ")
    );
    Ok(())
}

/// Every type of weights, head size and group, biases, windows, both ways of rope, and experts; all but the types with keys and values
/// in 8 bits too.
fn small_models() -> Vec<(String, SyntheticModel, KvCacheDtype)> {
    let mut models: Vec<_> = models_of_halves()
        .into_iter()
        .map(|(name, model)| (name, model, KvCacheDtype::F16))
        .collect();
    let bytes: Vec<_> = models[TYPES.len()..]
        .iter()
        .map(|(name, model, _)| {
            let name = format!("{name}, keys and values in 8 bits");
            (name, model.clone(), KvCacheDtype::Q8_0)
        })
        .collect();
    models.extend(bytes);
    models
}

fn models_of_halves() -> Vec<(String, SyntheticModel)> {
    let base = SyntheticModel {
        num_layers: 3,
        hidden: 512,
        num_heads: 4,
        num_kv_heads: 2,
        head_dim: 128,
        ffn: 768,
        tied: false,
        ..SyntheticModel::default()
    };
    let mut models: Vec<(String, SyntheticModel)> = TYPES
        .into_iter()
        .map(|weights| {
            let model = SyntheticModel {
                weights,
                ..base.clone()
            };
            (format!("{weights:?}"), model)
        })
        .collect();
    let heads = [
        (64, 8, 8),
        (64, 9, 3),
        (64, 14, 2),
        (80, 8, 2),
        (96, 8, 1),
        (128, 4, 1),
        (128, 6, 1),
    ];
    for (head_dim, num_heads, num_kv_heads) in heads {
        let model = SyntheticModel {
            head_dim,
            num_heads,
            num_kv_heads,
            ..base.clone()
        };
        models.push((
            format!("{num_heads} heads of {head_dim}, {num_kv_heads} of keys"),
            model,
        ));
    }
    let qwen = SyntheticModel {
        architecture: "qwen2",
        tied: true,
        ..base.clone()
    };
    models.push(("qwen2, tied".to_owned(), qwen));
    let qwen3 = SyntheticModel {
        architecture: "qwen3",
        ..base.clone()
    };
    models.push(("qwen3".to_owned(), qwen3));
    let window = SyntheticModel {
        architecture: "llama",
        window: Some(40),
        ..base.clone()
    };
    models.push(("window".to_owned(), window));
    // More logits than a block of `candidates_of_row.cu` looks through.
    let many_tokens = SyntheticModel {
        unused_tokens: 20_000,
        ..base.clone()
    };
    models.push(("20,000 tokens".to_owned(), many_tokens));
    models.extend(models_with_experts(&base));
    models
}

/// 2 of 8 experts, in both layouts of a file, and many beside one that all tokens use, or with norms of queries and keys.
fn models_with_experts(base: &SyntheticModel) -> Vec<(String, SyntheticModel)> {
    let mixtral = SyntheticExperts {
        count: 8,
        used: 2,
        ffn: 768,
        shared_ffn: None,
        split: false,
        router: GgmlDType::F32,
    };
    let of = |architecture, weights, experts| SyntheticModel {
        architecture,
        weights,
        experts: Some(experts),
        ..base.clone()
    };
    let split = SyntheticExperts {
        split: true,
        router: GgmlDType::F16,
        ..mixtral
    };
    let many = SyntheticExperts {
        count: 60,
        used: 4,
        ffn: 256,
        shared_ffn: Some(512),
        ..mixtral
    };
    let qwen3 = SyntheticExperts {
        count: 128,
        used: 8,
        shared_ffn: None,
        ..many
    };
    vec![
        ("qwen3moe".to_owned(), of("qwen3moe", GgmlDType::Q4K, qwen3)),
        ("mixtral".to_owned(), of("llama", GgmlDType::Q4K, mixtral)),
        (
            "mixtral, split".to_owned(),
            of("llama", GgmlDType::Q5_0, split),
        ),
        ("qwen2moe".to_owned(), of("qwen2moe", GgmlDType::Q6K, many)),
    ]
}

/// Writes the same model with weights of 32 bits: with them the CPU rounds nothing.
fn write_exact(path: &Path, to: &Path) -> Result<()> {
    let file = GgufFile::open(path)?;
    let mut writer = GgufWriter::new();
    for (key, value) in file.metadata() {
        writer.set(key, value.clone());
    }
    for (name, info) in file.tensors() {
        let weights = file.dequantize_tensor(name)?;
        writer.tensor(
            name,
            &info.shape,
            GgmlType::F32,
            bytemuck::cast_slice(&weights).to_vec(),
        );
    }
    Ok(writer.write(to)?)
}

/// Runs the same steps on the GPU, on the CPU, and on the CPU with exact weights, and compares both with the last.
fn compare(name: &str, path: &Path, device: &Device, dtype: KvCacheDtype) -> Result<()> {
    let options = (CudaOptions::default(), dtype);
    let room = (SEQUENCES, MAX_LEN);
    let exact_path =
        std::env::temp_dir().join(format!("gpu-check-exact-{}.gguf", std::process::id()));
    write_exact(path, &exact_path)?;
    let exact = Loaded::open(&exact_path, &Device::Cpu, room, options)?;
    std::fs::remove_file(&exact_path)?;
    // Where two experts are nearly equal a rounding chooses between them, and the position is another: so the median is judged.
    let has_experts = GgufFile::open(path)?
        .tensors()
        .keys()
        .any(|name| name.contains("ffn_gate_inp"));
    let cpu = Loaded::open(path, &Device::Cpu, room, options)?;
    let gpu = Loaded::open(path, device, room, options)?;
    let prompt = random_tokens(1, PROMPT, cpu.vocab_size);
    let whole = [part(0, 0, &prompt, true)];
    let wanted = exact.logits(&whole)?;
    let prefill = worst(&wanted, &gpu.logits(&whole)?);
    let mut of_cpu = worst(&wanted, &cpu.logits(&whole)?);
    let steps = random_tokens(2, STEPS, cpu.vocab_size);
    let mut decode = Difference::default();
    for (index, token) in steps.iter().enumerate() {
        let step = [part(0, PROMPT + index, &[*token], false)];
        let wanted = exact.logits(&step)?;
        decode.join(worst(&wanted, &gpu.logits(&step)?));
        of_cpu.join(worst(&wanted, &cpu.logits(&step)?));
    }
    let chunked = chunks(&gpu, &prompt, &wanted)?;
    let (batch, same_largest) = batches(&gpu, &prompt)?;
    let candidates_fit = candidates(&gpu, device.is_cuda(), &prompt)?;
    let graph_bits = captured_equals_plain(path, device, dtype, &prompt)?;
    print_line(&serde_json::json!({
        "check": name, "kv_cache_dtype": dtype.name(),
        "prefill_kl": prefill.divergence, "decode_kl": decode.divergence, "chunked_kl": chunked.divergence,
        "batch_kl": batch.divergence, "cpu_kl": of_cpu.divergence, "same_argmax": prefill.same_largest && decode.same_largest,
        "logit_spread": prefill.spread, "max_difference": prefill.largest.max(decode.largest),
        "prefill_median_kl": prefill.median(), "cpu_median_kl": of_cpu.median(), "cpu_max_difference": of_cpu.largest,
        "largest_is_argmax": same_largest, "candidates_fit": candidates_fit, "graphs_equal_plain": graph_bits,
    }));
    let judged = |difference: &Difference| {
        if has_experts {
            difference.median()
        } else {
            difference.divergence
        }
    };
    // The CPU rounds activations to 8 bits. Medians of few positions differ by more than their rounding.
    let slack = if has_experts { 4.0 } else { 1.0 };
    let bound = (slack * judged(&of_cpu)).max(MAX_DIVERGENCE);
    // Together: single tokens are too few for a median of their own.
    let mut prefill_and_decode = prefill;
    prefill_and_decode.join(decode);
    for (what, difference) in [
        ("a prompt or a token after it", prefill_and_decode),
        ("a prompt in pieces", chunked),
        ("a batch", batch),
    ] {
        ensure!(
            judged(&difference) <= bound,
            "{what} diverges by {:.2e}",
            judged(&difference)
        );
    }
    ensure!(
        same_largest,
        "the largest logit is another than that of the logits"
    );
    ensure!(
        candidates_fit,
        "the candidates of a row are not its best tokens"
    );
    ensure!(graph_bits, "a captured step differs from a plain one");
    Ok(())
}

fn part(sequence: usize, start: usize, token_ids: &[u32], all_logits: bool) -> Part {
    Part {
        sequence,
        start,
        token_ids: token_ids.to_vec(),
        all_logits,
    }
}

/// A prompt in pieces of different lengths, beside another.
fn chunks(gpu: &Loaded, prompt: &[u32], wanted: &[Vec<f32>]) -> Result<Difference> {
    let mut difference = Difference::default();
    let mut start = 0;
    for len in [1, 5, 17, 3, 33] {
        let parts = [
            part(1, start, &prompt[start..start + len], true),
            part(2, start, &prompt[start..start + len], false),
        ];
        let got = gpu.logits(&parts)?;
        difference.join(worst(&wanted[start..start + len], &got[..len]));
        difference.join(worst(&wanted[start + len - 1..start + len], &got[len..]));
        start += len;
    }
    Ok(difference)
}

/// Sequences together against each alone; and whether the largest logit that is found on the device is that of the logits.
fn batches(gpu: &Loaded, prompt: &[u32]) -> Result<(Difference, bool)> {
    let mut difference = Difference::default();
    let mut same_largest = true;
    for count in [1, 2, 3, 5, 8, 9, 16, SEQUENCES] {
        let fill: Vec<Part> = (0..count)
            .map(|row| part(row, 0, &prompt[..20 + row], false))
            .collect();
        gpu.run(&fill, Wanted::Row)?;
        let tokens = random_tokens(9, count, gpu.vocab_size);
        let parts: Vec<Part> = (0..count)
            .map(|row| part(row, 20 + row, &tokens[row..=row], false))
            .collect();
        // Three times: plain, captured, replayed.
        for _ in 0..3 {
            let together = gpu.logits(&parts)?;
            let greedy = gpu.run(&parts, Wanted::Largest)?;
            for (row, logits) in together.iter().enumerate() {
                let alone = gpu.logits(&parts[row..=row])?;
                difference.join(worst(&alone, std::slice::from_ref(logits)));
                if let Some(largest) = greedy.largest(row) {
                    same_largest &= largest as usize == argmax(logits);
                }
            }
        }
    }
    Ok((difference, same_largest))
}

/// Whether the candidates that are found on the device are those of the rows, which are asked for afterwards.
fn candidates(gpu: &Loaded, is_cuda: bool, prompt: &[u32]) -> Result<bool> {
    let mut fit = true;
    for count in [1, 2, 9, SEQUENCES] {
        let parts: Vec<Part> = (0..count)
            .map(|row| part(row, 0, &prompt[..20 + row], false))
            .collect();
        let step = gpu.run(&parts, Wanted::Candidates)?;
        let is_sent = |row: &RowLogits| *row == RowLogits::Candidates;
        if !step.rows.iter().all(is_sent) {
            // On a CPU rows are there anyway.
            fit &= !is_cuda;
            continue;
        }
        let places: Vec<usize> = (0..count).collect();
        let rows: Vec<Vec<f32>> = gpu.model.rows_of_last_step(&places)?.to_vec2()?;
        for (index, row) in rows.iter().enumerate() {
            let row = &row[..gpu.vocab_size];
            let mut ids: Vec<u32> = (0..row.len() as u32).collect();
            let logit = |id: u32| row[id as usize];
            ids.sort_by(|&a, &b| logit(b).total_cmp(&logit(a)).then(a.cmp(&b)));
            let found = step.candidates(index, row.len());
            let (best, others) = ids.split_at(found.ids.len().min(ids.len()));
            let rest: f64 = others
                .iter()
                .map(|&id| f64::from(logit(id) - logit(best[0])).exp())
                .sum();
            fit &= found.ids[..best.len()] == *best
                && (f64::from(found.rest) - rest).abs() <= 2e-6 * rest;
        }
    }
    Ok(fit)
}

/// Whether captured steps give the bits of plain ones.
fn captured_equals_plain(
    path: &Path,
    device: &Device,
    dtype: KvCacheDtype,
    prompt: &[u32],
) -> Result<bool> {
    let run = |options: CudaOptions| -> Result<Vec<Vec<f32>>> {
        let loaded = Loaded::open(path, device, (2, MAX_LEN), (options, dtype))?;
        loaded.logits(&[part(0, 0, prompt, false)])?;
        let mut all = Vec::new();
        for index in 0..4 {
            all.extend(loaded.logits(&[part(0, PROMPT + index, &[7 + index as u32], false)])?);
        }
        Ok(all)
    };
    let captured = run(CudaOptions::default())?;
    let plain = run(CudaOptions {
        graphs: false,
        early_start: false,
        ..CudaOptions::default()
    })?;
    Ok(captured == plain)
}

/// How far distributions are from the wanted ones.
#[derive(Debug, Clone)]
struct Difference {
    /// Kullback-Leibler divergence of each position.
    divergences: Vec<f64>,
    /// Largest Kullback-Leibler divergence of a position.
    divergence: f64,
    /// Largest difference of a logit.
    largest: f32,
    /// Standard deviation of the wanted logits of a position, the largest.
    spread: f64,
    same_largest: bool,
}

impl Default for Difference {
    fn default() -> Self {
        Self {
            divergences: Vec::new(),
            divergence: 0.0,
            largest: 0.0,
            spread: 0.0,
            same_largest: true,
        }
    }
}

impl Difference {
    /// The median of the positions; what is no number anywhere is none.
    fn median(&self) -> f64 {
        if self.divergence.is_nan() {
            return f64::NAN;
        }
        let mut sorted = self.divergences.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
    }

    fn join(&mut self, other: Self) {
        self.divergences.extend(other.divergences);
        self.divergence = larger(self.divergence, other.divergence);
        self.largest = self.largest.max(other.largest);
        self.spread = self.spread.max(other.spread);
        self.same_largest &= other.same_largest;
    }
}

/// NaN is larger than any number.
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

fn worst(wanted: &[Vec<f32>], got: &[Vec<f32>]) -> Difference {
    let mut worst = Difference {
        divergence: if wanted.len() == got.len() {
            0.0
        } else {
            f64::NAN
        },
        ..Difference::default()
    };
    for (wanted, got) in wanted.iter().zip(got) {
        let differences = wanted.iter().zip(got).map(|(a, b)| (a - b).abs());
        let mean = wanted.iter().map(|x| f64::from(*x)).sum::<f64>() / wanted.len() as f64;
        let variance = wanted
            .iter()
            .map(|x| (f64::from(*x) - mean).powi(2))
            .sum::<f64>()
            / wanted.len() as f64;
        let divergence = divergence(wanted, got);
        worst.join(Difference {
            divergences: vec![divergence],
            divergence,
            largest: differences.fold(0.0, f32::max),
            spread: variance.sqrt(),
            same_largest: argmax(wanted) == argmax(got),
        });
    }
    worst
}

fn argmax(logits: &[f32]) -> usize {
    let best = logits
        .iter()
        .enumerate()
        .fold((0, f32::NEG_INFINITY), |best, (index, logit)| {
            if *logit > best.1 {
                (index, *logit)
            } else {
                best
            }
        });
    best.0
}

fn log_probabilities(logits: &[f32]) -> Vec<f64> {
    let largest = logits
        .iter()
        .fold(f32::NEG_INFINITY, |most, x| most.max(*x));
    let exponentials = logits.iter().map(|x| f64::from(x - largest).exp());
    let log_sum = exponentials.sum::<f64>().ln();
    logits
        .iter()
        .map(|x| f64::from(x - largest) - log_sum)
        .collect()
}

fn divergence(wanted: &[f32], got: &[f32]) -> f64 {
    let (p, q) = (log_probabilities(wanted), log_probabilities(got));
    p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum()
}
