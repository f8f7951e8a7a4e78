//! The decoder on a CUDA device, with our own kernels.
//!
//! [`plan`] says how a step is run and [`captures`] which steps are captured (pure, tested everywhere). The rest exists with the `cuda`
//! feature: `kernels` loads and launches,
//! `arguments` are what launches pass, `memory` buffers, `weights` and `loader` put a file on the device, `products` and `attention`
//! launch those, `experts` a mixture of experts, `candidates` chooses a row's best tokens, `step` launches all of a step, and `decoder` captures
//! and replays it. candle's operations stay as what these are compared with, and run the models that [`decoder::GpuDecoder::refuses`].
//!
//! A step allocates nothing and depends on nothing but buffers of fixed places, so a step of single tokens is captured in a graph and
//! replayed. Nothing here knows requests, scheduling or sampling beyond the largest logits of a row.

// Without the feature only their tests use them.
#[cfg_attr(not(feature = "cuda"), allow(dead_code))]
pub mod captures;
#[cfg_attr(not(feature = "cuda"), allow(dead_code))]
pub mod plan;

#[cfg(feature = "cuda")]
mod arguments;
#[cfg(feature = "cuda")]
mod attention;
#[cfg(feature = "cuda")]
mod candidates;
#[cfg(feature = "cuda")]
pub mod decoder;
#[cfg(feature = "cuda")]
mod experts;
#[cfg(feature = "cuda")]
mod kernels;
#[cfg(feature = "cuda")]
mod loader;
#[cfg(feature = "cuda")]
mod memory;
#[cfg(feature = "cuda")]
mod products;
#[cfg(feature = "cuda")]
mod step;
#[cfg(feature = "cuda")]
mod weights;
