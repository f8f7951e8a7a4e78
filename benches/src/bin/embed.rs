//! Speed of a sentence encoder: passages a second, all of a file's lines in one call as ingestion makes it.
//!
//! One call warms up, then `--runs` are timed; the figure is their median. `scripts/compare-embedding` runs it beside ONNX
//! Runtime and sentence-transformers.
//!
//! `cargo run --release -p benches --bin embed -- --model FOLDER --texts FILE --threads 2`

use std::{fs, io::Write, path::PathBuf, time::Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use inference::{DeviceChoice, Encoder};

#[derive(Debug, Parser)]
struct Arguments {
    /// The folder of the encoder.
    #[arg(long)]
    model: PathBuf,
    /// A text file, a passage each line.
    #[arg(long)]
    texts: PathBuf,
    /// CPU threads; all physical cores when absent.
    #[arg(long)]
    threads: Option<usize>,
    /// Timed calls.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Products in f32 whatever the CPU.
    #[arg(long)]
    exact: bool,
    /// Prints one line of JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(threads) = arguments.threads {
        // SAFETY: nothing has started a thread yet.
        unsafe { inference::set_cpu_threads(threads) };
    }
    let load = if arguments.exact {
        Encoder::load_exact
    } else {
        Encoder::load
    };
    let encoder = load(&arguments.model, &DeviceChoice::Cpu)?;
    let texts = fs::read_to_string(&arguments.texts)
        .with_context(|| format!("cannot read {}", arguments.texts.display()))?;
    let texts: Vec<String> = texts.lines().map(str::to_owned).collect();
    if texts.is_empty() || arguments.runs == 0 {
        bail!("at least one passage and one run are needed");
    }
    let pieces: usize = texts.iter().map(|text| encoder.count_tokens(text)).sum();
    encoder.embed(&texts)?;
    let mut seconds = Vec::with_capacity(arguments.runs);
    for _ in 0..arguments.runs {
        let start = Instant::now();
        encoder.embed(&texts)?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let rate = texts.len() as f64 / seconds[arguments.runs / 2];
    let line = if arguments.json {
        serde_json::json!({
            "passages": texts.len(),
            "word_pieces": pieces,
            "passages_per_s": rate,
        })
        .to_string()
    } else {
        let mean = pieces / texts.len();
        format!(
            "{rate:.1} passages/s ({} of {mean} word pieces on average)",
            texts.len()
        )
    };
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}
