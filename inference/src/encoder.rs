//! Sentence embeddings: a BERT encoder whose word pieces are averaged and normalised.
//!
//! Loads a sentence-transformers folder (`config.json`, `tokenizer.json`, `model.safetensors`, optional
//! `sentence_bert_config.json` and `1_Pooling/config.json`) such as all-MiniLM-L6-v2. Equal to
//! sentence-transformers within f32 rounding (cosine > 0.9999, `tests/golden/`).
//!
//! A *word piece* is the encoder's token, not the language model's. A text longer than
//! [`Encoder::max_tokens`] is cut there, as the model was trained.
//!
//! Absent on purpose: caching, passages, any other pooling (refused by name).

mod bert;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use candle_core::{D, DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use serde::Deserialize;

use self::bert::Bert;
use crate::config::DeviceChoice;
use crate::device::{self, DeviceError};

/// Padded word pieces in one forward pass: the largest intermediate is 3 MB, so that what one operation writes the next
/// finds in a cache. On two cores of an Intel Xeon 512 pieces embed 69 passages of 190 word pieces a second, 1024 64, 2048 60.
const MAX_BATCH_TOKENS: usize = 512;

/// Why an encoder cannot be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// The folder or one of its files is absent or unreadable.
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A configuration file is not what sentence-transformers writes.
    #[error("{path} is not valid: {reason}")]
    Malformed { path: PathBuf, reason: String },
    /// The model needs something this encoder does not do.
    #[error("{path}: {what} is not supported (supported: a BERT encoder with mean pooling)")]
    Unsupported { path: PathBuf, what: String },
    /// The weights are damaged, or lack a tensor, or have one of another shape.
    #[error("{path} does not hold the weights of this encoder: {reason}")]
    Weights { path: PathBuf, reason: String },
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A text cannot be cut into word pieces.
    #[error("a text cannot be tokenized: {reason}")]
    Tokenize { reason: String },
    /// A forward pass failed, for example for lack of memory.
    #[error("the encoder failed")]
    Compute(#[from] candle_core::Error),
}

/// A loaded sentence encoder. Immutable; `Send + Sync`, and any number of threads may embed at once.
pub struct Encoder {
    name: String,
    model: Model,
    tokenizer: tokenizers::Tokenizer,
    /// Number of word pieces. The tokenizer counts them anew each time, which takes milliseconds.
    vocab_size: usize,
    device: Device,
    dim: usize,
    max_tokens: usize,
    pad_id: u32,
}

/// What computes.
enum Model {
    /// Products of 16-bit numbers, on CPUs with AVX-512-VNNI.
    Bert(Bert),
    /// f32 on any device.
    Candle(Box<BertModel>),
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder")
            .field("name", &self.name)
            .field("dim", &self.dim)
            .finish_non_exhaustive()
    }
}

/// The parts of `sentence_bert_config.json` that matter here.
#[derive(Deserialize)]
struct SentenceConfig {
    max_seq_length: usize,
}

/// The parts of `1_Pooling/config.json` that matter here.
#[derive(Deserialize)]
struct PoolingConfig {
    #[serde(default)]
    pooling_mode_mean_tokens: bool,
    #[serde(default)]
    pooling_mode_cls_token: bool,
    #[serde(default)]
    pooling_mode_max_tokens: bool,
}

impl Encoder {
    /// Loads the encoder in `dir` onto a device. Reads the whole weight file (91 MB for MiniLM). CPUs with
    /// AVX-512-VNNI multiply 16-bit whole numbers.
    ///
    /// # Errors
    /// A missing, damaged or unsupported file, by name; a device that cannot be opened.
    pub fn load(dir: &Path, device: &DeviceChoice) -> Result<Self, EncoderError> {
        Self::load_with(dir, device, Bert::supports)
    }

    /// Loads the encoder with f32 products whatever the CPU, for comparisons.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_exact(dir: &Path, device: &DeviceChoice) -> Result<Self, EncoderError> {
        Self::load_with(dir, device, |_, _| false)
    }

    fn load_with(
        dir: &Path,
        device: &DeviceChoice,
        is_rounded: impl Fn(&Config, &Device) -> bool,
    ) -> Result<Self, EncoderError> {
        let config_path = dir.join("config.json");
        let config_bytes = read(&config_path)?;
        let model_type: ModelType = parse_json(&config_path, &config_bytes)?;
        if model_type.model_type != "bert" {
            let what = format!("model type `{}`", model_type.model_type);
            return Err(EncoderError::Unsupported {
                path: config_path,
                what,
            });
        }
        let config: Config = parse_json(&config_path, &config_bytes)?;
        check_pooling(&dir.join("1_Pooling/config.json"))?;
        let max_tokens = max_tokens(
            &dir.join("sentence_bert_config.json"),
            config.max_position_embeddings,
        )?;
        let (tokenizer, vocab_size) =
            load_tokenizer(&dir.join("tokenizer.json"), config.vocab_size)?;

        let device = device::open(device)?;
        device::keep_freed_memory();
        let weights_path = dir.join("model.safetensors");
        let weights = read(&weights_path)?;
        let weights_error = |error: candle_core::Error| EncoderError::Weights {
            path: weights_path.clone(),
            reason: error.to_string(),
        };
        let tensors = VarBuilder::from_buffered_safetensors(weights, DType::F32, &device)
            .map_err(weights_error)?;
        let model = if is_rounded(&config, &device) {
            Bert::load(tensors, &config).map(Model::Bert)
        } else {
            BertModel::load(tensors, &config).map(|model| Model::Candle(Box::new(model)))
        };
        let model = model.map_err(weights_error)?;
        Ok(Self {
            name: folder_name(dir),
            model,
            tokenizer,
            vocab_size,
            device,
            dim: config.hidden_size,
            max_tokens,
            pad_id: config.pad_token_id as u32,
        })
    }

    /// Returns the embedding of each text: `dim()` values of length 1, in the order of `texts`.
    ///
    /// Texts of similar length are computed together so that little padding is multiplied.
    ///
    /// # Errors
    /// [`EncoderError::Compute`], in practice only for lack of memory.
    pub fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, EncoderError> {
        let rows = texts
            .iter()
            .map(|text| self.word_pieces(text))
            .collect::<Result<Vec<_>, _>>()?;
        self.embed_rows(&rows)
    }

    /// Returns what [`Self::embed`] returns, of texts as their word pieces without the two that frame them. Word pieces that
    /// are framed already stay as they are.
    ///
    /// # Errors
    /// [`EncoderError::Tokenize`] for an id that is no word piece; else as [`Self::embed`].
    pub fn embed_tokens(&self, texts: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, EncoderError> {
        let frame = self.word_pieces("")?;
        let rows = texts
            .iter()
            .map(|ids| self.framed(ids, &frame))
            .collect::<Result<Vec<_>, _>>()?;
        self.embed_rows(&rows)
    }

    /// Number of word pieces.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn embed_rows(&self, rows: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, EncoderError> {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|&row| rows[row].len());
        let mut embeddings = vec![Vec::new(); rows.len()];
        for batch in batches(&order, |row| rows[row].len()) {
            let batch_rows: Vec<&[u32]> = batch.iter().map(|&row| rows[row].as_slice()).collect();
            let embedded = match &self.model {
                Model::Bert(model) => embed_batch(model, &batch_rows)?,
                Model::Candle(model) => self.embed_padded(model, &batch_rows)?,
            };
            for (&row, embedding) in batch.iter().zip(embedded) {
                embeddings[row] = embedding;
            }
        }
        Ok(embeddings)
    }

    /// Number of values of an embedding.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Name of the folder that the encoder was loaded from; embeddings of different names do not compare.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Word pieces that are read of a text, the two that frame it included.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Returns the number of word pieces of `text`, uncut and without the two that frame it. A text that
    /// cannot be tokenized counts its bytes.
    pub fn count_tokens(&self, text: &str) -> usize {
        self.tokenizer
            .encode_fast(text, false)
            .map_or(text.len(), |encoding| encoding.len())
    }

    /// Returns the framed word pieces of `text`, cut to `max_tokens` with the closing piece kept.
    fn word_pieces(&self, text: &str) -> Result<Vec<u32>, EncoderError> {
        let encoding =
            self.tokenizer
                .encode_fast(text, true)
                .map_err(|error| EncoderError::Tokenize {
                    reason: error.to_string(),
                })?;
        Ok(self.cut(encoding.get_ids().to_vec()))
    }

    /// Puts the two word pieces of `frame`, those of every text, around `ids`, unless they are there, and cuts them likewise.
    fn framed(&self, ids: &[u32], frame: &[u32]) -> Result<Vec<u32>, EncoderError> {
        let vocab_size = self.vocab_size;
        if let Some(id) = ids.iter().find(|id| **id as usize >= vocab_size) {
            return Err(EncoderError::Tokenize {
                reason: format!("{id} is none of the {vocab_size} word pieces"),
            });
        }
        let middle = frame.len() / 2;
        let (opening, closing) = frame.split_at(middle);
        if ids.len() >= frame.len() && ids.starts_with(opening) && ids.ends_with(closing) {
            return Ok(self.cut(ids.to_vec()));
        }
        Ok(self.cut([opening, ids, closing].concat()))
    }

    fn cut(&self, mut ids: Vec<u32>) -> Vec<u32> {
        if ids.len() > self.max_tokens {
            let closing = ids[ids.len() - 1];
            ids.truncate(self.max_tokens - 1);
            ids.push(closing);
        }
        ids
    }

    /// Computes one padded batch.
    fn embed_padded(
        &self,
        model: &BertModel,
        rows: &[&[u32]],
    ) -> Result<Vec<Vec<f32>>, EncoderError> {
        let longest = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        let shape = (rows.len(), longest);
        let mut ids = Vec::with_capacity(rows.len() * longest);
        let mut mask = Vec::with_capacity(rows.len() * longest);
        for row in rows {
            ids.extend_from_slice(row);
            ids.extend(std::iter::repeat_n(self.pad_id, longest - row.len()));
            mask.extend((0..longest).map(|position| f32::from(u8::from(position < row.len()))));
        }
        let ids = Tensor::from_vec(ids, shape, &self.device)?;
        let mask = Tensor::from_vec(mask, shape, &self.device)?;
        let hidden = model.forward(&ids, &ids.zeros_like()?, Some(&mask))?; // [rows, longest, dim]
        let summed = hidden.broadcast_mul(&mask.unsqueeze(D::Minus1)?)?.sum(1)?; // [rows, dim]
        let mean = summed.broadcast_div(&mask.sum_keepdim(1)?)?;
        let norm = mean.sqr()?.sum_keepdim(1)?.sqrt()?;
        Ok(mean.broadcast_div(&norm)?.to_vec2()?)
    }
}

/// Computes one batch without padding: mean of each text's word pieces, normalised.
fn embed_batch(model: &Bert, rows: &[&[u32]]) -> Result<Vec<Vec<f32>>, EncoderError> {
    let hidden = model.forward(rows)?; // [word pieces, dim]
    let mut embeddings = Vec::with_capacity(rows.len());
    let mut start = 0;
    for row in rows {
        let mean = hidden.narrow(0, start, row.len())?.mean(0)?;
        let norm = mean.sqr()?.sum_all()?.sqrt()?;
        embeddings.push(mean.broadcast_div(&norm)?.to_vec1()?);
        start += row.len();
    }
    Ok(embeddings)
}

#[derive(Deserialize)]
struct ModelType {
    model_type: String,
}

/// Cuts rows, sorted by ascending length, into batches of at most `MAX_BATCH_TOKENS` padded word pieces.
fn batches(order: &[usize], len_of: impl Fn(usize) -> usize) -> impl Iterator<Item = &[usize]> {
    let mut rest = order;
    std::iter::from_fn(move || {
        // The longest row of a batch, to which all are padded, is its last.
        let fitting = rest
            .iter()
            .enumerate()
            .take_while(|&(index, &row)| (index + 1) * len_of(row) <= MAX_BATCH_TOKENS)
            .count();
        let (batch, tail) = rest.split_at(fitting.max(1).min(rest.len()));
        rest = tail;
        (!batch.is_empty()).then_some(batch)
    })
}

fn read(path: &Path) -> Result<Vec<u8>, EncoderError> {
    fs::read(path).map_err(|source| EncoderError::Read {
        path: path.to_owned(),
        source,
    })
}

fn parse_json<T: serde::de::DeserializeOwned>(
    path: &Path,
    bytes: &[u8],
) -> Result<T, EncoderError> {
    serde_json::from_slice(bytes).map_err(|error| EncoderError::Malformed {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

/// Reads an optional file of a sentence-transformers folder.
fn read_optional<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, EncoderError> {
    match read(path) {
        Ok(bytes) => parse_json(path, &bytes).map(Some),
        Err(EncoderError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn check_pooling(path: &Path) -> Result<(), EncoderError> {
    let Some(pooling) = read_optional::<PoolingConfig>(path)? else {
        return Ok(());
    };
    let is_mean_only = pooling.pooling_mode_mean_tokens
        && !pooling.pooling_mode_cls_token
        && !pooling.pooling_mode_max_tokens;
    if is_mean_only {
        return Ok(());
    }
    Err(EncoderError::Unsupported {
        path: path.to_owned(),
        what: "this pooling".into(),
    })
}

fn max_tokens(path: &Path, max_positions: usize) -> Result<usize, EncoderError> {
    let Some(config) = read_optional::<SentenceConfig>(path)? else {
        return Ok(max_positions);
    };
    if (3..=max_positions).contains(&config.max_seq_length) {
        return Ok(config.max_seq_length);
    }
    let reason = format!(
        "max_seq_length {} is not between 3 and the {max_positions} positions of the model",
        config.max_seq_length
    );
    Err(EncoderError::Malformed {
        path: path.to_owned(),
        reason,
    })
}

/// Loads the tokenizer without the cutting and padding that its file asks for: both are done here, by the
/// numbers of this model rather than those of the file, which say 128 for MiniLM. Returns its number of word pieces, too.
fn load_tokenizer(
    path: &Path,
    vocab_size: usize,
) -> Result<(tokenizers::Tokenizer, usize), EncoderError> {
    let bytes = read(path)?;
    let malformed = |reason: String| EncoderError::Malformed {
        path: path.to_owned(),
        reason,
    };
    let mut tokenizer =
        tokenizers::Tokenizer::from_bytes(bytes).map_err(|error| malformed(error.to_string()))?;
    tokenizer
        .with_truncation(None)
        .map_err(|error| malformed(error.to_string()))?;
    tokenizer.with_padding(None);
    let pieces = tokenizer.get_vocab_size(true);
    if pieces > vocab_size {
        return Err(malformed(format!(
            "it has {pieces} word pieces, the model {vocab_size}"
        )));
    }
    Ok((tokenizer, pieces))
}

fn folder_name(dir: &Path) -> String {
    let named = if dir.file_name().is_some() {
        Ok(dir.to_owned())
    } else {
        dir.canonicalize()
    };
    named
        .ok()
        .and_then(|path| {
            path.file_name()
                .map(|name| name.to_string_lossy().into_owned())
        })
        .unwrap_or_else(|| "encoder".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_stay_under_the_token_budget_and_cover_every_row() {
        let lengths = [3, 5, 100, 250, 256, 256, 256, 256, 256, 256, 256, 256, 3000];
        let order: Vec<usize> = (0..lengths.len()).collect();
        let cut: Vec<Vec<usize>> = batches(&order, |row| lengths[row])
            .map(<[usize]>::to_vec)
            .collect();
        let cuts = [0, 3, 5, 7, 9, 11, 12, 13];
        let want: Vec<Vec<usize>> = cuts
            .windows(2)
            .map(|cut| (cut[0]..cut[1]).collect())
            .collect();
        assert_eq!(cut, want);
        assert_eq!(batches(&[], |_| 1).count(), 0);
    }

    #[test]
    fn a_missing_or_damaged_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let failure = || {
            Encoder::load(dir.path(), &DeviceChoice::Cpu)
                .unwrap_err()
                .to_string()
        };
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        assert!(failure().contains("cannot read") && failure().contains("config.json"));
        write("config.json", "{");
        assert!(failure().contains("config.json is not valid"));
        write("config.json", r#"{"model_type": "roberta"}"#);
        assert!(failure().contains("model type `roberta` is not supported"));
        let config = r#"{"model_type": "bert", "vocab_size": 8, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 8, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "max_position_embeddings": 16, "type_vocab_size": 2,
            "initializer_range": 0.02, "layer_norm_eps": 1e-12, "pad_token_id": 0}"#;
        write("config.json", config);
        write("sentence_bert_config.json", r#"{"max_seq_length": 99}"#);
        assert!(failure().contains("max_seq_length 99"));
        write("sentence_bert_config.json", r#"{"max_seq_length": 16}"#);
        fs::create_dir(dir.path().join("1_Pooling")).unwrap();
        write(
            "1_Pooling/config.json",
            r#"{"pooling_mode_cls_token": true}"#,
        );
        assert!(failure().contains("this pooling is not supported"));
        write(
            "1_Pooling/config.json",
            r#"{"pooling_mode_mean_tokens": true}"#,
        );
        assert!(failure().contains("tokenizer.json"));
        write("tokenizer.json", "[]");
        assert!(failure().contains("tokenizer.json is not valid"));
        write(
            "tokenizer.json",
            r###"{"version": "1.0", "model": {"type": "WordPiece", "unk_token": "a", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 9, "vocab": {"a": 0}}}"###,
        );
        assert!(failure().contains("cannot read") && failure().contains("model.safetensors"));
        write("model.safetensors", "not weights");
        assert!(failure().contains("model.safetensors does not hold the weights"));
    }
}
