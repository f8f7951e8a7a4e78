//! Norms of the heads of queries and keys before they are turned, on the host.

use half::f16;
use inference::kv_cache::{
    KvCacheDtype,
    q8_tile::{self, Side},
};

use super::{
    assert_close, random,
    runner::{Buffers, Case},
};

const EPS: f32 = 1e-4;
/// Blocks of the cache.
const BLOCKS: usize = 4;

struct Shape {
    cache: KvCacheDtype,
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
        let tiles = BLOCKS * self.num_kv_heads;
        let cache = vec![0xffu8; tiles * self.cache.tile_bytes(self.head_dim)];
        let positions: Vec<u32> = (0..self.num_tokens as u32)
            .map(|token| token * 37 % 100)
            .collect();
        let slots: Vec<u32> = (0..self.num_tokens as u32)
            .map(|token| token * 5 % 64)
            .collect();
        let norm = norms.map_or("", |_| "norm_");
        let cache_name = match self.cache {
            KvCacheDtype::Q8_0 => "q8",
            _ => "f16",
        };
        let mut case = Case::new(format!("rope_append_{norm}{cache_name}"))
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

/// Keys or values of the cache, and how far from each other two may be: a step of rounding. What no token wrote is 0.
fn kept(shape: &Shape, side: Side, cache: &[u8]) -> (Vec<f32>, f32) {
    let zero_nan = |x: f32| if x.is_nan() { 0.0 } else { x };
    let dim = shape.head_dim;
    match shape.cache {
        KvCacheDtype::Q8_0 => {
            let tiles = cache.chunks(q8_tile::tile_bytes(dim));
            let numbers = tiles.flat_map(|tile| {
                (0..16).flat_map(move |token| {
                    (0..dim).map(move |d| q8_tile::number(side, tile, dim, token, d))
                })
            });
            // 2.0 / 127 and some.
            (numbers.map(zero_nan).collect(), 0.05)
        }
        _ => {
            let halves = cache.as_chunks::<2>().0.iter();
            let numbers = halves.map(|bytes| f16::from_le_bytes(*bytes).to_f32());
            (numbers.map(zero_nan).collect(), 1e-3)
        }
    }
}

#[test]
fn heads_of_queries_and_keys_are_normalised_before_they_are_turned() {
    for (num_tokens, num_heads, num_kv_heads, head_dim, half) in [
        (1, 4, 2, 128, 64),
        (6, 2, 1, 64, 32),
        (17, 3, 2, 80, 20),
        (35, 1, 1, 66, 33),
    ] {
        let caches = [KvCacheDtype::F16, KvCacheDtype::Q8_0];
        // A cache in 8 bits takes heads of whole eights.
        for cache in &caches[..if head_dim % 8 == 0 { 2 } else { 1 }] {
            for halves in [false, true] {
                check(&Shape {
                    cache: *cache,
                    num_tokens,
                    num_heads,
                    num_kv_heads,
                    head_dim,
                    half,
                    halves,
                    in_place: num_tokens % 2 == 1,
                });
            }
        }
    }
}

fn check(shape: &Shape) {
    let [q, k, v] = shape.inputs();
    let weights = shape.weights();
    let before = [
        normalised(&q, &weights[0]),
        normalised(&k, &weights[1]),
        v.clone(),
    ];
    let want = shape.run(&before, None);
    let got = shape.run(&[q, k, v], Some(&weights));
    let what = format!(
        "{} tokens, heads of {}, {}, halves: {}",
        shape.num_tokens, shape.head_dim, shape.cache, shape.halves
    );
    let q = if shape.in_place { "q" } else { "q_out" };
    assert_close(&what, &got.get(q), &want.get(q), 1e-5);
    // Numbers that are as good as equal may round to neighbours.
    let [(got_keys, step), (want_keys, _)] =
        [&got, &want].map(|buffers| kept(shape, Side::Keys, &buffers.get::<u8>("k_cache")));
    assert_close(&what, &got_keys, &want_keys, step);
    assert_eq!(
        got.get::<u8>("v_cache"),
        want.get::<u8>("v_cache"),
        "{what}"
    );
}
