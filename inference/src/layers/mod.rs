//! The layers all models are made of, one of each. Weights are immutable; the cache is an argument.

mod attention;
mod experts;
mod linear;
mod mlp;
mod rms_norm;

pub use attention::{Attention, LayerCache, Turn};
pub use experts::{Experts, SharedExpert};
pub use linear::{Linear, forward_shared};
pub use mlp::{FeedForward, Mlp};
pub use rms_norm::RmsNorm;
