//! Integration tests of the engine: whole models through the public interface.
//!
//! Tests named `pitfall_NN` are for mistakes that engines make without anybody noticing: rope (1, 2), head sizes (3), BOS (4),
//! merges (5), SentencePiece (6), token types (7), end tokens (8), streaming (9), stop strings (10), chat templates (11),
//! experts (12), windows (13), grouped heads (14), tied output (15), norms (16), outliers (17), NaN (18), samplers (19),
//! ends of the context (20), reused blocks (21), odd sizes (22), hostile files (23), tool calls (25), batches (26). What has no
//! test because it does not exist: keys of a prefix cache (21), kernels for GPUs of our own (22, 24; that a missing GPU is
//! said and never replaced by the CPU is in `engine.rs`), and reading tool calls and reasoning out of answers (25).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod architectures;
mod common;
mod engine;
mod golden;
mod golden_chats;
mod golden_encoder;
mod golden_engine;
mod golden_perplexity;
mod golden_text;
mod golden_tokens;
mod golden_types;
mod hostile_models;
mod kernels;
mod model_pitfalls;
mod pitfall_outliers;
mod pitfalls_text;
mod sampling;
mod text_lines;

/// As in the program: chat templates are bounded in memory.
#[global_allocator]
static ALLOCATOR: inference::MeteredAllocator = inference::MeteredAllocator;
