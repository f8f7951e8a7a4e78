//! Hyperparameters of a model, from GGUF metadata: every layer of every architecture as numbers and flags.

use super::{
    Architecture, ModelError,
    architecture::{SharedExpert, WindowRule},
    keys::Keys,
    rope::RopeConfig,
};
use crate::{
    gguf::GgufFile,
    kv_cache::{CacheLayout, KvCacheDtype},
    ops::{expert_routing::RoutingRule, paged_attention::AttentionShape},
};

/// Hyperparameters of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    pub architecture: &'static Architecture,
    pub hidden: usize,
    pub head_dim: usize,
    /// At least one.
    pub layers: Vec<LayerConfig>,
    /// The first is every layer's, unless the layer says another.
    pub ropes: Vec<RopeConfig>,
    pub rms_norm_eps: f32,
    /// Factor of the embedding.
    pub embedding_scale: f64,
    /// Factor of what each layer adds.
    pub residual_scale: f64,
    /// Factor of the logits.
    pub logits_scale: f64,
    /// Bounds the logits: `l` becomes `softcap * tanh(l / softcap)`.
    pub logits_softcap: Option<f64>,
    pub temperature: Option<Temperature>,
    /// Tokens the model was trained for.
    pub context_len: usize,
}

/// One layer.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerConfig {
    pub attention: AttentionShape,
    /// Which of the model's ropes turns it; `None`: it is not turned.
    pub rope: Option<usize>,
    pub feed_forward: FeedForwardConfig,
}

/// The feed-forward part of a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FeedForwardConfig {
    Dense { ffn: usize },
    Experts(ExpertsConfig),
}

/// A feed-forward part made of experts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExpertsConfig {
    pub num_experts: usize,
    pub routing: RoutingRule,
    /// Width of one expert.
    pub ffn: usize,
    /// Width of the expert that all tokens use.
    pub shared_ffn: Option<usize>,
    /// Whether that one has a gate.
    pub shared_gate: bool,
}

/// Queries far into the context are multiplied by `1 + scale * ln(1 + floor(position / step))` (Mistral 3).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Temperature {
    pub scale: f64,
    /// In tokens.
    pub step: usize,
}

impl Temperature {
    /// Returns the factor of the query at a position.
    pub fn factor(&self, position: u32) -> f32 {
        let steps = position as usize / self.step;
        (1.0 + self.scale * (1.0 + steps as f64).ln()) as f32
    }
}

impl ModelConfig {
    /// Reads and checks the hyperparameters.
    ///
    /// # Errors
    /// [`ModelError`] for an architecture or a feature this engine does not run, and for numbers that contradict
    /// each other.
    pub fn from_gguf(file: &GgufFile) -> Result<Self, ModelError> {
        let architecture = Architecture::from_gguf(file)?;
        let keys = Keys {
            file,
            prefix: architecture.name(),
        };
        let num_layers = within(&keys, "block_count", 1_024)?;
        let context_len = within(&keys, "context_length", 1 << 24)?;
        let hidden = within(&keys, "embedding_length", 1 << 20)?;
        let heads = heads(&keys, num_layers)?;
        let head_dim = head_dim(&keys, hidden, heads[0].0)?;
        let ropes = ropes(&keys, architecture, head_dim, context_len)?;
        let layers = layers(&keys, architecture, (hidden, head_dim), &heads)?;
        let scale = |name: &str| -> Result<f64, ModelError> {
            let value = if architecture.has_scales {
                keys.positive(name)?
            } else {
                None
            };
            Ok(value.unwrap_or(1.0))
        };
        let embedding_scale = if architecture.scaled_embedding {
            (hidden as f64).sqrt()
        } else {
            scale("embedding_scale")?
        };
        let rms_norm_eps = keys.positive("attention.layer_norm_rms_epsilon")?;
        Ok(Self {
            architecture,
            hidden,
            head_dim,
            layers,
            rms_norm_eps: rms_norm_eps.unwrap_or(1e-5) as f32,
            embedding_scale,
            residual_scale: scale("residual_scale")?,
            logits_scale: 1.0 / scale("logit_scale")?,
            logits_softcap: softcap(&keys, architecture, "final_logit_softcapping")?,
            temperature: temperature(&keys, ropes[0].original_context_len)?,
            ropes,
            context_len,
        })
    }

    /// Returns how many tokens a token sees at most, itself included; `None` where a layer sees all.
    pub fn window(&self) -> Option<usize> {
        let windows = self.layers.iter().map(|layer| layer.attention.window);
        windows.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// Returns the shape of a cache of `num_blocks` blocks.
    pub fn cache_layout(&self, num_blocks: usize, dtype: KvCacheDtype) -> CacheLayout {
        let heads = self.layers.iter().map(|layer| layer.attention.num_kv_heads);
        CacheLayout {
            num_blocks,
            num_kv_heads: heads.collect(),
            head_dim: self.head_dim,
            dtype,
        }
    }
}

/// Reads a number between 1 and `max`.
fn within(keys: &Keys<'_>, name: &str, max: usize) -> Result<usize, ModelError> {
    match keys.require(name)? {
        value if (1..=max).contains(&value) => Ok(value),
        value => Err(keys.invalid(name, value)),
    }
}

/// Returns query and key heads of each layer.
fn heads(keys: &Keys<'_>, num_layers: usize) -> Result<Vec<(usize, usize)>, ModelError> {
    let Some(query) = keys.per_layer("attention.head_count", num_layers)? else {
        // Names the key that is missing.
        return keys.require("attention.head_count").map(|_| Vec::new());
    };
    let key = keys.per_layer("attention.head_count_kv", num_layers)?;
    let heads = query.iter().zip(key.as_ref().unwrap_or(&query));
    for (&query, &key) in heads.clone() {
        if query == 0 || query > 65_536 {
            return Err(keys.invalid("attention.head_count", query));
        }
        if key == 0 || !query.is_multiple_of(key) {
            return Err(keys.invalid("attention.head_count_kv", key));
        }
    }
    Ok(heads.map(|(&query, &key)| (query, key)).collect())
}

fn head_dim(keys: &Keys<'_>, hidden: usize, num_heads: usize) -> Result<usize, ModelError> {
    let head_dim = keys
        .get("attention.key_length")
        .unwrap_or(hidden / num_heads);
    if head_dim == 0 || head_dim > 1_024 {
        return Err(keys.invalid("attention.key_length", head_dim));
    }
    let value_dim = keys.get("attention.value_length").unwrap_or(head_dim);
    if value_dim != head_dim {
        return Err(ModelError::Unsupported {
            what: format!("values of {value_dim} beside keys of {head_dim}"),
        });
    }
    Ok(head_dim)
}

fn ropes(
    keys: &Keys<'_>,
    architecture: &Architecture,
    head_dim: usize,
    context_len: usize,
) -> Result<Vec<RopeConfig>, ModelError> {
    let rope = RopeConfig::from_keys(keys, architecture, head_dim, context_len)?;
    if architecture.local_rope {
        let local = rope.local(keys)?;
        return Ok(vec![rope, local]);
    }
    Ok(vec![rope])
}

fn layers(
    keys: &Keys<'_>,
    architecture: &Architecture,
    (hidden, head_dim): (usize, usize),
    heads: &[(usize, usize)],
) -> Result<Vec<LayerConfig>, ModelError> {
    let windows = windows(keys, architecture, heads.len())?;
    let feed_forward = feed_forward(keys, architecture, heads.len())?;
    let softcap = softcap(keys, architecture, "attn_logit_softcapping")?;
    // Granite's word for a model without positions.
    let is_turned = !architecture.has_scales || keys.bool("rope.scaling.finetuned").unwrap_or(true);
    let scale = match keys.positive("attention.scale")? {
        None if architecture.scores_by_hidden_at == Some(heads.len()) => {
            Some(1.0 / ((hidden / heads[0].0) as f64).sqrt())
        }
        scale => scale,
    };
    let mut layers = Vec::with_capacity(heads.len());
    for (&(num_heads, num_kv_heads), (window, feed_forward)) in
        heads.iter().zip(windows.into_iter().zip(feed_forward))
    {
        let plain = AttentionShape::new(num_heads, num_kv_heads, head_dim);
        let number = layers.len() + 1;
        let is_skipped = architecture
            .unturned_every
            .is_some_and(|step| number.is_multiple_of(step));
        let rope = usize::from(architecture.local_rope && window.is_some());
        layers.push(LayerConfig {
            attention: AttentionShape {
                scale: scale.map_or(plain.scale, |scale| scale as f32),
                softcap: softcap.map(|softcap| softcap as f32),
                window,
                ..plain
            },
            rope: (is_turned && !is_skipped).then_some(rope),
            feed_forward,
        });
    }
    Ok(layers)
}

/// Returns the window of each layer.
fn windows(
    keys: &Keys<'_>,
    architecture: &Architecture,
    num_layers: usize,
) -> Result<Vec<Option<usize>>, ModelError> {
    let (every, default) = match architecture.window {
        WindowRule::AllButEvery { n, default } => (n, default),
        WindowRule::Everywhere | WindowRule::Unknown => (0, None),
    };
    let window = keys.get("attention.sliding_window").or(default);
    let Some(window) = window.filter(|window| *window > 0) else {
        return Ok(vec![None; num_layers]);
    };
    if let Some(layers) = keys.bools("attention.sliding_window_pattern", num_layers) {
        let windows = layers.iter().map(|has_one| has_one.then_some(window));
        return Ok(windows.collect());
    }
    let is_longer_than_the_context = keys
        .get("context_length")
        .is_some_and(|context_len| window >= context_len);
    if architecture.window == WindowRule::Unknown {
        if is_longer_than_the_context {
            return Ok(vec![None; num_layers]);
        }
        return Err(ModelError::Unsupported {
            what: format!(
                "a sliding window of {window} tokens in some layers of `{}`",
                architecture.name()
            ),
        });
    }
    let every = keys
        .get("attention.sliding_window_pattern")
        .unwrap_or(every);
    let has_one = |layer: usize| every == 0 || layer % every < every - 1;
    Ok((0..num_layers)
        .map(|layer| has_one(layer).then_some(window))
        .collect())
}

fn feed_forward(
    keys: &Keys<'_>,
    architecture: &Architecture,
    num_layers: usize,
) -> Result<Vec<FeedForwardConfig>, ModelError> {
    let widths = keys.per_layer("feed_forward_length", num_layers)?;
    let num_experts = keys.get("expert_count").unwrap_or(0);
    if num_experts > 0 {
        let experts = experts(keys, architecture, num_experts, widths.as_deref())?;
        return Ok(vec![FeedForwardConfig::Experts(experts); num_layers]);
    }
    let Some(widths) = widths else {
        return keys.require("feed_forward_length").map(|_| Vec::new());
    };
    let dense = |ffn| FeedForwardConfig::Dense { ffn };
    Ok(widths.into_iter().map(dense).collect())
}

fn experts(
    keys: &Keys<'_>,
    architecture: &Architecture,
    num_experts: usize,
    widths: Option<&[usize]>,
) -> Result<ExpertsConfig, ModelError> {
    let Some(rules) = architecture.experts else {
        return Err(ModelError::Unsupported {
            what: format!("a mixture of experts in `{}`", architecture.name()),
        });
    };
    for (name, usual) in [("expert_group_count", 1), ("expert_gating_func", 1)] {
        if let Some(value) = keys.get(name)
            && value > usual
        {
            return Err(ModelError::Unsupported {
                what: format!("`{}` of {value}", keys.key(name)),
            });
        }
    }
    let num_used = keys.require("expert_used_count")?;
    if num_experts > 4_096 {
        return Err(keys.invalid("expert_count", num_experts));
    }
    if num_used == 0 || num_used > num_experts {
        return Err(keys.invalid("expert_used_count", num_used));
    }
    let width = widths.and_then(|widths| widths.first().copied());
    let ffn = keys.get("expert_feed_forward_length").or(width);
    let Some(ffn) = ffn.filter(|ffn| *ffn > 0) else {
        return Err(keys.invalid("expert_feed_forward_length", 0));
    };
    let shared = keys.get("expert_shared_feed_forward_length");
    Ok(ExpertsConfig {
        num_experts,
        routing: RoutingRule {
            num_used,
            normalise: rules.normalise,
            scale: keys.positive("expert_weights_scale")?.unwrap_or(1.0) as f32,
        },
        ffn,
        shared_ffn: match rules.shared {
            SharedExpert::Optional => shared.filter(|width| *width > 0),
            SharedExpert::Gated => shared.or(width),
        },
        shared_gate: rules.shared == SharedExpert::Gated,
    })
}

/// Returns the bound that a key names, or the architecture's own.
fn softcap(
    keys: &Keys<'_>,
    architecture: &Architecture,
    name: &str,
) -> Result<Option<f64>, ModelError> {
    let Some((attention, logits)) = architecture.softcaps else {
        return Ok(None);
    };
    let default = if name.starts_with("attn") {
        attention
    } else {
        logits
    };
    let softcap = keys.number(name)?.unwrap_or(f64::from(default));
    Ok(Some(softcap).filter(|softcap| *softcap > 0.0))
}

fn temperature(keys: &Keys<'_>, step: usize) -> Result<Option<Temperature>, ModelError> {
    let scale = keys.number("attention.temperature_scale")?;
    let Some(scale) = scale.filter(|scale| *scale != 0.0) else {
        return Ok(None);
    };
    if step == 0 {
        return Err(keys.invalid("rope.scaling.original_context_length", step));
    }
    Ok(Some(Temperature { scale, step }))
}
