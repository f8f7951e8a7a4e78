//! Model files: which there are, where they come from, and that their bytes are right.
//!
//! Nothing is ever downloaded but by [`pull::pull`], which only `cloister models pull` calls.

pub mod choose;
pub mod fetch;
pub mod manifest;
pub mod progress;
pub mod pull;
pub mod store;
pub mod wheel;

pub use manifest::ModelKind;
pub use pull::PullOptions;
pub use store::ModelStore;
