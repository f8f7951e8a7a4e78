//! How a tile of a cache in 8 bits lies: the keys or the values of one block and one key head.
//!
//! A token's numbers of a head share a scale by [`GROUP`], as in ggml's `Q8_0`: the scale is an f16, the largest magnitude over
//! 127, and a number is a multiple of it from -127 to 127. A last group may be shorter. A tile is
//!
//! - the numbers, one byte each, 128 more than they are: keys `[head_dim, BLOCK_SIZE]`, values `[BLOCK_SIZE, head_dim]`, the
//!   same order as in the other formats. With 128 added a GPU makes a pair of bytes f16 by a permutation and an addition, and
//!   CPUs take it off within the multiplication by the scale;
//! - the scales, f16: `[groups, BLOCK_SIZE]` for both: one vector has the scales of a block's 16 tokens.
//!
//! Both parts and so every tile begin at a multiple of 16 bytes. The product of a number and a scale is exact in f32, so all CPU
//! paths give the bits that a cache of f32 with the same numbers would give. At a head size of 128 a tile is 2,176 bytes, 53 % of
//! one in f16.

use half::f16;

use super::BLOCK_SIZE;

/// Numbers that share a scale.
pub const GROUP: usize = 32;

/// What a byte has more than the number it stands for.
pub const EXCESS: i32 = 128;

/// Which of the two caches a tile belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Keys,
    Values,
}

impl Side {
    /// Returns where the number of a token and dimension lies among the tile's numbers.
    #[inline(always)]
    pub fn place(self, head_dim: usize, token: usize, d: usize) -> usize {
        match self {
            Self::Keys => d * BLOCK_SIZE + token,
            Self::Values => token * head_dim + d,
        }
    }
}

/// Returns the scales that a token has in a head.
#[inline(always)]
pub fn groups(head_dim: usize) -> usize {
    head_dim.div_ceil(GROUP)
}

/// Returns the size of a tile in bytes.
#[inline(always)]
pub fn tile_bytes(head_dim: usize) -> usize {
    (head_dim + size_of::<f16>() * groups(head_dim)) * BLOCK_SIZE
}

/// Returns the first byte of the scale of a token and group.
#[inline(always)]
pub fn scale_place(head_dim: usize, token: usize, group: usize) -> usize {
    head_dim * BLOCK_SIZE + size_of::<f16>() * (group * BLOCK_SIZE + token)
}

/// Rounds the numbers of a group to bytes and returns their scale: ggml's rounding, except that a number that is not finite makes
/// the scale such too, so that it cannot vanish.
#[inline(always)]
pub fn quantize(group: &[f32], bytes: &mut [u8]) -> f16 {
    // The bits of magnitudes order like their values, and those of NaN are the largest.
    let magnitude = |value: &f32| value.to_bits() & 0x7fff_ffff;
    let largest = group
        .iter()
        .fold(0, |largest, value| largest.max(magnitude(value)));
    let scale = f32::from_bits(largest) / 127.0;
    // Below, the inverse would be infinite; the f16 is 0 long before.
    let inverse = if scale < f32::MIN_POSITIVE {
        0.0
    } else {
        1.0 / scale
    };
    for (byte, value) in bytes.iter_mut().zip(group) {
        *byte = ((value * inverse).round() as i32 + EXCESS) as u8;
    }
    f16::from_f32(scale)
}

/// Returns the number of a token and dimension of a tile.
pub fn number(side: Side, tile: &[u8], head_dim: usize, token: usize, d: usize) -> f32 {
    let at = scale_place(head_dim, token, d / GROUP);
    let scale = f16::from_le_bytes([tile[at], tile[at + 1]]);
    let number = i32::from(tile[side.place(head_dim, token, d)]) - EXCESS;
    number as f32 * scale.to_f32()
}

/// Returns the numbers of a tile, in the order of a cache of f16.
pub fn widened(side: Side, tile: &[u8], head_dim: usize) -> Vec<f32> {
    let mut numbers = vec![0.0; head_dim * BLOCK_SIZE];
    for token in 0..BLOCK_SIZE {
        for d in 0..head_dim {
            numbers[side.place(head_dim, token, d)] = number(side, tile, head_dim, token, d);
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::{self, GgmlType};

    fn group(seed: u32, len: usize) -> Vec<f32> {
        let number = |i: u32| {
            (i.wrapping_mul(2_654_435_761).wrapping_add(seed * 97) >> 8) as f32 / 8_388_608.0 - 1.0
        };
        (0..len as u32).map(number).collect()
    }

    #[test]
    fn numbers_and_scales_are_those_of_ggml() {
        for (seed, factor) in [(1, 1.0), (2, 300.0), (3, 1e-3), (4, 0.0), (5, 1e-30)] {
            let values: Vec<f32> = group(seed, GROUP).iter().map(|x| x * factor).collect();
            let mut block = vec![0; 34];
            gguf::encode(GgmlType::Q8_0, &values, &mut block).unwrap();
            let mut bytes = [0; GROUP];
            let scale = quantize(&values, &mut bytes);
            assert_eq!(scale.to_le_bytes(), block[..2]);
            let signed = bytes.map(|byte| byte.wrapping_sub(EXCESS as u8));
            assert_eq!(signed, block[2..]);
        }
    }

    #[test]
    fn a_number_that_is_not_finite_makes_its_group_so() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = group(5, 16);
            values[7] = bad;
            let mut bytes = [0; 16];
            assert!(!quantize(&values, &mut bytes).is_finite());
        }
    }

    #[test]
    fn tiles_are_packed_without_gaps_and_aligned() {
        for head_dim in [2, 20, 64, 80, 96, 128, 256] {
            for side in [Side::Keys, Side::Values] {
                let mut seen = vec![0; tile_bytes(head_dim)];
                for token in 0..BLOCK_SIZE {
                    (0..head_dim).for_each(|d| seen[side.place(head_dim, token, d)] += 1);
                    for group in 0..groups(head_dim) {
                        let at = scale_place(head_dim, token, group);
                        seen[at] += 1;
                        seen[at + 1] += 1;
                    }
                }
                assert!(seen.iter().all(|&times| times == 1), "{head_dim}");
                assert!(seen.len().is_multiple_of(16));
            }
        }
        assert_eq!(tile_bytes(128), 2_176);
    }
}
