//! Integration tests of the engine: whole models through the public interface.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod architectures;
mod common;
mod engine;
mod golden;
mod golden_chats;
mod golden_encoder;
mod golden_engine;
mod golden_text;
mod golden_tokens;
mod golden_types;
mod hostile_models;
mod kernels;
mod model_pitfalls;
mod pitfalls_text;
mod sampling;
mod text_lines;
