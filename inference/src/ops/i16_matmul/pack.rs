//! Weights and activations rounded to 16 bits and laid out as the product reads them.

use candle_core::{Result, Tensor};

use crate::ops::{
    cpu::{DisjointMut, LANES, multiversion, parallel, with_f32},
    quantized_matmul::{build_tiles, has_vnni, largest_magnitude},
};

/// Elements below which waking other threads costs more than it saves.
const WORTH_THREADS: usize = 16_384;
/// Outputs of a tile: two vectors.
pub(super) const TILE: usize = 2 * LANES;
/// Length that rows are scaled to. Rounding adds at most half the root of the width, so that the product of two lengths
/// stays below 2^31 up to [`MAX_WIDTH`].
const LENGTH: f32 = 46_000.0;
const MAX_WIDTH: usize = 1 << 16;

/// Two columns of 32 outputs.
pub(super) type Pair = [[i16; 2]; TILE];

/// A weight matrix.
#[derive(Debug, Clone)]
pub struct Int16Weights {
    pub out: usize,
    pub width: usize,
    /// `[out / 32, width / 2]`
    pub(super) pairs: Vec<Pair>,
    /// `[out]`: a weight is its scale times its number.
    pub(super) scales: Vec<f32>,
}

impl Int16Weights {
    /// Whether there is a kernel for a matrix `[out, width]` on this CPU.
    pub fn takes(out: usize, width: usize) -> bool {
        let suits = out > 0 && out.is_multiple_of(TILE);
        suits && width.is_multiple_of(2) && width <= MAX_WIDTH && has_vnni()
    }

    /// Rounds a matrix `[out, width]`; `None` where [`Self::takes`] says no, or for weights of another shape.
    pub fn pack((out, width): (usize, usize), weights: &[f32]) -> Option<Self> {
        if !Self::takes(out, width) || weights.len() != out * width {
            return None;
        }
        let mut rounded = vec![0; out * width];
        let mut scales = vec![0.0; out];
        let rows = weights
            .chunks_exact(width)
            .zip(rounded.chunks_exact_mut(width));
        for ((weights, rounded), scale) in rows.zip(&mut scales) {
            *scale = round(weights, rounded);
        }
        let pairs = build_tiles(out / TILE, width / 2, |column, pair| {
            std::array::from_fn(|lane| {
                let at = (column * TILE + lane) * width + pair * 2;
                [rounded[at], rounded[at + 1]]
            })
        });
        Some(Self {
            out,
            width,
            pairs,
            scales,
        })
    }

    /// Returns an output's scale and its numbers.
    pub fn row(&self, out: usize) -> (f32, Vec<i16>) {
        let pairs = self.width / 2;
        let column = &self.pairs[out / TILE * pairs..][..pairs];
        let numbers = column.iter().flat_map(|pair| pair[out % TILE]).collect();
        (self.scales[out], numbers)
    }
}

/// Rows of activations.
#[derive(Debug)]
pub struct Int16Rows {
    pub num_rows: usize,
    pub width: usize,
    /// `[num_rows, width]`
    pub(super) values: Vec<i16>,
    /// `[num_rows]`
    pub(super) scales: Vec<f32>,
}

impl Int16Rows {
    /// Rounds `x`: `[num_rows, width]` f32 on the CPU. A row with NaN or infinity becomes one whose products are NaN.
    ///
    /// # Errors
    /// A candle error for any other tensor.
    pub fn new(x: &Tensor) -> Result<Self> {
        let (num_rows, width) = x.dims2()?;
        let (mut values, mut scales) = (vec![0; num_rows * width], vec![0.0; num_rows]);
        with_f32(x, |x| {
            let (shared, all_scales) =
                (DisjointMut::new(&mut values), DisjointMut::new(&mut scales));
            parallel(num_rows, x.len() >= WORTH_THREADS, |rows| {
                // SAFETY: ranges of rows do not overlap.
                let scales = unsafe { all_scales.range(rows.start, rows.len()) };
                for (row, scale) in rows.zip(scales) {
                    // SAFETY: as above.
                    let values = unsafe { shared.range(row * width, width) };
                    *scale = round(&x[row * width..][..width], values);
                }
            });
            Ok(())
        })?;
        Ok(Self {
            num_rows,
            width,
            values,
            scales,
        })
    }

    /// Returns a row's scale and its numbers.
    pub fn row(&self, row: usize) -> (f32, &[i16]) {
        let values = &self.values[row * self.width..][..self.width];
        (self.scales[row], values)
    }
}

/// Rounds a row; returns its scale.
fn round(x: &[f32], rounded: &mut [i16]) -> f32 {
    let mut scale = 0.0;
    round_row(x, rounded, &mut scale);
    scale
}

multiversion! {
    fn round_row(x: &[f32], rounded: &mut [i16], scale: &mut f32) = round_body
}

#[inline(always)]
fn round_body<const FUSED: bool>(x: &[f32], rounded: &mut [i16], scale: &mut f32) {
    let whole = x.len() - x.len() % LANES;
    let mut largest = largest_magnitude(&x[..whole]);
    for x in &x[whole..] {
        // Not `max`, which drops NaN.
        if x.abs() > largest || x.is_nan() {
            largest = x.abs();
        }
    }
    if largest == 0.0 {
        rounded.fill(0);
        *scale = 0.0;
        return;
    }
    // Relative to the largest, so that no square overflows.
    let inverse = 1.0 / largest;
    let mut squares = [0f32; LANES];
    for chunk in x.as_chunks::<LANES>().0 {
        for lane in 0..LANES {
            let x = chunk[lane] * inverse;
            squares[lane] += x * x;
        }
    }
    let mut square: f32 = squares.iter().sum();
    for x in &x[whole..] {
        square += (x * inverse).powi(2);
    }
    let steps = (LENGTH / square.sqrt()).min(f32::from(i16::MAX));
    let factor = steps * inverse;
    for (rounded, x) in rounded.iter_mut().zip(x) {
        // 1.5 * 2^23: adding it rounds to the nearest integer, which is then in the low bits.
        const ROUND: f32 = 12_582_912.0;
        *rounded = (x * factor + ROUND).to_bits() as i16;
    }
    // NaN and infinity are in `largest`, so in the scale.
    *scale = if largest.is_finite() {
        largest / steps
    } else {
        f32::NAN
    };
}
