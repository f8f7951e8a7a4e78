//! Norms of the heads of queries and keys before they are turned, on the host.

use half::f16;

use super::{
    assert_close, random,
    runner::{Buffers, Case},
};

const EPS: f32 = 1e-4;
/// Blocks of the cache.
const BLOCKS: usize = 4;

struct Shape {
    num_tokens: usize,
    num_heads: usize,
    num_kv_heads: usize,
    head_dim: usize,
    half: usize,
    halves: bool,
    in_place: bool,
}

impl Shape {
    fn inputs(&self) -> [Vec<f32>; 3] {
        let numbers = self.num_tokens * self.head_dim;
        [self.num_heads, self.num_kv_heads, self.num_kv_heads]
            .map(|heads| random(heads as u64 + 5, numbers * heads))
    }

    fn weights(&self) -> [Vec<f32>; 2] {
        [1, 2].map(|seed| random(seed, self.head_dim))
    }

    /// Runs with these queries and keys, and with norms of these weights.
    fn run(&self, [q, k, v]: &[Vec<f32>; 3], norms: Option<&[Vec<f32>; 2]>) -> Buffers {
        let angles = random(3, 100 * self.half);
        let turn = |of: fn(f32) -> f32| angles.iter().map(|x| of(*x)).collect::<Vec<f32>>();
        let cache = vec![0xffu8; BLOCKS * 16 * self.num_kv_heads * self.head_dim * 2];
        let positions: Vec<u32> = (0..self.num_tokens as u32)
            .map(|token| token * 37 % 100)
            .collect();
        let slots: Vec<u32> = (0..self.num_tokens as u32)
            .map(|token| token * 5 % 64)
            .collect();
        let kernel = norms.map_or("rope_append_f16", |_| "rope_append_norm_f16");
        let mut case = Case::new(kernel)
            .size("num_heads", self.num_heads)
            .size("num_kv_heads", self.num_kv_heads)
            .size("head_dim", self.head_dim)
            .size("half", self.half)
            .size("halves", usize::from(self.halves))
            .size("q_stride", self.num_heads * self.head_dim)
            .size("kv_stride", self.num_kv_heads * self.head_dim)
            .size("in_place", usize::from(self.in_place))
            .buffer("q", q)
            .buffer("k", k)
            .buffer("v", v)
            .buffer("k_cache", &cache)
            .buffer("v_cache", &cache)
            .buffer("cos", &turn(f32::cos))
            .buffer("sin", &turn(f32::sin))
            .buffer("positions", &positions)
            .buffer("slots", &slots);
        if let Some([q_norm, k_norm]) = norms {
            case = case
                .scalar("norm_eps", EPS)
                .buffer("q_norm", q_norm)
                .buffer("k_norm", k_norm);
        }
        case.run()
    }
}

/// Each head normalised, as `ops/rms_norm/reference.rs` does.
fn normalised(x: &[f32], weight: &[f32]) -> Vec<f32> {
    let head = |head: &[f32]| -> Vec<f32> {
        let squares: f64 = head.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
        let scale = 1.0 / (squares / head.len() as f64 + f64::from(EPS)).sqrt();
        let pairs = head.iter().zip(weight);
        pairs
            .map(|(x, weight)| (f64::from(*x) * scale) as f32 * weight)
            .collect()
    };
    x.chunks_exact(weight.len()).flat_map(head).collect()
}

#[test]
fn heads_of_queries_and_keys_are_normalised_before_they_are_turned() {
    for (num_tokens, num_heads, num_kv_heads, head_dim, half) in [
        (1, 4, 2, 128, 64),
        (6, 2, 1, 64, 32),
        (17, 3, 2, 80, 20),
        (35, 1, 1, 66, 33),
    ] {
        for halves in [false, true] {
            let shape = Shape {
                num_tokens,
                num_heads,
                num_kv_heads,
                head_dim,
                half,
                halves,
                in_place: num_tokens % 2 == 1,
            };
            let [q, k, v] = shape.inputs();
            let weights = shape.weights();
            let before = [
                normalised(&q, &weights[0]),
                normalised(&k, &weights[1]),
                v.clone(),
            ];
            let want = shape.run(&before, None);
            let got = shape.run(&[q, k, v], Some(&weights));
            let what = format!("{num_tokens} tokens, heads of {head_dim}, halves: {halves}");
            let q = if shape.in_place { "q" } else { "q_out" };
            assert_close(&what, &got.get(q), &want.get(q), 1e-5);
            // Numbers that are as good as equal may round to neighbours.
            let keys = [&got, &want].map(|buffers| -> Vec<f32> {
                let keys: Vec<u16> = buffers.get("k_cache");
                let number = |bits| f16::from_bits(bits).to_f32();
                let zero_nan = |x: f32| if x.is_nan() { 0.0 } else { x };
                keys.into_iter().map(number).map(zero_nan).collect()
            });
            assert_close(&what, &keys[0], &keys[1], 1e-3);
            assert_eq!(
                got.get::<u16>("v_cache"),
                want.get::<u16>("v_cache"),
                "{what}"
            );
        }
    }
}
