//! Every attention path against the scalar reference on odd shapes, and rows alone against rows in a batch.

use candle_core::Device;

use super::*;
use crate::{
    kv_cache::{
        CacheLayout, KvCacheDtype,
        q8_tile::{self, Side},
    },
    ops::{
        cache_tensors::tensor_dtype,
        testing::{assert_close, cache_bytes, cache_numbers, random, tensor, values},
    },
};

/// What caches are kept in on the CPU beside F32.
const DTYPES: [KvCacheDtype; 2] = [KvCacheDtype::F16, KvCacheDtype::Q8_0];

struct Case {
    shape: AttentionShape,
    /// `(q_len, context_len)` of each sequence.
    sequences: Vec<(usize, usize)>,
}

fn case(heads: (usize, usize, usize), sequences: &[(usize, usize)]) -> Case {
    Case {
        shape: AttentionShape::new(heads.0, heads.1, heads.2),
        sequences: sequences.to_vec(),
    }
}

fn windowed(window: usize, case: Case) -> Case {
    let window = Some(window);
    Case {
        shape: AttentionShape {
            window,
            ..case.shape
        },
        ..case
    }
}

fn cases() -> Vec<Case> {
    vec![
        case((1, 1, 1), &[(1, 1)]),
        case((2, 1, 16), &[(1, 16), (1, 17)]),
        case((9, 3, 64), &[(33, 33), (1, 100), (5, 37)]),
        case((12, 2, 128), &[(1, 40), (60, 75), (1, 1)]),
        case((14, 2, 64), &[(70, 70)]),
        case((4, 4, 80), &[(3, 18), (17, 49)]),
        case((16, 2, 96), &[(1, 50), (9, 9)]),
        case((7, 1, 96), &[(1, 33), (2, 64)]),
        case((5, 1, 80), &[(1, 90)]),
        case((28, 4, 20), &[(2, 31), (1, 1), (1, 2)]),
        case((64, 1, 32), &[(4, 20)]),
        windowed(1, case((2, 1, 16), &[(20, 33), (1, 17)])),
        windowed(7, case((9, 3, 64), &[(33, 33), (1, 100), (5, 37)])),
        windowed(16, case((12, 2, 128), &[(1, 40), (60, 75), (1, 16)])),
        windowed(33, case((4, 4, 80), &[(70, 70), (1, 200), (3, 34)])),
        windowed(1_000, case((4, 2, 32), &[(70, 70)])),
        // Contexts of several chunks of 1,024 keys, and rows on both sides of where one ends.
        case(
            (9, 3, 64),
            &[(1, 2_100), (3, 1_025), (1, 1_024), (1, 1_025)],
        ),
        case((4, 2, 20), &[(1, 2_049), (70, 1_060)]),
        windowed(1_500, case((2, 1, 16), &[(1, 2_600), (40, 2_560)])),
        windowed(90, case((4, 4, 32), &[(60, 1_100), (1, 3_000)])),
        Case {
            shape: AttentionShape {
                scale: 0.4,
                softcap: Some(3.0),
                ..AttentionShape::new(4, 2, 20)
            },
            sequences: vec![(18, 40), (1, 5)],
        },
    ]
}

/// Returns a tensor of a cache that holds these numbers, rounded.
fn cache(numbers: &[f32], side: Side, layout: &CacheLayout) -> Tensor {
    let shape = match side {
        Side::Keys => layout.k_shape(0),
        Side::Values => layout.v_shape(0),
    };
    if layout.dtype == KvCacheDtype::Q8_0 {
        let bytes = cache_bytes(numbers, side, layout.head_dim);
        return Tensor::from_vec(bytes, &shape, &Device::Cpu).unwrap();
    }
    let numbers = tensor(numbers, &shape);
    numbers.to_dtype(tensor_dtype(layout.dtype)).unwrap()
}

/// Queries, caches full of values, and sequences whose blocks are scattered over the cache.
fn build(case: &Case, dtype: KvCacheDtype) -> (Tensor, Tensor, Tensor, Vec<AttentionSequence>) {
    let needed: usize = case
        .sequences
        .iter()
        .map(|&(_, context)| blocks_for(context))
        .sum();
    let num_blocks = needed + 2;
    let AttentionShape {
        num_heads,
        num_kv_heads,
        head_dim,
        ..
    } = case.shape;
    let layout = CacheLayout {
        num_blocks,
        num_kv_heads: vec![num_kv_heads],
        head_dim,
        dtype,
    };
    let count = num_blocks * num_kv_heads * head_dim * BLOCK_SIZE;
    let k_cache = cache(&random(1, count), Side::Keys, &layout);
    let v_cache = cache(&random(2, count), Side::Values, &layout);
    // Every third block, wrapping round: neighbours in the table are not neighbours in memory.
    let mut order: Vec<u32> = (0..3)
        .flat_map(|first| (first..num_blocks as u32).step_by(3))
        .collect();
    let mut sequences = Vec::new();
    let mut q_start = 0;
    for &(q_len, context_len) in &case.sequences {
        let block_table = order.split_off(order.len() - blocks_for(context_len));
        sequences.push(AttentionSequence {
            q_start,
            q_len,
            context_len,
            block_table,
        });
        q_start += q_len;
    }
    let width = num_heads * head_dim;
    (
        tensor(&random(3, q_start * width), &[q_start, width]),
        k_cache,
        v_cache,
        sequences,
    )
}

#[test]
fn every_path_agrees_with_the_reference_on_odd_shapes() {
    for (case, dtype) in cases()
        .iter()
        .flat_map(|case| DTYPES.map(|dtype| (case, dtype)))
    {
        let (q, k, v, sequences) = build(case, dtype);
        let head_dim = case.shape.head_dim;
        let keys = cache_numbers(&k, Side::Keys, head_dim);
        let numbers = cache_numbers(&v, Side::Values, head_dim);
        let want = reference::paged_attention(&values(&q), &keys, &numbers, &sequences, case.shape);
        let layout = check(&q, &k, &sequences, case.shape).unwrap();
        let fast = cpu::paged_attention(&q, &k, &v, &sequences, case.shape).unwrap();
        assert_close(&values(&fast), &want, 1e-4);
        // A cache of f32 that holds the same numbers.
        let wide = CacheLayout {
            dtype: KvCacheDtype::F32,
            ..layout
        };
        let wide = (
            cache(&keys, Side::Keys, &wide),
            cache(&numbers, Side::Values, &wide),
        );
        let out = cpu::paged_attention(&q, &wide.0, &wide.1, &sequences, case.shape).unwrap();
        assert_eq!(values(&out), values(&fast));
        let of_candle = match dtype {
            KvCacheDtype::F16 => vec![(k, v), wide],
            _ => vec![wide],
        };
        for (k, v) in of_candle {
            let slow = candle::paged_attention(&q, &k, &v, &sequences, case.shape).unwrap();
            assert_close(&values(&slow), &want, 1e-4);
        }
    }
}

#[test]
fn tiles_of_bytes_are_widened_exactly() {
    for head_dim in [2, 16, 20, 64, 80, 96, 128, 256] {
        // Two tiles, with scales from the smallest to the largest.
        let factor = |i: usize| [1e-6, 1.0, 3e4, 0.0][i / 3 % 4];
        let numbers: Vec<f32> = random(7, 2 * head_dim * BLOCK_SIZE)
            .iter()
            .enumerate()
            .map(|(i, x)| x * factor(i / head_dim))
            .collect();
        for side in [Side::Keys, Side::Values] {
            let bytes = cache_bytes(&numbers, side, head_dim);
            for tile in 0..2 {
                let len = q8_tile::tile_bytes(head_dim);
                let want = q8_tile::widened(side, &bytes[tile * len..][..len], head_dim);
                for widened in cpu::widened_by_all(side, &bytes, tile, head_dim) {
                    assert_eq!(widened, want, "{side:?} {head_dim}");
                }
            }
        }
    }
}

#[test]
fn a_row_is_bit_for_bit_the_same_alone_and_in_a_batch() {
    for (case, dtype) in cases()
        .iter()
        .flat_map(|case| DTYPES.map(|dtype| (case, dtype)))
    {
        let (q, k, v, sequences) = build(case, dtype);
        let together = cpu::paged_attention(&q, &k, &v, &sequences, case.shape).unwrap();
        for sequence in &sequences {
            for row in 0..sequence.q_len {
                let alone = AttentionSequence {
                    q_start: 0,
                    q_len: 1,
                    context_len: sequence.context_len - sequence.q_len + row + 1,
                    block_table: sequence.block_table.clone(),
                };
                let q = q
                    .narrow(0, sequence.q_start + row, 1)
                    .unwrap()
                    .contiguous()
                    .unwrap();
                let alone = cpu::paged_attention(&q, &k, &v, &[alone], case.shape).unwrap();
                let same = together.narrow(0, sequence.q_start + row, 1).unwrap();
                assert_eq!(values(&alone), values(&same));
            }
        }
    }
}

#[test]
fn chunks_on_their_own_give_the_same_bits() {
    for (case, dtype) in cases()
        .iter()
        .flat_map(|case| DTYPES.map(|dtype| (case, dtype)))
    {
        let (q, k, v, sequences) = build(case, dtype);
        let [whole, split] = [false, true].map(|is_split| {
            let items = cpu::whole_items(&sequences, case.shape);
            values(&cpu::attention(&q, (&k, &v), items, case.shape, is_split).unwrap())
        });
        assert_eq!(whole, split);
    }
}

#[test]
fn what_lies_beyond_the_context_does_not_matter() {
    for (q_len, dtype) in [1, 2]
        .into_iter()
        .flat_map(|len| DTYPES.map(|dtype| (len, dtype)))
    {
        let case = case((4, 2, 32), &[(q_len, 19)]);
        let (q, k, v, sequences) = build(&case, dtype);
        let want = values(&cpu::paged_attention(&q, &k, &v, &sequences, case.shape).unwrap());
        let layout = check(&q, &k, &sequences, case.shape).unwrap();
        // Token 19 and later of the last block: not a number.
        let last = sequences[0].block_table[1] as usize;
        let spoiled = |cached: &Tensor, side: Side| {
            let mut data = cache_numbers(cached, side, 32);
            let tiles = data.chunks_mut(32 * BLOCK_SIZE).skip(last * 2).take(2);
            for tile in tiles {
                for (d, t) in (0..32).flat_map(|d| (3..BLOCK_SIZE).map(move |t| (d, t))) {
                    tile[side.place(32, t, d)] = f32::NAN;
                }
            }
            cache(&data, side, &layout)
        };
        let (k, v) = (spoiled(&k, Side::Keys), spoiled(&v, Side::Values));
        let got = cpu::paged_attention(&q, &k, &v, &sequences, case.shape).unwrap();
        assert_eq!(values(&got), want, "{dtype}");
    }
}

#[test]
fn what_lies_before_the_window_does_not_matter() {
    let case = windowed(20, case((4, 2, 32), &[(2, 60)]));
    let (q, k, v, sequences) = build(&case, KvCacheDtype::F16);
    let want = values(&cpu::paged_attention(&q, &k, &v, &sequences, case.shape).unwrap());
    // Positions 0..32 lie in blocks that no new token reaches: their blocks may belong to anybody.
    let mut elsewhere = sequences[0].clone();
    (elsewhere.block_table[0], elsewhere.block_table[1]) = (0, 0);
    for attend in [cpu::paged_attention, candle::paged_attention] {
        let got = attend(&q, &k, &v, &[elsewhere.clone()], case.shape).unwrap();
        assert_close(&values(&got), &want, 1e-5);
    }
}

#[test]
fn rows_and_blocks_that_do_not_fit_are_errors() {
    let case = case((4, 2, 32), &[(2, 19)]);
    let (q, k, v, sequences) = build(&case, KvCacheDtype::F16);
    let attempt = |change: &dyn Fn(&mut AttentionSequence)| {
        let mut sequence = sequences[0].clone();
        change(&mut sequence);
        paged_attention(&q, &k, &v, &[sequence], case.shape)
    };
    assert!(attempt(&|_| ()).is_ok());
    assert!(attempt(&|sequence| sequence.q_len = 1).is_err());
    assert!(attempt(&|sequence| sequence.q_start = 1).is_err());
    assert!(attempt(&|sequence| sequence.context_len = 1).is_err());
    assert!(attempt(&|sequence| sequence.block_table[1] = 999).is_err());
    assert!(attempt(&|sequence| sequence.block_table.truncate(1)).is_err());
    assert_eq!(q.device().location(), Device::Cpu.location());
}
