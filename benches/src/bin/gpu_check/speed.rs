//! Time of steps of a model on a device.

use std::{path::PathBuf, time::Instant};

use anyhow::Result;
use candle_core::Device;
use inference::{CudaOptions, KvCacheDtype, gguf::synthetic::SyntheticModel, sampling::Wanted};

use super::{
    print_line,
    steps::{Loaded, Part, random_tokens},
};

pub struct Speed {
    pub model: Option<PathBuf>,
    pub device: Device,
    pub batch: Vec<usize>,
    pub context: usize,
    pub prompt: Vec<usize>,
    pub steps: usize,
    pub options: CudaOptions,
    /// What steps leave of their logits.
    pub wanted: Wanted,
    pub kv_cache_dtype: KvCacheDtype,
}

/// Runs of each prompt.
const PROMPTS: usize = 5;

pub fn run(speed: &Speed) -> Result<()> {
    let largest = speed.batch.iter().copied().max().unwrap_or(1);
    let longest = speed.prompt.iter().copied().max().unwrap_or(1);
    let max_len = (speed.context + 3 * speed.steps + 16).max(longest);
    let made = match &speed.model {
        Some(_) => None,
        None => Some(small_model()?),
    };
    let Some(path) = speed.model.as_ref().or(made.as_ref()) else {
        anyhow::bail!("no model");
    };
    let started = Instant::now();
    let loaded = Loaded::open(
        path,
        &speed.device,
        (largest, max_len),
        (speed.options, speed.kv_cache_dtype),
    )?;
    if let Some(made) = &made {
        std::fs::remove_file(made)?;
    }
    print_line(
        &serde_json::json!({"load_s": started.elapsed().as_secs_f64(), "options": format!("{:?}", speed.options),
            "kv_cache_dtype": speed.kv_cache_dtype.name()}),
    );
    for &len in &speed.prompt {
        prompt(&loaded, len)?;
    }
    for &batch in &speed.batch {
        decode(&loaded, speed, batch)?;
    }
    Ok(())
}

/// Writes a model that is there only to be run.
fn small_model() -> Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("gpu-check-speed-{}.gguf", std::process::id()));
    let model = SyntheticModel {
        hidden: 256,
        ffn: 512,
        head_dim: 64,
        context: 4096,
        ..SyntheticModel::default()
    };
    model.write(&path)?;
    Ok(path)
}

fn prompt(loaded: &Loaded, len: usize) -> Result<()> {
    let part = Part {
        sequence: 0,
        start: 0,
        token_ids: random_tokens(3, len, loaded.vocab_size),
        all_logits: false,
    };
    let mut times = Vec::new();
    for _ in 0..=PROMPTS {
        let started = Instant::now();
        loaded.run(std::slice::from_ref(&part), Wanted::Largest)?;
        times.push(started.elapsed().as_secs_f64());
    }
    let first = times.remove(0);
    let median = median(times);
    print_line(&serde_json::json!({
        "prompt": len, "ms": median * 1e3, "tokens_per_s": len as f64 / median, "first_ms": first * 1e3,
    }));
    Ok(())
}

fn decode(loaded: &Loaded, speed: &Speed, batch: usize) -> Result<()> {
    let mut tokens = random_tokens(5, batch, loaded.vocab_size);
    let mut times = Vec::new();
    for step in 0..speed.steps + 8 {
        let parts: Vec<Part> = (0..batch)
            .map(|sequence| Part {
                sequence,
                start: speed.context + step,
                token_ids: vec![tokens[sequence]],
                all_logits: false,
            })
            .collect();
        let started = Instant::now();
        let output = loaded.run(&parts, speed.wanted)?;
        times.push(started.elapsed().as_secs_f64());
        for (row, token) in tokens.iter_mut().enumerate() {
            *token = output.largest(row).unwrap_or(*token);
        }
    }
    let mut times = times.split_off(8);
    times.sort_by(f64::total_cmp);
    let worst = times[times.len() - 1];
    let median = median(times);
    print_line(&serde_json::json!({
        "batch": batch, "context": speed.context, "ms": median * 1e3, "tokens_per_s": batch as f64 / median,
        "worst_ms": worst * 1e3,
    }));
    Ok(())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
