//! Paged KV cache: who owns which block, and how a block lies in memory. Pure: no tensors, no clock, no async.

mod block_pool;
mod layout;
pub mod q8_tile;

pub use block_pool::{BlockId, BlockPool};
pub use layout::{BLOCK_SIZE, CacheLayout, KvCacheDtype, UnknownKvCacheDtype, blocks_for, slot};
