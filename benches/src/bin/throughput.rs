//! Prefill and decode speed of a model file, the counterpart of llama.cpp's `llama-batched-bench`.
//!
//! For each batch size, `batch` requests of `depth + prompt` random tokens run together and each generates `generate`
//! tokens. Prefill: all prompt tokens over the time until the last request has its first token. Decode: tokens that
//! arrive between that moment and the first request's end, so that the batch is full all the time. Prefill is bound by
//! integer products, decode by reading the weights. One warm-up request runs first. A line of JSON a batch size on
//! stdout with `--json`, a table otherwise. `--memory` adds how fast the same threads read memory by plain loads just before; beside
//! how fast decoding read weights (without keys and values) that is the share of the roofline.
//!
//! `cargo run --release -p benches --bin throughput -- --model FILE.gguf --threads 2 --prompt 512 --generate 128 --batch 1,4`

use std::{
    path::PathBuf,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::Parser;
use inference::{
    DeviceChoice, Engine, EngineConfig, Event, GenerateRequest, GgufFile, KvCacheDtype, Priority,
    SamplingParams, ops::pool::pool, roofline::ModelNeeds,
};

#[derive(Debug, Parser)]
struct Arguments {
    /// The GGUF file.
    #[arg(long)]
    model: PathBuf,
    /// CPU threads; all physical cores when absent.
    #[arg(long)]
    threads: Option<usize>,
    /// CUDA device; the CPU when absent.
    #[arg(long)]
    cuda: Option<usize>,
    /// Prompt tokens of each request.
    #[arg(long, default_value_t = 512)]
    prompt: usize,
    /// Tokens each request generates.
    #[arg(long, default_value_t = 128)]
    generate: usize,
    /// Numbers of requests that run together.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    batch: Vec<usize>,
    /// Tokens before the prompt.
    #[arg(long, default_value_t = 0)]
    depth: usize,
    /// Tokens of one step.
    #[arg(long, default_value_t = 256)]
    step_tokens: usize,
    /// Also measures how fast the same threads read memory by plain loads; takes 1 GiB.
    #[arg(long, requires = "json")]
    memory: bool,
    /// What keys and values are kept in: f16, q8_0 or f32.
    #[arg(long, default_value_t)]
    kv_cache_dtype: KvCacheDtype,
    /// Prints JSON, one line a batch size.
    #[arg(long)]
    json: bool,
}

/// One measured batch size.
struct Figures {
    batch: usize,
    prefill_tokens_per_s: f64,
    decode_tokens_per_s: f64,
}

/// Words of the memory that is read for its speed: 1 GiB, more than any cache holds.
const READ_WORDS: usize = 1 << 27;
/// Words that a thread takes at a time, 2 MiB.
const READ_PART: usize = 1 << 18;
/// Readings, of which the fastest counts.
const READINGS: usize = 4;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(threads) = arguments.threads {
        // SAFETY: nothing has started a thread yet.
        unsafe { inference::set_cpu_threads(threads) };
    }
    let largest = arguments.batch.iter().copied().max().unwrap_or(1);
    let length = arguments.depth + arguments.prompt + arguments.generate;
    let mut config = EngineConfig::new(&arguments.model);
    config.threads = arguments.threads;
    config.device = arguments.cuda.map_or(DeviceChoice::Cpu, DeviceChoice::Cuda);
    config.max_num_seqs = largest;
    config.max_num_batched_tokens = arguments.step_tokens.max(largest);
    // A block more for each, because every request ends within a block of its own.
    config.kv_cache_tokens = largest * (length + 32);
    config.kv_cache_dtype = arguments.kv_cache_dtype;
    // Requests that nobody waits for fill a half of the queue.
    config.queue_capacity = 2 * largest;
    let started = Instant::now();
    let engine = Engine::load(config)?;
    let load_s = started.elapsed().as_secs_f64();
    measure(
        &engine,
        &Arguments {
            prompt: 16,
            depth: 0,
            generate: 4,
            batch: vec![],
            ..arguments_of(&arguments)
        },
        1,
    )?;
    if !arguments.json {
        print_line(format_args!(
            "{:>6} {:>16} {:>16}",
            "batch", "prefill tok/s", "decode tok/s"
        ));
    }
    let needs =
        ModelNeeds::from_gguf(&GgufFile::open(&arguments.model)?, arguments.kv_cache_dtype)?;
    for &batch in &arguments.batch {
        let memory_bytes_per_s = arguments.memory.then(memory_bytes_per_s);
        let figures = measure(&engine, &arguments, batch)?;
        let weights_bytes_per_s =
            needs.read_bytes(batch) * figures.decode_tokens_per_s / batch as f64;
        report(
            &arguments,
            &figures,
            load_s,
            (memory_bytes_per_s, weights_bytes_per_s),
        );
    }
    Ok(())
}

/// Returns how fast the compute threads read memory by plain loads.
fn memory_bytes_per_s() -> f64 {
    let words: Vec<u64> = (0..READ_WORDS as u64).collect();
    let fastest = (0..READINGS).map(|_| {
        let started = Instant::now();
        pool(None).run(READ_WORDS / READ_PART, &|parts| {
            let words = &words[parts.start * READ_PART..parts.end * READ_PART];
            let mut sums = [0u64; 16];
            for words in words.as_chunks::<16>().0 {
                for (sum, word) in sums.iter_mut().zip(words) {
                    *sum = sum.wrapping_add(*word);
                }
            }
            std::hint::black_box(sums);
        });
        started.elapsed().as_secs_f64()
    });
    (8 * READ_WORDS) as f64 / fastest.fold(f64::INFINITY, f64::min)
}

/// The fields a warm-up shares with the measurement.
fn arguments_of(arguments: &Arguments) -> Arguments {
    Arguments {
        model: arguments.model.clone(),
        batch: arguments.batch.clone(),
        ..*arguments
    }
}

fn measure(engine: &Engine, arguments: &Arguments, batch: usize) -> Result<Figures> {
    let length = arguments.depth + arguments.prompt;
    let (arrivals, received) = mpsc::channel();
    let started = Instant::now();
    let mut readers = Vec::new();
    for request_idx in 0..batch {
        let mut stream = engine.submit(GenerateRequest {
            prompt: prompt(engine, length, request_idx as u64),
            sampling: SamplingParams {
                max_tokens: arguments.generate,
                ignore_eos: true,
                ..Default::default()
            },
            priority: Priority::Batch,
        })?;
        let arrivals = arrivals.clone();
        readers.push(thread::spawn(move || -> Result<()> {
            while let Some(event) = stream.blocking_next() {
                match event {
                    Event::Delta { tokens, .. } => {
                        let _ = arrivals.send((request_idx, tokens.len(), started.elapsed()));
                    }
                    Event::Finished { .. } => {}
                    Event::Failed(error) => return Err(error.into()),
                }
            }
            Ok(())
        }));
    }
    drop(arrivals);
    let arrivals: Vec<(usize, usize, Duration)> = received.iter().collect();
    for reader in readers {
        reader
            .join()
            .map_err(|_| anyhow::anyhow!("a reader panicked"))??;
    }
    figures(&arrivals, batch, batch * length)
}

/// Random token ids below 1,000: plain pieces of text in every vocabulary.
fn prompt(engine: &Engine, length: usize, seed: u64) -> Vec<u32> {
    let limit = engine.tokenizer().vocab_size().min(1_000) as u64;
    let mut state = seed.wrapping_add(1);
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % limit) as u32
    };
    (0..length).map(|_| next()).collect()
}

fn figures(
    arrivals: &[(usize, usize, Duration)],
    batch: usize,
    prompt_tokens: usize,
) -> Result<Figures> {
    let of = |request: usize| arrivals.iter().filter(move |arrival| arrival.0 == request);
    let firsts: Option<Vec<Duration>> = (0..batch)
        .map(|request| of(request).map(|arrival| arrival.2).min())
        .collect();
    let lasts: Option<Vec<Duration>> = (0..batch)
        .map(|request| of(request).map(|arrival| arrival.2).max())
        .collect();
    let all_started = firsts
        .and_then(|times| times.into_iter().max())
        .context("a request produced nothing")?;
    let first_end = lasts
        .and_then(|times| times.into_iter().min())
        .context("a request produced nothing")?;
    if first_end <= all_started {
        bail!(
            "--generate is too small for a batch of {batch}: the first request ends before the last one starts"
        );
    }
    let decoded: usize = arrivals
        .iter()
        .filter(|arrival| arrival.2 > all_started && arrival.2 <= first_end)
        .map(|arrival| arrival.1)
        .sum();
    Ok(Figures {
        batch,
        prefill_tokens_per_s: prompt_tokens as f64 / all_started.as_secs_f64(),
        decode_tokens_per_s: decoded as f64 / (first_end - all_started).as_secs_f64(),
    })
}

/// `read`: bytes a second by plain loads, and of weights while decoding.
fn report(arguments: &Arguments, figures: &Figures, load_s: f64, read: (Option<f64>, f64)) {
    let Figures {
        batch,
        prefill_tokens_per_s,
        decode_tokens_per_s,
    } = figures;
    if !arguments.json {
        print_line(format_args!(
            "{batch:>6} {prefill_tokens_per_s:>16.1} {decode_tokens_per_s:>16.1}"
        ));
        return;
    }
    let line = serde_json::json!({
        "batch": batch,
        "prompt_tokens": arguments.prompt,
        "generate_tokens": arguments.generate,
        "depth": arguments.depth,
        "kv_cache_dtype": arguments.kv_cache_dtype.name(),
        "prefill_tokens_per_s": prefill_tokens_per_s,
        "decode_tokens_per_s": decode_tokens_per_s,
        "load_s": load_s,
        "memory_bytes_per_s": read.0,
        "weights_bytes_per_s": read.1,
        "rss_bytes": rss_bytes("VmRSS:"),
        "peak_rss_bytes": rss_bytes("VmHWM:"),
    });
    print_line(format_args!("{line}"));
}

#[allow(clippy::print_stdout)]
fn print_line(line: std::fmt::Arguments<'_>) {
    println!("{line}");
}

/// Returns the process's resident set, `VmRSS:` now or `VmHWM:` at most so far; 0 where the kernel does not tell.
fn rss_bytes(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = status.lines().find_map(|line| {
        line.strip_prefix(field)?
            .trim()
            .strip_suffix(" kB")?
            .parse()
            .ok()
    });
    kilobytes.unwrap_or(0u64) * 1_024
}
