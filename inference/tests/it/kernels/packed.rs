//! Packed activations and weights: what is packed, and products of both.

use candle_core::quantized::GgmlDType;
use half::{bf16, f16};
use inference::{
    gguf::{GgmlType, dequantize, encode},
    ops::packed_matmul::{PackedFormat, UNIT, X_UNIT_BYTES, pack, units_of},
};

use super::{assert_close, random, runner::Case};

pub const TYPES: [(GgmlType, GgmlDType); 8] = [
    (GgmlType::Q4_K, GgmlDType::Q4K),
    (GgmlType::Q5_K, GgmlDType::Q5K),
    (GgmlType::Q6_K, GgmlDType::Q6K),
    (GgmlType::Q4_0, GgmlDType::Q4_0),
    (GgmlType::Q4_1, GgmlDType::Q4_1),
    (GgmlType::Q5_0, GgmlDType::Q5_0),
    (GgmlType::Q5_1, GgmlDType::Q5_1),
    (GgmlType::Q8_0, GgmlDType::Q8_0),
];

/// A matrix as the file has it, packed and exact.
pub struct Matrix {
    pub rows: usize,
    pub format: PackedFormat,
    pub units: Vec<u8>,
    weights: Vec<f32>,
}

impl Matrix {
    pub fn new(types: (GgmlType, GgmlDType), rows: usize, width: usize) -> Self {
        Self::seeded(
            u64::from(types.0.0) + width as u64,
            types,
            (rows, width),
            1.0,
        )
    }

    /// Random weights, of numbers up to 2.7 times `scale`.
    pub fn seeded(
        seed: u64,
        (ggml_type, dtype): (GgmlType, GgmlDType),
        (rows, width): (usize, usize),
        scale: f32,
    ) -> Self {
        let mut weights = random(seed, rows * width);
        // Off the middle, so that minima matter.
        weights
            .iter_mut()
            .for_each(|weight| *weight = (*weight + 0.7) * scale);
        let (each, bytes) = ggml_type.block().unwrap();
        let mut blocks = vec![0; rows * width / each * bytes];
        encode(ggml_type, &weights, &mut blocks).unwrap();
        dequantize(ggml_type, &blocks, &mut weights).unwrap();
        Self {
            rows,
            format: PackedFormat::of(dtype).unwrap(),
            units: pack(dtype, (rows, width), &blocks).unwrap(),
            weights,
        }
    }

    pub fn product(&self, x: &[f32], width: usize) -> Vec<f32> {
        let dot = |x: &[f32], row: &[f32]| {
            let products = x
                .iter()
                .zip(row)
                .map(|(x, w)| f64::from(*x) * f64::from(*w));
            products.sum::<f64>() as f32
        };
        let rows = || self.weights.chunks_exact(width);
        x.chunks_exact(width)
            .flat_map(|x| rows().map(move |row| dot(x, row)))
            .collect()
    }
}

/// Packed activations as numbers again, `[rows, 256 * units]`.
pub fn unpack(packed: &[u8], rows: usize, width: usize) -> Vec<f32> {
    let units = units_of(width);
    let mut x = vec![0.0; rows * width];
    for (index, x) in x.iter_mut().enumerate() {
        let (row, column) = (index / width, index % width);
        let unit = &packed[(row / 8 * units + column / UNIT) * X_UNIT_BYTES..][..X_UNIT_BYTES];
        let (span, k) = (column % UNIT / 32, column % 32);
        let at = ((span * 32 + row % 8 * 4 + k % 16 / 4) * 4 + k / 16) * 4 + k % 4;
        let (high, low) = (unit[at] as i8, unit[at + 8] as i8);
        let scale = f32::from_le_bytes(unit[4352 + 4 * (row % 8)..][..4].try_into().unwrap());
        *x = scale * (128.0 * f32::from(high) + f32::from(low));
    }
    x
}

/// Activations in f16 as numbers again, `[rows, width]`; what is beyond the width must be zero.
#[track_caller]
pub fn unpack_halves(packed: &[u8], rows: usize, width: usize) -> Vec<f32> {
    const UNIT_BYTES: usize = 4096;
    let units = units_of(width);
    let mut x = Vec::with_capacity(rows * width);
    for row in 0..rows {
        for column in 0..units * UNIT {
            let unit = &packed[(row / 8 * units + column / UNIT) * UNIT_BYTES..][..UNIT_BYTES];
            let (span, k) = (column % UNIT / 32, column % 32);
            // A word has columns 4t and 4t + 2 or 4t + 1 and 4t + 3.
            let word = (span * 4 + k / 16 * 2 + k % 2) * 32 + row % 8 * 4 + k % 16 / 4;
            let half =
                f16::from_le_bytes(unit[word * 4 + k % 4 / 2 * 2..][..2].try_into().unwrap());
            match column < width {
                true => x.push(half.to_f32() * 64.0),
                false => assert_eq!(half.to_f32(), 0.0, "row {row}, column {column}"),
            }
        }
    }
    x
}

/// One rounding to f16 of 64th parts, and `tolerance`.
#[track_caller]
pub fn assert_halves(what: &str, packed: &[u8], want: &[f32], width: usize, tolerance: f32) {
    let got = unpack_halves(packed, want.len() / width, width);
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        let bound = want.abs() / 2048.0 + 64.0 * 6e-8 + tolerance;
        assert!(
            (got - want).abs() <= bound,
            "{what}: element {index} is {got}, not {want}"
        );
    }
}

/// Rounding to 14 bits of the largest of 256.
#[track_caller]
pub fn assert_packed(what: &str, packed: &[u8], want: &[f32], width: usize) {
    let got = unpack(packed, want.len() / width, width);
    for (row, (got, want)) in got.chunks(width).zip(want.chunks(width)).enumerate() {
        for (unit, (got, want)) in got.chunks(UNIT).zip(want.chunks(UNIT)).enumerate() {
            let largest = want.iter().fold(0f32, |most, x| most.max(x.abs()));
            for (got, want) in got.iter().zip(want) {
                let bound = largest * (0.5 / 8191.0 + 1e-5);
                assert!(
                    (got - want).abs() <= bound,
                    "{what}: row {row}, unit {unit}: {got}, not {want}"
                );
            }
        }
    }
}

#[test]
fn activations_keep_14_bits() {
    for (rows, width) in [(1, 256), (3, 576), (9, 64), (17, 1056)] {
        let mut x = random(width as u64, rows * width);
        x[0] = 900.0;
        let buffers = Case::new("pack_rows")
            .size("rows", rows)
            .size("width", width)
            .buffer("x", &x)
            .run();
        assert_packed("pack_rows", &buffers.get("packed"), &x, width);
    }
}

#[test]
fn rows_in_16_bits_are_rounded() {
    for (rows, width) in [(1, 256), (3, 577)] {
        let x = random(width as u64, rows * width);
        let run = |name| -> Vec<u16> {
            let case = Case::new(name)
                .size("rows", rows)
                .size("width", width)
                .buffer("x", &x);
            case.run().get("out")
        };
        let want: Vec<u16> = x.iter().map(|x| bf16::from_f32(*x).to_bits()).collect();
        assert_eq!(run("rows_bf16"), want);
        let want: Vec<u16> = x
            .iter()
            .map(|x| f16::from_f32(x / 64.0).to_bits())
            .collect();
        assert_eq!(run("rows_f16"), want);
    }
}

#[test]
fn products_are_those_of_the_weights() {
    for types in TYPES {
        for (width, rows, batch) in [
            (256, 1, 1),
            (512, 17, 2),
            (2304, 33, 8),
            (768, 16, 3),
            (5120, 5, 1),
        ] {
            let matrix = Matrix::new(types, rows, width);
            let x = random(7, batch * width);
            let bias = random(8, rows);
            let y = Case::new("packed_gemv")
                .size("width", width)
                .size("batch", batch)
                .size("ring_bytes", matrix.format.ring_bytes())
                .size("rows_a", rows)
                .size("format_a", matrix.format as usize)
                .buffer("units_a", &matrix.units)
                .buffer("bias_a", &bias)
                .buffer("x", &x)
                .run();
            let padded: Vec<f32> = y.get("y_a");
            let got: Vec<f32> = padded
                .chunks_exact(rows + 3)
                .flat_map(|row| &row[..rows])
                .copied()
                .collect();
            let mut want = matrix.product(&x, width);
            for (index, want) in want.iter_mut().enumerate() {
                *want += bias[index % rows];
            }
            // An activation is off by up to 2 / 8191 / 2, a weight is up to 2.7: thousands add up at random.
            let tolerance = 3e-4 * (width as f32).sqrt();
            assert_close(
                &format!("{types:?} {width} x {rows}, {batch}"),
                &got,
                &want,
                tolerance,
            );
        }
    }
}

#[test]
fn widths_need_not_be_whole_units() {
    for types in [TYPES[3], TYPES[4], TYPES[5], TYPES[6], TYPES[7]] {
        let (width, rows) = (288, 18);
        for batch in [1, 3] {
            let matrix = Matrix::new(types, rows, width);
            let x = random(7, batch * width);
            let y = Case::new("packed_gemv")
                .size("width", width)
                .size("batch", batch)
                .size("ring_bytes", matrix.format.ring_bytes())
                .size("rows_a", rows)
                .size("format_a", matrix.format as usize)
                .buffer("units_a", &matrix.units)
                .buffer("x", &x)
                .run();
            let padded: Vec<f32> = y.get("y_a");
            let got: Vec<f32> = padded
                .chunks_exact(rows + 3)
                .flat_map(|row| &row[..rows])
                .copied()
                .collect();
            assert_close(
                &format!("{types:?}"),
                &got,
                &matrix.product(&x, width),
                6e-3,
            );
        }
    }
}

#[test]
fn matrices_of_different_types_share_a_launch() {
    let (width, batch) = (768, 5);
    let parts = [(TYPES[0], 40), (TYPES[0], 16), (TYPES[2], 9)];
    let x = random(7, batch * width);
    let mut case = Case::new("packed_gemv")
        .size("width", width)
        .size("batch", batch)
        .size("ring_bytes", PackedFormat::BytesHalves.ring_bytes())
        .buffer("x", &x);
    let matrices = parts.map(|(types, rows)| Matrix::new(types, rows, width));
    for (matrix, name) in matrices.iter().zip(["a", "b", "c"]) {
        case = case
            .size(&format!("rows_{name}"), matrix.rows)
            .size(&format!("format_{name}"), matrix.format as usize)
            .buffer(&format!("units_{name}"), &matrix.units);
    }
    let y = case.run();
    for (matrix, name) in matrices.iter().zip(["a", "b", "c"]) {
        let rows = matrix.rows;
        let padded: Vec<f32> = y.get(&format!("y_{name}"));
        let got: Vec<f32> = padded
            .chunks_exact(rows + 3)
            .flat_map(|row| &row[..rows])
            .copied()
            .collect();
        assert_close(name, &got, &matrix.product(&x, width), 1e-2);
    }
}

#[test]
fn unpacked_weights_are_the_file_s() {
    for types in TYPES {
        for (width, rows) in [(256, 16), (768, 19)] {
            let matrix = Matrix::new(types, rows, width);
            let out = Case::new("unpack_weights")
                .size("width", width)
                .size("rows", rows)
                .size("format", matrix.format as usize)
                .buffer("units", &matrix.units)
                .run();
            let got: Vec<bf16> = bytemuck::cast_slice::<u16, bf16>(&out.get::<u16>("out")).to_vec();
            for (got, want) in got.iter().zip(&matrix.weights) {
                let bound = want.abs() / 250.0 + 1e-6;
                assert!(
                    (got.to_f32() - want).abs() <= bound,
                    "{types:?}: {got}, not {want}"
                );
            }
        }
    }
}

#[test]
fn gates_are_packed() {
    for (rows, width, stride) in [(1, 512, 1024), (9, 320, 700), (2, 1100, 1101)] {
        let (gate, up) = (random(1, rows * stride), random(2, rows * stride));
        let buffers = Case::new("gated_packed")
            .size("rows", rows)
            .size("width", width)
            .size("stride", stride)
            .size("gelu_tanh", 0)
            .buffer("gate", &gate)
            .buffer("up", &up)
            .run();
        let silu = |x: f32| x / (1.0 + (-x).exp());
        let at = |index: usize| index / width * stride + index % width;
        let want: Vec<f32> = (0..rows * width)
            .map(|index| silu(gate[at(index)]) * up[at(index)])
            .collect();
        assert_packed("gated", &buffers.get("packed"), &want, width);
        assert_halves("gated", &buffers.get("halves"), &want, width, 1e-5);
    }
}

#[test]
fn norms_are_packed_and_say_whether_they_are_numbers() {
    let (rows, hidden, eps) = (10, 576, 1e-5f32);
    let (delta, mut residual, weight) = (
        random(1, rows * hidden),
        random(2, rows * hidden),
        random(3, hidden),
    );
    residual[3 * hidden + 5] = f32::NAN;
    residual[4 * hidden + 5] = f32::INFINITY;
    let buffers = Case::new("norm_packed")
        .size("rows", rows)
        .size("hidden", hidden)
        .scalar("eps", eps)
        .buffer("delta", &delta)
        .buffer("residual", &residual)
        .buffer("weight", &weight)
        .run();
    let is_valid: Vec<u32> = buffers.get("is_valid");
    assert_eq!(is_valid, [1, 1, 1, 0, 0, 1, 1, 1, 1, 1]);
    let packed: Vec<u8> = buffers.get("packed");
    let got = unpack(&packed, rows, hidden);
    let plain: Vec<f32> = buffers.get("plain");
    for (row, got) in got.chunks(hidden).enumerate() {
        let sum: Vec<f32> = (0..hidden)
            .map(|i| delta[row * hidden + i] + residual[row * hidden + i])
            .collect();
        if is_valid[row] == 0 {
            assert!(got.iter().any(|x| x.is_nan()), "row {row}");
            continue;
        }
        let scale = 1.0 / (sum.iter().map(|x| x * x).sum::<f32>() / hidden as f32 + eps).sqrt();
        let want: Vec<f32> = sum
            .iter()
            .zip(&weight)
            .map(|(x, w)| x * scale * w)
            .collect();
        assert_close("norm", got, &want, 1e-3);
        assert_close("norm in f32", &plain[row * hidden..][..hidden], &want, 1e-5);
    }
}

#[test]
fn rows_of_the_embedding_and_the_largest_logits_are_found() {
    let (hidden, ids) = (96, [3u32, 0, 6]);
    let table = random(1, 7 * hidden);
    let halves: Vec<u16> = table.iter().map(|x| f16::from_f32(*x).to_bits()).collect();
    let out = Case::new("embed_rows")
        .size("hidden", hidden)
        .scalar("scale", 2.0)
        .buffer("table", &halves)
        .buffer("ids", &ids)
        .run();
    let want: Vec<f32> = ids
        .iter()
        .flat_map(|&id| &table[id as usize * hidden..][..hidden])
        .map(|x| 2.0 * x)
        .collect();
    assert_close("embedding", &out.get("out"), &want, 1e-3);

    let (rows, width, stride) = (3, 2500, 2503);
    let mut logits = random(2, rows * stride);
    logits[1200] = 9.0;
    logits[2100] = 9.0;
    logits[stride + 2499] = 8.0;
    logits[2 * stride] = 8.0;
    logits[stride + 2500] = 100.0;
    let out = Case::new("largest_of_row")
        .size("rows", rows)
        .size("width", width)
        .size("stride", stride)
        .buffer("logits", &logits)
        .run();
    assert_eq!(out.get::<u32>("ids"), [1200, 2499, 0]);
}
