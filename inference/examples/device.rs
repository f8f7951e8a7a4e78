//! Says where models would compute, or why they cannot, and computes something there.
//!
//! `cargo run --release -p inference --example device -- [cpu | cuda:N] [FILE.gguf] [FOLDER]`. With a language model it writes eight
//! tokens, with the folder of an encoder it embeds a sentence. The smallest program that has all of CUDA in it:
//! `scripts/cuda-toolchain feature` starts it where there is no GPU.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use inference::{
    DeviceChoice, Encoder, Engine, EngineConfig, Event, GenerateRequest, Priority, SamplingParams,
    describe_device,
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[allow(clippy::print_stderr)] // a program for people
fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stdout)] // as above
fn run(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let device = match arguments.next().as_deref() {
        None | Some("cpu") => DeviceChoice::Cpu,
        Some(text) => {
            let index = text.strip_prefix("cuda:").ok_or("cpu or cuda:N")?;
            DeviceChoice::Cuda(index.parse()?)
        }
    };
    println!("{}", describe_device(&device)?);
    for path in arguments.map(PathBuf::from) {
        if path.is_dir() {
            println!("{:?}", embed(&path, &device)?);
        } else {
            println!("{:?}", write(&path, device.clone())?);
        }
    }
    Ok(())
}

/// Returns the first numbers of a sentence's vector.
fn embed(folder: &Path, device: &DeviceChoice) -> Result<Vec<f32>> {
    let encoder = Encoder::load(folder, device)?;
    let mut vectors = encoder.embed(&["A sentence.".to_owned()])?;
    vectors[0].truncate(8);
    Ok(vectors.swap_remove(0))
}

/// Returns the eight likeliest tokens after an arbitrary prompt, one after the other.
fn write(model: &Path, device: DeviceChoice) -> Result<Vec<u32>> {
    let mut config = EngineConfig::new(model);
    config.device = device;
    let engine = Engine::load(config)?;
    let mut stream = engine.submit(GenerateRequest {
        prompt: (1..20).collect(),
        sampling: SamplingParams {
            max_tokens: 8,
            temperature: 0.0,
            ignore_eos: true,
            ..Default::default()
        },
        priority: Priority::Interactive,
    })?;
    let mut tokens = Vec::new();
    while let Some(event) = stream.blocking_next() {
        match event {
            Event::Delta { tokens: more, .. } => tokens.extend(more),
            Event::Finished { .. } => {}
            Event::Failed(error) => return Err(error.into()),
        }
    }
    Ok(tokens)
}
