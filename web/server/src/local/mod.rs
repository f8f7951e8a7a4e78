//! Commands of the owner of the machine: the same function in this process and over the data directory's socket.
//!
//! The data directory has one owner. While a server holds it, `cloister ingest`, `ask`, ... send a [`LocalRequest`] over
//! `cloister.sock` (mode 0600, so that only the owner of the files can) and print the [`LocalEvent`]s that come back;
//! otherwise they open the suite themselves and call [`run_local`]. Output is the same either way.

mod client;
mod commands;
mod error;
mod evaluate;
mod protocol;
pub(crate) mod socket;

pub use client::{LocalCallError, LocalStream, call_local};
pub use commands::run_local;
pub use protocol::{LocalErrorKind, LocalEvent, LocalRequest, Secret};

/// Name of the socket in the data directory.
pub const SOCKET_NAME: &str = "cloister.sock";
