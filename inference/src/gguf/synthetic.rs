//! Small models with random weights and a tiny byte-level BPE vocabulary, for tests of everything around
//! a model: they load and run in milliseconds and say nonsense.

use std::path::Path;

use candle_core::quantized::GgmlDType;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Array, Value, writer::GgufWriter};

/// Shape of a synthetic model.
#[derive(Debug, Clone, PartialEq)]
pub struct SyntheticModel {
    /// `llama` or `qwen2`.
    pub architecture: &'static str,
    pub num_layers: usize,
    pub hidden: usize,
    pub num_heads: usize,
    pub num_kv_heads: usize,
    pub head_dim: usize,
    pub ffn: usize,
    pub context: usize,
    /// Type of the matrices; norms and biases are F32.
    pub weights: GgmlDType,
    /// Whether the output matrix is the embedding matrix.
    pub tied: bool,
    /// Rows of the embedding beyond the vocabulary.
    pub padding_rows: usize,
    /// Adds a `rope_freqs.weight` tensor.
    pub rope_freqs: bool,
    pub seed: u64,
}

impl Default for SyntheticModel {
    fn default() -> Self {
        Self {
            architecture: "llama",
            num_layers: 2,
            hidden: 64,
            num_heads: 4,
            num_kv_heads: 2,
            head_dim: 16,
            ffn: 96,
            context: 512,
            weights: GgmlDType::Q8_0,
            tied: true,
            padding_rows: 0,
            rope_freqs: false,
            seed: 1,
        }
    }
}

impl SyntheticModel {
    /// A small `qwen2`: biases on q, k and v, rope on halves.
    pub fn qwen2() -> Self {
        Self {
            architecture: "qwen2",
            tied: false,
            ..Self::default()
        }
    }

    /// Writes the model to `path`.
    ///
    /// # Errors
    /// An I/O error, or a candle error inside one when the shape does not suit the weight type.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        self.to_writer().map_err(std::io::Error::other)?.write(path)
    }

    /// Returns the writer, so that a test can change what it wants before writing.
    ///
    /// # Errors
    /// A candle error when the shape does not suit the weight type.
    pub fn to_writer(&self) -> candle_core::Result<GgufWriter> {
        let mut writer = GgufWriter::new();
        let vocab_len = put_vocabulary(&mut writer);
        self.put_hyperparameters(&mut writer, vocab_len);
        self.put_weights(&mut writer, vocab_len + self.padding_rows)?;
        Ok(writer)
    }

    fn put_hyperparameters(&self, writer: &mut GgufWriter, vocab_len: usize) {
        let arch = self.architecture;
        let mut set = |name: &str, value: usize| {
            writer.set_u32(&format!("{arch}.{name}"), value as u32);
        };
        set("block_count", self.num_layers);
        set("context_length", self.context);
        set("embedding_length", self.hidden);
        set("feed_forward_length", self.ffn);
        set("attention.head_count", self.num_heads);
        set("attention.head_count_kv", self.num_kv_heads);
        set("attention.key_length", self.head_dim);
        set("attention.value_length", self.head_dim);
        set("rope.dimension_count", self.head_dim);
        set("vocab_size", vocab_len);
        writer.set_f32(&format!("{arch}.attention.layer_norm_rms_epsilon"), 1e-5);
        writer.set_f32(&format!("{arch}.rope.freq_base"), 10_000.0);
        writer.set_str("general.architecture", arch);
        writer.set_str("general.name", "synthetic");
    }

    fn put_weights(&self, writer: &mut GgufWriter, rows: usize) -> candle_core::Result<()> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut uniform = |count: usize, centre: f32, spread: f32| -> Vec<f32> {
            (0..count)
                .map(|_| centre + spread * rng.random_range(-1.0f32..1.0))
                .collect()
        };
        let (q_rows, kv_rows) = (
            self.num_heads * self.head_dim,
            self.num_kv_heads * self.head_dim,
        );
        // Small beside what the layers add; otherwise a tied output only ever repeats the last token.
        let embedding = uniform(rows * self.hidden, 0.0, 0.2);
        writer.quantize(
            "token_embd.weight",
            &[rows, self.hidden],
            self.weights,
            &embedding,
        )?;
        let norm = uniform(self.hidden, 1.0, 0.1);
        writer.quantize("output_norm.weight", &[self.hidden], GgmlDType::F32, &norm)?;
        if !self.tied {
            let output = uniform(rows * self.hidden, 0.0, 0.3);
            writer.quantize("output.weight", &[rows, self.hidden], self.weights, &output)?;
        }
        if self.rope_freqs {
            let factors = uniform(self.head_dim / 2, 4.0, 3.0);
            writer.quantize(
                "rope_freqs.weight",
                &[self.head_dim / 2],
                GgmlDType::F32,
                &factors,
            )?;
        }
        for layer in 0..self.num_layers {
            let matrices = [
                ("attn_q", q_rows, self.hidden),
                ("attn_k", kv_rows, self.hidden),
                ("attn_v", kv_rows, self.hidden),
                ("attn_output", self.hidden, q_rows),
                ("ffn_gate", self.ffn, self.hidden),
                ("ffn_up", self.ffn, self.hidden),
                ("ffn_down", self.hidden, self.ffn),
            ];
            for (name, rows, columns) in matrices {
                let spread = (3.0 / columns as f32).sqrt();
                let weights = uniform(rows * columns, 0.0, spread);
                let name = format!("blk.{layer}.{name}.weight");
                writer.quantize(&name, &[rows, columns], self.weights, &weights)?;
            }
            for name in ["attn_norm", "ffn_norm"] {
                let weights = uniform(self.hidden, 1.0, 0.1);
                let name = format!("blk.{layer}.{name}.weight");
                writer.quantize(&name, &[self.hidden], GgmlDType::F32, &weights)?;
            }
            if self.architecture == "qwen2" {
                for (name, rows) in [("attn_q", q_rows), ("attn_k", kv_rows), ("attn_v", kv_rows)] {
                    let bias = uniform(rows, 0.0, 0.5);
                    let name = format!("blk.{layer}.{name}.bias");
                    writer.quantize(&name, &[rows], GgmlDType::F32, &bias)?;
                }
            }
        }
        Ok(())
    }
}

/// Writes a GPT-2 style vocabulary of the 256 bytes, a few merges and three control tokens; returns its length.
fn put_vocabulary(writer: &mut GgufWriter) -> usize {
    let mut tokens: Vec<String> = byte_level_alphabet()
        .iter()
        .map(|c| c.to_string())
        .collect();
    let merges = [
        "t h",
        "th e",
        "\u{120} the",
        "i n",
        "a n",
        "an d",
        "o n",
        "e r",
    ];
    tokens.extend(merges.iter().map(|merge| merge.replace(' ', "")));
    let mut kinds = vec![1i32; tokens.len()];
    let end_of_text = tokens.len() as u32;
    tokens.extend(["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map(str::to_owned));
    kinds.extend([3, 3, 3]);
    let count = tokens.len();
    writer
        .set_str("tokenizer.ggml.model", "gpt2")
        .set_str("tokenizer.ggml.pre", "qwen2")
        .set("tokenizer.ggml.tokens", Value::Array(Array::String(tokens)))
        .set("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)))
        .set("tokenizer.ggml.merges", Value::Array(Array::String(merges.map(str::to_owned).to_vec())))
        .set_u32("tokenizer.ggml.bos_token_id", end_of_text)
        .set_u32("tokenizer.ggml.eos_token_id", end_of_text + 2)
        .set("tokenizer.ggml.add_bos_token", Value::Bool(false))
        .set_str(
            "tokenizer.chat_template",
            "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
        );
    count
}

/// GPT-2's printable stand-ins for the 256 bytes, in byte order.
fn byte_level_alphabet() -> Vec<char> {
    let printable = |byte: u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut next = 256u32;
    (0..256u32)
        .map(|byte| {
            let code = if printable(byte) {
                byte
            } else {
                next += 1;
                next - 1
            };
            char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
        })
        .collect()
}
