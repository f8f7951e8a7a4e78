//! Every attention path against the scalar reference on odd shapes, and rows alone against rows in a batch.

use candle_core::{DType, Device};

use super::*;
use crate::{
    kv_cache::{CacheLayout, KvCacheDtype},
    ops::testing::{assert_close, random, tensor, values},
};

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

/// Queries, caches full of values, and sequences whose blocks are scattered over the cache.
fn build(case: &Case) -> (Tensor, Tensor, Tensor, Vec<AttentionSequence>) {
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
        dtype: KvCacheDtype::F16,
    };
    let count = num_blocks * num_kv_heads * head_dim * BLOCK_SIZE;
    let half = |seed, shape: [usize; 4]| {
        tensor(&random(seed, count), &shape)
            .to_dtype(DType::F16)
            .unwrap()
    };
    let (k_cache, v_cache) = (half(1, layout.k_shape(0)), half(2, layout.v_shape(0)));
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
fn both_paths_agree_with_the_reference_on_odd_shapes() {
    for case in cases() {
        let (q, k, v, sequences) = build(&case);
        let want = reference::paged_attention(
            &values(&q),
            &values(&k),
            &values(&v),
            &sequences,
            case.shape,
        );
        check(&q, &k, &sequences, case.shape).unwrap();
        let fast = cpu::paged_attention(&q, &k, &v, &sequences, case.shape).unwrap();
        assert_close(&values(&fast), &want, 1e-4);
        let slow = candle::paged_attention(&q, &k, &v, &sequences, case.shape).unwrap();
        assert_close(&values(&slow), &want, 1e-4);
        // A cache of f32 that holds the same numbers.
        let (k, v) = (tensor(&values(&k), k.dims()), tensor(&values(&v), v.dims()));
        let wide = cpu::paged_attention(&q, &k, &v, &sequences, case.shape).unwrap();
        assert_eq!(values(&wide), values(&fast));
        let slow = candle::paged_attention(&q, &k, &v, &sequences, case.shape).unwrap();
        assert_close(&values(&slow), &want, 1e-4);
    }
}

#[test]
fn a_row_is_bit_for_bit_the_same_alone_and_in_a_batch() {
    for case in cases() {
        let (q, k, v, sequences) = build(&case);
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
    for case in cases() {
        let (q, k, v, sequences) = build(&case);
        let [whole, split] = [false, true].map(|is_split| {
            let items = cpu::whole_items(&sequences, case.shape);
            values(&cpu::attention(&q, (&k, &v), items, case.shape, is_split).unwrap())
        });
        assert_eq!(whole, split);
    }
}

#[test]
fn what_lies_beyond_the_context_does_not_matter() {
    let case = case((4, 2, 32), &[(2, 19)]);
    let (q, k, v, sequences) = build(&case);
    let want = values(&cpu::paged_attention(&q, &k, &v, &sequences, case.shape).unwrap());
    // Token 19 and later of the last block: not a number.
    let last = sequences[0].block_table[1] as usize;
    let (mut k_data, mut v_data) = (values(&k), values(&v));
    for head in 0..2 {
        for d in 0..32 {
            for t in 3..BLOCK_SIZE {
                k_data[((last * 2 + head) * 32 + d) * BLOCK_SIZE + t] = f32::NAN;
                v_data[((last * 2 + head) * BLOCK_SIZE + t) * 32 + d] = f32::NAN;
            }
        }
    }
    let half =
        |data: &[f32], like: &Tensor| tensor(data, like.dims()).to_dtype(DType::F16).unwrap();
    let got = cpu::paged_attention(
        &q,
        &half(&k_data, &k),
        &half(&v_data, &v),
        &sequences,
        case.shape,
    )
    .unwrap();
    assert_eq!(values(&got), want);
}

#[test]
fn what_lies_before_the_window_does_not_matter() {
    let case = windowed(20, case((4, 2, 32), &[(2, 60)]));
    let (q, k, v, sequences) = build(&case);
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
    let (q, k, v, sequences) = build(&case);
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
