//! Twins of PTX instructions: fragments are laid out by the formulas of the PTX ISA manual, written down here a second time,
//! and the results compared with a plain matrix product.

use half::{bf16, f16};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::runner::Case;

const M: usize = 16;
const N: usize = 8;

/// Where element `i` of a lane's fragment lies in its matrix: row, column.
type Place = fn(lane: usize, i: usize) -> (usize, usize);

/// Bits of an integer in a format of 16 bits.
type Round = fn(i32) -> u16;

// "Matrix fragments for mma.m16n8k16 with floating point type": groupID = laneid >> 2, threadID_in_group = laneid % 4.
fn a_16_bit(lane: usize, i: usize) -> (usize, usize) {
    let row = if (0..2).contains(&i) || (4..6).contains(&i) {
        lane >> 2
    } else {
        (lane >> 2) + 8
    };
    let column = if i < 4 {
        lane % 4 * 2 + (i & 1)
    } else {
        lane % 4 * 2 + (i & 1) + 8
    };
    (row, column)
}

fn b_16_bit(lane: usize, i: usize) -> (usize, usize) {
    let row = if i < 2 {
        lane % 4 * 2 + (i & 1)
    } else {
        lane % 4 * 2 + (i & 1) + 8
    };
    (row, lane >> 2)
}

fn accumulator(lane: usize, i: usize) -> (usize, usize) {
    let row = if i < 2 { lane >> 2 } else { (lane >> 2) + 8 };
    (row, lane % 4 * 2 + (i & 1))
}

// "Matrix fragments for mma.m16n8k32", types of 8 bits.
fn a_8_bit(lane: usize, i: usize) -> (usize, usize) {
    let row = if (0..4).contains(&i) || (8..12).contains(&i) {
        lane >> 2
    } else {
        (lane >> 2) + 8
    };
    let column = if i < 8 {
        lane % 4 * 4 + (i & 3)
    } else {
        lane % 4 * 4 + (i & 3) + 16
    };
    (row, column)
}

fn b_8_bit(lane: usize, i: usize) -> (usize, usize) {
    let row = if i < 4 {
        lane % 4 * 4 + (i & 3)
    } else {
        lane % 4 * 4 + (i & 3) + 16
    };
    (row, lane >> 2)
}

/// Returns the fragments of all lanes, `each` elements a lane, of a matrix with `columns` columns.
fn fragments<T: Copy>(matrix: &[T], columns: usize, each: usize, place: Place) -> Vec<T> {
    let element = |lane, i| {
        let (row, column) = place(lane, i);
        matrix[row * columns + column]
    };
    (0..32)
        .flat_map(|lane| (0..each).map(move |i| element(lane, i)))
        .collect()
}

fn product<T: Copy + std::iter::Sum + std::ops::Mul<Output = T>>(
    a: &[T],
    b: &[T],
    n: usize,
) -> Vec<T> {
    let k = b.len() / n;
    let element = |row: usize, column: usize| {
        (0..k)
            .map(|k_idx| a[row * k + k_idx] * b[k_idx * n + column])
            .sum()
    };
    (0..a.len() / k)
        .flat_map(|row| (0..n).map(move |column| element(row, column)))
        .collect()
}

/// Small integers: exact in every format, and so are their sums.
fn integers(seed: u64, count: usize, bound: i32) -> Vec<i32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count)
        .map(|_| rng.random_range(-bound..=bound))
        .collect()
}

#[test]
fn products_of_16_bit_fragments_are_matrix_products() {
    const K: usize = 16;
    let (a, b, d) = (
        integers(1, M * K, 50),
        integers(2, K * N, 50),
        integers(3, M * N, 50),
    );
    let sums: Vec<f32> = product(&a, &b, N)
        .iter()
        .zip(&d)
        .map(|(sum, d)| (sum + d) as f32)
        .collect();
    let want = fragments(&sums, N, 4, accumulator);
    let start: Vec<f32> = d.iter().map(|&d| d as f32).collect();
    let bits: [(&str, Round); 2] = [
        ("mma_f16", |x| f16::from_f32(x as f32).to_bits()),
        ("mma_bf16", |x| bf16::from_f32(x as f32).to_bits()),
    ];
    for (case, bits) in bits {
        let [a, b] = [&a, &b].map(|matrix| matrix.iter().map(|&x| bits(x)).collect::<Vec<_>>());
        let out = Case::new(case)
            .buffer("a", &fragments(&a, K, 8, a_16_bit))
            .buffer("b", &fragments(&b, N, 4, b_16_bit))
            .buffer("d", &fragments(&start, N, 4, accumulator))
            .run();
        assert_eq!(out.get::<f32>("d"), want, "{case}");
    }
}

#[test]
fn products_of_8_bit_fragments_are_matrix_products() {
    const K: usize = 32;
    let (a, b, d) = (
        integers(4, M * K, 127),
        integers(5, K * N, 127),
        integers(6, M * N, 9999),
    );
    let sums: Vec<i32> = product(&a, &b, N)
        .iter()
        .zip(&d)
        .map(|(sum, d)| sum + d)
        .collect();
    let [a, b] = [&a, &b].map(|matrix| matrix.iter().map(|&x| x as i8).collect::<Vec<_>>());
    let out = Case::new("mma_s8")
        .buffer("a", &fragments(&a, K, 16, a_8_bit))
        .buffer("b", &fragments(&b, N, 8, b_8_bit))
        .buffer("d", &fragments(&d, N, 4, accumulator))
        .run();
    assert_eq!(out.get::<i32>("d"), fragments(&sums, N, 4, accumulator));
}

#[test]
fn ldmatrix_gives_each_lane_its_pair_of_every_matrix() {
    let matrices: Vec<u16> = (0..32 * 8).collect();
    // Matrix i has rows 8i..8i+8. A lane gets row lane / 4, columns 2 (lane % 4) and the next; transposed: rows and columns
    // exchanged.
    let element =
        |matrix: usize, row: usize, column: usize| matrices[(matrix * 8 + row) * 8 + column];
    for trans in [false, true] {
        let mut want = Vec::new();
        for lane in 0..32 {
            for matrix in 0..4 {
                for i in 0..2 {
                    let (row, column) = (lane / 4, lane % 4 * 2 + i);
                    want.push(if trans {
                        element(matrix, column, row)
                    } else {
                        element(matrix, row, column)
                    });
                }
            }
        }
        let out = Case::new("ldmatrix")
            .scalar("trans", u32::from(trans))
            .buffer("matrices", &matrices)
            .run();
        assert_eq!(out.get::<u16>("r"), want, "trans: {trans}");
    }
}

#[test]
fn a_tile_product_with_a_ragged_end_is_the_matrix_product() {
    for k in [8, 16, 24, 56] {
        let (a, b) = (integers(7, M * k, 12), integers(8, k * N, 12));
        let want: Vec<f32> = product(&a, &b, N).iter().map(|&sum| sum as f32).collect();
        let bits = |matrix: &[i32]| -> Vec<u16> {
            matrix
                .iter()
                .map(|&x| bf16::from_f32(x as f32).to_bits())
                .collect()
        };
        let out = Case::new("tile_product")
            .size("k", k)
            .buffer("a", &bits(&a))
            .buffer("b", &bits(&b))
            .run();
        assert_eq!(out.get::<f32>("d"), want, "k {k}");
    }
}
