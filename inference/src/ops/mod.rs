//! The operations that are ours, one folder each.
//!
//! - `reference.rs`: scalar f32 over slices, reads like the formula, is the truth;
//! - `candle.rs`: the same from candle's tensor operations, for any device (the first CUDA path); a cache in 8 bits has none;
//! - `cpu.rs`: the fast path over CPU memory.
//!
//! `mod.rs` checks shapes and picks by device. Products that ours do not cover are candle's
//! ([`crate::layers::linear`]). `#[cfg(feature = "cuda")]` is allowed here and in device selection only.

pub mod block_matmul;
pub mod cache_tensors;
pub mod cpu;
pub mod expert_routing;
pub mod full_attention;
pub mod gated_activation;
pub mod gelu;
pub mod i16_matmul;
pub mod kv_append;
pub mod layer_norm;
pub mod packed_matmul;
pub mod paged_attention;
pub mod pool;
mod quantized_matmul;
pub mod rms_norm;
pub mod rope;
pub mod superblock_matmul;

pub use quantized_matmul::{Instructions, instructions};

#[cfg(test)]
pub(crate) mod testing;
