//! The BERT encoder on CPUs with AVX-512-VNNI, arXiv 1810.04805: matrix products of 16-bit whole numbers, texts one after
//! another without padding, everything else in f32. Other CPUs and devices use candle's model.
//!
//! Equal to f32 within a cosine of 0.9999 (`tests/it/golden_encoder.rs`). With weights and activations of 8 bits, one scale
//! a block of 32, it was 0.998: activations of encoders have outliers.

use candle_core::{Device, Result, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{Config, HiddenAct};

use crate::{
    layers::{Linear, forward_shared},
    ops::{
        full_attention::{FullAttention, full_attention},
        gelu::gelu,
        i16_matmul::Int16Weights,
        layer_norm::add_layer_norm,
    },
};

/// A loaded encoder.
#[derive(Debug)]
pub struct Bert {
    /// `[vocabulary, hidden]` f32
    words: Tensor,
    /// `[positions, hidden]` f32, the type of the first sentence added.
    positions: Tensor,
    norm: LayerNorm,
    layers: Vec<Layer>,
    num_heads: usize,
}

#[derive(Debug)]
struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: Linear,
    attention_norm: LayerNorm,
    intermediate: Linear,
    output: Linear,
    output_norm: LayerNorm,
}

#[derive(Debug)]
struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f32,
}

impl Bert {
    /// Whether a model is made of what this one knows.
    pub fn supports(config: &Config, device: &Device) -> bool {
        device.is_cpu()
            && matches!(config.hidden_act, HiddenAct::Gelu)
            && config.num_attention_heads > 0
            && config
                .hidden_size
                .is_multiple_of(config.num_attention_heads)
            && Int16Weights::takes(config.hidden_size, config.intermediate_size)
            && Int16Weights::takes(config.intermediate_size, config.hidden_size)
    }

    /// Takes the weights out of a safetensors file, with or without the prefix `bert.`.
    ///
    /// # Errors
    /// A candle error for a tensor that is missing or of another shape.
    pub fn load(tensors: VarBuilder<'_>, config: &Config) -> Result<Self> {
        let tensors = if tensors.contains_tensor("embeddings.word_embeddings.weight") {
            tensors
        } else {
            tensors.pp("bert")
        };
        let hidden = config.hidden_size;
        let embeddings = tensors.pp("embeddings");
        let table = |name: &str, rows: usize| {
            embeddings.get((rows, hidden), &format!("{name}_embeddings.weight"))
        };
        let types = table("token_type", config.type_vocab_size)?;
        let positions = table("position", config.max_position_embeddings)?;
        Ok(Self {
            words: table("word", config.vocab_size)?,
            positions: positions.broadcast_add(&types.narrow(0, 0, 1)?)?,
            norm: layer_norm(&embeddings, config)?,
            layers: (0..config.num_hidden_layers)
                .map(|index| Layer::load(&tensors.pp(format!("encoder.layer.{index}")), config))
                .collect::<Result<_>>()?,
            num_heads: config.num_attention_heads,
        })
    }

    /// Returns the last hidden state of all tokens of all texts, `[num_tokens, hidden]` f32.
    ///
    /// # Errors
    /// A candle error for an id or a length beyond the model's.
    pub fn forward(&self, texts: &[&[u32]]) -> Result<Tensor> {
        let lengths: Vec<usize> = texts.iter().map(|text| text.len()).collect();
        let ids = texts.concat();
        let positions: Vec<u32> = lengths.iter().flat_map(|&len| 0..len as u32).collect();
        let row_of = |ids: Vec<u32>| Tensor::new(ids, &Device::Cpu);
        let words = self.words.index_select(&row_of(ids)?, 0)?;
        let positions = self.positions.index_select(&row_of(positions)?, 0)?;
        let mut x = self.norm.forward(&words, &positions)?;
        for layer in &self.layers {
            x = layer.forward(&x, &lengths, self.num_heads)?;
        }
        Ok(x)
    }
}

impl Layer {
    fn load(tensors: &VarBuilder<'_>, config: &Config) -> Result<Self> {
        let (hidden, ffn) = (config.hidden_size, config.intermediate_size);
        let linear = |name: &str, out: usize, inp: usize| linear(&tensors.pp(name), out, inp);
        Ok(Self {
            query: linear("attention.self.query", hidden, hidden)?,
            key: linear("attention.self.key", hidden, hidden)?,
            value: linear("attention.self.value", hidden, hidden)?,
            attention_output: linear("attention.output.dense", hidden, hidden)?,
            attention_norm: layer_norm(&tensors.pp("attention.output"), config)?,
            intermediate: linear("intermediate.dense", ffn, hidden)?,
            output: linear("output.dense", hidden, ffn)?,
            output_norm: layer_norm(&tensors.pp("output"), config)?,
        })
    }

    fn forward(&self, x: &Tensor, lengths: &[usize], num_heads: usize) -> Result<Tensor> {
        let [q, k, v] = forward_shared([&self.query, &self.key, &self.value], x)?;
        let shape = FullAttention {
            lengths,
            num_heads,
            head_dim: x.dim(1)? / num_heads,
        };
        let attended = full_attention(&q, &k, &v, shape)?;
        let attended = self.attention_output.forward(&attended)?;
        let x = self.attention_norm.forward(&attended, x)?;
        let inner = gelu(&self.intermediate.forward(&x)?)?;
        self.output_norm.forward(&self.output.forward(&inner)?, &x)
    }
}

impl LayerNorm {
    fn forward(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        add_layer_norm(x, residual, &self.weight, &self.bias, self.eps)
    }
}

/// Loads `LayerNorm` below a name; files of the first years call its parts gamma and beta.
fn layer_norm(tensors: &VarBuilder<'_>, config: &Config) -> Result<LayerNorm> {
    let tensors = tensors.pp("LayerNorm");
    let part = |name: &str, old: &str| {
        let name = if tensors.contains_tensor(name) {
            name
        } else {
            old
        };
        tensors.get(config.hidden_size, name)
    };
    Ok(LayerNorm {
        weight: part("weight", "gamma")?,
        bias: part("bias", "beta")?,
        eps: config.layer_norm_eps as f32,
    })
}

/// Rounds a matrix to 16 bits.
fn linear(tensors: &VarBuilder<'_>, out: usize, inp: usize) -> Result<Linear> {
    let weights = tensors.get((out, inp), "weight")?;
    let bias = tensors.get(out, "bias")?;
    match Linear::int16(&weights, Some(bias))? {
        Some(linear) => Ok(linear),
        None => candle_core::bail!("{out} x {inp} weights cannot be computed with in 16 bits"),
    }
}
