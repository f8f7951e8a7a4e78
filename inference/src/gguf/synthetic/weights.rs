//! The weights of synthetic models: a hash of the seed, the tensor's name and the element's index, so that a weight
//! does not depend on the order in which tensors are written.
//!
//! Weight `i` of tensor `name` is `centre + spread * (top / 2^23 - 1)`, where `top` is the upper 24 bits of
//! `splitmix64(fnv1a(name) ^ seed * G + (i + 1) * G)` and `G` is the golden ratio in 64 bits; all exact in f32 up to
//! the two last operations.

use std::collections::{HashMap, hash_map::Entry};

use candle_core::quantized::GgmlDType;

use super::{SyntheticExperts, SyntheticModel};
use crate::{
    gguf::{
        GgmlType, Recipe, encode,
        recipe::{ModelFacts, target_type},
        writer::GgufWriter,
    },
    model::{Architecture, architecture::SharedExpert},
};

/// 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Returns `count` weights within `spread` of `centre`.
fn uniform(seed: u64, name: &str, count: usize, centre: f32, spread: f32) -> Vec<f32> {
    let fnv1a = name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    let mut state = fnv1a ^ seed.wrapping_mul(GOLDEN);
    let mut next = || {
        state = state.wrapping_add(GOLDEN);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let top = (mixed ^ (mixed >> 31)) >> 40;
        centre + spread * (top as f32 / 8_388_608.0 - 1.0)
    };
    (0..count).map(|_| next()).collect()
}

/// Adds all tensors of a model whose embedding has `rows` rows.
pub fn put_weights(
    model: &SyntheticModel,
    architecture: &Architecture,
    writer: &mut GgufWriter,
    rows: usize,
) -> candle_core::Result<()> {
    let mut tensors = Tensors {
        model,
        architecture,
        writer,
        patterns: HashMap::new(),
    };
    // Small beside what the layers add; otherwise a tied output only ever repeats the last token.
    let spread = if architecture.scaled_embedding {
        0.8 / (model.hidden as f32).sqrt()
    } else {
        0.2
    };
    tensors.spread_matrix("token_embd.weight", &[rows, model.hidden], spread)?;
    tensors.vector("output_norm.weight", model.hidden, 1.0, 0.1)?;
    if !model.tied {
        tensors.spread_matrix("output.weight", &[rows, model.hidden], 0.3)?;
    }
    if model.rope_freqs {
        tensors.put_vector("rope_freqs.weight", &llama3_factors(model))?;
    }
    if model.rope_factors {
        tensors.vector("rope_factors_short.weight", model.head_dim / 2, 1.2, 0.2)?;
        tensors.vector("rope_factors_long.weight", model.head_dim / 2, 4.0, 3.0)?;
    }
    for layer in 0..model.num_layers {
        tensors.attention(layer)?;
        match model.experts {
            Some(experts) => tensors.experts(layer, experts)?,
            None => tensors.mlp(layer)?,
        }
    }
    Ok(())
}

/// The factors of Llama 3.1: fast pairs stay, slow ones are divided by 8, between them a blend.
fn llama3_factors(model: &SyntheticModel) -> Vec<f32> {
    const FACTOR: f64 = 8.0;
    const LOW_FREQUENCY: f64 = 1.0;
    const HIGH_FREQUENCY: f64 = 4.0;
    let original = SyntheticModel::ORIGINAL_CONTEXT as f64;
    let pairs = model.head_dim / 2;
    (0..pairs)
        .map(|pair| {
            let frequency = 10_000f64.powf(-(pair as f64) / pairs as f64);
            let turns = original * frequency / (2.0 * std::f64::consts::PI);
            let share = (turns - LOW_FREQUENCY) / (HIGH_FREQUENCY - LOW_FREQUENCY);
            let share = share.clamp(0.0, 1.0);
            (1.0 / ((1.0 - share) / FACTOR + share)) as f32
        })
        .collect()
}

struct Tensors<'a> {
    model: &'a SyntheticModel,
    architecture: &'a Architecture,
    writer: &'a mut GgufWriter,
    /// Blocks of mixtures, by type and the bits of their spread.
    patterns: HashMap<(GgmlType, u32), Vec<u8>>,
}

/// Weights of a pattern: a prime number of the largest blocks, so that rows differ.
const PATTERN: usize = 1_021 * 256;

impl Tensors<'_> {
    fn put_vector(&mut self, name: &str, values: &[f32]) -> candle_core::Result<()> {
        let shape = [values.len()];
        self.writer
            .quantize(name, &shape, GgmlDType::F32, values)
            .map(|_| ())
    }

    fn vector(
        &mut self,
        name: &str,
        len: usize,
        centre: f32,
        spread: f32,
    ) -> candle_core::Result<()> {
        let values = uniform(self.model.seed, name, len, centre, spread);
        self.put_vector(name, &values)
    }

    fn spread_matrix(
        &mut self,
        name: &str,
        shape: &[usize],
        spread: f32,
    ) -> candle_core::Result<()> {
        let count = shape.iter().product();
        if let Some(recipe) = self.model.mixture {
            return self.pattern_matrix(recipe, name, shape, spread);
        }
        let values = uniform(self.model.seed, name, count, 0.0, spread);
        let dtype = self.model.weights;
        self.writer
            .quantize(name, shape, dtype, &values)
            .map(|_| ())
    }

    /// A matrix of repeated blocks in the type that a recipe gives it.
    fn pattern_matrix(
        &mut self,
        recipe: Recipe,
        name: &str,
        shape: &[usize],
        spread: f32,
    ) -> candle_core::Result<()> {
        let model = self.model;
        let facts = ModelFacts {
            num_layers: model.num_layers,
            num_experts: model.experts.map_or(0, |experts| experts.count),
            tied: model.tied,
            grouped_heads: model.num_heads != model.num_kv_heads,
        };
        let ggml_type = target_type(recipe, &facts, name, shape.last().copied().unwrap_or(0));
        let bytes = |weights: usize| {
            let bytes = ggml_type.bytes_of(weights);
            bytes.ok_or_else(|| candle_core::Error::Msg(format!("{name}: no whole blocks")))
        };
        let key = (ggml_type, spread.to_bits());
        let pattern_bytes = bytes(PATTERN)?;
        let pattern = match self.patterns.entry(key) {
            Entry::Occupied(pattern) => pattern.into_mut(),
            Entry::Vacant(place) => {
                let weights = uniform(model.seed, name, PATTERN, 0.0, spread);
                let mut blocks = vec![0; pattern_bytes];
                encode(ggml_type, &weights, &mut blocks).map_err(candle_core::Error::wrap)?;
                place.insert(blocks)
            }
        };
        let len = bytes(shape.iter().product())?;
        let mut data = Vec::with_capacity(len);
        while data.len() < len {
            data.extend_from_slice(&pattern[..pattern.len().min(len - data.len())]);
        }
        self.writer.tensor(name, shape, ggml_type, data);
        Ok(())
    }

    /// A matrix that keeps the variance of what it multiplies.
    fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> candle_core::Result<()> {
        self.spread_matrix(name, &[rows, columns], (3.0 / columns as f32).sqrt())
    }

    fn attention(&mut self, layer: usize) -> candle_core::Result<()> {
        let SyntheticModel {
            hidden,
            num_heads,
            head_dim,
            ..
        } = *self.model;
        let name = |part: &str| format!("blk.{layer}.{part}");
        let (q_rows, kv_rows) = (num_heads * head_dim, self.model.kv_heads(layer) * head_dim);
        if self.architecture.fused_gate_up {
            self.matrix(&name("attn_qkv.weight"), q_rows + 2 * kv_rows, hidden)?;
        } else {
            self.matrix(&name("attn_q.weight"), q_rows, hidden)?;
            self.matrix(&name("attn_k.weight"), kv_rows, hidden)?;
            self.matrix(&name("attn_v.weight"), kv_rows, hidden)?;
        }
        self.matrix(&name("attn_output.weight"), hidden, q_rows)?;
        for part in ["attn_norm", "ffn_norm"] {
            self.vector(&name(&format!("{part}.weight")), hidden, 1.0, 0.1)?;
        }
        if self.architecture.post_norms {
            for part in ["post_attention_norm", "post_ffw_norm"] {
                self.vector(&name(&format!("{part}.weight")), hidden, 0.7, 0.2)?;
            }
        }
        if self.architecture.qk_norm {
            for part in ["attn_q_norm", "attn_k_norm"] {
                self.vector(&name(&format!("{part}.weight")), head_dim, 1.0, 0.3)?;
            }
        }
        if self.architecture.name().starts_with("qwen2") {
            for (part, rows) in [("attn_q", q_rows), ("attn_k", kv_rows), ("attn_v", kv_rows)] {
                self.vector(&name(&format!("{part}.bias")), rows, 0.0, 0.5)?;
            }
        }
        Ok(())
    }

    fn mlp(&mut self, layer: usize) -> candle_core::Result<()> {
        let (hidden, ffn) = (self.model.hidden, self.model.ffn);
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        if self.architecture.fused_gate_up {
            self.matrix(&name("ffn_up"), 2 * ffn, hidden)?;
        } else {
            self.matrix(&name("ffn_gate"), ffn, hidden)?;
            self.matrix(&name("ffn_up"), ffn, hidden)?;
        }
        self.matrix(&name("ffn_down"), hidden, ffn)
    }

    fn experts(&mut self, layer: usize, experts: SyntheticExperts) -> candle_core::Result<()> {
        let (hidden, ffn, seed) = (self.model.hidden, experts.ffn, self.model.seed);
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        // Wide, so that experts are seldom nearly equal.
        let router = name("ffn_gate_inp");
        let values = uniform(seed, &router, experts.count * hidden, 0.0, 0.6);
        let shape = [experts.count, hidden];
        self.writer
            .quantize(&router, &shape, experts.router, &values)?;
        let parts = [
            ("ffn_gate", ffn, hidden),
            ("ffn_up", ffn, hidden),
            ("ffn_down", hidden, ffn),
        ];
        for (part, rows, columns) in parts {
            let of_expert = |expert: usize| name(&format!("{part}.{expert}"));
            if experts.split {
                for expert in 0..experts.count {
                    self.matrix(&of_expert(expert), rows, columns)?;
                }
                continue;
            }
            let spread = (3.0 / columns as f32).sqrt();
            if self.model.mixture.is_some() {
                let name = name(&format!("{part}_exps"));
                self.spread_matrix(&name, &[experts.count, rows, columns], spread)?;
                continue;
            }
            let stack: Vec<f32> = (0..experts.count)
                .flat_map(|expert| uniform(seed, &of_expert(expert), rows * columns, 0.0, spread))
                .collect();
            let shape = [experts.count, rows, columns];
            let name = name(&format!("{part}_exps"));
            self.writer
                .quantize(&name, &shape, self.model.weights, &stack)?;
        }
        let Some(shared) = experts.shared_ffn else {
            return Ok(());
        };
        self.matrix(&name("ffn_gate_shexp"), shared, hidden)?;
        self.matrix(&name("ffn_up_shexp"), shared, hidden)?;
        self.matrix(&name("ffn_down_shexp"), hidden, shared)?;
        let rules = self.architecture.experts;
        if rules.is_some_and(|rules| rules.shared == SharedExpert::Gated) {
            self.vector(&name("ffn_gate_inp_shexp"), hidden, 0.0, 0.3)?;
        }
        Ok(())
    }
}
