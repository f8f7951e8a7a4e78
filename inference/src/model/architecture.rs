//! The architectures this engine runs, by the names GGUF files use, and what distinguishes them. All are made of the
//! same layers; a row of [`Architecture::SUPPORTED`] says which parts are there. What a model merely has in another
//! number comes from its file ([`super::ModelConfig`]).
//!
//! A test builds a random model of every row and runs it (`tests/it/architectures.rs`). Source of the semantics:
//! llama.cpp (`src/models`), Hugging Face transformers.

use super::ModelError;
use crate::{
    gguf::GgufFile,
    ops::{gated_activation::Activation, rope::RopeLayout},
};

/// What distinguishes an architecture.
#[derive(Debug, PartialEq)]
pub struct Architecture {
    /// `general.architecture` of the file, and the prefix of its keys.
    name: &'static str,
    /// Models that are of this architecture, for people.
    pub models: &'static str,
    /// Which elements of q and k are turned together.
    pub rope_layout: RopeLayout,
    /// Every n-th layer is not turned by position at all.
    pub unturned_every: Option<usize>,
    /// Whether each head of q and k is normalised before it is turned.
    pub qk_norm: bool,
    /// Whether what attention and feed-forward yield is normalised before it is added.
    pub post_norms: bool,
    pub activation: Activation,
    /// What `attention.sliding_window` means.
    pub window: WindowRule,
    /// Whether windowed layers are turned by a base of their own, without scaling.
    pub local_rope: bool,
    /// Whether the gate and up matrices are one.
    pub fused_gate_up: bool,
    /// `None`: a file with experts is refused.
    pub experts: Option<ExpertRules>,
    /// Whether the file gives factors for embedding, residuals, attention and logits (Granite).
    pub has_scales: bool,
    /// Whether the embedding is multiplied by the square root of its width (Gemma).
    pub scaled_embedding: bool,
    /// Bounds of attention scores and of logits where the file names none; 0 is no bound.
    pub softcaps: Option<(f32, f32)>,
    /// Number of layers of the one model whose scores are scaled by `hidden / num_heads`, which no key says.
    pub scores_by_hidden_at: Option<usize>,
}

/// What a sliding window in the file means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowRule {
    /// Which layers have it is not known.
    Unknown,
    /// All layers have it.
    Everywhere,
    /// All but every n-th layer have it; if the file names no window, of that many tokens.
    AllButEvery { n: usize, default: Option<usize> },
}

/// How an architecture uses experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpertRules {
    /// Whether the weights of the chosen experts are divided by their sum.
    pub normalise: bool,
    pub shared: SharedExpert,
}

/// An expert that every token uses besides the chosen ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharedExpert {
    /// There is one where the file gives its size.
    Optional,
    /// There is one, with a gate.
    Gated,
}

/// The plainest: what most rows start from.
const PLAIN: Architecture = Architecture {
    name: "",
    models: "",
    rope_layout: RopeLayout::Halves,
    unturned_every: None,
    qk_norm: false,
    post_norms: false,
    activation: Activation::Silu,
    window: WindowRule::Unknown,
    local_rope: false,
    fused_gate_up: false,
    experts: None,
    has_scales: false,
    scaled_embedding: false,
    softcaps: None,
    scores_by_hidden_at: None,
};

const NORMALISED: Option<ExpertRules> = Some(ExpertRules {
    normalise: true,
    shared: SharedExpert::Optional,
});

impl Architecture {
    /// All that this engine runs.
    pub const SUPPORTED: &[Self] = &[
        Self {
            name: "llama",
            models: "Llama 1 to 3, Mistral, Mixtral, SmolLM2",
            rope_layout: RopeLayout::Interleaved,
            window: WindowRule::Everywhere,
            experts: NORMALISED,
            ..PLAIN
        },
        Self {
            name: "mistral3",
            models: "Mistral 3, Ministral 3",
            rope_layout: RopeLayout::Interleaved,
            window: WindowRule::Everywhere,
            experts: NORMALISED,
            ..PLAIN
        },
        Self {
            name: "qwen2",
            models: "Qwen2, Qwen2.5",
            ..PLAIN
        },
        Self {
            name: "qwen2moe",
            models: "Qwen1.5-MoE, Qwen2-MoE",
            experts: Some(ExpertRules {
                normalise: false,
                shared: SharedExpert::Gated,
            }),
            ..PLAIN
        },
        Self {
            name: "qwen3",
            models: "Qwen3",
            qk_norm: true,
            ..PLAIN
        },
        Self {
            name: "qwen3moe",
            models: "Qwen3-MoE",
            qk_norm: true,
            experts: NORMALISED,
            ..PLAIN
        },
        Self {
            name: "smollm3",
            models: "SmolLM3",
            rope_layout: RopeLayout::Interleaved,
            unturned_every: Some(4),
            ..PLAIN
        },
        Self {
            name: "granite",
            models: "Granite 3",
            rope_layout: RopeLayout::Interleaved,
            has_scales: true,
            ..PLAIN
        },
        Self {
            name: "granitemoe",
            models: "Granite 3 MoE",
            rope_layout: RopeLayout::Interleaved,
            has_scales: true,
            experts: NORMALISED,
            ..PLAIN
        },
        Self {
            name: "phi3",
            models: "Phi-3, Phi-3.5-mini, Phi-4",
            window: WindowRule::Everywhere,
            fused_gate_up: true,
            ..PLAIN
        },
        Self {
            name: "gemma2",
            models: "Gemma 2",
            post_norms: true,
            activation: Activation::GeluTanh,
            window: WindowRule::AllButEvery {
                n: 2,
                default: Some(4_096),
            },
            scaled_embedding: true,
            softcaps: Some((50.0, 30.0)),
            scores_by_hidden_at: Some(46),
            ..PLAIN
        },
        Self {
            name: "gemma3",
            models: "Gemma 3 (text)",
            qk_norm: true,
            post_norms: true,
            activation: Activation::GeluTanh,
            window: WindowRule::AllButEvery {
                n: 6,
                default: None,
            },
            local_rope: true,
            scaled_embedding: true,
            softcaps: Some((0.0, 0.0)),
            scores_by_hidden_at: Some(62),
            ..PLAIN
        },
    ];

    /// Returns the name GGUF files use.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the architecture of a file.
    ///
    /// # Errors
    /// [`ModelError::UnsupportedArchitecture`], which names those that are supported.
    pub fn from_gguf(file: &GgufFile) -> Result<&'static Self, ModelError> {
        let found = file.require_str("general.architecture")?;
        let known = Self::SUPPORTED.iter().find(|row| row.name == found);
        known.ok_or_else(|| {
            let names: Vec<&str> = Self::SUPPORTED.iter().map(Self::name).collect();
            ModelError::UnsupportedArchitecture {
                found: found.to_owned(),
                supported: names.join(", "),
            }
        })
    }
}
