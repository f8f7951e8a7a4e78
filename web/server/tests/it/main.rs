//! The suite over real HTTP and its real socket, with a scripted language model and a small embedder.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod accounts;
mod answers;
mod app;
mod authorisation;
mod fakes;
mod local;
mod openai;
mod uploads;
