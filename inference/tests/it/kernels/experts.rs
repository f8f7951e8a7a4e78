//! Mixtures of experts: the routing on the device, and whole feed-forward layers of few and of many tokens.

use candle_core::quantized::GgmlDType;
use inference::{
    gguf::GgmlType,
    ops::expert_routing::{RoutingRule, reference},
};

use super::{
    assert_close,
    packed::{Matrix, TYPES},
    random,
    runner::{Buffers, Case},
};

const NOWHERE: u32 = u32::MAX;
/// Places that share a tile of activations.
const TILE: usize = 8;

/// What a routing is made of.
#[derive(Debug, Clone)]
struct Routing {
    num_tokens: usize,
    num_experts: usize,
    hidden: usize,
    rule: RoutingRule,
    tile_rows: usize,
    /// By three kernels, as for more tokens than one block takes.
    apart: bool,
    x: Vec<f32>,
    router: Vec<f32>,
    /// Tokens that only fill the batch.
    filling: Vec<usize>,
}

impl Routing {
    fn new(num_tokens: usize, num_experts: usize, num_used: usize) -> Self {
        let hidden = 72;
        Self {
            num_tokens,
            num_experts,
            hidden,
            rule: RoutingRule {
                num_used,
                normalise: num_used.is_multiple_of(2),
                scale: if num_used == 4 { 2.5 } else { 1.0 },
            },
            tile_rows: 16,
            apart: false,
            x: random(num_tokens as u64, num_tokens * hidden),
            router: random(num_experts as u64 + 90, num_experts * hidden)
                .iter()
                .map(|weight| weight * 0.1)
                .collect(),
            filling: Vec::new(),
        }
    }

    fn case(&self, name: &str) -> Case {
        let mut case = Case::new(name)
            .size("num_tokens", self.num_tokens)
            .size("num_experts", self.num_experts)
            .size("num_used", self.rule.num_used)
            .size("hidden", self.hidden)
            .size("tile_rows", self.tile_rows)
            .size("normalise", usize::from(self.rule.normalise))
            .scalar("scale", self.rule.scale)
            .size("apart", usize::from(self.apart))
            .buffer("x", &self.x)
            .buffer("router", &self.router);
        if !self.filling.is_empty() {
            let slot = |token| {
                if self.filling.contains(&token) {
                    NOWHERE
                } else {
                    7 + token as u32
                }
            };
            let slots: Vec<u32> = (0..self.num_tokens).map(slot).collect();
            case = case.buffer("slots", &slots);
        }
        case
    }

    /// The logits of all rows of the router.
    fn logits(&self) -> Vec<f32> {
        let dot = |x: &[f32], row: &[f32]| -> f32 {
            let products = x
                .iter()
                .zip(row)
                .map(|(x, w)| f64::from(*x) * f64::from(*w));
            products.sum::<f64>() as f32
        };
        let rows = || self.router.chunks_exact(self.hidden);
        let tokens = self.x.chunks_exact(self.hidden);
        tokens
            .flat_map(|x| rows().map(move |row| dot(x, row)))
            .collect()
    }

    /// `[num_tokens, num_experts]`, by the reference, from the device's own logits.
    fn weights(&self, buffers: &Buffers) -> Vec<f32> {
        let logits: Vec<f32> = buffers.get("logits");
        let num_rows = self.router.len() / self.hidden;
        let of_experts: Vec<f32> = logits
            .chunks_exact(num_rows)
            .flat_map(|row| &row[..self.num_experts])
            .copied()
            .collect();
        let mut weights = reference::weights(&of_experts, self.num_experts, self.rule);
        for &token in &self.filling {
            weights[token * self.num_experts..][..self.num_experts].fill(0.0);
        }
        weights
    }

    /// Checks choice, weights, places and tiles.
    #[track_caller]
    fn check(&self, buffers: &Buffers) {
        let what = format!("{self:?}").chars().take(200).collect::<String>();
        assert_close(&what, &buffers.get("logits"), &self.logits(), 1e-5);
        let want = self.weights(buffers);
        let (chosen, weights): (Vec<u32>, Vec<f32>) =
            (buffers.get("chosen"), buffers.get("weights"));
        let mut got = vec![0.0; want.len()];
        let mut of_expert = vec![Vec::new(); self.num_experts];
        for (pair, (&expert, &weight)) in chosen.iter().zip(&weights).enumerate() {
            let token = pair / self.rule.num_used;
            assert_eq!(expert == NOWHERE, self.filling.contains(&token), "{what}");
            if expert != NOWHERE {
                got[token * self.num_experts + expert as usize] = weight;
                of_expert[expert as usize].push(pair as u32);
            }
        }
        assert_close(&what, &got, &want, 1e-6);
        self.check_places(&what, buffers, &of_expert);
    }

    #[track_caller]
    fn check_places(&self, what: &str, buffers: &Buffers, of_expert: &[Vec<u32>]) {
        let (places, pairs): (Vec<u32>, Vec<u32>) = (buffers.get("places"), buffers.get("pairs"));
        let mut tiles = Vec::new();
        let (mut start, mut placed) = (0, 0);
        for (expert, own) in of_expert.iter().enumerate() {
            for (index, &pair) in own.iter().enumerate() {
                assert_eq!(places[pair as usize] as usize, start + index, "{what}");
                assert_eq!(pairs[start + index], pair, "{what}");
            }
            for first in (0..own.len()).step_by(self.tile_rows) {
                let rows = (own.len() - first).min(self.tile_rows);
                tiles.extend([expert as u32, (start + first) as u32, rows as u32, 0]);
            }
            placed += own.len();
            start += own.len().next_multiple_of(TILE);
        }
        assert!(
            start <= pairs.len(),
            "{what}: {start} places, room for {}",
            pairs.len()
        );
        let nowhere = places.iter().filter(|&&place| place == NOWHERE).count();
        assert_eq!(placed + nowhere, places.len(), "{what}");
        let got: Vec<u32> = buffers.get("tiles");
        assert!(
            tiles.len() <= got.len(),
            "{what}: {} words of tiles",
            tiles.len()
        );
        tiles.resize(got.len(), 0);
        assert_eq!(got, tiles, "{what}");
        if !self.apart && self.num_tokens <= 64 {
            assert_eq!(buffers.get::<u32>("arrived"), [0], "{what}");
        }
    }
}

#[test]
fn tokens_go_to_their_most_probable_experts() {
    for (num_tokens, num_experts, num_used, tile_rows) in [
        (1, 4, 1, 8),
        (1, 8, 2, 8),
        (2, 128, 8, 8),
        (5, 60, 4, 16),
        (8, 8, 2, 8),
        (8, 1, 1, 16),
        (33, 64, 8, 16),
        (64, 5, 3, 32),
        (3, 256, 8, 8),
    ] {
        for apart in [false, true] {
            let routing = Routing {
                tile_rows,
                apart,
                ..Routing::new(num_tokens, num_experts, num_used)
            };
            routing.check(&routing.case("route").run());
        }
    }
}

#[test]
fn a_prompt_is_grouped_by_expert() {
    for (num_tokens, num_experts, num_used, tile_rows) in [
        (65, 8, 2, 16),
        (70, 128, 8, 16),
        (200, 4, 3, 64),
        (300, 2, 1, 64),
    ] {
        let routing = Routing {
            tile_rows,
            ..Routing::new(num_tokens, num_experts, num_used)
        };
        routing.check(&routing.case("route").run());
    }
}

#[test]
fn of_equal_experts_the_first_wins() {
    for apart in [false, true] {
        let mut routing = Routing {
            apart,
            ..Routing::new(3, 70, 4)
        };
        // All experts alike, but 66 for the second token's first column.
        let row: Vec<f32> = routing.router[..72].to_vec();
        routing.router = row.repeat(70);
        routing.router[66 * 72] += 1.0;
        routing.x[0] = 0.0;
        routing.x[72] = 1.0;
        routing.x[144] = -1.0;
        let buffers = routing.case("route").run();
        let chosen: Vec<u32> = buffers.get("chosen");
        assert_eq!(chosen, [0, 1, 2, 3, 66, 0, 1, 2, 0, 1, 2, 3]);
        routing.check(&buffers);
    }
}

#[test]
fn tokens_that_only_fill_a_batch_use_no_expert() {
    for apart in [false, true] {
        let routing = Routing {
            apart,
            filling: vec![3, 6, 7],
            ..Routing::new(8, 16, 4)
        };
        let buffers = routing.case("route").run();
        routing.check(&buffers);
        let places: Vec<u32> = buffers.get("places");
        assert_eq!(places.iter().filter(|&&place| place == NOWHERE).count(), 12);
    }
}

#[test]
fn what_is_no_number_spoils_the_weights_and_not_the_choice() {
    for apart in [false, true] {
        let mut routing = Routing {
            apart,
            ..Routing::new(4, 8, 2)
        };
        routing.x[72 + 5] = f32::NAN;
        routing.x[2 * 72 + 5] = f32::INFINITY;
        let buffers = routing.case("route").run();
        let (chosen, weights): (Vec<u32>, Vec<f32>) =
            (buffers.get("chosen"), buffers.get("weights"));
        assert!(chosen.iter().all(|&expert| expert < 8), "{chosen:?}");
        for (pair, weight) in weights.iter().enumerate() {
            assert_eq!(weight.is_nan(), matches!(pair / 2, 1 | 2), "{weights:?}");
        }
    }
}

#[test]
fn a_token_s_routing_does_not_depend_on_the_others() {
    let all = Routing::new(40, 16, 4);
    let together = all.case("route").run();
    let (logits, weights): (Vec<f32>, Vec<f32>) = (together.get("logits"), together.get("weights"));
    for token in [0, 7, 39] {
        let alone = Routing {
            x: all.x[token * 72..][..72].to_vec(),
            ..Routing::new(1, 16, 4)
        };
        let alone = alone.case("route").run();
        assert_eq!(alone.get::<f32>("logits"), logits[token * 16..][..16]);
        assert_eq!(alone.get::<f32>("weights"), weights[token * 4..][..4]);
    }
}

const Q4_K: (GgmlType, GgmlDType) = TYPES[0];
const Q6_K: (GgmlType, GgmlDType) = TYPES[2];
const Q5_0: (GgmlType, GgmlDType) = TYPES[5];

/// The matrices of a layer's experts.
struct Layer {
    hidden: usize,
    ffn: usize,
    gate: Vec<Matrix>,
    up: Vec<Matrix>,
    down: Vec<Matrix>,
}

impl Layer {
    /// Of these types of gate, up and down.
    fn new(
        [gate, up, down]: [(GgmlType, GgmlDType); 3],
        num_experts: usize,
        (hidden, ffn): (usize, usize),
    ) -> Self {
        let matrices = |types, seed: u64, rows, width| -> Vec<Matrix> {
            let expert = |expert| Matrix::seeded(seed + expert as u64, types, (rows, width), 0.1);
            (0..num_experts).map(expert).collect()
        };
        Self {
            hidden,
            ffn,
            gate: matrices(gate, 100, ffn, hidden),
            up: matrices(up, 200, ffn, hidden),
            down: matrices(down, 300, hidden, ffn),
        }
    }

    fn case(&self, routing: &Routing) -> Case {
        let parts = [("gate", &self.gate), ("up", &self.up), ("down", &self.down)];
        let rings = parts.iter().map(|(_, all)| all[0].format.ring_bytes());
        let mut case = routing
            .case("expert_layer")
            .size("ffn", self.ffn)
            .size("ring_bytes", rings.max().unwrap());
        for (name, all) in parts {
            let units: Vec<u8> = all
                .iter()
                .flat_map(|matrix| &matrix.units)
                .copied()
                .collect();
            case = case
                .size(&format!("format_{name}"), all[0].format as usize)
                .buffer(&format!("units_{name}"), &units);
        }
        case
    }

    /// The layer's output for a routing's weights, `[num_tokens, num_experts]`, without rounding activations.
    fn output(&self, routing: &Routing, weights: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; routing.num_tokens * self.hidden];
        for (index, &weight) in weights.iter().enumerate() {
            let (token, expert) = (index / routing.num_experts, index % routing.num_experts);
            if weight == 0.0 {
                continue;
            }
            let x = &routing.x[token * self.hidden..][..self.hidden];
            let gate = self.gate[expert].product(x, self.hidden);
            let up = self.up[expert].product(x, self.hidden);
            let gated: Vec<f32> = gate
                .iter()
                .zip(&up)
                .map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up)
                .collect();
            let down = self.down[expert].product(&gated, self.ffn);
            let out = &mut out[token * self.hidden..][..self.hidden];
            for (out, down) in out.iter_mut().zip(&down) {
                *out += weight * down;
            }
        }
        out
    }
}

/// A routing of tokens of the layer's width.
fn routing_for(layer: &Layer, num_tokens: usize, num_used: usize, tile_rows: usize) -> Routing {
    let num_experts = layer.gate.len();
    Routing {
        hidden: layer.hidden,
        tile_rows,
        x: random(num_tokens as u64, num_tokens * layer.hidden),
        router: random(77, num_experts * layer.hidden)
            .iter()
            .map(|weight| weight * 0.05)
            .collect(),
        ..Routing::new(num_tokens, num_experts, num_used)
    }
}

/// Largest difference, against the largest number: roundings of the gate's input are multiplied on the way.
#[track_caller]
fn assert_output(what: &str, got: &[f32], want: &[f32], tolerance: f32) {
    let largest = want.iter().fold(0f32, |most, x| most.max(x.abs()));
    assert!(largest > 0.1, "{what}: nothing to compare");
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        // Written so that NaN fails.
        assert!(
            (got - want).abs() <= tolerance * largest,
            "{what}: element {index} is {got}, not {want}"
        );
    }
}

#[track_caller]
fn check_layer(layer: &Layer, routing: &Routing, tolerance: f32) {
    let buffers = layer.case(routing).run();
    routing.check(&buffers);
    let want = layer.output(routing, &routing.weights(&buffers));
    let what = format!(
        "{} tokens, {} of {} experts, tiles of {}",
        routing.num_tokens, routing.rule.num_used, routing.num_experts, routing.tile_rows
    );
    assert_output(&what, &buffers.get("out"), &want, tolerance);
}

/// 14 bits of activations.
const FEW: f32 = 1e-3;
/// Activations and weights in f16.
const MANY: f32 = 4e-3;

#[test]
fn few_tokens_read_each_expert_in_use_once() {
    for (types, num_experts, num_used, num_tokens) in [
        ([Q4_K, Q4_K, Q4_K], 4, 2, 1),
        ([Q4_K, Q4_K, Q6_K], 4, 1, 2),
        ([Q5_0, Q5_0, Q5_0], 8, 2, 7),
        ([Q6_K, Q4_K, Q5_0], 3, 3, 8),
    ] {
        let layer = Layer::new(types, num_experts, (256, 512));
        check_layer(
            &layer,
            &routing_for(&layer, num_tokens, num_used, TILE),
            FEW,
        );
    }
}

#[test]
fn every_type_of_weights_has_experts() {
    for types in TYPES {
        let layer = Layer::new([types; 3], 3, (256, 256));
        check_layer(&layer, &routing_for(&layer, 1, 2, TILE), FEW);
        check_layer(&layer, &routing_for(&layer, 3, 2, TILE), FEW);
        check_layer(&layer, &routing_for(&layer, 5, 1, 16), MANY);
    }
}

#[test]
fn many_tokens_are_multiplied_by_tiles_of_their_expert() {
    for (num_experts, num_used, num_tokens, tile_rows) in [
        (5, 2, 9, 16),
        (3, 2, 40, 32),
        (2, 1, 100, 64),
        (3, 3, 70, 16),
    ] {
        let layer = Layer::new([Q4_K, Q4_K, Q6_K], num_experts, (256, 256));
        check_layer(
            &layer,
            &routing_for(&layer, num_tokens, num_used, tile_rows),
            MANY,
        );
    }
}

#[test]
fn widths_and_rows_need_not_be_whole_tiles() {
    let layer = Layer::new([Q5_0; 3], 3, (288, 160));
    for (num_tokens, tile_rows, tolerance) in [(1, TILE, FEW), (6, TILE, FEW), (11, 16, MANY)] {
        check_layer(
            &layer,
            &routing_for(&layer, num_tokens, 2, tile_rows),
            tolerance,
        );
    }
}

#[test]
fn tokens_that_only_fill_a_batch_get_nothing_from_experts() {
    let layer = Layer::new([Q5_0; 3], 4, (256, 256));
    for (num_tokens, tile_rows, tolerance) in [(8, TILE, FEW), (16, 16, MANY)] {
        let routing = Routing {
            filling: vec![1, num_tokens - 1],
            ..routing_for(&layer, num_tokens, 2, tile_rows)
        };
        check_layer(&layer, &routing, tolerance);
        let out: Vec<f32> = layer.case(&routing).run().get("out");
        assert!(out[256..512].iter().all(|&x| x == 0.0));
    }
}

#[test]
fn the_shared_expert_is_added_behind_its_gate() {
    let layer = Layer::new([Q5_0; 3], 3, (256, 256));
    for (num_tokens, tile_rows, tolerance) in [(2, TILE, FEW), (9, 16, MANY)] {
        let mut routing = routing_for(&layer, num_tokens, 2, tile_rows);
        let shared = random(31, num_tokens * 256);
        let plain = layer.case(&routing).run();
        let open = layer.case(&routing).buffer("shared", &shared).run();
        let wanted = |factor: &dyn Fn(usize) -> f32| -> Vec<f32> {
            let plain: Vec<f32> = plain.get("out");
            let shared = shared.iter().enumerate();
            plain
                .iter()
                .zip(shared)
                .map(|(plain, (index, shared))| plain + factor(index / 256) * shared)
                .collect()
        };
        assert_output("open", &open.get("out"), &wanted(&|_| 1.0), 1e-6);
        // A row of the router more is the gate.
        let gate: Vec<f32> = random(32, 256).iter().map(|weight| weight * 0.1).collect();
        routing.router.extend(&gate);
        let gated = layer.case(&routing).buffer("shared", &shared).run();
        let factor = |token: usize| {
            let x = &routing.x[token * 256..][..256];
            let logit: f32 = x.iter().zip(&gate).map(|(x, gate)| x * gate).sum();
            1.0 / (1.0 + (-logit).exp())
        };
        assert_output("gated", &gated.get("out"), &wanted(&factor), 1e-5);
        let want = layer.output(&routing, &routing.weights(&gated));
        let with_shared: Vec<f32> = want
            .iter()
            .zip(shared.iter().enumerate())
            .map(|(want, (index, shared))| want + factor(index / 256) * shared)
            .collect();
        assert_output("all", &gated.get("out"), &with_shared, tolerance);
    }
}

#[test]
fn a_token_s_output_does_not_depend_on_the_others() {
    let layer = Layer::new([Q4_K, Q4_K, Q6_K], 4, (256, 256));
    for (counts, tile_rows) in [([8, 2], TILE), ([40, 9], 16)] {
        let outputs = counts.map(|count| -> Vec<f32> {
            let routing = routing_for(&layer, 40, 2, tile_rows);
            let routing = Routing {
                num_tokens: count,
                x: routing.x[..count * 256].to_vec(),
                ..routing
            };
            layer.case(&routing).run().get("out")
        });
        let shorter = outputs[1].len();
        assert_eq!(outputs[0][..shorter], outputs[1]);
    }
}
