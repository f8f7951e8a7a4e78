//! The suite over real HTTP and its real socket, with a scripted language model and a small embedder.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod accounts;
mod answers;
mod app;
mod arriving_bodies;
mod authorisation;
mod clients;
mod connections;
mod crowds;
mod deletion;
mod disk;
mod fakes;
mod local;
mod lost_accounts;
mod openai;
mod openai_limits;
mod parameters;
mod people;
mod places;
mod proxies;
mod raw;
mod revocation;
mod security_log;
mod sign_in_flood;
mod stopping;
mod tls;
mod uploads;
