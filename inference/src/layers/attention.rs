//! Self-attention layer over the paged cache.

use candle_core::{Result, Tensor};

use super::{Linear, RmsNorm, forward_shared};
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
    /// Over each head of q, `[head_dim]` blk.{i}.attn_q_norm.weight
    pub q_norm: Option<RmsNorm>,
    /// Over each head of k, `[head_dim]` blk.{i}.attn_k_norm.weight
    pub k_norm: Option<RmsNorm>,
    pub shape: AttentionShape,
}

/// What a step's positions do to queries and keys.
#[derive(Debug, Clone, Copy)]
pub struct Turn<'a> {
    /// `None`: the layer does not know positions.
    pub rope: Option<&'a RopeTable>,
    /// `[num_tokens, 1]`: factors of the queries.
    pub temperature: Option<&'a Tensor>,
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
        turn: Turn<'_>,
        cache: &LayerCache,
    ) -> Result<Tensor> {
        let AttentionShape {
            num_heads,
            num_kv_heads,
            ..
        } = self.shape;
        let [q, k, v] = self.project(x)?;
        let (mut q, mut k) = (norm_heads(&self.q_norm, q)?, norm_heads(&self.k_norm, k)?);
        if let Some(rope) = turn.rope {
            q = ops::rope::rope(&q, &step.positions, num_heads, rope)?;
            k = ops::rope::rope(&k, &step.positions, num_kv_heads, rope)?;
        }
        if let Some(temperature) = turn.temperature {
            q = q.broadcast_mul(temperature)?;
        }
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

/// Normalises each head of `x`: `[num_tokens, heads * head_dim]`.
fn norm_heads(norm: &Option<RmsNorm>, x: Tensor) -> Result<Tensor> {
    let Some(norm) = norm else {
        return Ok(x);
    };
    let head_dim = norm.weight.dim(0)?;
    let heads = x.reshape((x.elem_count() / head_dim, head_dim))?;
    norm.forward(&heads)?.reshape(x.dims())
}
