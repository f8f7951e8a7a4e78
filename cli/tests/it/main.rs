//! The program as its users meet it: every test runs the real binary.

// A helper that fails fails its test, and tables of cases are long without being complicated.
#![allow(clippy::unwrap_used, clippy::too_many_lines, clippy::print_stdout)]

mod bad_input;
mod contract;
mod edges;
mod http;
mod kill;
mod modules;
mod people;
mod private;
mod pull;
mod quantize;
mod run;
