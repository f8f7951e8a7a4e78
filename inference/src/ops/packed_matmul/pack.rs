//! Puts rows of blocks into units.

use candle_core::quantized::GgmlDType;
use half::f16;

use super::{
    PackedFormat, TILE_ROWS, UNIT,
    blocks::{RowUnit, Scales, read},
    packed_bytes, units_of,
};

const SPAN: usize = 32;
const LANES: usize = 32;

/// Packs a matrix `[out, width]` of blocks; `None` for types without a format.
///
/// # Panics
/// When `data` is not the matrix's blocks.
pub fn pack(dtype: GgmlDType, (out, width): (usize, usize), data: &[u8]) -> Option<Vec<u8>> {
    let format = PackedFormat::of(dtype)?;
    let row_bytes = width / dtype.block_size() * dtype.type_size();
    assert_eq!(data.len(), out * row_bytes, "the blocks of {out} x {width}");
    let mut packed = vec![0; packed_bytes(format, (out, width))];
    let num_units = units_of(width);
    let units = packed.chunks_exact_mut(format.unit_bytes());
    for (index, unit) in units.enumerate() {
        let (tile, column) = (index / num_units, index % num_units);
        for row in 0..TILE_ROWS.min(out - tile * TILE_ROWS) {
            let blocks = &data[(tile * TILE_ROWS + row) * row_bytes..][..row_bytes];
            place(format, &read(dtype, blocks, column), row, unit);
        }
    }
    Some(packed)
}

fn place(format: PackedFormat, from: &RowUnit, row: usize, unit: &mut [u8]) {
    let (numbers, scales) = unit.split_at_mut(format.number_bytes());
    if format.has_nibbles() {
        for (pair, columns) in from.numbers.chunks_exact(2 * SPAN).enumerate() {
            let (low, high) = columns.split_at(SPAN);
            let mut both = [0; SPAN];
            for ((both, low), high) in both.iter_mut().zip(low).zip(high) {
                *both = low | high << 4;
            }
            place_span(&both, row, &mut numbers[pair * 16 * LANES..]);
        }
    } else {
        for (span, columns) in from.numbers.chunks_exact(SPAN).enumerate() {
            place_span(columns, row, &mut numbers[span * 16 * LANES..]);
        }
    }
    place_scales(format, &from.scales, row, scales);
}

/// Four columns are a lane's word.
fn place_span(columns: &[u8], row: usize, to: &mut [u8]) {
    for (word, bytes) in columns.chunks_exact(4).enumerate() {
        let (lane, index) = (row % 8 * 4 + word % 4, word / 4 * 2 + row / 8);
        to[(lane * 4 + index) * 4..][..4].copy_from_slice(bytes);
    }
}

fn place_scales(format: PackedFormat, scales: &Scales, row: usize, to: &mut [u8]) {
    let (first, second) = to.split_at_mut(16 * TILE_ROWS);
    let first = &mut first[16 * row..][..16];
    match scales {
        Scales::Spans {
            scales,
            minima,
            scale,
            min_scale,
        } => {
            first[..8].copy_from_slice(scales);
            first[8..].copy_from_slice(minima);
            place_halves(&[*scale, *min_scale], &mut second[4 * row..]);
        }
        Scales::Halves { scales, scale } => {
            first.copy_from_slice(scales);
            place_halves(&[*scale], &mut second[4 * row..]);
        }
        Scales::Floats { scales, minima } => {
            place_halves(scales, first);
            if format != PackedFormat::BytesFloats {
                place_halves(minima, &mut second[16 * row..]);
            }
        }
    }
}

fn place_halves(halves: &[f16], to: &mut [u8]) {
    for (half, to) in halves.iter().zip(to.chunks_exact_mut(2)) {
        to.copy_from_slice(&half.to_le_bytes());
    }
}

const _: () = assert!(UNIT == 8 * SPAN);
