//! The web tier: routes, accounts, conversations, answers, and the local socket. A library; `cli` is the program.
//!
//! [`Suite`] holds everything that requests share: the database of accounts and conversations (`suite.db`), the
//! library of documents, the language model (if any) and the answers under way. [`router`] makes it an HTTP service,
//! [`serve`] runs that service together with the local socket, [`run_local`] does one command of the owner of the
//! machine, in this process or, through [`call_local`], in the server that holds the data directory.
//!
//! Invariants:
//! - every route is declared once in `http::routes` together with who may use it, and that declaration enforces itself;
//! - every row of `suite.db` belongs to a user, and every query takes the user's id;
//! - no error message and no log line contains a prompt, an answer or text of a document.
//!
//! Absent on purpose: terminals, environment variables, printing, the choice of models (the composition root hands them in).

pub mod auth;
pub mod http;
pub mod local;
pub mod model;

mod assets;
mod blocking;
mod client_address;
mod connections;
mod db;
mod email;
mod metrics;
mod public_url;
mod security;
mod serve;
mod suite;
mod tls;

pub use client_address::{InvalidNetwork, Network};
pub use connections::ConnectionLimits;
pub use http::router;
pub use local::{
    LocalCallError, LocalErrorKind, LocalEvent, LocalRequest, LocalStream, Secret, call_local,
    run_local,
};
pub use model::{LanguageModel, ModelError, ModelStream};
pub use public_url::{InvalidPublicUrl, PublicUrl};
pub use rag::eval::EvalQuestion;
pub use serve::{Ready, ServeConfig, ServeError, serve};
pub use suite::{Suite, SuiteConfig, SuiteError};
pub use tls::{TlsError, TlsFiles};
pub use web_api::Role;
