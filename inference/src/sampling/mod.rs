//! From logits to the next token: parameters, the single steps, and the sampler that applies them in order.

mod params;
mod processors;
mod sampler;

pub use params::{InvalidSampling, SamplingParams};
pub use sampler::{InvalidLogits, Sampler, argmax};
