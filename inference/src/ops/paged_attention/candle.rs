//! Paged attention from candle's operations, for any device: gather the blocks, multiply, mask, softmax, multiply.
//! Reads and writes the scores, so its memory grows with `q_len * context_len`; the step's token budget bounds it.

use candle_core::{D, DType, Device, Result, Tensor};

use super::{AttentionSequence, AttentionShape};
use crate::kv_cache::{BLOCK_SIZE, blocks_for};

/// See [`super::paged_attention`].
pub fn paged_attention(
    q: &Tensor,
    k_cache: &Tensor,
    v_cache: &Tensor,
    sequences: &[AttentionSequence],
    shape: AttentionShape,
) -> Result<Tensor> {
    let outputs = sequences
        .iter()
        .map(|sequence| {
            attend(
                &q.narrow(0, sequence.q_start, sequence.q_len)?,
                k_cache,
                v_cache,
                sequence,
                shape,
            )
        })
        .collect::<Result<Vec<_>>>()?;
    Tensor::cat(&outputs, 0)
}

fn attend(
    q: &Tensor,
    k_cache: &Tensor,
    v_cache: &Tensor,
    sequence: &AttentionSequence,
    shape: AttentionShape,
) -> Result<Tensor> {
    let AttentionShape {
        num_heads,
        num_kv_heads,
        head_dim,
        ..
    } = shape;
    let (q_len, group) = (sequence.q_len, shape.group());
    // Blocks before the window of the first new token are seen by none.
    let first_block = shape.first_visible(sequence.context_len - q_len) / BLOCK_SIZE;
    let blocks = &sequence.block_table[first_block..blocks_for(sequence.context_len)];
    let padded = blocks.len() * BLOCK_SIZE;
    let table = Tensor::from_slice(blocks, blocks.len(), q.device())?;
    // [num_kv_heads, head_dim, padded] and [num_kv_heads, padded, head_dim]
    let k = k_cache
        .index_select(&table, 0)?
        .permute((1, 2, 0, 3))?
        .contiguous()?;
    let k = k
        .reshape((num_kv_heads, head_dim, padded))?
        .to_dtype(DType::F32)?;
    let v = v_cache
        .index_select(&table, 0)?
        .transpose(0, 1)?
        .contiguous()?;
    let v = v
        .reshape((num_kv_heads, padded, head_dim))?
        .to_dtype(DType::F32)?;
    // Heads of a group become rows of one product: [num_kv_heads, group * q_len, head_dim].
    let q = q
        .reshape((q_len, num_kv_heads, group, head_dim))?
        .permute((1, 2, 0, 3))?
        .contiguous()?;
    let q = q.reshape((num_kv_heads, group * q_len, head_dim))?;
    let mut scores = (q.matmul(&k)? * f64::from(shape.scale))?;
    if let Some(softcap) = shape.softcap.map(f64::from) {
        scores = ((scores / softcap)?.tanh()? * softcap)?;
    }
    let mask = visibility_mask(sequence, shape, first_block * BLOCK_SIZE, padded)?;
    let mask = mask.to_device(q.device())?;
    let scores = scores
        .reshape((num_kv_heads * group, q_len, padded))?
        .broadcast_add(&mask)?;
    let weights = candle_nn::ops::softmax(&scores, D::Minus1)?;
    let out = weights
        .reshape((num_kv_heads, group * q_len, padded))?
        .matmul(&v)?;
    let out = out
        .reshape((num_kv_heads, group, q_len, head_dim))?
        .permute((2, 0, 1, 3))?;
    out.contiguous()?.reshape((q_len, num_heads * head_dim))
}

/// Returns `[q_len, padded]`: 0 where a row sees a position from `start` on, minus infinity elsewhere.
fn visibility_mask(
    sequence: &AttentionSequence,
    shape: AttentionShape,
    start: usize,
    padded: usize,
) -> Result<Tensor> {
    let first = sequence.context_len - sequence.q_len;
    let mask: Vec<f32> = (first..sequence.context_len)
        .flat_map(|position| {
            let visible = shape.first_visible(position)..=position;
            (start..start + padded).map(move |t| {
                if visible.contains(&t) {
                    0.0
                } else {
                    f32::NEG_INFINITY
                }
            })
        })
        .collect();
    Tensor::from_vec(mask, (sequence.q_len, padded), &Device::Cpu)
}
