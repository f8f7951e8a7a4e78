//! A model and its cache without an engine: steps as the caller makes them.

use std::path::Path;

use anyhow::{Context, Result};
use candle_core::Device;
use inference::{
    CudaOptions, DeviceChoice, GgufFile, KvCacheDtype,
    kv_cache::blocks_for,
    model::{KvCache, Model, ModelConfig, ModelUse, StepLogits},
    ops::paged_attention::AttentionSequence,
    runner::StepInput,
    sampling::Wanted,
};

pub fn device(name: &str) -> Result<Device> {
    let choice = match name {
        "none" => DeviceChoice::Cpu,
        index => DeviceChoice::Cuda(index.parse().context("--cuda takes a number or `none`")?),
    };
    Ok(inference::open_device(&choice)?)
}

/// A model with a cache of `sequences` times `max_len` tokens.
pub struct Loaded {
    pub model: Model,
    pub cache: KvCache,
    pub vocab_size: usize,
    blocks_each: usize,
}

/// New tokens of one sequence.
#[derive(Debug, Clone)]
pub struct Part {
    pub sequence: usize,
    /// Tokens of the sequence before them.
    pub start: usize,
    pub token_ids: Vec<u32>,
    /// Whether all of them have logits, or the last only.
    pub all_logits: bool,
}

impl Loaded {
    pub fn open(
        path: &Path,
        device: &Device,
        (sequences, max_len): (usize, usize),
        (cuda, kv_cache_dtype): (CudaOptions, KvCacheDtype),
    ) -> Result<Self> {
        let file = GgufFile::open(path)?;
        let config = ModelConfig::from_gguf(&file)?;
        let shape = file.tensor("token_embd.weight").context("no embedding")?;
        let vocab_size = shape.shape[0];
        let wanted = ModelUse {
            vocab_size,
            max_len,
            kv_cache_dtype,
            cuda,
        };
        let model = Model::load(&file, config, wanted, device, &|_| ())?;
        let blocks_each = blocks_for(max_len);
        let layout = model
            .config
            .cache_layout(sequences * blocks_each, kv_cache_dtype);
        Ok(Self {
            cache: KvCache::new(layout, device)?,
            model,
            vocab_size,
            blocks_each,
        })
    }

    /// Blocks of a sequence: those of all sequences in turn, so that none lie together.
    fn block_table(&self, sequence: usize, context_len: usize) -> Vec<u32> {
        let sequences = self.cache.layout.num_blocks / self.blocks_each;
        let block = |index: usize| ((self.blocks_each - 1 - index) * sequences + sequence) as u32;
        (0..blocks_for(context_len)).map(block).collect()
    }

    pub fn input(&self, parts: &[Part], wanted: Wanted) -> StepInput {
        let mut step = StepInput::default();
        for part in parts {
            let context_len = part.start + part.token_ids.len();
            let block_table = self.block_table(part.sequence, context_len);
            let q_start = step.token_ids.len();
            step.token_ids.extend(&part.token_ids);
            step.positions.extend(part.start as u32..context_len as u32);
            let slot = |position: usize| block_table[position / 16] * 16 + (position % 16) as u32;
            step.slots.extend((part.start..context_len).map(slot));
            let end = step.token_ids.len() as u32;
            step.logits_rows.extend(if part.all_logits {
                q_start as u32..end
            } else {
                end - 1..end
            });
            step.sequences.push(AttentionSequence {
                q_start,
                q_len: part.token_ids.len(),
                context_len,
                block_table,
            });
        }
        step.wanted = vec![wanted; step.logits_rows.len()];
        step
    }

    pub fn run(&self, parts: &[Part], wanted: Wanted) -> Result<StepLogits> {
        let step = self.input(parts, wanted);
        self.model
            .forward(&step, &self.cache)?
            .context("a step without logits")
    }

    /// Returns the logits of a step, one row after another.
    pub fn logits(&self, parts: &[Part]) -> Result<Vec<Vec<f32>>> {
        let output = self.run(parts, Wanted::Row)?;
        anyhow::ensure!(
            output.is_valid.iter().all(|valid| *valid),
            "a row that is no number"
        );
        Ok(output.logits.to_device(&Device::Cpu)?.to_vec2()?)
    }
}

/// Numbers below `limit` that are the same everywhere.
pub fn random_tokens(seed: u64, count: usize, limit: usize) -> Vec<u32> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % limit as u64) as u32
    };
    (0..count).map(|_| next()).collect()
}
