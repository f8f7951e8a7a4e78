//! Self-attention layer over the paged cache.

use candle_core::{Result, Tensor};

use super::{Linear, forward_shared};
use crate::{
    ops::{self, paged_attention::AttentionShape, rope::RopeTable},
    runner::StepInput,
};

/// Keys and values of one layer; see [`crate::kv_cache::CacheLayout`].
#[derive(Debug, Clone)]
pub struct LayerCache {
    pub k: Tensor,
    pub v: Tensor,
}

/// Projections of one attention layer.
#[derive(Debug, Clone)]
pub struct Attention {
    /// `[num_heads * head_dim, hidden]` blk.{i}.attn_q.weight
    pub q: Linear,
    /// `[num_kv_heads * head_dim, hidden]` blk.{i}.attn_k.weight
    pub k: Linear,
    /// `[num_kv_heads * head_dim, hidden]` blk.{i}.attn_v.weight
    pub v: Linear,
    /// `[hidden, num_heads * head_dim]` blk.{i}.attn_output.weight
    pub output: Linear,
    pub shape: AttentionShape,
}

impl Attention {
    /// Writes the step's keys and values to the cache and returns the attention before the output projection,
    /// `[num_tokens, num_heads * head_dim]`.
    ///
    /// # Errors
    /// A candle error unless the shapes fit.
    pub fn attend(
        &self,
        x: &Tensor,
        step: &StepInput,
        rope: &RopeTable,
        cache: &LayerCache,
    ) -> Result<Tensor> {
        let [q, k, v] = self.project(x)?;
        let q = ops::rope::rope(&q, &step.positions, self.shape.num_heads, rope)?;
        let k = ops::rope::rope(&k, &step.positions, self.shape.num_kv_heads, rope)?;
        ops::kv_append::kv_append(&k, &v, &cache.k, &cache.v, &step.slots)?;
        ops::paged_attention::paged_attention(&q, &cache.k, &cache.v, &step.sequences, self.shape)
    }

    fn project(&self, x: &Tensor) -> Result<[Tensor; 3]> {
        // Mixed files keep v in a wider type than q and k; then those two still share their input.
        if self.v.dtype() == self.k.dtype() {
            return forward_shared([&self.q, &self.k, &self.v], x);
        }
        let [q, k] = forward_shared([&self.q, &self.k], x)?;
        Ok([q, k, self.v.forward(x)?])
    }

    /// Returns the matrices, for warming up.
    pub fn linears(&self) -> [&Linear; 4] {
        [&self.q, &self.k, &self.v, &self.output]
    }
}
