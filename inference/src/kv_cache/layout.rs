//! How keys and values lie in the cache.
//!
//! One pair of tensors a layer, of f16 or f32 ([`KvCacheDtype`]):
//! - `k_cache`: `[num_blocks, num_kv_heads, head_dim, BLOCK_SIZE]`: the 16 tokens of a block are the fastest
//!   dimension, so that one vector instruction advances 16 scores;
//! - `v_cache`: `[num_blocks, num_kv_heads, BLOCK_SIZE, head_dim]`: the head is the fastest dimension, so that one
//!   vector instruction advances 16 outputs.
//!
//! A *slot* is the place of one token: `block * BLOCK_SIZE + offset`.

use super::BlockId;

/// Tokens of one block. vLLM's choice: small enough to waste little, one AVX-512 vector of f32 wide.
pub const BLOCK_SIZE: usize = 16;

/// What keys and values are kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KvCacheDtype {
    /// Half the memory and half the reading; rounds keys and values to 11 bits.
    #[default]
    F16,
    /// Rounds nothing: for comparisons with other programs, whose tolerance f16 would use up.
    F32,
}

impl KvCacheDtype {
    /// Returns the size of a number in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::F16 => size_of::<half::f16>(),
            Self::F32 => size_of::<f32>(),
        }
    }
}

/// Shape of a model's cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheLayout {
    pub num_blocks: usize,
    /// Key heads of each layer.
    pub num_kv_heads: Vec<usize>,
    pub head_dim: usize,
    pub dtype: KvCacheDtype,
}

impl CacheLayout {
    /// Shape of a layer's keys.
    ///
    /// # Panics
    /// When there is no such layer.
    pub fn k_shape(&self, layer: usize) -> [usize; 4] {
        [
            self.num_blocks,
            self.num_kv_heads[layer],
            self.head_dim,
            BLOCK_SIZE,
        ]
    }

    /// Shape of a layer's values.
    ///
    /// # Panics
    /// When there is no such layer.
    pub fn v_shape(&self, layer: usize) -> [usize; 4] {
        [
            self.num_blocks,
            self.num_kv_heads[layer],
            BLOCK_SIZE,
            self.head_dim,
        ]
    }

    /// Returns the size of the whole cache in bytes.
    pub fn bytes(&self) -> usize {
        let heads: usize = self.num_kv_heads.iter().sum();
        2 * self.num_blocks * heads * self.head_dim * BLOCK_SIZE * self.dtype.bytes()
    }
}

/// Returns how many blocks hold `tokens` tokens.
pub fn blocks_for(tokens: usize) -> usize {
    tokens.div_ceil(BLOCK_SIZE)
}

/// Returns the slot of the token at `position` of the sequence with this block table.
pub fn slot(block_table: &[BlockId], position: usize) -> u32 {
    let block = block_table[position / BLOCK_SIZE];
    block.0 * BLOCK_SIZE as u32 + (position % BLOCK_SIZE) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_follow_the_block_table() {
        let table = [BlockId(4), BlockId(1)];
        assert_eq!(slot(&table, 0), 64);
        assert_eq!(slot(&table, 15), 79);
        assert_eq!(slot(&table, 16), 16);
    }

    #[test]
    fn the_15b_model_needs_28_kib_a_token() {
        let layout = CacheLayout {
            num_blocks: 1,
            num_kv_heads: vec![2; 28],
            head_dim: 128,
            dtype: KvCacheDtype::F16,
        };
        assert_eq!(layout.bytes() / BLOCK_SIZE, 28 * 1024);
        let dtype = KvCacheDtype::F32;
        let bytes = layout.bytes();
        assert_eq!(CacheLayout { dtype, ..layout }.bytes(), 2 * bytes);
    }
}
