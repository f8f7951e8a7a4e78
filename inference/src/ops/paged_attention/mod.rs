//! Attention of new tokens over their own sequences' cached context, through block tables.
//!
//! Grouped queries (arXiv 2305.13245): query head `h` uses key head `h / (num_heads / num_kv_heads)`. Causal: the
//! token at position `p` sees positions `0..=p`, with a window of `w` tokens (arXiv 2310.06825) only the last `w` of them.
//! Softmax in f32.

#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_bytes;
pub mod candle;
pub mod cpu;
pub mod reference;

use candle_core::{Result, Tensor};

use super::cache_tensors::{layout_of, refuse_bytes};
use crate::kv_cache::{BLOCK_SIZE, CacheLayout, blocks_for};

/// The new tokens of one sequence in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttentionSequence {
    /// First row in `q`.
    pub q_start: usize,
    /// Rows in `q`; they are the sequence's last positions.
    pub q_len: usize,
    /// Tokens of the sequence in the cache, the new ones included.
    pub context_len: usize,
    /// Blocks of the sequence in order. Those that lie wholly before the window of the first new token are not read and
    /// may belong to anybody.
    pub block_table: Vec<u32>,
}

/// Head counts and size, and how scores are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionShape {
    pub num_heads: usize,
    pub num_kv_heads: usize,
    pub head_dim: usize,
    /// Factor of the scores.
    pub scale: f32,
    /// Bounds the scores: `s` becomes `softcap * tanh(s / softcap)`.
    pub softcap: Option<f32>,
    /// Tokens that a token sees, itself included; at least 1. `None`: all before it.
    pub window: Option<usize>,
}

impl AttentionShape {
    /// Returns the usual attention: scores times `1 / sqrt(head_dim)`, no bound, no window.
    pub fn new(num_heads: usize, num_kv_heads: usize, head_dim: usize) -> Self {
        Self {
            num_heads,
            num_kv_heads,
            head_dim,
            scale: 1.0 / (head_dim as f32).sqrt(),
            softcap: None,
            window: None,
        }
    }

    /// Returns how many query heads share a key head.
    pub fn group(&self) -> usize {
        self.num_heads / self.num_kv_heads
    }

    /// Returns the first position that the token at `position` sees.
    pub fn first_visible(&self, position: usize) -> usize {
        self.window
            .map_or(0, |window| (position + 1).saturating_sub(window))
    }
}

/// Returns the attention of each new token over its own sequence's cached context.
///
/// `q`: `[num_tokens, num_heads * head_dim]` f32, already turned by position. `k_cache`, `v_cache`: a layer's cache of
/// [`crate::kv_cache::CacheLayout`], the new tokens included. Output: the shape of `q`. A row's result does not depend
/// on the other rows. On the CPU within 1e-4 of [`reference::paged_attention`].
///
/// # Errors
/// A candle error unless the shapes fit and every block is in the cache.
pub fn paged_attention(
    q: &Tensor,
    k_cache: &Tensor,
    v_cache: &Tensor,
    sequences: &[AttentionSequence],
    shape: AttentionShape,
) -> Result<Tensor> {
    let layout = check(q, k_cache, sequences, shape)?;
    if q.device().is_cpu() {
        cpu::paged_attention(q, k_cache, v_cache, sequences, shape)
    } else {
        refuse_bytes(&layout)?;
        candle::paged_attention(q, k_cache, v_cache, sequences, shape)
    }
}

fn check(
    q: &Tensor,
    k_cache: &Tensor,
    sequences: &[AttentionSequence],
    shape: AttentionShape,
) -> Result<CacheLayout> {
    let (num_tokens, width) = q.dims2()?;
    let layout = layout_of(k_cache, shape.head_dim)?;
    let num_blocks = layout.num_blocks;
    let heads_fit = layout.num_kv_heads[0] == shape.num_kv_heads
        && width == shape.num_heads * shape.head_dim
        && shape.num_heads.is_multiple_of(shape.num_kv_heads);
    if !heads_fit {
        candle_core::bail!(
            "attention of {shape:?} with q {:?} and cache {:?}",
            q.dims(),
            k_cache.dims()
        );
    }
    let mut next_row = 0;
    for sequence in sequences {
        let rows_fit = sequence.q_start == next_row
            && sequence.q_len <= sequence.context_len
            && blocks_for(sequence.context_len) <= sequence.block_table.len()
            && sequence
                .block_table
                .iter()
                .all(|&block| (block as usize) < num_blocks);
        if !rows_fit {
            candle_core::bail!("attention rows or blocks of {BLOCK_SIZE} do not fit: {sequence:?}");
        }
        next_row += sequence.q_len;
    }
    if next_row != num_tokens {
        candle_core::bail!("attention over {num_tokens} rows, sequences cover {next_row}");
    }
    Ok(layout)
}

#[cfg(test)]
mod tests;
