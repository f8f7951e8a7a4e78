//! Gated activation, addition with norm, rope with writing to the cache.

use half::{bf16, f16};
use inference::{
    kv_cache::{
        CacheLayout, KvCacheDtype,
        q8_tile::{self, Side},
    },
    ops::{
        gated_activation::{self, Activation},
        kv_append, rms_norm,
        rope::{self, RopeLayout},
    },
};

use super::{assert_close, random, runner::Case};

const FORMATS: [&str; 3] = ["f32", "f16", "bf16"];

/// Returns the numbers of a buffer in one of [`FORMATS`].
fn floats(format: &str, bytes: &[u8]) -> Vec<f32> {
    let pairs = || bytes.chunks_exact(2).map(|pair| [pair[0], pair[1]]);
    match format {
        "f32" => bytemuck::pod_collect_to_vec(bytes),
        "f16" => pairs()
            .map(|pair| f16::from_le_bytes(pair).to_f32())
            .collect(),
        _ => pairs()
            .map(|pair| bf16::from_le_bytes(pair).to_f32())
            .collect(),
    }
}

/// Relative size of one rounding.
fn rounding(format: &str) -> f32 {
    match format {
        "f32" => 0.0,
        "f16" => 1.0 / 2048.0,
        _ => 1.0 / 256.0,
    }
}

/// What numbers in halves are multiplied by.
const HALVES_SCALE: f32 = 1.0 / 64.0;

#[test]
fn gated_activation_agrees_with_the_reference() {
    let shapes = [
        (1, 1, 0),
        (1, 256, 0),
        (3, 257, 40),
        (33, 100, 100),
        (2, 1304, 1308),
        (2, 1033, 0),
    ];
    for (name, activation) in [(0, Activation::Silu), (1, Activation::GeluTanh)] {
        for (i, (rows, width, apart)) in shapes.into_iter().enumerate() {
            let stride = width + apart;
            let rows_of = |seed| {
                random(seed, rows * stride)
                    .iter()
                    .map(|x| x * 10.0)
                    .collect::<Vec<f32>>()
            };
            let (gate, up) = (rows_of(1), rows_of(2));
            let dense = |x: &[f32]| {
                x.chunks(stride)
                    .flat_map(|row| row[..width].to_vec())
                    .collect::<Vec<f32>>()
            };
            let mut want =
                gated_activation::reference::gated(activation, &dense(&gate), &dense(&up));
            let format = FORMATS[(i + name) % 3];
            if format == "f16" {
                want.iter_mut().for_each(|x| *x *= HALVES_SCALE);
            }
            let out = Case::new(format!("gated_activation_{format}"))
                .size("rows", rows)
                .size("width", width)
                .size("stride", stride)
                .size("gelu_tanh", name)
                .buffer("gate", &gate)
                .buffer("up", &up)
                .run();
            assert_close(
                &format!("{activation:?} {format} {rows} x {width}"),
                &floats(format, &out.get("out")),
                &want,
                1e-5 + rounding(format),
            );
        }
    }
}

#[test]
fn add_rms_norm_agrees_with_the_reference() {
    for (format, scale, name) in FORMATS
        .map(|format| (format, 1.0, format))
        .into_iter()
        .chain([("f16", HALVES_SCALE, "f16_scaled")])
    {
        for (rows, hidden, adds) in [
            (1, 1, true),
            (2, 255, true),
            (1, 576, false),
            (33, 100, true),
            (3, 2049, true),
            (33, 104, true),
            (3, 2056, true),
        ] {
            // It takes 8 numbers at once.
            if name == "f16_scaled" && hidden % 8 != 0 {
                continue;
            }
            let (residual, delta) = (random(1, rows * hidden), random(2, rows * hidden));
            let weight = random(3, hidden);
            let sum: Vec<f32> = residual
                .iter()
                .zip(&delta)
                .map(|(residual, delta)| residual + if adds { *delta } else { 0.0 })
                .collect();
            let mut case = Case::new(format!("add_rms_norm_{name}"))
                .size("rows", rows)
                .size("hidden", hidden)
                .scalar("eps", 1e-5)
                .buffer("residual", &residual)
                .buffer("weight", &weight);
            if adds {
                case = case.buffer("delta", &delta);
            }
            let out = case.run();
            assert_eq!(out.get::<f32>("residual"), sum);
            let mut want = rms_norm::reference::rms_norm(&sum, &weight, 1e-5);
            want.iter_mut().for_each(|x| *x *= scale);
            let what = format!("{name} {rows} x {hidden}");
            assert_close(
                &what,
                &floats(format, &out.get("out")),
                &want,
                1e-5 + rounding(format),
            );
        }
    }
}

struct RopeCheck {
    format: &'static str,
    layout: RopeLayout,
    num_heads: usize,
    num_kv_heads: usize,
    head_dim: usize,
    half: usize,
    /// `None`: a row that only fills the batch.
    slots: Vec<Option<u32>>,
    /// One buffer has q, k and v of a token side by side, and q is turned where it is.
    fused: bool,
}

impl RopeCheck {
    fn positions(&self) -> Vec<u32> {
        (0..self.slots.len() as u32)
            .map(|token| token * 37 % 100)
            .collect()
    }

    fn frequencies(&self) -> Vec<f64> {
        (0..self.half)
            .map(|i| 10_000f64.powf(-(i as f64) / self.half as f64))
            .collect()
    }

    /// Returns q, k and v of all tokens.
    fn inputs(&self) -> [Vec<f32>; 3] {
        let tokens = self.slots.len() * self.head_dim;
        [self.num_heads, self.num_kv_heads, self.num_kv_heads]
            .map(|heads| random(heads as u64, tokens * heads))
    }

    /// Returns turned q, and the caches as the reference writes them into NaN.
    fn want(&self, blocks: usize) -> [Vec<f32>; 3] {
        let [q, k, v] = self.inputs();
        let frequencies = self.frequencies();
        let turn = (frequencies.as_slice(), 1.0, self.layout);
        let q = rope::reference::rope(&q, &self.positions(), self.num_heads, turn);
        let k = rope::reference::rope(&k, &self.positions(), self.num_kv_heads, turn);
        let layout = CacheLayout {
            num_blocks: blocks,
            num_kv_heads: vec![self.num_kv_heads],
            head_dim: self.head_dim,
            dtype: KvCacheDtype::F32,
        };
        let mut caches = [(); 2].map(|()| vec![f32::NAN; layout.bytes() / 8]);
        let [k_cache, v_cache] = &mut caches;
        let width = self.num_kv_heads * self.head_dim;
        for (token, slot) in self.slots.iter().enumerate() {
            if let Some(slot) = *slot {
                let row = token * width..(token + 1) * width;
                let caches = (k_cache.as_mut_slice(), v_cache.as_mut_slice());
                kv_append::reference::kv_append(&k[row.clone()], &v[row], caches, &[slot], &layout);
            }
        }
        let [k_cache, v_cache] = caches;
        [q, k_cache, v_cache]
    }

    fn case(&self, blocks: usize) -> Case {
        let [q, k, v] = self.inputs();
        let positions = self.positions();
        let angles = |turn: fn(f64) -> f64| -> Vec<f32> {
            let frequencies = self.frequencies();
            let row = |p: u32| {
                frequencies
                    .iter()
                    .map(move |f| turn(f64::from(p) * f) as f32)
                    .collect::<Vec<_>>()
            };
            (0..100).flat_map(row).collect()
        };
        let slots: Vec<u32> = self
            .slots
            .iter()
            .map(|slot| slot.unwrap_or(u32::MAX))
            .collect();
        let tile_bytes = match self.format {
            "f32" => KvCacheDtype::F32,
            "q8" => KvCacheDtype::Q8_0,
            // bf16 is as large.
            _ => KvCacheDtype::F16,
        }
        .tile_bytes(self.head_dim);
        let cache_bytes = blocks * self.num_kv_heads * tile_bytes;
        let cache = vec![0xffu8; cache_bytes];
        let (q_width, kv_width) = (
            self.num_heads * self.head_dim,
            self.num_kv_heads * self.head_dim,
        );
        Case::new(format!("rope_append_{}", self.format))
            .size("num_heads", self.num_heads)
            .size("num_kv_heads", self.num_kv_heads)
            .size("head_dim", self.head_dim)
            .size("half", self.half)
            .scalar("halves", u32::from(self.layout == RopeLayout::Halves))
            .size("q_stride", q_width)
            .size("kv_stride", kv_width)
            .scalar("in_place", u32::from(self.fused))
            .buffer("q", &q)
            .buffer("k", &k)
            .buffer("v", &v)
            .buffer("k_cache", &cache)
            .buffer("v_cache", &cache)
            .buffer("cos", &angles(f64::cos))
            .buffer("sin", &angles(f64::sin))
            .buffer("positions", &positions)
            .buffer("slots", &slots)
    }

    fn run(&self) {
        let blocks = 3;
        let [want_q, want_k, want_v] = self.want(blocks);
        let out = self.case(blocks).run();
        let what = format!(
            "{} {:?} head {} turns {}",
            self.format,
            self.layout,
            self.head_dim,
            2 * self.half
        );
        let q = if self.fused { "q" } else { "q_out" };
        assert_close(&what, &out.get(q), &want_q, 1e-5);
        if self.format == "q8" {
            self.check_bytes(&what, Side::Keys, &out.get::<u8>("k_cache"), &want_k);
            self.check_bytes(&what, Side::Values, &out.get::<u8>("v_cache"), &want_v);
            return;
        }
        for (name, want) in [("k_cache", want_k), ("v_cache", want_v)] {
            let got = floats(self.format, &out.get(name));
            // What no token wrote is still what it was.
            let written = |values: &[f32]| values.iter().map(|x| !x.is_nan()).collect::<Vec<_>>();
            assert_eq!(written(&got), written(&want), "{what} {name}");
            let zero_nan = |values: Vec<f32>| -> Vec<f32> {
                values
                    .into_iter()
                    .map(|x| if x.is_nan() { 0.0 } else { x })
                    .collect()
            };
            assert_close(
                &format!("{what} {name}"),
                &zero_nan(got),
                &zero_nan(want),
                1e-5 + rounding(self.format),
            );
        }
    }

    /// Scales are those of exact numbers up to the rounding of f16, and numbers at most half a step away: turned keys may differ
    /// from the reference's in their last bits, so a number may be rounded the other way.
    fn check_bytes(&self, what: &str, side: Side, cache: &[u8], want: &[f32]) {
        let dim = self.head_dim;
        let tiles = cache
            .chunks(q8_tile::tile_bytes(dim))
            .zip(want.chunks(dim * 16));
        for ((tile, want), token) in tiles.flat_map(|pair| (0..16).map(move |token| (pair, token)))
        {
            let want: Vec<f32> = (0..dim).map(|d| want[side.place(dim, token, d)]).collect();
            for (group, want) in want.chunks(q8_tile::GROUP).enumerate() {
                let at = q8_tile::scale_place(dim, token, group);
                let scale = f16::from_le_bytes([tile[at], tile[at + 1]]).to_f32();
                let largest = want.iter().fold(0.0f32, |most, x| most.max(x.abs()));
                let first = group * q8_tile::GROUP;
                let bytes = (first..first + want.len()).map(|d| tile[side.place(dim, token, d)]);
                if want[0].is_nan() {
                    // What no token wrote is still what it was.
                    assert!(scale.is_nan() && bytes.into_iter().all(|byte| byte == 0xff));
                    continue;
                }
                let error = (scale * 127.0 - largest).abs();
                assert!(
                    error <= largest / 1024.0,
                    "{what} {side:?}: {scale} of {largest}"
                );
                for (i, (byte, want)) in bytes.zip(want).enumerate() {
                    let got = q8_tile::number(side, tile, dim, token, first + i);
                    assert!(
                        byte > 0 && (got - want).abs() <= scale * 0.57,
                        "{what} {side:?}: {got}, not {want}, in steps of {scale}"
                    );
                }
            }
        }
    }
}

#[test]
fn rope_append_agrees_with_both_references() {
    let slots = vec![Some(33), Some(0), None, Some(47), Some(15), Some(16)];
    let shapes = [
        (1, 1, 64, 32),
        (3, 1, 80, 40),
        (4, 2, 96, 24),
        (7, 1, 128, 64),
        (2, 2, 66, 1),
    ];
    for (i, (num_heads, num_kv_heads, head_dim, half)) in shapes.into_iter().enumerate() {
        for layout in [RopeLayout::Interleaved, RopeLayout::Halves] {
            RopeCheck {
                format: FORMATS[(i + usize::from(layout == RopeLayout::Halves)) % 3],
                layout,
                num_heads,
                num_kv_heads,
                head_dim,
                half,
                slots: if i == 0 { vec![Some(5)] } else { slots.clone() },
                fused: i % 2 == 1,
            }
            .run();
        }
    }
}

#[test]
fn rope_append_to_bytes_agrees_with_both_references() {
    // Two blocks of tokens and a part, in no order, some of them only there to fill the batch.
    let scattered: Vec<_> = (0..37)
        .map(|token| (token % 9 != 4).then_some(token * 29 % 47))
        .collect();
    let shapes = [
        (1, 1, 64, 32),
        (3, 1, 80, 40),
        (4, 2, 96, 24),
        (7, 1, 128, 64),
        (2, 2, 72, 1),
        (2, 1, 8, 3),
    ];
    for (i, (num_heads, num_kv_heads, head_dim, half)) in shapes.into_iter().enumerate() {
        for layout in [RopeLayout::Interleaved, RopeLayout::Halves] {
            RopeCheck {
                format: "q8",
                layout,
                num_heads,
                num_kv_heads,
                head_dim,
                half,
                slots: match i {
                    0 => vec![Some(5)],
                    _ => scattered.clone(),
                },
                fused: i % 2 == 1,
            }
            .run();
        }
    }
}

#[test]
fn rope_append_of_a_prompt_agrees_with_both_references() {
    // Two blocks of tokens and a part; slots in order from within a block, and in no order.
    let in_order: Vec<_> = (0..37).map(|token| Some(5 + token)).collect();
    let scattered: Vec<_> = (0..37)
        .map(|token| (token % 9 != 4).then_some(token * 29 % 47))
        .collect();
    for (i, slots) in [in_order, scattered].into_iter().enumerate() {
        for (layout, head_dim, half) in [
            (RopeLayout::Halves, 128, 64),
            (RopeLayout::Interleaved, 80, 20),
            (RopeLayout::Halves, 66, 33),
        ] {
            RopeCheck {
                format: FORMATS[(i + head_dim / 16) % 3],
                layout,
                num_heads: 3,
                num_kv_heads: 2,
                head_dim,
                half,
                slots: slots.clone(),
                fused: i == 1,
            }
            .run();
        }
    }
}
