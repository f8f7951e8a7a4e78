//! The synthetic models that are compared with other programs, by name. `examples/synthetic-models.rs` writes them to
//! files; `scripts/goldens` runs llama.cpp and Hugging Face transformers on those. A change here needs new goldens.

use candle_core::quantized::GgmlDType;

use super::{SyntheticExperts, SyntheticModel};

const EXPERTS: SyntheticExperts = SyntheticExperts {
    count: 8,
    used: 2,
    ffn: 48,
    shared_ffn: None,
    split: false,
    router: GgmlDType::F32,
};

/// Returns a model of every architecture and of every way to scale rope, with its name. F32 weights, so that nothing but the order of additions differs between programs.
pub fn catalogue() -> Vec<(&'static str, SyntheticModel)> {
    let mut models = llama();
    models.extend(qwen());
    models.extend(others());
    models
}

/// Returns a model of every type of weights that candle quantizes to, with its name.
pub fn types() -> Vec<(&'static str, SyntheticModel)> {
    let types = [
        ("f16", GgmlDType::F16),
        ("bf16", GgmlDType::BF16),
        ("q4_0", GgmlDType::Q4_0),
        ("q4_1", GgmlDType::Q4_1),
        ("q5_0", GgmlDType::Q5_0),
        ("q5_1", GgmlDType::Q5_1),
        ("q8_0", GgmlDType::Q8_0),
        ("q2_k", GgmlDType::Q2K),
        ("q3_k", GgmlDType::Q3K),
        ("q4_k", GgmlDType::Q4K),
        ("q5_k", GgmlDType::Q5K),
        ("q6_k", GgmlDType::Q6K),
    ];
    let model = |weights| SyntheticModel {
        // Whole blocks of 256.
        hidden: 256,
        head_dim: 64,
        ffn: 512,
        weights,
        ..plain("llama")
    };
    types.map(|(name, weights)| (name, model(weights))).to_vec()
}

/// A model of an architecture with an output matrix of its own.
fn plain(architecture: &'static str) -> SyntheticModel {
    SyntheticModel {
        architecture,
        tied: false,
        weights: GgmlDType::F32,
        ..SyntheticModel::default()
    }
}

fn llama() -> Vec<(&'static str, SyntheticModel)> {
    let llama = || plain("llama");
    let scaled = |kind| SyntheticModel {
        head_dim: 32,
        num_heads: 3,
        num_kv_heads: 1,
        rope_scaling: Some(kind),
        numbers: vec![("rope.scaling.factor", 4.0)],
        ..llama()
    };
    vec![
        (
            "llama",
            SyntheticModel {
                num_kv_heads: 4,
                ..llama()
            },
        ),
        // Three queries a key, heads wider than their share of the hidden size.
        (
            "llama-gqa",
            SyntheticModel {
                num_heads: 6,
                head_dim: 20,
                ..llama()
            },
        ),
        (
            "llama-tied",
            SyntheticModel {
                tied: true,
                ..llama()
            },
        ),
        (
            "llama3",
            SyntheticModel {
                head_dim: 32,
                rope_freqs: true,
                ..llama()
            },
        ),
        ("llama-linear", scaled("linear")),
        ("llama-yarn", scaled("yarn")),
        (
            "mistral",
            SyntheticModel {
                window: Some(24),
                ..llama()
            },
        ),
        (
            "mistral3",
            SyntheticModel {
                architecture: "mistral3",
                numbers: vec![
                    ("rope.scaling.factor", 4.0),
                    ("rope.scaling.yarn_beta_fast", 4.0),
                    ("rope.scaling.yarn_beta_slow", 0.5),
                    ("rope.scaling.yarn_log_multiplier", 1.0),
                    ("attention.temperature_scale", 0.1),
                ],
                ..scaled("yarn")
            },
        ),
        (
            "mixtral",
            SyntheticModel {
                ffn: EXPERTS.ffn,
                experts: Some(EXPERTS),
                ..llama()
            },
        ),
        (
            "mixtral-split",
            SyntheticModel {
                experts: Some(SyntheticExperts {
                    split: true,
                    ..EXPERTS
                }),
                ffn: EXPERTS.ffn,
                ..llama()
            },
        ),
    ]
}

fn qwen() -> Vec<(&'static str, SyntheticModel)> {
    vec![
        ("qwen2", plain("qwen2")),
        (
            "qwen2moe",
            SyntheticModel {
                experts: Some(SyntheticExperts {
                    shared_ffn: Some(80),
                    ..EXPERTS
                }),
                ..plain("qwen2moe")
            },
        ),
        (
            "qwen3",
            SyntheticModel {
                head_dim: 24,
                tied: true,
                ..plain("qwen3")
            },
        ),
        (
            "qwen3moe",
            SyntheticModel {
                experts: Some(SyntheticExperts {
                    count: 16,
                    used: 4,
                    ffn: 32,
                    ..EXPERTS
                }),
                ..plain("qwen3moe")
            },
        ),
    ]
}

fn others() -> Vec<(&'static str, SyntheticModel)> {
    let granite = |architecture| SyntheticModel {
        numbers: vec![
            ("embedding_scale", 3.0),
            ("residual_scale", 0.6),
            ("attention.scale", 0.15),
            ("logit_scale", 2.0),
        ],
        ..plain(architecture)
    };
    vec![
        (
            "smollm3",
            SyntheticModel {
                num_layers: 5,
                ..plain("smollm3")
            },
        ),
        ("granite", granite("granite")),
        (
            "granitemoe",
            SyntheticModel {
                experts: Some(SyntheticExperts {
                    shared_ffn: Some(80),
                    ..EXPERTS
                }),
                ffn: EXPERTS.ffn,
                ..granite("granitemoe")
            },
        ),
        ("phi3", plain("phi3")),
        (
            "phi3-long",
            SyntheticModel {
                rope_factors: true,
                // sqrt(1 + ln(512 / 64) / ln(64))
                numbers: vec![("rope.scaling.attn_factor", 1.224_744_9)],
                ..plain("phi3")
            },
        ),
        (
            "gemma2",
            SyntheticModel {
                num_layers: 4,
                tied: true,
                window: Some(24),
                numbers: vec![
                    ("attn_logit_softcapping", 3.0),
                    ("final_logit_softcapping", 4.0),
                ],
                ..plain("gemma2")
            },
        ),
        (
            "gemma3",
            SyntheticModel {
                num_layers: 7,
                tied: true,
                window: Some(24),
                numbers: vec![
                    ("rope.freq_base", 1_000_000.0),
                    ("rope.scaling.factor", 8.0),
                ],
                ..plain("gemma3")
            },
        ),
    ]
}
