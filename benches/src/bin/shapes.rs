//! Models with random weights in the shapes of published ones, for measurements that no weights are at hand for. They
//! compute what a real model computes and say nonsense.
//!
//! `cargo run --release -p benches --bin shapes -- FOLDER [NAME...]` writes `NAME.f16.gguf` for each of
//! `llama-3.2-1b` (16 layers of 2048, 128,256 tokens, 2.5 GB) and `mixtral-small` (6 layers of 2048, 2 of 8 experts, 2.3 GB);
//! `cloister models quantize` makes the types of them that are measured. Two more are only written when they are named, as `Q4_K_M`
//! at once, for GPUs: `llama-3.1-8b` (4.9 GB) and `mixtral-8x7b` (28 GB).

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use candle_core::quantized::GgmlDType;
use clap::Parser;
use inference::gguf::{
    Recipe,
    synthetic::{SyntheticExperts, SyntheticModel},
};

#[derive(Debug, Parser)]
struct Arguments {
    folder: PathBuf,
    /// Which shapes to write; all when none is named.
    names: Vec<String>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    std::fs::create_dir_all(&arguments.folder)
        .with_context(|| format!("cannot make {}", arguments.folder.display()))?;
    let shapes = shapes();
    for name in &arguments.names {
        if !shapes.iter().any(|(known, _)| known == name) {
            let known: Vec<&str> = shapes.iter().map(|(known, _)| *known).collect();
            bail!("there is no shape `{name}`; known are {}", known.join(", "));
        }
    }
    for (name, model) in shapes {
        let is_large = model.mixture.is_some();
        let is_wanted = arguments.names.iter().any(|wanted| wanted == name);
        if is_wanted || arguments.names.is_empty() && !is_large {
            let kind = if is_large { "q4_k_m" } else { "f16" };
            let path = arguments.folder.join(format!("{name}.{kind}.gguf"));
            model
                .write(&path)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

fn shapes() -> Vec<(&'static str, SyntheticModel)> {
    let common = SyntheticModel {
        hidden: 2048,
        num_heads: 32,
        num_kv_heads: 8,
        head_dim: 64,
        context: 16_384,
        weights: GgmlDType::F16,
        ..SyntheticModel::default()
    };
    let llama = SyntheticModel {
        num_layers: 16,
        ffn: 8192,
        unused_tokens: 128_256 - 267,
        ..common.clone()
    };
    let mixtral = SyntheticModel {
        num_layers: 6,
        ffn: 3584,
        tied: false,
        experts: Some(SyntheticExperts {
            count: 8,
            used: 2,
            ffn: 3584,
            shared_ffn: None,
            split: false,
            router: GgmlDType::F32,
        }),
        unused_tokens: 32_000 - 267,
        ..common
    };
    let large = SyntheticModel {
        num_layers: 32,
        hidden: 4096,
        ffn: 14_336,
        head_dim: 128,
        context: 32_768,
        tied: false,
        mixture: Some(Recipe::Q4KM),
        ..llama.clone()
    };
    let large_mixtral = SyntheticModel {
        experts: mixtral.experts.map(|experts| SyntheticExperts {
            ffn: 14_336,
            ..experts
        }),
        unused_tokens: mixtral.unused_tokens,
        ..large.clone()
    };
    vec![
        ("llama-3.2-1b", llama),
        ("mixtral-small", mixtral),
        ("llama-3.1-8b", large),
        ("mixtral-8x7b", large_mixtral),
    ]
}
