//! The rotary embedding from candle's operations, for any device.

use candle_core::{D, Result, Tensor};

use super::{RopeLayout, RopeTable};

/// See [`super::rope`].
pub fn rope(x: &Tensor, positions: &[u32], num_heads: usize, table: &RopeTable) -> Result<Tensor> {
    let (num_tokens, width) = x.dims2()?;
    let (head_dim, half) = (width / num_heads, table.cos.dim(1)?);
    let positions = Tensor::from_slice(positions, num_tokens, x.device())?;
    // [num_tokens, 1, half], the same for all heads
    let cos = table.cos.index_select(&positions, 0)?.unsqueeze(1)?;
    let sin = table.sin.index_select(&positions, 0)?.unsqueeze(1)?;
    let heads = x.reshape((num_tokens, num_heads, head_dim))?;
    let turned = heads.narrow(2, 0, 2 * half)?;
    let (a, b) = match table.layout {
        RopeLayout::Interleaved => {
            let pairs = turned.reshape((num_tokens, num_heads, half, 2))?;
            (
                pairs.narrow(3, 0, 1)?.squeeze(3)?,
                pairs.narrow(3, 1, 1)?.squeeze(3)?,
            )
        }
        RopeLayout::Halves => (turned.narrow(2, 0, half)?, turned.narrow(2, half, half)?),
    };
    let new_a = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let new_b = (a.broadcast_mul(&sin)? + b.broadcast_mul(&cos)?)?;
    let turned = match table.layout {
        RopeLayout::Interleaved => {
            Tensor::stack(&[new_a, new_b], D::Minus1)?.reshape((num_tokens, num_heads, 2 * half))?
        }
        RopeLayout::Halves => Tensor::cat(&[new_a, new_b], 2)?,
    };
    let rest = heads.narrow(2, 2 * half, head_dim - 2 * half)?;
    let heads = if 2 * half == head_dim {
        turned
    } else {
        Tensor::cat(&[turned, rest], 2)?
    };
    heads.reshape((num_tokens, width))
}
