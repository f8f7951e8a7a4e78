//! Weights of blocks of 32, repacked once into tiles of 16 rows.

use candle_core::{
    Result,
    quantized::{GgmlDType, QTensor},
};
use half::f16;

use crate::ops::{cpu::LANES, quantized_matmul::half_at};

/// Weights of a block.
pub const BLOCK: usize = 32;

/// A block of 16 rows: 512 weights in 576 bytes.
#[derive(Debug, Clone)]
#[repr(C)]
pub(super) struct Tile {
    /// Scale of each row.
    pub d: [f16; LANES],
    /// Offset of each row: a weight is `d * u + m`.
    pub m: [f16; LANES],
    /// `[8 groups of 4 columns][16 rows][4 columns]`: 4 columns of 16 rows are one vector of bytes.
    pub u: [u8; BLOCK * LANES],
}

/// A repacked weight matrix.
#[derive(Debug, Clone)]
pub struct BlockWeights {
    pub out: usize,
    pub blocks_per_row: usize,
    /// `[out / 16, blocks_per_row]`
    pub(super) tiles: Vec<Tile>,
}

/// One block taken apart.
struct Block {
    d: f16,
    m: f16,
    u: [u8; BLOCK],
}

impl BlockWeights {
    /// Repacks a matrix; `None` for types and heights that the kernel does not take.
    ///
    /// # Errors
    /// A candle error when the weights are not on the CPU.
    pub fn pack(weights: &QTensor) -> Result<Option<Self>> {
        let Some((unpack, block_bytes)) = format(weights.dtype()) else {
            return Ok(None);
        };
        let (out, width) = weights.shape().dims2()?;
        if !out.is_multiple_of(LANES) || out == 0 || !width.is_multiple_of(BLOCK) {
            return Ok(None);
        }
        let blocks_per_row = width / BLOCK;
        let data = weights.data()?;
        let mut tiles = Vec::with_capacity(out / LANES * blocks_per_row);
        for first_row in (0..out).step_by(LANES) {
            for block_idx in 0..blocks_per_row {
                let mut tile = Tile {
                    d: [f16::ZERO; LANES],
                    m: [f16::ZERO; LANES],
                    u: [0; BLOCK * LANES],
                };
                for lane in 0..LANES {
                    let at = ((first_row + lane) * blocks_per_row + block_idx) * block_bytes;
                    let block = unpack(&data[at..at + block_bytes]);
                    (tile.d[lane], tile.m[lane]) = (block.d, block.m);
                    for (group, four) in block.u.chunks_exact(4).enumerate() {
                        tile.u[place(lane, group * 4)..][..4].copy_from_slice(four);
                    }
                }
                tiles.push(tile);
            }
        }
        Ok(Some(Self {
            out,
            blocks_per_row,
            tiles,
        }))
    }

    /// Returns one weight, for tests.
    #[cfg(test)]
    pub fn weight(&self, row: usize, column: usize) -> f32 {
        let tile = &self.tiles[row / LANES * self.blocks_per_row + column / BLOCK];
        let lane = row % LANES;
        tile.d[lane].to_f32() * f32::from(tile.u[place(lane, column % BLOCK)])
            + tile.m[lane].to_f32()
    }
}

fn place(lane: usize, column: usize) -> usize {
    (column / 4 * LANES + lane) * 4 + column % 4
}

type Unpack = fn(&[u8]) -> Block;

/// Returns how to take a block of this type apart, and its bytes. Source: ggml's `ggml-common.h`.
fn format(dtype: GgmlDType) -> Option<(Unpack, usize)> {
    Some(match dtype {
        GgmlDType::Q4_0 => (
            |raw| centred(half_at(raw, 0), 8.0, nibbles(&raw[2..18], 0)),
            18,
        ),
        GgmlDType::Q4_1 => (
            |raw| Block {
                d: half_at(raw, 0),
                m: half_at(raw, 2),
                u: nibbles(&raw[4..20], 0),
            },
            20,
        ),
        GgmlDType::Q5_0 => (
            |raw| centred(half_at(raw, 0), 16.0, nibbles(&raw[6..22], word_at(raw, 2))),
            22,
        ),
        GgmlDType::Q5_1 => (
            |raw| Block {
                d: half_at(raw, 0),
                m: half_at(raw, 2),
                u: nibbles(&raw[8..24], word_at(raw, 4)),
            },
            24,
        ),
        GgmlDType::Q8_0 => (
            |raw| {
                centred(
                    half_at(raw, 0),
                    128.0,
                    std::array::from_fn(|i| raw[2 + i].wrapping_add(128)),
                )
            },
            34,
        ),
        _ => return None,
    })
}

/// A block without offset of its own: `d * (u - centre)`. The centre is a power of two, so `m` is exact.
fn centred(d: f16, centre: f32, u: [u8; BLOCK]) -> Block {
    Block {
        d,
        m: f16::from_f32(-centre * d.to_f32()),
        u,
    }
}

/// The low nibbles are the first half of the block, the high ones the second; `high_bits` has a fifth bit for each.
fn nibbles(packed: &[u8], high_bits: u32) -> [u8; BLOCK] {
    std::array::from_fn(|i| {
        let byte = packed[i % 16];
        let nibble = if i < 16 { byte & 0x0f } else { byte >> 4 };
        nibble | ((high_bits >> i & 1) as u8) << 4
    })
}

fn word_at(raw: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]])
}
