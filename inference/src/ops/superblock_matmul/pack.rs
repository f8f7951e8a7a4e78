//! Weights of super-blocks, repacked once into tiles of 16 rows.
//!
//! Columns come in spans of 32. A span is 8 groups of 4 columns; one vector holds a group of all 16 rows, 4 bytes a row.
//! Two groups share a vector of nibbles: group `g` low, group `g + 4` high.

use candle_core::quantized::GgmlDType;
use half::f16;

use super::SUPERBLOCK;
use crate::ops::{
    cpu::{LANES, f16_to_f32},
    quantized_matmul::{SPAN, build_tiles, half_at},
};

pub(super) const SPANS: usize = SUPERBLOCK / SPAN;
/// Bytes of the nibbles of a span.
pub(super) const SPAN_NIBBLES: usize = SPAN * LANES / 2;
/// Bytes of the fifth bits of a span.
pub(super) const SPAN_FIFTH: usize = SPAN * LANES / 8;
/// Bytes of the upper two bits of a span.
pub(super) const SPAN_UPPER: usize = SPAN * LANES / 4;

/// `Q4_K` and `Q5_K`: `w = d * scale[span] * q - dmin * min[span]`. They differ in the bits of q.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(super) struct TileWithMins<Q> {
    pub dmin: [f16; LANES],
    pub d: [f16; LANES],
    /// Of two spans side by side, as the product takes them.
    pub mins: [[[u8; 2]; LANES]; SPANS / 2],
    pub scales: [[u8; LANES]; SPANS],
    pub spans: [Q; SPANS],
}

/// 4,096 weights in 2,368 bytes, 37 cache lines.
pub(super) type TileQ4K = TileWithMins<SpanQ4K>;
/// 4,096 weights in 2,880 bytes, 45 cache lines.
pub(super) type TileQ5K = TileWithMins<SpanQ5K>;

/// q of 4 bits.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct SpanQ4K {
    pub nibbles: [u8; SPAN_NIBBLES],
}

/// q of 5 bits.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct SpanQ5K {
    pub nibbles: [u8; SPAN_NIBBLES],
    /// Bit `g` of a byte belongs to group `g`.
    pub fifth: [u8; SPAN_FIFTH],
}

/// How a [`TileWithMins`] keeps the q of a span.
pub(super) trait SpanQuants: Copy + Send {
    const EMPTY: Self;

    /// Takes span `index` of a row from what follows the scales in its block. Into an empty place.
    fn put(&mut self, lane: usize, index: usize, quants: &[u8]);

    /// Returns q of a column of a row.
    fn q(&self, lane: usize, column: usize) -> u8;
}

/// `Q6_K`: `w = d * scale[half span] * (q - 32)`, q of 6 bits. 4,096 weights in 3,360 bytes.
#[derive(Debug, Clone)]
#[repr(C)]
pub(super) struct TileQ6K {
    pub d: [f16; LANES],
    /// Of both halves of a span side by side.
    pub scales: [[[i8; 2]; LANES]; SPANS],
    pub spans: [SpanQ6K; SPANS],
}

/// Nibbles and upper bits lie together, because memory is fetched ahead only where it is read in order.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct SpanQ6K {
    pub nibbles: [u8; SPAN_NIBBLES],
    /// Bits 4 and 5: of groups 0 to 3 in one vector, of 4 to 7 in the next, each group 2 bits further up.
    pub upper: [u8; SPAN_UPPER],
}

#[derive(Debug, Clone)]
pub(super) enum Tiles {
    Q4K(Vec<TileQ4K>),
    Q5K(Vec<TileQ5K>),
    Q6K(Vec<TileQ6K>),
}

/// A repacked weight matrix.
#[derive(Debug, Clone)]
pub struct SuperblockWeights {
    pub out: usize,
    pub blocks_per_row: usize,
    /// `[out / 16, blocks_per_row]`
    pub(super) tiles: Tiles,
}

impl SuperblockWeights {
    /// Repacks a matrix `[out, width]` from its bytes in a file; `None` for types and heights that the kernel does not
    /// take, and for bytes that are not a matrix of this shape.
    pub fn pack(dtype: GgmlDType, (out, width): (usize, usize), data: &[u8]) -> Option<Self> {
        let whole = out > 0 && out.is_multiple_of(LANES) && width.is_multiple_of(SUPERBLOCK);
        let blocks_per_row = width / SUPERBLOCK;
        if !whole || data.len() != out * blocks_per_row * dtype.type_size() {
            return None;
        }
        let tiles = match dtype {
            GgmlDType::Q4K => {
                Tiles::Q4K(tiles(data, out, blocks_per_row, tile_with_mins::<_, 144>))
            }
            GgmlDType::Q5K => {
                Tiles::Q5K(tiles(data, out, blocks_per_row, tile_with_mins::<_, 176>))
            }
            GgmlDType::Q6K => Tiles::Q6K(tiles(data, out, blocks_per_row, tile_q6k)),
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
        let columns = (first..first + self.blocks_per_row)
            .flat_map(|tile| (0..SUPERBLOCK).map(move |column| (tile, column)));
        let lane = row % LANES;
        match &self.tiles {
            Tiles::Q4K(tiles) => {
                weights.extend(columns.map(|(tile, column)| tiles[tile].weight(lane, column)));
            }
            Tiles::Q5K(tiles) => {
                weights.extend(columns.map(|(tile, column)| tiles[tile].weight(lane, column)));
            }
            Tiles::Q6K(tiles) => {
                weights.extend(columns.map(|(tile, column)| tiles[tile].weight(lane, column)));
            }
        }
    }
}

impl<Q: SpanQuants> TileWithMins<Q> {
    #[inline]
    fn weight(&self, lane: usize, column: usize) -> f32 {
        let span = column / SPAN;
        let q = self.spans[span].q(lane, column % SPAN);
        let (d, dmin) = (f16_to_f32(self.d[lane]), f16_to_f32(self.dmin[lane]));
        let (scale, min) = (self.scales[span][lane], self.mins[span / 2][lane][span % 2]);
        d * f32::from(scale) * f32::from(q) - dmin * f32::from(min)
    }
}

/// Source of the layout: ggml's `block_q4_K`, 128 bytes of nibbles.
impl SpanQuants for SpanQ4K {
    const EMPTY: Self = Self {
        nibbles: [0; SPAN_NIBBLES],
    };

    fn put(&mut self, lane: usize, index: usize, quants: &[u8]) {
        // Of each 64 columns the first 32 are the low nibbles of 32 bytes, the others the high ones.
        let (bytes, shift) = (&quants[index / 2 * 32..][..32], 4 * (index as u32 % 2));
        put_nibbles(&mut self.nibbles, lane, bytes, shift);
    }

    #[inline]
    fn q(&self, lane: usize, column: usize) -> u8 {
        let (at, shift) = nibble_place(lane, column);
        self.nibbles[at] >> shift & 15
    }
}

/// Source of the layout: ggml's `block_q5_K`, 32 bytes of fifth bits, 128 bytes of nibbles.
impl SpanQuants for SpanQ5K {
    const EMPTY: Self = Self {
        nibbles: [0; SPAN_NIBBLES],
        fifth: [0; SPAN_FIFTH],
    };

    fn put(&mut self, lane: usize, index: usize, quants: &[u8]) {
        let (fifth, nibbles) = quants.split_at(SPAN);
        // As in `Q4_K`; bit `index` of byte `column` is the fifth.
        let (bytes, shift) = (&nibbles[index / 2 * 32..][..32], 4 * (index as u32 % 2));
        put_nibbles(&mut self.nibbles, lane, bytes, shift);
        for group in 0..SPAN / 4 {
            let bits = four_at(fifth, group * 4) >> index & 0x0101_0101;
            let together = four_at(&self.fifth, lane * 4) | bits << group;
            self.fifth[lane * 4..lane * 4 + 4].copy_from_slice(&together.to_le_bytes());
        }
    }

    #[inline]
    fn q(&self, lane: usize, column: usize) -> u8 {
        let (at, shift) = nibble_place(lane, column);
        let bit = self.fifth[lane * 4 + column % 4] >> (column / 4) & 1;
        self.nibbles[at] >> shift & 15 | bit << 4
    }
}

impl TileQ6K {
    #[inline]
    fn weight(&self, lane: usize, column: usize) -> f32 {
        let (span, column) = (column / SPAN, column % SPAN);
        let (at, shift) = nibble_place(lane, column);
        let (upper_at, upper_shift) = upper_place(lane, column);
        let SpanQ6K { nibbles, upper } = &self.spans[span];
        let q = nibbles[at] >> shift & 15 | (upper[upper_at] >> upper_shift & 3) << 4;
        let scale = self.scales[span][lane][column / 16];
        f16_to_f32(self.d[lane]) * f32::from(scale) * (f32::from(q) - 32.0)
    }
}

/// Builds all tiles; `build` gets the blocks of 16 rows.
fn tiles<T: Send, const BYTES: usize>(
    data: &[u8],
    out: usize,
    blocks_per_row: usize,
    build: fn([&[u8; BYTES]; LANES]) -> T,
) -> Vec<T> {
    let (blocks, _) = data.as_chunks::<BYTES>();
    build_tiles(out / LANES, blocks_per_row, |column, index| {
        build(std::array::from_fn(|lane| {
            &blocks[(column * LANES + lane) * blocks_per_row + index]
        }))
    })
}

/// Where the low 4 bits of a column of a span of a row are: byte and shift.
fn nibble_place(lane: usize, column: usize) -> (usize, u8) {
    let group = column / 4;
    let at = (group % 4 * LANES + lane) * 4 + column % 4;
    (at, if group < 4 { 0 } else { 4 })
}

/// Where bits 4 and 5 of a column of a span of a row are: byte and shift.
fn upper_place(lane: usize, column: usize) -> (usize, u8) {
    let group = column / 4;
    let at = (group / 4 * LANES + lane) * 4 + column % 4;
    (at, 2 * (group % 4) as u8)
}

/// Writes the nibbles of a row's span: those at `shift` of 32 bytes, one a column.
fn put_nibbles(nibbles: &mut [u8; SPAN_NIBBLES], lane: usize, bytes: &[u8], shift: u32) {
    for group in 0..4 {
        let a = four_at(bytes, group * 4) >> shift & 0x0f0f_0f0f;
        let b = four_at(bytes, group * 4 + 16) >> shift & 0x0f0f_0f0f;
        let (at, _) = nibble_place(lane, group * 4);
        nibbles[at..at + 4].copy_from_slice(&(a | b << 4).to_le_bytes());
    }
}

fn four_at(raw: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]])
}

/// Source of the layout: ggml's `block_q4_K` and `block_q5_K`: d, dmin, 12 bytes of 6-bit scales and mins, quants.
fn tile_with_mins<Q: SpanQuants, const BYTES: usize>(
    blocks: [&[u8; BYTES]; LANES],
) -> TileWithMins<Q> {
    let mut tile = TileWithMins {
        scales: [[0; LANES]; SPANS],
        mins: [[[0; 2]; LANES]; SPANS / 2],
        d: [f16::ZERO; LANES],
        dmin: [f16::ZERO; LANES],
        spans: [Q::EMPTY; SPANS],
    };
    for (lane, block) in blocks.into_iter().enumerate() {
        tile.d[lane] = half_at(block, 0);
        tile.dmin[lane] = half_at(block, 2);
        let (packed, quants) = (&block[4..16], &block[16..]);
        for span in 0..SPANS {
            let (scale, min) = scale_and_min(packed, span);
            tile.scales[span][lane] = scale;
            tile.mins[span / 2][lane][span % 2] = min;
            tile.spans[span].put(lane, span, quants);
        }
    }
    tile
}

/// Scales and mins 0 to 3 are the low 6 bits of bytes 0 to 7; the others have 4 bits in bytes 8 to 11 and the upper 2
/// bits of bytes 0 to 7.
fn scale_and_min(packed: &[u8], span: usize) -> (u8, u8) {
    if span < 4 {
        return (packed[span] & 63, packed[span + 4] & 63);
    }
    let low = packed[span + 4];
    (
        low & 15 | packed[span - 4] >> 6 << 4,
        low >> 4 | packed[span] >> 6 << 4,
    )
}

/// Source of the layout: ggml's `block_q6_K`: 128 bytes of low nibbles, 64 of upper bits, 16 scales, d.
fn tile_q6k(blocks: [&[u8; 210]; LANES]) -> TileQ6K {
    let mut tile = TileQ6K {
        spans: [SpanQ6K {
            nibbles: [0; SPAN_NIBBLES],
            upper: [0; SPAN_UPPER],
        }; SPANS],
        scales: [[[0; 2]; LANES]; SPANS],
        d: [f16::ZERO; LANES],
    };
    for (lane, block) in blocks.into_iter().enumerate() {
        tile.d[lane] = half_at(block, 208);
        for (scales, pair) in tile.scales.iter_mut().zip(block[192..208].chunks_exact(2)) {
            scales[lane] = [pair[0] as i8, pair[1] as i8];
        }
        for span in 0..SPANS {
            // Halves of 128 columns: two runs of 32 low nibbles, then the same bytes' high nibbles.
            let (half, quarter) = (span / 4, span % 4);
            let bytes = &block[half * 64 + quarter % 2 * 32..][..32];
            put_nibbles(
                &mut tile.spans[span].nibbles,
                lane,
                bytes,
                4 * (quarter as u32 / 2),
            );
            let upper = &block[128 + half * 32..][..32];
            for group in 0..8 {
                let bits = four_at(upper, group * 4) >> (2 * quarter) & 0x0303_0303;
                let (at, shift) = upper_place(lane, group * 4);
                let all = &mut tile.spans[span].upper;
                let together = four_at(all, at) | bits << shift;
                all[at..at + 4].copy_from_slice(&together.to_le_bytes());
            }
        }
    }
    tile
}
