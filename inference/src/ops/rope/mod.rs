//! Rotary position embedding (arXiv 2104.09864): turns pairs of each head by an angle that grows with the position.
//!
//! Which elements form pair `i` is the model's [`RopeLayout`]; the wrong one reads well for a few tokens and then
//! degrades. Elements beyond the rotated ones pass unchanged.

pub mod candle;
pub mod cpu;
pub mod reference;

use candle_core::{Device, Result, Tensor};

/// Which elements of a head are turned together; `half` is half of the rotated elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeLayout {
    /// `(2i, 2i + 1)`: GGUF files of `llama`, whose q and k rows are permuted for it. ggml calls it NORM.
    Interleaved,
    /// `(i, i + half)`: `qwen2` and most others. ggml calls it NEOX.
    Halves,
}

/// Cosine and sine for every position and pair.
#[derive(Debug, Clone)]
pub struct RopeTable {
    pub layout: RopeLayout,
    /// `[max_len, rot / 2]` f32
    pub cos: Tensor,
    /// `[max_len, rot / 2]` f32
    pub sin: Tensor,
}

impl RopeTable {
    /// Builds the table for positions below `max_len` from the angle each pair turns a position, and the factor by which
    /// turned pairs grow (1 except for some ways to stretch the context).
    ///
    /// # Errors
    /// A candle error when the device is out of memory.
    pub fn new(
        layout: RopeLayout,
        inverse_frequencies: &[f64],
        magnitude: f64,
        max_len: usize,
        device: &Device,
    ) -> Result<Self> {
        let shape = (max_len, inverse_frequencies.len());
        // In f64: at position 30,000 an f32 product is off by more than a thousandth of a turn.
        let angles =
            || (0..max_len).flat_map(|p| inverse_frequencies.iter().map(move |f| p as f64 * f));
        let cos = Tensor::from_vec(
            angles()
                .map(|angle| (angle.cos() * magnitude) as f32)
                .collect(),
            shape,
            device,
        )?;
        let sin = Tensor::from_vec(
            angles()
                .map(|angle| (angle.sin() * magnitude) as f32)
                .collect(),
            shape,
            device,
        )?;
        Ok(Self { layout, cos, sin })
    }
}

/// Returns `x` with every head turned to its token's position.
///
/// `x`: `[num_tokens, num_heads * head_dim]` f32; `positions`: one a token, below the table's length.
///
/// # Errors
/// A candle error unless the shapes fit.
pub fn rope(x: &Tensor, positions: &[u32], num_heads: usize, table: &RopeTable) -> Result<Tensor> {
    let (num_tokens, width) = x.dims2()?;
    let (max_len, half) = table.cos.dims2()?;
    let fits = num_tokens == positions.len()
        && width.is_multiple_of(num_heads)
        && 2 * half <= width / num_heads;
    if !fits
        || positions
            .iter()
            .any(|&position| position as usize >= max_len)
    {
        candle_core::bail!(
            "rope of {:?} with {} positions below {max_len}",
            x.dims(),
            positions.len()
        );
    }
    if x.device().is_cpu() {
        cpu::rope(x, positions, num_heads, table)
    } else {
        candle::rope(x, positions, num_heads, table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, random, tensor, values};

    #[test]
    fn both_paths_agree_with_the_reference_in_both_layouts() {
        let positions = [0u32, 7, 3, 99];
        for layout in [RopeLayout::Interleaved, RopeLayout::Halves] {
            for (num_heads, head_dim, half) in [(1, 2, 1), (3, 64, 32), (2, 128, 64), (2, 80, 20)] {
                let frequencies: Vec<f64> = (0..half)
                    .map(|i| 10_000f64.powf(-(i as f64) / half as f64))
                    .collect();
                let magnitude = if head_dim == 80 { 1.25 } else { 1.0 };
                let table =
                    RopeTable::new(layout, &frequencies, magnitude, 100, &Device::Cpu).unwrap();
                let x = random(5, positions.len() * num_heads * head_dim);
                let turn = (frequencies.as_slice(), magnitude, layout);
                let want = reference::rope(&x, &positions, num_heads, turn);
                let x = tensor(&x, &[positions.len(), num_heads * head_dim]);
                assert_close(
                    &values(&cpu::rope(&x, &positions, num_heads, &table).unwrap()),
                    &want,
                    1e-5,
                );
                assert_close(
                    &values(&candle::rope(&x, &positions, num_heads, &table).unwrap()),
                    &want,
                    1e-5,
                );
            }
        }
    }

    #[test]
    fn a_position_beyond_the_table_is_an_error() {
        let table = RopeTable::new(RopeLayout::Halves, &[1.0], 1.0, 4, &Device::Cpu).unwrap();
        assert!(rope(&tensor(&[0.0, 1.0], &[1, 2]), &[4], 1, &table).is_err());
    }
}
