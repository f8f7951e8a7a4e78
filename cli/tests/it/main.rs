//! The program as its users meet it: every test runs the real binary.

mod bad_input;
mod contract;
mod edges;
mod http;
mod kill;
mod pull;
mod run;
