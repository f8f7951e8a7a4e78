//! Products of 9 to 64 tokens with packed weights in f16, on the host.

use candle_core::quantized::GgmlDType;
use half::f16;
use inference::gguf::GgmlType;

use super::{
    assert_close,
    packed::{Matrix, TYPES},
    random,
    runner::{Buffers, Case},
};

const Q4_K: (GgmlType, GgmlDType) = TYPES[0];
const Q6_K: (GgmlType, GgmlDType) = TYPES[2];
const Q5_0: (GgmlType, GgmlDType) = TYPES[5];

/// By `mma.sync`, and by `wgmma` of compute capability 9.0.
const KERNELS: [&str; 2] = ["packed_gemm", "packed_gemm_wgmma"];

/// A launch with up to three matrices.
fn gemm(
    kernel: &str,
    x: &[f32],
    (width, batch, splits): (usize, usize, usize),
    parts: &[(&Matrix, Option<&[f32]>)],
) -> Case {
    let mut case = Case::new(kernel)
        .size("width", width)
        .size("batch", batch)
        .size("splits", splits)
        .buffer("x", x);
    for ((matrix, bias), name) in parts.iter().zip(["a", "b", "c"]) {
        case = case
            .size(&format!("rows_{name}"), matrix.rows)
            .size(&format!("format_{name}"), matrix.format as usize)
            .buffer(&format!("units_{name}"), &matrix.units);
        if let Some(bias) = bias {
            case = case.buffer(&format!("bias_{name}"), bias);
        }
    }
    case
}

/// The products without the room between rows, which nobody may have written.
#[track_caller]
fn products(buffers: &Buffers, name: &str, rows: usize) -> Vec<f32> {
    let padded: Vec<f32> = buffers.get(name);
    let mut products = Vec::new();
    for row in padded.chunks_exact(rows + 3) {
        products.extend_from_slice(&row[..rows]);
        assert!(
            row[rows..].iter().all(|x| x.to_bits() == u32::MAX),
            "{name}: written past a row's end"
        );
    }
    products
}

/// Products are up to 2 * 2.7 (1.6 at random) of four numbers rounded to 11 bits (activation, scale, minimum, weight); `width` of them
/// add up at random, with a deviation of 7e-4 * sqrt(width). A wrong scale or minimum is off by a hundred times that.
fn tolerance(width: usize) -> f32 {
    4e-3 * (width as f32).sqrt()
}

#[test]
fn halves_are_packed_in_the_order_of_fragments() {
    let (rows, width) = (11, 1100);
    let x = random(1, rows * width);
    let buffers = Case::new("pack_rows_halves")
        .size("rows", rows)
        .size("width", width)
        .buffer("x", &x)
        .run();
    let packed: Vec<u16> = buffers.get("packed");
    let units = width.div_ceil(256);
    for row in 0..rows {
        for column in 0..256 * units {
            let (span, k) = (column % 256 / 32, column % 32);
            // A pair of columns 4t.. of a lane is 0 and 2, or 1 and 3.
            let word = (span * 4 + k / 16 * 2 + k % 2) * 32 + row % 8 * 4 + k % 16 / 4;
            let unit = row / 8 * units + column / 256;
            let at = unit * 2048 + word * 2 + k % 4 / 2;
            let want = if column < width {
                x[row * width + column] / 64.0
            } else {
                0.0
            };
            assert_eq!(
                packed[at],
                f16::from_f32(want).to_bits(),
                "row {row}, column {column}"
            );
        }
    }
}

#[test]
fn products_are_those_of_the_weights() {
    for (types, kernel) in TYPES
        .into_iter()
        .flat_map(|types| KERNELS.map(|kernel| (types, kernel)))
    {
        for (width, rows, batch, splits) in [
            (256, 1, 1, 1),
            (512, 130, 13, 3),
            (1280, 49, 31, 2),
            (768, 20, 41, 1),
        ] {
            let matrix = Matrix::new(types, rows, width);
            let (x, bias) = (random(7, batch * width), random(8, rows));
            let buffers = gemm(
                kernel,
                &x,
                (width, batch, splits),
                &[(&matrix, Some(&bias))],
            )
            .run();
            let mut want = matrix.product(&x, width);
            for (index, want) in want.iter_mut().enumerate() {
                *want += bias[index % rows];
            }
            let what =
                format!("{kernel}, {types:?} {width} x {rows}, {batch} tokens, {splits} splits");
            assert_close(
                &what,
                &products(&buffers, "y_a", rows),
                &want,
                tolerance(width),
            );
        }
    }
}

#[test]
fn every_batch_and_a_width_of_no_whole_units() {
    let (width, rows) = (288, 18);
    let matrix = Matrix::new(Q5_0, rows, width);
    for batch in [2, 8, 9, 16, 17, 24, 32, 33, 40, 57, 64] {
        let x = random(batch as u64, batch * width);
        let want = matrix.product(&x, width);
        for kernel in KERNELS {
            let buffers = gemm(kernel, &x, (width, batch, 1), &[(&matrix, None)]).run();
            let got = products(&buffers, "y_a", rows);
            assert_close(
                &format!("{kernel}, {batch} tokens"),
                &got,
                &want,
                tolerance(width),
            );
        }
    }
}

#[test]
fn matrices_of_different_types_share_a_launch_and_split_it() {
    let (width, batch) = (1536, 21);
    let matrices =
        [(Q4_K, 140), (Q6_K, 16), (Q5_0, 9)].map(|(types, rows)| Matrix::new(types, rows, width));
    let (x, bias) = (random(7, batch * width), random(8, 16));
    let parts = [
        (&matrices[0], None),
        (&matrices[1], Some(&bias[..])),
        (&matrices[2], None),
    ];
    for (splits, kernel) in (1..=5).flat_map(|splits| KERNELS.map(|kernel| (splits, kernel))) {
        let buffers = gemm(kernel, &x, (width, batch, splits), &parts).run();
        for ((matrix, bias), name) in parts.iter().zip(["y_a", "y_b", "y_c"]) {
            let mut want = matrix.product(&x, width);
            for (index, want) in want.iter_mut().enumerate() {
                *want += bias.map_or(0.0, |bias| bias[index % matrix.rows]);
            }
            let got = products(&buffers, name, matrix.rows);
            assert_close(
                &format!("{kernel}, {name}, {splits} splits"),
                &got,
                &want,
                tolerance(width),
            );
        }
        if splits > 1 {
            let counters: Vec<u32> = buffers.get("arrived");
            assert!(
                counters.len() >= 3 && counters.iter().all(|&count| count == 0),
                "{kernel}, {splits} splits: {counters:?}"
            );
        }
    }
}

#[test]
fn a_token_does_not_depend_on_the_others() {
    let (width, rows, batch) = (512, 20, 16);
    let matrix = Matrix::new(Q4_K, rows, width);
    let x = random(7, batch * width);
    for kernel in KERNELS {
        let all = gemm(kernel, &x, (width, batch, 2), &[(&matrix, None)]).run();
        let first = gemm(kernel, &x[..9 * width], (width, 9, 2), &[(&matrix, None)]).run();
        assert_eq!(
            products(&all, "y_a", rows)[..9 * rows],
            products(&first, "y_a", rows),
            "{kernel}"
        );
    }
}

#[test]
fn splits_fill_the_processors_and_no_more() {
    // Blocks of rows, units of 256 columns, processors; what is wanted: 1, or what fills all places of the first wave but a few.
    let shapes: [[i32; 3]; 5] = [
        [264, 16, 132],
        [32, 16, 132],
        [22, 56, 132],
        [1, 1, 132],
        [4000, 16, 132],
    ];
    let splits: Vec<i32> = Case::new("gemm_splits")
        .buffer("shapes", shapes.as_flattened())
        .run()
        .get("splits");
    assert_eq!((splits[0], splits[3], splits[4]), (1, 1, 1), "{splits:?}");
    for (splits, [blocks, ..]) in splits.iter().zip(shapes).skip(1).take(2) {
        assert!(
            (200..=264).contains(&(splits * blocks)),
            "{splits} of {blocks} blocks"
        );
    }
}

#[test]
fn splits_of_warpgroups_fill_the_processors_and_no_more() {
    // The same for blocks of which a processor has one.
    let shapes: [[i32; 3]; 5] = [
        [112, 16, 132],
        [16, 16, 132],
        [16, 56, 132],
        [1, 1, 132],
        [4000, 16, 132],
    ];
    let splits: Vec<i32> = Case::new("wgmma_splits")
        .buffer("shapes", shapes.as_flattened())
        .run()
        .get("splits");
    assert_eq!(splits, [1, 8, 8, 1, 1]);
}
