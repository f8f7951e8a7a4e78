//! Weights rounded to blocks of a ggml type, the inverse of [`super::dequantize`].
//!
//! Scales of the formats with one scale a block are the ones that reach the largest weight. The k-quants have a choice:
//! a grid of slightly different scales is tried for each span, for each the weights are rounded, the scale (and offset)
//! that suits those integers best in the sense of weighted least squares is computed, and the best of all is kept. Large
//! weights count more. Then the scales themselves are rounded to 6 or 8 bits and the weights once more against those.
//!
//! The arithmetic is done in ggml's order and never fused, so that the blocks are the same on every CPU and those of
//! llama.cpp (`tests/it/golden_types.rs`). All candidates of the grid are computed side by side in vector lanes.
//! `IQ4_NL`, `IQ4_XS` and `MXFP4` are written for tests and benches only: the plain nearest value, no search.

#![allow(
    clippy::needless_range_loop,
    reason = "a candidate's index addresses several arrays at once"
)]

use half::{bf16, f16};

use super::{
    BlockError, GgmlType,
    dequantize::{IQ4_VALUES, MXFP4_DOUBLED, mxfp4_half_scale, whole_blocks},
};
use crate::ops::cpu::multiversion;

/// Weights of a super-block.
const SUPERBLOCK: usize = 256;
/// Weights that share a scale and an offset in `Q4_K` and `Q5_K`.
const SPAN: usize = 32;
/// Weights that share a scale in `Q6_K`.
const HALF_SPAN: usize = 16;
/// Room for the candidates of the grids, a whole number of vectors.
const CANDIDATES: usize = 32;
/// Weights whose magnitude is below this are zero to the k-quants, as in ggml.
const SMALLEST: f32 = 1e-15;

/// Writes the blocks of `weights` to `data`.
///
/// # Errors
/// [`BlockError`] for a type that is not written here, or unless `data` has exactly the bytes of `weights`.
pub fn encode(ggml_type: GgmlType, weights: &[f32], data: &mut [u8]) -> Result<(), BlockError> {
    let encode = encoder(ggml_type).ok_or(BlockError::Type { ggml_type })?;
    let (block_weights, block_bytes) = whole_blocks(ggml_type, data.len(), weights.len())?;
    let blocks = data.chunks_exact_mut(block_bytes);
    for (block, weights) in blocks.zip(weights.chunks_exact(block_weights)) {
        encode(weights, block);
    }
    Ok(())
}

/// Rounds one block.
type Encode = fn(&[f32], &mut [u8]);

fn encoder(ggml_type: GgmlType) -> Option<Encode> {
    Some(match ggml_type {
        GgmlType::F32 => |x, block| block.copy_from_slice(&x[0].to_le_bytes()),
        GgmlType::F16 => |x, block| put_half(block, 0, x[0]),
        GgmlType::BF16 => |x, block| block.copy_from_slice(&bf16::from_f32(x[0]).to_le_bytes()),
        GgmlType::Q4_0 => |x, block| {
            let (d, q) = centred(x, 8.0);
            put_half(block, 0, d);
            put_nibbles(&mut block[2..], &q);
        },
        GgmlType::Q4_1 => |x, block| {
            let (d, m, q) = from_minimum(x, 15.0);
            put_half(block, 0, d);
            put_half(block, 2, m);
            put_nibbles(&mut block[4..], &q);
        },
        GgmlType::Q5_0 => |x, block| {
            let (d, q) = centred(x, 16.0);
            put_half(block, 0, d);
            block[2..6].copy_from_slice(&fifth_bits(&q).to_le_bytes());
            put_nibbles(&mut block[6..], &q);
        },
        GgmlType::Q5_1 => |x, block| {
            let (d, m, q) = from_minimum(x, 31.0);
            put_half(block, 0, d);
            put_half(block, 2, m);
            block[4..8].copy_from_slice(&fifth_bits(&q).to_le_bytes());
            put_nibbles(&mut block[8..], &q);
        },
        GgmlType::Q8_0 => q8_0,
        GgmlType::Q4_K => q4_k,
        GgmlType::Q5_K => q5_k,
        GgmlType::Q6_K => q6_k,
        GgmlType::IQ4_NL => iq4_nl,
        GgmlType::IQ4_XS => iq4_xs,
        GgmlType::MXFP4 => mxfp4,
        _ => return None,
    })
}

fn put_half(block: &mut [u8], at: usize, value: f32) {
    block[at..at + 2].copy_from_slice(&f16::from_f32(value).to_le_bytes());
}

/// Low 4 bits of 32 integers into 16 bytes: the first 16 in the low nibbles.
fn put_nibbles(packed: &mut [u8], q: &[u8; SPAN]) {
    for (i, byte) in packed.iter_mut().take(16).enumerate() {
        *byte = q[i] & 15 | q[i + 16] << 4;
    }
}

fn fifth_bits(q: &[u8; SPAN]) -> u32 {
    q.iter()
        .enumerate()
        .fold(0, |bits, (i, &q)| bits | u32::from(q >> 4) << i)
}

/// The weight of the largest magnitude, with its sign; the first of equals.
fn extreme(x: &[f32]) -> f32 {
    x.iter()
        .fold(0f32, |best, &x| if x.abs() > best.abs() { x } else { best })
}

fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// `d * (q - centre)`: the extreme weight is `-centre` exactly.
fn centred(x: &[f32], centre: f32) -> (f32, [u8; SPAN]) {
    let d = extreme(x) / -centre;
    let inverse = inverse(d);
    let level = |x: f32| (x * inverse + (centre + 0.5)).min(2.0 * centre - 1.0) as u8;
    (d, std::array::from_fn(|i| level(x[i])))
}

/// `d * q + m`, with `m` the smallest weight and `d * levels + m` the largest.
fn from_minimum(x: &[f32], levels: f32) -> (f32, f32, [u8; SPAN]) {
    let smallest = x.iter().copied().fold(f32::MAX, f32::min);
    let largest = x.iter().copied().fold(f32::MIN, f32::max);
    let d = (largest - smallest) / levels;
    let inverse = inverse(d);
    let level = |x: f32| ((x - smallest) * inverse + 0.5).min(levels) as u8;
    (d, smallest, std::array::from_fn(|i| level(x[i])))
}

fn q8_0(x: &[f32], block: &mut [u8]) {
    let d = extreme(x).abs() / 127.0;
    let inverse = inverse(d);
    put_half(block, 0, d);
    for (byte, x) in block[2..].iter_mut().zip(x) {
        *byte = (x * inverse).round() as i8 as u8;
    }
}

/// Rounds to the nearest integer, ties to even; for magnitudes below 2^22. A loop over it becomes vector code.
#[inline(always)]
fn nearest(x: f32) -> f32 {
    // 1.5 * 2^23: the sum has no bits left for fractions.
    const ROUND: f32 = 12_582_912.0;
    x + ROUND - ROUND
}

/// [`nearest`] of any quotient, between two bounds.
fn level(x: f32, least: f32, most: f32) -> f32 {
    // A scale of next to nothing makes quotients that `nearest` is not for.
    nearest(x.clamp(least - 1.0, most + 1.0)).clamp(least, most)
}

/// The scales to try: `1 / ((levels + first + k * step) / range)` for `k` below `count`.
struct Grid {
    levels: f32,
    first: f32,
    step: f32,
    count: usize,
}

/// `scale * q - offset`.
#[derive(Default)]
struct Affine {
    scale: f32,
    offset: f32,
}

multiversion! {
    /// Finds the scale and the offset, neither negative, with which a span is best expressed by the integers from 0 to
    /// `grid.levels`.
    fn fit_affine(x: &[f32; SPAN], grid: &Grid, fit: &mut Affine) = fit_affine_body
}

#[inline(always)]
fn fit_affine_body<const FUSED: bool>(x: &[f32; SPAN], grid: &Grid, fit: &mut Affine) {
    let power = x.iter().fold(0f32, |sum, x| sum + x * x);
    let mean = (power / SPAN as f32).sqrt();
    let importance: [f32; SPAN] = std::array::from_fn(|i| mean + x[i].abs());
    let (mut smallest, mut largest) = (x[0], x[0]);
    let (mut sum_w, mut sum_x) = (importance[0], importance[0] * x[0]);
    for (x, w) in x.iter().zip(&importance).skip(1) {
        (smallest, largest) = (smallest.min(*x), largest.max(*x));
        sum_w += w;
        sum_x += w * x;
    }
    let smallest = smallest.min(0.0);
    let range = largest - smallest;
    if range == 0.0 {
        *fit = Affine {
            scale: 0.0,
            offset: -smallest,
        };
        return;
    }
    let levels = grid.levels;
    let mut best = Affine {
        scale: 1.0 / (levels / range),
        offset: -smallest,
    };
    let mut best_error = 0f32;
    for (x, w) in x.iter().zip(&importance) {
        let q = nearest(levels / range * (x - smallest)).clamp(0.0, levels);
        let error = best.scale * q + smallest - x;
        best_error += w * (error * error);
    }
    let span = Span {
        x,
        importance: &importance,
        sum_w,
        sum_x,
        largest,
    };
    // As in ggml, the candidates after a better one start from its offset. So all are tried side by side, and those after
    // the first better one again.
    let mut from = 0;
    loop {
        let tried = try_grid(&span, grid, -best.offset);
        let better = (from..grid.count).find(|&k| tried.errors[k] < best_error);
        let Some(k) = better else {
            break;
        };
        best_error = tried.errors[k];
        best = Affine {
            scale: tried.scales[k],
            offset: -tried.minima[k],
        };
        from = k + 1;
    }
    *fit = best;
}

/// What all candidates for a span have in common.
struct Span<'a> {
    x: &'a [f32; SPAN],
    importance: &'a [f32; SPAN],
    sum_w: f32,
    sum_x: f32,
    largest: f32,
}

/// The best scale and offset for the integers of each candidate, and the weighted squares of what is left.
struct Tried {
    scales: [f32; CANDIDATES],
    minima: [f32; CANDIDATES],
    errors: [f32; CANDIDATES],
}

#[inline(always)]
fn try_grid(span: &Span<'_>, grid: &Grid, minimum: f32) -> Tried {
    let levels = grid.levels;
    let range = span.largest - minimum;
    let inverses: [f32; CANDIDATES] =
        std::array::from_fn(|k| (grid.first + grid.step * k as f32 + levels) / range);
    let (mut sum_q, mut sum_qq, mut sum_qx) =
        ([0f32; CANDIDATES], [0f32; CANDIDATES], [0f32; CANDIDATES]);
    for (x, w) in span.x.iter().zip(span.importance) {
        for k in 0..CANDIDATES {
            let q = nearest(inverses[k] * (x - minimum)).clamp(0.0, levels);
            sum_q[k] += w * q;
            sum_qq[k] += w * q * q;
            sum_qx[k] += w * q * x;
        }
    }
    let mut tried = Tried {
        scales: [0.0; CANDIDATES],
        minima: [0.0; CANDIDATES],
        errors: [0.0; CANDIDATES],
    };
    let (sum_w, sum_x) = (span.sum_w, span.sum_x);
    for k in 0..CANDIDATES {
        let determinant = sum_w * sum_qq[k] - sum_q[k] * sum_q[k];
        let scale = (sum_w * sum_qx[k] - sum_x * sum_q[k]) / determinant;
        let offset = (sum_qq[k] * sum_x - sum_q[k] * sum_qx[k]) / determinant;
        // The format cannot shift upwards.
        let upwards = offset > 0.0;
        tried.scales[k] = if upwards {
            sum_qx[k] / sum_qq[k]
        } else {
            scale
        };
        tried.minima[k] = if upwards { 0.0 } else { offset };
        // Integers that are all the same say nothing about the scale.
        tried.errors[k] = if determinant > 0.0 {
            0.0
        } else {
            f32::INFINITY
        };
    }
    for (x, w) in span.x.iter().zip(span.importance) {
        for k in 0..CANDIDATES {
            let q = nearest(inverses[k] * (x - minimum)).clamp(0.0, levels);
            let error = tried.scales[k] * q + tried.minima[k] - x;
            tried.errors[k] += w * (error * error);
        }
    }
    tried
}

multiversion! {
    /// Finds the scale with which a half span is best expressed by the integers from -32 to 31. It may be negative.
    fn fit_symmetric(x: &[f32; HALF_SPAN], scale: &mut f32) = fit_symmetric_body
}

#[inline(always)]
fn fit_symmetric_body<const FUSED: bool>(x: &[f32; HALF_SPAN], scale: &mut f32) {
    const LEVELS: f32 = 32.0;
    /// Steps of 0.1 around the scale that reaches the extreme, itself first.
    const STEPS: [i8; 19] = [
        0, -9, -8, -7, -6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6, 7, 8, 9,
    ];
    let extreme = extreme(x);
    *scale = 0.0;
    if extreme.abs() < SMALLEST {
        return;
    }
    let step = |k: usize| f32::from(STEPS[k.min(STEPS.len() - 1)]);
    let inverses: [f32; CANDIDATES] = std::array::from_fn(|k| -(LEVELS + 0.1 * step(k)) / extreme);
    let (mut sum_qx, mut sum_qq) = ([0f32; CANDIDATES], [0f32; CANDIDATES]);
    for x in x {
        let w = x * x;
        for k in 0..CANDIDATES {
            let q = nearest(inverses[k] * x).clamp(-LEVELS, LEVELS - 1.0);
            sum_qx[k] += w * x * q;
            sum_qq[k] += w * q * q;
        }
    }
    // Weights whose squares vanish have sums of 0.
    let mut best = 0.0;
    for k in 0..STEPS.len() {
        let better = k == 0 || sum_qx[k] * sum_qx[k] > best * sum_qq[k];
        if sum_qq[k] > 0.0 && better {
            *scale = sum_qx[k] / sum_qq[k];
            best = *scale * sum_qx[k];
        }
    }
}

/// A super-block of `Q4_K` or `Q5_K` before it is packed.
struct AffineSpans {
    d: f16,
    dmin: f16,
    scales: [u8; SUPERBLOCK / SPAN],
    mins: [u8; SUPERBLOCK / SPAN],
    q: [u8; SUPERBLOCK],
}

fn affine_spans(x: &[f32], grid: &Grid) -> AffineSpans {
    let (spans, _) = x.as_chunks::<SPAN>();
    let mut fits: [Affine; SUPERBLOCK / SPAN] = Default::default();
    for (fit, x) in fits.iter_mut().zip(spans) {
        fit_affine(x, grid, fit);
    }
    let largest_scale = fits.iter().fold(0f32, |most, fit| most.max(fit.scale));
    let largest_offset = fits.iter().fold(0f32, |most, fit| most.max(fit.offset));
    let six_bits = |value: f32, largest: f32| match largest {
        0.0 => 0,
        _ => level(63.0 / largest * value, 0.0, 63.0) as u8,
    };
    let scales = std::array::from_fn(|i| six_bits(fits[i].scale, largest_scale));
    let mins = std::array::from_fn(|i| six_bits(fits[i].offset, largest_offset));
    let d = f16::from_f32(largest_scale / 63.0);
    let dmin = f16::from_f32(largest_offset / 63.0);
    let mut q = [0u8; SUPERBLOCK];
    for (i, (q, x)) in q.chunks_exact_mut(SPAN).zip(spans).enumerate() {
        let scale = d.to_f32() * f32::from(scales[i]);
        let offset = dmin.to_f32() * f32::from(mins[i]);
        if scale == 0.0 {
            continue;
        }
        for (q, x) in q.iter_mut().zip(x) {
            *q = level((x + offset) / scale, 0.0, grid.levels) as u8;
        }
    }
    AffineSpans {
        d,
        dmin,
        scales,
        mins,
        q,
    }
}

/// Writes d, dmin and the 12 bytes of scales and mins, which `dequantize` describes.
fn put_affine_scales(block: &mut [u8], spans: &AffineSpans) {
    block[..2].copy_from_slice(&spans.d.to_le_bytes());
    block[2..4].copy_from_slice(&spans.dmin.to_le_bytes());
    let (scales, mins, packed) = (&spans.scales, &spans.mins, &mut block[4..16]);
    for i in 0..4 {
        packed[i] = scales[i] | scales[i + 4] >> 4 << 6;
        packed[i + 4] = mins[i] | mins[i + 4] >> 4 << 6;
        packed[i + 8] = scales[i + 4] & 15 | mins[i + 4] << 4;
    }
}

/// Low 4 bits of 256 integers into 128 bytes: of each 64, the first 32 are the low nibbles.
fn put_k_nibbles(packed: &mut [u8], q: &[u8; SUPERBLOCK]) {
    for (packed, q) in packed.chunks_exact_mut(32).zip(q.chunks_exact(64)) {
        for (i, byte) in packed.iter_mut().enumerate() {
            *byte = q[i] & 15 | q[i + 32] << 4;
        }
    }
}

fn q4_k(x: &[f32], block: &mut [u8]) {
    const GRID: Grid = Grid {
        levels: 15.0,
        first: -1.0,
        step: 0.1,
        count: 21,
    };
    let spans = affine_spans(x, &GRID);
    put_affine_scales(block, &spans);
    put_k_nibbles(&mut block[16..], &spans.q);
}

fn q5_k(x: &[f32], block: &mut [u8]) {
    const GRID: Grid = Grid {
        levels: 31.0,
        first: -0.5,
        step: 0.1,
        count: 16,
    };
    let spans = affine_spans(x, &GRID);
    put_affine_scales(block, &spans);
    for (i, byte) in block[16..48].iter_mut().enumerate() {
        *byte = (0..8).fold(0, |bits, span| bits | spans.q[span * SPAN + i] >> 4 << span);
    }
    put_k_nibbles(&mut block[48..], &spans.q);
}

fn q6_k(x: &[f32], block: &mut [u8]) {
    let (spans, _) = x.as_chunks::<HALF_SPAN>();
    let mut fits = [0f32; SUPERBLOCK / HALF_SPAN];
    for (fit, x) in fits.iter_mut().zip(spans) {
        fit_symmetric(x, fit);
    }
    block.fill(0);
    let extreme = extreme(&fits);
    if extreme.abs() < SMALLEST {
        return;
    }
    let inverse = -128.0 / extreme;
    let d = f16::from_f32(1.0 / inverse);
    let mut q = [0u8; SUPERBLOCK];
    for (i, (q, x)) in q.chunks_exact_mut(HALF_SPAN).zip(spans).enumerate() {
        let scale = level(inverse * fits[i], -128.0, 127.0);
        block[192 + i] = scale as i8 as u8;
        let scale = d.to_f32() * scale;
        if scale == 0.0 {
            continue;
        }
        for (q, x) in q.iter_mut().zip(x) {
            *q = (level(x / scale, -32.0, 31.0) + 32.0) as u8;
        }
    }
    for (i, q) in q.into_iter().enumerate() {
        block[i / 128 * 64 + i % 64] |= (q & 15) << (i % 128 / 64 * 4);
        block[128 + i / 128 * 32 + i % 32] |= q >> 4 << (i % 128 / 32 * 2);
    }
    block[208..210].copy_from_slice(&d.to_le_bytes());
}

/// Index of the value nearest to `x`.
fn nearest_value(values: &[i8; 16], x: f32) -> u8 {
    let mut best = 0;
    for (index, &value) in values.iter().enumerate() {
        if (f32::from(value) - x).abs() < (f32::from(values[best]) - x).abs() {
            best = index;
        }
    }
    best as u8
}

fn put_nearest_values(packed: &mut [u8], values: &[i8; 16], x: &[f32], scale: f32) {
    let inverse = inverse(scale);
    put_nibbles(
        packed,
        &std::array::from_fn(|i| nearest_value(values, x[i] * inverse)),
    );
}

fn iq4_nl(x: &[f32], block: &mut [u8]) {
    let d = f16::from_f32(extreme(x) / -127.0);
    block[..2].copy_from_slice(&d.to_le_bytes());
    put_nearest_values(&mut block[2..], &IQ4_VALUES, x, d.to_f32());
}

fn iq4_xs(x: &[f32], block: &mut [u8]) {
    let (spans, _) = x.as_chunks::<SPAN>();
    let fits: [f32; SUPERBLOCK / SPAN] = std::array::from_fn(|i| extreme(&spans[i]) / -127.0);
    let d = f16::from_f32(extreme(&fits) / -32.0);
    let inverse = inverse(d.to_f32());
    block.fill(0);
    block[..2].copy_from_slice(&d.to_le_bytes());
    let mut upper = 0u16;
    for (i, x) in spans.iter().enumerate() {
        let scale = level(inverse * fits[i], -32.0, 31.0);
        let stored = (scale + 32.0) as u8;
        block[4 + i / 2] |= (stored & 15) << (i % 2 * 4);
        upper |= u16::from(stored >> 4) << (2 * i);
        let nibbles = &mut block[8 + i * 16..][..16];
        put_nearest_values(nibbles, &IQ4_VALUES, x, d.to_f32() * scale);
    }
    block[2..4].copy_from_slice(&upper.to_le_bytes());
}

fn mxfp4(x: &[f32], block: &mut [u8]) {
    let largest = extreme(x).abs();
    // The largest value of E2M1 is 6 = 1.5 * 2^2.
    let exponent = if largest > 0.0 {
        (largest.log2().floor() as i32 - 2 + 127).clamp(0, 254) as u8
    } else {
        0
    };
    block[0] = exponent;
    put_nearest_values(
        &mut block[1..],
        &MXFP4_DOUBLED,
        x,
        mxfp4_half_scale(exponent),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{gguf::dequantize, ops::testing::random};

    /// Root mean square of the rounding of uniform weights, in units of the largest weight (2).
    fn rounding(ggml_type: GgmlType, weights: &[f32]) -> f32 {
        let mut data = vec![0u8; ggml_type.bytes_of(weights.len()).unwrap()];
        encode(ggml_type, weights, &mut data).unwrap();
        let mut back = vec![0f32; weights.len()];
        dequantize(ggml_type, &data, &mut back).unwrap();
        let squares = back.iter().zip(weights).map(|(a, b)| (a - b) * (a - b));
        (squares.sum::<f32>() / weights.len() as f32).sqrt() / 2.0
    }

    #[test]
    fn rounding_is_as_fine_as_the_levels_of_the_type() {
        let weights = random(7, 64 * SUPERBLOCK);
        // A step of 2/levels has an error of step / sqrt(12) = 0.58 / levels.
        let table = [
            (GgmlType::F32, 0.0),
            (GgmlType::F16, 1.5e-4),
            (GgmlType::BF16, 1.2e-3),
            (GgmlType::Q4_0, 0.040),
            (GgmlType::Q4_1, 0.040),
            (GgmlType::Q5_0, 0.019),
            (GgmlType::Q5_1, 0.019),
            (GgmlType::Q8_0, 2.4e-3),
            (GgmlType::Q4_K, 0.040),
            (GgmlType::Q5_K, 0.020),
            (GgmlType::Q6_K, 0.010),
            (GgmlType::IQ4_NL, 0.045),
            (GgmlType::IQ4_XS, 0.045),
            (GgmlType::MXFP4, 0.090),
        ];
        for (ggml_type, bound) in table {
            let rounding = rounding(ggml_type, &weights);
            assert!(rounding <= bound, "{ggml_type}: {rounding}");
            assert!(
                rounding >= bound / 2.0,
                "{ggml_type}: {rounding}, bound {bound} is loose"
            );
        }
    }

    #[test]
    fn blocks_of_zeros_and_of_one_value_are_exact_or_close() {
        for ggml_type in GgmlType::SUPPORTED {
            if encoder(ggml_type).is_none() {
                continue;
            }
            assert_eq!(rounding(ggml_type, &[0.0; SUPERBLOCK]), 0.0, "{ggml_type}");
            let constant = rounding(ggml_type, &[-0.75; SUPERBLOCK]);
            assert!(constant < 0.02, "{ggml_type}: {constant}");
        }
    }

    #[test]
    fn extreme_weights_do_not_panic() {
        let extremes = [
            f32::MIN_POSITIVE,
            1e-38,
            -1e-30,
            1e30,
            f32::MAX,
            f32::INFINITY,
            f32::NAN,
        ];
        for ggml_type in GgmlType::SUPPORTED {
            let Some(encode) = encoder(ggml_type) else {
                continue;
            };
            let (weights, bytes) = ggml_type.block().unwrap();
            for extreme in extremes {
                let mut x = vec![0.5f32; weights];
                x[weights / 2] = extreme;
                encode(&x, &mut vec![0; bytes]);
                encode(&vec![extreme; weights], &mut vec![0; bytes]);
            }
        }
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        let error = encode(GgmlType::Q8_0, &[0.0; 32], &mut [0; 33]).unwrap_err();
        assert!(matches!(error, BlockError::Length { .. }), "{error}");
        let error = encode(GgmlType::Q8_0, &[0.0; 31], &mut [0; 34]).unwrap_err();
        assert!(matches!(error, BlockError::Length { .. }), "{error}");
        let error = encode(GgmlType::Q2_K, &[0.0; 256], &mut [0; 84]).unwrap_err();
        assert!(error.to_string().contains("Q2_K"), "{error}");
    }
}
