//! `candidates_of_row.cu` against sorting each row.

use std::cmp::Ordering;

use inference::{model::RECORD_WORDS, sampling::ROW_CANDIDATES};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::runner::Case;

/// One row's record.
struct Record {
    logits: Vec<f32>,
    ids: Vec<u32>,
    rest: f32,
}

/// Returns the records of rows that lie `apart` numbers apart.
#[track_caller]
fn candidates(rows: &[Vec<f32>], apart: usize) -> Vec<Record> {
    let width = rows[0].len();
    // What lies between the rows is larger than anything in them.
    let mut logits: Vec<f32> = Vec::new();
    for row in rows {
        logits.extend(row);
        logits.resize(logits.len() + apart, 1e9);
    }
    let out = Case::new("candidates_of_row")
        .size("rows", rows.len())
        .size("width", width)
        .size("stride", width + apart)
        .buffer("logits", &logits)
        .run();
    let records: Vec<u32> = out.get("records");
    let record = |record: &[u32]| Record {
        logits: bytemuck::cast_slice(&record[..ROW_CANDIDATES]).to_vec(),
        ids: record[ROW_CANDIDATES..2 * ROW_CANDIDATES].to_vec(),
        rest: f32::from_bits(record[2 * ROW_CANDIDATES]),
    };
    records.chunks_exact(RECORD_WORDS).map(record).collect()
}

/// Returns what sorting the row yields, the sum in f64.
fn sorted(row: &[f32]) -> (Vec<(u32, f32)>, f64) {
    let mut all: Vec<(u32, f32)> = (0..).zip(row.iter().copied()).collect();
    all.sort_by(|a, b| {
        let by_logit = b.1.partial_cmp(&a.1).unwrap_or(Ordering::Equal);
        by_logit.then(a.0.cmp(&b.0))
    });
    let largest = f64::from(all[0].1);
    let others = all.split_off(ROW_CANDIDATES.min(all.len()));
    let rest = others
        .iter()
        .map(|(_, logit)| (f64::from(*logit) - largest).exp());
    let rest = if largest > f64::NEG_INFINITY {
        rest.sum()
    } else {
        0.0
    };
    (all, rest)
}

#[track_caller]
fn assert_sorted(what: &str, row: &[f32], record: &Record) {
    let (want, rest) = sorted(row);
    for (place, (id, logit)) in want.iter().enumerate() {
        let got = (record.ids[place], record.logits[place]);
        assert_eq!(got, (*id, *logit), "{what}: place {place}");
    }
    for place in want.len()..ROW_CANDIDATES {
        let got = (record.ids[place], record.logits[place]);
        assert_eq!(got, (u32::MAX, f32::NEG_INFINITY), "{what}: place {place}");
    }
    // Sampling allows for 2e-5; log-probabilities are to be right to 1e-6.
    let bound = 1e-6 * rest;
    assert!(
        (f64::from(record.rest) - rest).abs() <= bound,
        "{what}: rest {} of {rest}",
        record.rest
    );
}

/// Logits as a model's are: some stand out.
fn logits(seed: u64, width: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut normal = || (0..6).map(|_| rng.random_range(-1.5..1.5f32)).sum::<f32>();
    (0..width)
        .map(|id| normal() + if id % 131 == 7 { 9.0 } else { -1.0 })
        .collect()
}

#[test]
fn the_best_of_rows_of_any_width_are_found_in_order() {
    for (width, rows, apart) in [
        (1, 2, 1),
        (2, 1, 0),
        (255, 1, 3),
        (256, 2, 0),
        (257, 3, 5),
        (8_191, 1, 0),
        (8_192, 1, 0),
        (8_193, 2, 7),
        (49_152, 1, 0),
        (200_003, 1, 1),
    ] {
        let rows: Vec<Vec<f32>> = (0..rows)
            .map(|row| logits(width as u64 + row, width))
            .collect();
        for (row, record) in rows.iter().zip(candidates(&rows, apart)) {
            assert_sorted(&format!("width {width}"), row, &record);
        }
    }
}

#[test]
fn of_equal_logits_the_lower_ids_are_chosen() {
    let width = 9_000;
    let equal = vec![-2.5f32; width];
    // Zeros of both signs are equal.
    let zeros: Vec<f32> = (0..width)
        .map(|id| if id.is_multiple_of(3) { 0.0 } else { -0.0 })
        .collect();
    // 100 are better, and 8,000 are equal where 156 are left to choose; some of them in the second slice.
    let mut tied: Vec<f32> = (0..width)
        .map(|id| if id.is_multiple_of(9) { -7.0 } else { 1.5 })
        .collect();
    for id in 0..100 {
        tied[width - 1 - 80 * id] = 3.0 + (id % 5) as f32;
    }
    let few: Vec<f32> = (0..width).map(|id| (id * 7 % 4) as f32).collect();
    let rows = [equal, zeros, tied, few];
    for (index, (row, record)) in rows.iter().zip(candidates(&rows, 0)).enumerate() {
        assert_sorted(&format!("row {index}"), row, &record);
    }
}

#[test]
fn tokens_that_are_impossible_come_last_and_weigh_nothing() {
    let mut few = vec![f32::NEG_INFINITY; 20_000];
    few[19_999] = -3.0;
    few[11] = 2.0;
    let none = vec![f32::NEG_INFINITY; 20_000];
    let mut first_slice = vec![f32::NEG_INFINITY; 20_000];
    first_slice[..8_192].copy_from_slice(&logits(5, 8_192));
    // Differences that no f32 exponential has.
    let mut far: Vec<f32> = logits(6, 20_000).iter().map(|x| x - 3e38).collect();
    far[7] = 3e38;
    let rows = [few, none, first_slice, far];
    for (index, (row, record)) in rows.iter().zip(candidates(&rows, 2)).enumerate() {
        assert_sorted(&format!("row {index}"), row, &record);
    }
}

#[test]
fn a_row_that_is_no_numbers_says_so_and_leaves_the_others_alone() {
    let good = logits(7, 10_000);
    let with = |at: usize, value: f32| {
        let mut row = good.clone();
        row[at] = value;
        row
    };
    let negative_nan = f32::from_bits(0xffff_ffff);
    let rows = [
        with(3, f32::NAN),
        good.clone(),
        with(9_999, f32::INFINITY),
        with(5_000, negative_nan),
        with(0, f32::from_bits(0x7fff_ffff)),
        with(8_192, f32::NEG_INFINITY),
    ];
    let records = candidates(&rows, 0);
    let is_nan: Vec<bool> = records.iter().map(|record| record.rest.is_nan()).collect();
    assert_eq!(is_nan, [true, false, true, true, true, false]);
    assert_sorted("beside NaN", &rows[1], &records[1]);
    assert_sorted("beside NaN", &rows[5], &records[5]);
    let ids = records.iter().flat_map(|record| &record.ids);
    assert!(ids.into_iter().all(|&id| id < 10_000));
}
