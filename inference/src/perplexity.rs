//! Perplexity of a text, counted as llama.cpp's `llama-perplexity` counts it.
//!
//! The text's tokens are cut into windows of `window`; a rest is dropped. Each window is run from an empty context,
//! its first token replaced by BOS where the vocabulary asks for one. The tokens of the second half are scored, each
//! from the logits of the one before, so that every scored token has at least half a window of context.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use crate::{
    config::EngineConfig,
    engine::{LoadError, Loaded},
    kv_cache::{BlockId, blocks_for},
    model::{KvCache, Model},
    ops::cpu::with_f32,
    runner::StepInput,
    sequence::{Priority, Sequence, SequenceId},
    text::{AddSpecial, Tokenizer},
};

/// Rows of logits computed at once: 32 of 151,936 are 19 MB.
const LOGITS_ROWS: usize = 32;

/// Perplexity of a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PerplexityReport {
    pub perplexity: f64,
    /// Tokens that were scored.
    pub tokens: usize,
}

/// Why no perplexity could be computed.
#[derive(Debug, thiserror::Error)]
pub enum PerplexityError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("the text has {tokens} tokens; two windows of {window} are needed")]
    TooShort { tokens: usize, window: usize },
    #[error("a window of {window} tokens does not fit: it must be from 4 to {limit}")]
    Window { window: usize, limit: usize },
    #[error("the model failed: {0}")]
    Compute(Box<candle_core::Error>),
}

impl From<candle_core::Error> for PerplexityError {
    fn from(error: candle_core::Error) -> Self {
        Self::Compute(Box::new(error))
    }
}

/// Returns the perplexity of `text` over windows of `window` tokens (llama.cpp: 512).
///
/// # Errors
/// [`PerplexityError`] when the model cannot be loaded or the text is shorter than two windows.
pub fn perplexity(
    config: &EngineConfig,
    text: &str,
    window: usize,
) -> Result<PerplexityReport, PerplexityError> {
    let Loaded {
        model,
        tokenizer,
        max_model_len,
        ..
    } = Loaded::open(config, &|_| ())?;
    if window < 4 || window > max_model_len {
        return Err(PerplexityError::Window {
            window,
            limit: max_model_len,
        });
    }
    let tokens = tokenizer.encode(text, AddSpecial::Yes);
    if tokens.len() < 2 * window {
        return Err(PerplexityError::TooShort {
            tokens: tokens.len(),
            window,
        });
    }
    let cache = KvCache::new(
        model
            .config
            .cache_layout(blocks_for(window), config.kv_cache_dtype),
        model.device(),
    )?;
    let scorer = Scorer {
        model,
        cache,
        tokenizer,
        chunk: config.max_num_batched_tokens,
    };
    let (mut total, mut count) = (0.0, 0);
    for tokens in tokens.chunks_exact(window) {
        let (nll, scored) = scorer.score(tokens)?;
        total += nll;
        count += scored;
    }
    Ok(PerplexityReport {
        perplexity: (total / count as f64).exp(),
        tokens: count,
    })
}

struct Scorer {
    model: Model,
    cache: KvCache,
    tokenizer: Arc<Tokenizer>,
    chunk: usize,
}

impl Scorer {
    /// Returns the sum of the negative log-likelihoods of a window's second half, and how many they are.
    fn score(&self, tokens: &[u32]) -> candle_core::Result<(f64, usize)> {
        let mut window = tokens.to_vec();
        if self.tokenizer.adds_bos()
            && let Some(bos) = self.tokenizer.bos_id()
        {
            window[0] = bos;
        }
        let first = window.len() / 2;
        let last = window.len() - 1;
        let mut sequence = Sequence::new(SequenceId(0), Priority::Batch, window);
        sequence.block_table = (0..blocks_for(tokens.len()) as u32).map(BlockId).collect();
        let mut total = 0.0;
        let mut start = 0;
        while start < last {
            // Up to the second half whole chunks; then as many tokens as rows of logits are wanted.
            let end = if start < first {
                first.min(start + self.chunk)
            } else {
                last.min(start + LOGITS_ROWS)
            };
            let mut step = StepInput::default();
            step.push(&sequence, start, end - start);
            if start >= first {
                step.logits_rows = (0..(end - start) as u32).collect();
            }
            if let Some(output) = self.model.forward(&step, &self.cache)? {
                if !output.is_valid.iter().all(|&valid| valid) {
                    candle_core::bail!("the model produced no valid numbers (NaN or infinity)");
                }
                total += self.negative_log_likelihood(&output.logits, &tokens[start + 1..=end])?;
            }
            start = end;
        }
        Ok((total, last - first))
    }

    fn negative_log_likelihood(
        &self,
        logits: &Tensor,
        targets: &[u32],
    ) -> candle_core::Result<f64> {
        let logits = logits
            .narrow(1, 0, self.tokenizer.vocab_size())?
            .to_device(&Device::Cpu)?
            .contiguous()?;
        let vocab_size = self.tokenizer.vocab_size();
        with_f32(&logits, |logits| {
            let rows = logits.chunks_exact(vocab_size).zip(targets);
            Ok(rows.map(|(row, &target)| surprise(row, target)).sum())
        })
    }
}

/// Returns `-ln softmax(logits)[target]`.
fn surprise(logits: &[f32], target: u32) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits
        .iter()
        .map(|logit| f64::from((logit - max).exp()))
        .sum();
    total.ln() - f64::from(logits[target as usize] - max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surprise_is_the_negative_log_of_the_softmax() {
        let logits = [1f32.ln(), 3f32.ln(), 4f32.ln()];
        assert!((surprise(&logits, 1) - (8f64 / 3.0).ln()).abs() < 1e-6);
    }
}
