//! How keys and values lie in the cache.
//!
//! One pair of tensors a layer. In f16 or f32 ([`KvCacheDtype`]):
//! - `k_cache`: `[num_blocks, num_kv_heads, head_dim, BLOCK_SIZE]`: the 16 tokens of a block are the fastest
//!   dimension, so that one vector instruction advances 16 scores;
//! - `v_cache`: `[num_blocks, num_kv_heads, BLOCK_SIZE, head_dim]`: the head is the fastest dimension, so that one
//!   vector instruction advances 16 outputs.
//!
//! In 8 bits both are bytes, `[num_blocks, num_kv_heads, tile rows, 16]`: the *tile* of a block and key head has its numbers in the
//! order above and then their scales ([`super::q8_tile`]).
//!
//! A *slot* is the place of one token: `block * BLOCK_SIZE + offset`.

use std::{fmt, str::FromStr};

use super::{BlockId, q8_tile};

/// Tokens of one block. vLLM's choice: small enough to waste little, one AVX-512 vector of f32 wide.
pub const BLOCK_SIZE: usize = 16;

/// What keys and values are kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KvCacheDtype {
    /// Half the memory and half the reading; rounds keys and values to 11 bits.
    #[default]
    F16,
    /// 53 % of f16's memory and reading: 32 numbers of a token share a scale. Rounds them to 8 bits.
    Q8_0,
    /// Rounds nothing: for comparisons with other programs, whose tolerance f16 would use up.
    F32,
}

impl KvCacheDtype {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::F16, Self::Q8_0, Self::F32];

    /// Returns the name that settings use.
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
            Self::F32 => "f32",
        }
    }

    /// Returns the bytes of the keys, or of the values, of one block and key head.
    pub fn tile_bytes(self, head_dim: usize) -> usize {
        match self {
            Self::F16 => head_dim * BLOCK_SIZE * size_of::<half::f16>(),
            Self::Q8_0 => q8_tile::tile_bytes(head_dim),
            Self::F32 => head_dim * BLOCK_SIZE * size_of::<f32>(),
        }
    }
}

impl fmt::Display for KvCacheDtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no type of keys and values has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no type of keys and values; there are f16, q8_0 and f32")]
pub struct UnknownKvCacheDtype(pub String);

impl FromStr for KvCacheDtype {
    type Err = UnknownKvCacheDtype;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|dtype| dtype.name() == name);
        found.ok_or_else(|| UnknownKvCacheDtype(name.to_owned()))
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
        let [rows, columns] = match self.dtype {
            KvCacheDtype::Q8_0 => self.q8_rows(),
            KvCacheDtype::F16 | KvCacheDtype::F32 => [self.head_dim, BLOCK_SIZE],
        };
        [self.num_blocks, self.num_kv_heads[layer], rows, columns]
    }

    /// Shape of a layer's values.
    ///
    /// # Panics
    /// When there is no such layer.
    pub fn v_shape(&self, layer: usize) -> [usize; 4] {
        let [rows, columns] = match self.dtype {
            KvCacheDtype::Q8_0 => self.q8_rows(),
            KvCacheDtype::F16 | KvCacheDtype::F32 => [BLOCK_SIZE, self.head_dim],
        };
        [self.num_blocks, self.num_kv_heads[layer], rows, columns]
    }

    fn q8_rows(&self) -> [usize; 2] {
        [q8_tile::tile_bytes(self.head_dim) / BLOCK_SIZE, BLOCK_SIZE]
    }

    /// Returns the size of the whole cache in bytes.
    pub fn bytes(&self) -> usize {
        let heads: usize = self.num_kv_heads.iter().sum();
        2 * self.num_blocks * heads * self.dtype.tile_bytes(self.head_dim)
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
        let bytes = layout.bytes();
        let of = |dtype| CacheLayout {
            dtype,
            ..layout.clone()
        };
        assert_eq!(of(KvCacheDtype::F32).bytes(), 2 * bytes);
        let q8 = of(KvCacheDtype::Q8_0);
        assert_eq!(q8.bytes() * 32, bytes * 17);
        let count = |shape: [usize; 4]| shape.iter().product::<usize>();
        let tensors = 28 * (count(q8.k_shape(0)) + count(q8.v_shape(0)));
        assert_eq!(tensors, q8.bytes());
    }

    #[test]
    fn types_are_read_by_their_names() {
        for dtype in KvCacheDtype::ALL {
            assert_eq!(dtype.to_string().parse(), Ok(dtype));
        }
        let error = "q4_0".parse::<KvCacheDtype>().unwrap_err().to_string();
        assert!(
            error.contains("`q4_0`") && error.contains("q8_0"),
            "{error}"
        );
    }
}
