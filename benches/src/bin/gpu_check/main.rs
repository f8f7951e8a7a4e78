//! Checks a GPU against the CPU, and measures it. `scripts/gpu-check` runs it on a machine with a GPU; each command prints lines of
//! JSON and fails when something is wrong.
//!
//! - `check`: small models of every type of weights, and model files that are named: logits of prompts and of single tokens
//!   on the GPU against the CPU's, a batch against its sequences alone, captured steps against plain ones.
//! - `speed`: time of steps of a model file, at several batch sizes and a context, and of prompts.

mod check;
mod speed;
mod steps;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};
use inference::{KvCacheDtype, sampling::Wanted};

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compares the GPU with the CPU.
    Check {
        /// Model files beside the small models.
        files: Vec<PathBuf>,
        /// Only the small models whose name contains this.
        #[arg(long)]
        only: Option<String>,
        /// The device; `none` compares the CPU with itself, which shows that the check runs.
        #[arg(long, default_value = "0")]
        cuda: String,
        /// What keys and values of the model files are kept in.
        #[arg(long, default_value_t)]
        kv_cache_dtype: KvCacheDtype,
    },
    /// Measures steps.
    Speed {
        /// The GGUF file; a small model that is made for it when absent.
        model: Option<PathBuf>,
        #[arg(long, default_value = "0")]
        cuda: String,
        #[arg(long, value_delimiter = ',', default_value = "1,8,32,64")]
        batch: Vec<usize>,
        /// Tokens before the steps that are measured.
        #[arg(long, default_value_t = 1024)]
        context: usize,
        /// Lengths of prompts.
        #[arg(long, value_delimiter = ',', default_value = "512,2048")]
        prompt: Vec<usize>,
        /// Steps that are timed.
        #[arg(long, default_value_t = 64)]
        steps: usize,
        /// Steps send the candidates of their rows, as for answers at a temperature, not the largest token only.
        #[arg(long)]
        candidates: bool,
        /// What keys and values are kept in.
        #[arg(long, default_value_t)]
        kv_cache_dtype: KvCacheDtype,
        /// candle's kernels instead of ours.
        #[arg(long)]
        candle: bool,
        /// Without captured steps.
        #[arg(long)]
        no_graphs: bool,
        /// Without early starts of kernels.
        #[arg(long)]
        no_early_start: bool,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Check {
            files,
            only,
            cuda,
            kv_cache_dtype,
        } => check::run(
            &files,
            only.as_deref(),
            &steps::device(&cuda)?,
            kv_cache_dtype,
        ),
        Command::Speed {
            model,
            cuda,
            batch,
            context,
            prompt,
            steps,
            candidates,
            kv_cache_dtype,
            candle,
            no_graphs,
            no_early_start,
        } => speed::run(&speed::Speed {
            model,
            device: steps::device(&cuda)?,
            batch,
            context,
            prompt,
            steps,
            wanted: if candidates {
                Wanted::Candidates
            } else {
                Wanted::Largest
            },
            kv_cache_dtype,
            options: inference::CudaOptions {
                kernels: !candle,
                graphs: !no_graphs,
                early_start: !no_early_start,
            },
        }),
    }
}

#[allow(clippy::print_stdout)]
fn print_line(line: &serde_json::Value) {
    println!("{line}");
}
