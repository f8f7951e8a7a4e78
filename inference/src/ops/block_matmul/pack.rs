//! Weights of blocks of 32, repacked once into tiles of 16 rows.
//!
//! A block is 8 groups of 4 columns; one vector holds a group of all 16 rows, 4 bytes a row. Two groups share a vector
//! of nibbles: group `g` low, group `g + 4` high. A tile is no larger than the 16 blocks it was made of.

use candle_core::quantized::GgmlDType;
use half::f16;

use crate::ops::{
    cpu::{LANES, f16_to_f32},
    quantized_matmul::{build_tiles, half_at},
};

/// Weights of a block.
pub const BLOCK: usize = 32;
/// Weights of a tile.
pub(super) const TILE: usize = BLOCK * LANES;

/// A block of 16 rows: a weight is `d * u + m`.
#[derive(Debug, Clone)]
#[repr(C)]
pub(super) struct Tile<U, M> {
    /// Scale of each row.
    pub d: [f16; LANES],
    pub m: M,
    pub u: U,
}

/// `u` of 4 bits.
#[derive(Debug, Clone)]
#[repr(C)]
pub(super) struct Nibbles(pub [u8; TILE / 2]);

/// `u` of 5 bits.
#[derive(Debug, Clone)]
#[repr(C)]
pub(super) struct FiveBits {
    pub nibbles: Nibbles,
    /// Bit `g` of a byte belongs to group `g`.
    pub fifth: [u8; TILE / 8],
}

/// `u` of 8 bits.
#[derive(Debug, Clone)]
#[repr(C)]
pub(super) struct Bytes(pub [u8; TILE]);

/// No offset of its own: `m` is `-d * 2^CENTRE_BITS`, which makes `u` signed.
#[derive(Debug, Clone)]
pub(super) struct Centred;

/// An offset for each row.
#[derive(Debug, Clone)]
#[repr(C)]
pub(super) struct Offsets(pub [f16; LANES]);

/// How the unsigned weights of a tile are kept.
pub(super) trait Quants: Sized + Send + Sync {
    const CENTRE_BITS: u32;

    /// `u`: `[LANES][BLOCK]`
    fn pack(u: &[[u8; BLOCK]; LANES]) -> Self;

    /// Returns them one a byte: `[8 groups][16 rows][4 columns]`.
    fn unpack(&self) -> [u8; TILE];
}

/// How the offsets of a tile are kept.
pub(super) trait Offset: Sized + Send + Sync {
    const IS_CENTRED: bool;

    fn pack(m: [f16; LANES]) -> Self;

    fn own(&self) -> Option<&[f16; LANES]>;
}

#[derive(Debug, Clone)]
pub(super) enum Tiles {
    Q4_0(Vec<Tile<Nibbles, Centred>>),
    Q4_1(Vec<Tile<Nibbles, Offsets>>),
    Q5_0(Vec<Tile<FiveBits, Centred>>),
    Q5_1(Vec<Tile<FiveBits, Offsets>>),
    Q8_0(Vec<Tile<Bytes, Centred>>),
}

/// Evaluates an expression for the tiles of whatever type.
macro_rules! for_tiles {
    ($tiles:expr, $name:ident => $use:expr) => {
        match $tiles {
            $crate::ops::block_matmul::pack::Tiles::Q4_0($name) => $use,
            $crate::ops::block_matmul::pack::Tiles::Q4_1($name) => $use,
            $crate::ops::block_matmul::pack::Tiles::Q5_0($name) => $use,
            $crate::ops::block_matmul::pack::Tiles::Q5_1($name) => $use,
            $crate::ops::block_matmul::pack::Tiles::Q8_0($name) => $use,
        }
    };
}
pub(super) use for_tiles;

/// A repacked weight matrix.
#[derive(Debug, Clone)]
pub struct BlockWeights {
    pub out: usize,
    pub blocks_per_row: usize,
    /// `[out / 16, blocks_per_row]`
    pub(super) tiles: Tiles,
}

/// One block taken apart; formats without offset have none here either.
struct Block {
    d: f16,
    m: f16,
    u: [u8; BLOCK],
}

impl BlockWeights {
    /// Repacks a matrix `[out, width]` from its bytes in a file; `None` for types and heights that the kernel does not
    /// take, and for bytes that are not a matrix of this shape.
    pub fn pack(dtype: GgmlDType, (out, width): (usize, usize), data: &[u8]) -> Option<Self> {
        let whole = out > 0 && out.is_multiple_of(LANES) && width.is_multiple_of(BLOCK);
        let blocks_per_row = width / BLOCK;
        if !whole || data.len() != out * blocks_per_row * dtype.type_size() {
            return None;
        }
        // Sources of the layouts: ggml's `ggml-common.h`.
        let tiles = match dtype {
            GgmlDType::Q4_0 => Tiles::Q4_0(tiles(data, blocks_per_row, |raw: &[u8; 18]| Block {
                d: half_at(raw, 0),
                m: f16::ZERO,
                u: nibbles(&raw[2..], 0),
            })),
            GgmlDType::Q4_1 => Tiles::Q4_1(tiles(data, blocks_per_row, |raw: &[u8; 20]| Block {
                d: half_at(raw, 0),
                m: half_at(raw, 2),
                u: nibbles(&raw[4..], 0),
            })),
            GgmlDType::Q5_0 => Tiles::Q5_0(tiles(data, blocks_per_row, |raw: &[u8; 22]| Block {
                d: half_at(raw, 0),
                m: f16::ZERO,
                u: nibbles(&raw[6..], word_at(raw, 2)),
            })),
            GgmlDType::Q5_1 => Tiles::Q5_1(tiles(data, blocks_per_row, |raw: &[u8; 24]| Block {
                d: half_at(raw, 0),
                m: half_at(raw, 2),
                u: nibbles(&raw[8..], word_at(raw, 4)),
            })),
            GgmlDType::Q8_0 => Tiles::Q8_0(tiles(data, blocks_per_row, |raw: &[u8; 34]| Block {
                d: half_at(raw, 0),
                m: f16::ZERO,
                u: std::array::from_fn(|i| raw[2 + i].wrapping_add(128)),
            })),
            _ => return None,
        };
        Some(Self {
            out,
            blocks_per_row,
            tiles,
        })
    }

    /// Appends the weights of a row, as ggml dequantizes them.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn push_row(&self, row: usize, weights: &mut Vec<f32>) {
        let first = row / LANES * self.blocks_per_row;
        for_tiles!(&self.tiles, tiles => {
            for tile in &tiles[first..first + self.blocks_per_row] {
                weights.extend(tile.row(row % LANES));
            }
        });
    }
}

impl<U: Quants, M: Offset> Tile<U, M> {
    /// Returns `m` of a row.
    #[inline(always)]
    pub fn offset(&self, lane: usize) -> f32 {
        match self.m.own() {
            Some(m) => f16_to_f32(m[lane]),
            None => -f16_to_f32(self.d[lane]) * (1u32 << U::CENTRE_BITS) as f32,
        }
    }

    /// Returns the weights of a row.
    fn row(&self, lane: usize) -> [f32; BLOCK] {
        let (u, d, m) = (self.u.unpack(), f16_to_f32(self.d[lane]), self.offset(lane));
        std::array::from_fn(|column| d * f32::from(u[place(lane, column)]) + m)
    }
}

/// Builds all tiles from the blocks of 16 rows each.
fn tiles<U: Quants, M: Offset, const BYTES: usize>(
    data: &[u8],
    blocks_per_row: usize,
    take_apart: fn(&[u8; BYTES]) -> Block,
) -> Vec<Tile<U, M>> {
    let (blocks, _) = data.as_chunks::<BYTES>();
    let columns = blocks.len() / (LANES * blocks_per_row).max(1);
    build_tiles(columns, blocks_per_row, |column, index| {
        let mut d = [f16::ZERO; LANES];
        let mut m = [f16::ZERO; LANES];
        let mut u = [[0; BLOCK]; LANES];
        for lane in 0..LANES {
            let block = take_apart(&blocks[(column * LANES + lane) * blocks_per_row + index]);
            (d[lane], m[lane], u[lane]) = (block.d, block.m, block.u);
        }
        Tile {
            d,
            m: M::pack(m),
            u: U::pack(&u),
        }
    })
}

fn place(lane: usize, column: usize) -> usize {
    (column / 4 * LANES + lane) * 4 + column % 4
}

impl Quants for Bytes {
    const CENTRE_BITS: u32 = 7;

    fn pack(u: &[[u8; BLOCK]; LANES]) -> Self {
        let mut bytes = [0; TILE];
        for (lane, row) in u.iter().enumerate() {
            for (group, four) in row.chunks_exact(4).enumerate() {
                bytes[place(lane, group * 4)..][..4].copy_from_slice(four);
            }
        }
        Self(bytes)
    }

    #[inline(always)]
    fn unpack(&self) -> [u8; TILE] {
        self.0
    }
}

impl Quants for Nibbles {
    const CENTRE_BITS: u32 = 3;

    fn pack(u: &[[u8; BLOCK]; LANES]) -> Self {
        let Bytes(bytes) = Bytes::pack(u);
        Self(std::array::from_fn(|at| {
            bytes[at] & 15 | bytes[at + TILE / 2] << 4
        }))
    }

    #[inline(always)]
    fn unpack(&self) -> [u8; TILE] {
        let mut bytes = [0; TILE];
        let (low, high) = bytes.split_at_mut(TILE / 2);
        for ((low, high), both) in low.iter_mut().zip(high).zip(&self.0) {
            (*low, *high) = (both & 15, both >> 4);
        }
        bytes
    }
}

impl Quants for FiveBits {
    const CENTRE_BITS: u32 = 4;

    fn pack(u: &[[u8; BLOCK]; LANES]) -> Self {
        let Bytes(bytes) = Bytes::pack(u);
        let mut fifth = [0; TILE / 8];
        for (group, bytes) in bytes.chunks_exact(TILE / 8).enumerate() {
            for (fifth, byte) in fifth.iter_mut().zip(bytes) {
                *fifth |= byte >> 4 << group;
            }
        }
        Self {
            nibbles: Nibbles::pack(u),
            fifth,
        }
    }

    #[inline(always)]
    fn unpack(&self) -> [u8; TILE] {
        let mut bytes = self.nibbles.unpack();
        for (group, bytes) in bytes.chunks_exact_mut(TILE / 8).enumerate() {
            for (byte, fifth) in bytes.iter_mut().zip(&self.fifth) {
                *byte |= (fifth >> group & 1) << 4;
            }
        }
        bytes
    }
}

impl Offset for Centred {
    const IS_CENTRED: bool = true;

    fn pack(_: [f16; LANES]) -> Self {
        Self
    }

    #[inline(always)]
    fn own(&self) -> Option<&[f16; LANES]> {
        None
    }
}

impl Offset for Offsets {
    const IS_CENTRED: bool = false;

    fn pack(m: [f16; LANES]) -> Self {
        Self(m)
    }

    #[inline(always)]
    fn own(&self) -> Option<&[f16; LANES]> {
        Some(&self.0)
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
