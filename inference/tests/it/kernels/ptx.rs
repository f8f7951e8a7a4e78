//! Twins of PTX instructions: fragments are laid out by the formulas of the PTX ISA manual, written down here a second time,
//! and the results compared with a plain matrix product.

use half::{bf16, f16};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{random, runner::Case};

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
fn products_of_a_warpgroup_are_matrix_products() {
    const K: usize = 16;
    let (a, b, d) = (
        integers(1, 4 * M * K, 50),
        integers(2, K * 2 * N, 50),
        integers(3, 4 * M * 2 * N, 50),
    );
    let bits = |x: &i32| f16::from_f32(*x as f32).to_bits();
    let warps = |matrix: &[i32], place: &dyn Fn(&[i32]) -> Vec<i32>| -> Vec<i32> {
        matrix
            .chunks_exact(matrix.len() / 4)
            .flat_map(place)
            .collect()
    };
    // Sums of a lane: those of columns 0..8, then of 8..16.
    let sums = |rows: &[i32]| -> Vec<i32> {
        let halves = [0, N].map(|first| {
            let columns: Vec<i32> = rows
                .chunks_exact(2 * N)
                .flat_map(|row| row[first..first + N].to_vec())
                .collect();
            fragments(&columns, N, 4, accumulator)
        });
        (0..32)
            .flat_map(|lane| {
                halves
                    .each_ref()
                    .map(|half| half[4 * lane..4 * lane + 4].to_vec())
                    .concat()
            })
            .collect()
    };
    // "Core matrices": 8 columns with 8 numbers along k each, here first along the columns, then along k.
    let cores: Vec<u16> = (0..256)
        .map(|at| (at / 128 * 8 + at % 8, at / 64 % 2 * 8 + at / 8 % 8))
        .map(|(k, column)| bits(&b[k * 2 * N + column]))
        .collect();
    let of_a = warps(&a, &|rows| fragments(rows, K, 8, a_16_bit));
    let out = Case::new("wgmma_f16")
        .buffer("a", &of_a.iter().map(bits).collect::<Vec<_>>())
        .buffer("b", &cores)
        .buffer(
            "d",
            &warps(&d, &sums)
                .iter()
                .map(|&x| x as f32)
                .collect::<Vec<_>>(),
        )
        .run();
    let want: Vec<i32> = product(&a, &b, 2 * N)
        .iter()
        .zip(&d)
        .map(|(sum, d)| 2 * sum + d)
        .collect();
    let want: Vec<f32> = warps(&want, &sums).iter().map(|&x| x as f32).collect();
    assert_eq!(out.get::<f32>("d"), want);
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

#[test]
fn arithmetic_of_single_numbers_is_that_of_the_manual() {
    let mut x = random(9, 200);
    x.extend([0.5, -0.25, 30.0, -40.0, 1e-3, -3e4, 7e4, -127.0]);
    let out = Case::new("arithmetic").buffer("x", &x).run();
    let halves: Vec<u16> = x.iter().map(|&x| f16::from_f32(x).to_bits()).collect();
    assert_eq!(out.get::<u16>("halves"), halves);
    let results = ["exp2", "reciprocal", "tanh"].map(|name| out.get::<f32>(name));
    for (i, &x) in x.iter().enumerate() {
        let [exp2, reciprocal, tanh] = [0, 1, 2].map(|result| results[result][i]);
        // What would be denormal is 0.
        let want = if x < -126.0 { 0.0 } else { x.exp2() };
        // Written so that two infinities agree.
        assert!(
            exp2 == want || (exp2 / want - 1.0).abs() < 1e-6,
            "2^{x} is {exp2}"
        );
        assert!((reciprocal * x - 1.0).abs() < 1e-6, "1/{x} is {reciprocal}");
        assert!((tanh - x.tanh()).abs() < 3e-7, "tanh({x}) is {tanh}");
    }
}

#[test]
fn pairs_of_halves_are_rounded_once() {
    // The last: 2048 + 1, in the middle between two numbers, and then a bit more or less than f32, or f64, keeps beside it.
    let tie = (2048.0, 1.0, 1.0);
    let mut triples: Vec<(f32, f32, f32)> = random(1, 600)
        .chunks(3)
        .map(|x| (30.0 * x[0], x[1], 1e-2 * x[2]))
        .collect();
    triples.extend([
        tie,
        (-2048.0, 1.0, -1.0),
        (1e-5, 3e-6, 0.0),
        (6e4, 2.0, 1.0),
        (0.0, 1.0, 0.0),
        (1e-7, 0.25, 6e-8),
    ]);
    triples.extend([
        (33.0 / 32.0, 63.0 / 62.0, 6e-8),
        (2049.0 / 2048.0 * 2.0, 1.0 + 1.0 / 1024.0, -6e-8),
    ]);
    let bits = |number: fn(&(f32, f32, f32)) -> f32| -> Vec<u16> {
        triples
            .iter()
            .map(|triple| f16::from_f32(number(triple)).to_bits())
            .collect()
    };
    let [a, b, c] = [bits(|x| x.0), bits(|x| x.1), bits(|x| x.2)];
    let out = Case::new("pairs")
        .size("places", 0x4341)
        .buffer("a", &a)
        .buffer("b", &b)
        .buffer("c", &c)
        .run();
    let number = |bits: u16| f16::from_bits(bits).to_f64();
    let (fma, add) = (out.get::<u16>("fma"), out.get::<u16>("add"));
    for i in 0..a.len() {
        let (x, y, z) = (number(a[i]), number(b[i]), number(c[i]));
        // Products and sums of these are exact in f64.
        assert_eq!(
            fma[i],
            f16::from_f64(x * y + z).to_bits(),
            "{x} * {y} + {z}"
        );
        assert_eq!(add[i], f16::from_f64(x + z).to_bits(), "{x} + {z}");
    }
    let bytes = |halves: &[u16], i: usize| {
        [halves[2 * i].to_le_bytes(), halves[2 * i + 1].to_le_bytes()].concat()
    };
    for (i, word) in out.get::<u32>("bytes").into_iter().enumerate() {
        let (a, b) = (bytes(&a, i), bytes(&b, i));
        assert_eq!(word.to_le_bytes(), [a[1], b[0], a[3], b[0]]);
    }
}
