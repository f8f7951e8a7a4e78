//! What a model can do on a graphics card at best, from numbers alone: what fits, and how fast memory lets it be.
//!
//! A token of a running answer needs every weight that its batch uses and every key and value of its context once; no program
//! can write it faster than they are read. The *floor* is that time at [`ATTAINABLE`] of the data sheet's bandwidth. It says
//! nothing about prompts, which are bound by arithmetic, and nothing was measured here.
//!
//! Pure: needs the header of a GGUF file, no card, no driver.

use crate::{
    gguf::{GgufFile, TensorInfo},
    kv_cache::{BLOCK_SIZE, KvCacheDtype},
    model::{
        ModelConfig, ModelError,
        config::{FeedForwardConfig, LayerConfig},
    },
};

/// Share of a data sheet's bandwidth that long reads reach on such cards.
pub const ATTAINABLE: f64 = 0.9;
/// Share of a card's memory that is planned with; the driver and other programs have the rest.
const USABLE: f64 = 0.9;
/// Room for activations, logits and the libraries' own memory.
const SCRATCH_BYTES: u64 = 1 << 30;
/// Decimal, as data sheets count bandwidth. For memory it is cautious: a card of "24 GB" has up to 24 GiB.
const GB: u64 = 1_000_000_000;

/// A graphics card by its data sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Card {
    pub name: &'static str,
    pub memory_gb: u64,
    pub bandwidth_gb_per_s: u64,
    /// CUDA compute capability.
    pub capability: (u8, u8),
}

/// Cards that Cloister's kernels are compiled for (compute capability 8.0 on), by bandwidth. Memory and bandwidth are those of
/// NVIDIA's data sheets and product pages of each card.
pub const CARDS: [Card; 19] = [
    card("RTX 4060 Ti 16GB", 16, 288, (8, 9)),
    card("L4", 24, 300, (8, 9)),
    card("RTX 3060", 12, 360, (8, 6)),
    card("A10", 24, 600, (8, 6)),
    card("RTX A6000", 48, 768, (8, 6)),
    card("L40S", 48, 864, (8, 9)),
    card("RTX 3090", 24, 936, (8, 6)),
    card("RTX 6000 Ada", 48, 960, (8, 9)),
    card("RTX 4090", 24, 1_008, (8, 9)),
    card("A100 40GB", 40, 1_555, (8, 0)),
    card("RTX 5090", 32, 1_792, (12, 0)),
    card("RTX PRO 6000 Blackwell", 96, 1_792, (12, 0)),
    card("A100 80GB PCIe", 80, 1_935, (8, 0)),
    card("H100 PCIe", 80, 2_000, (9, 0)),
    card("A100 80GB SXM", 80, 2_039, (8, 0)),
    card("H100 SXM", 80, 3_350, (9, 0)),
    card("H100 NVL", 94, 3_900, (9, 0)),
    card("H200", 141, 4_800, (9, 0)),
    card("B200", 180, 8_000, (10, 0)),
];

const fn card(
    name: &'static str,
    memory_gb: u64,
    bandwidth_gb_per_s: u64,
    capability: (u8, u8),
) -> Card {
    Card {
        name,
        memory_gb,
        bandwidth_gb_per_s,
        capability,
    }
}

impl Card {
    /// Returns the card of this name, in any case and with or without spaces.
    pub fn find(name: &str) -> Option<&'static Card> {
        let plain = |name: &str| name.to_lowercase().replace([' ', '-', '_'], "");
        CARDS.iter().find(|card| plain(card.name) == plain(name))
    }
}

/// What a model takes.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelNeeds {
    /// All weights, as the file has them.
    pub weights_bytes: u64,
    /// Weights that every step reads.
    pub dense_bytes: u64,
    /// Weights of all experts, of which a token reads `experts_used`.
    pub expert_bytes: u64,
    /// Share of the experts that one token uses.
    pub experts_used: f64,
    /// Keys and values of a token in all layers.
    pub kv_bytes_per_token: u64,
    /// Tokens the model was trained for.
    pub context_len: usize,
}

impl ModelNeeds {
    /// Reads what a model takes from its file.
    ///
    /// # Errors
    /// [`ModelError`] for a model that this engine does not run.
    pub fn from_gguf(file: &GgufFile, dtype: KvCacheDtype) -> Result<Self, ModelError> {
        let config = ModelConfig::from_gguf(file)?;
        let sum = |wanted: &dyn Fn(&str) -> bool| -> u64 {
            let tensors = file.tensors().iter();
            let wanted = tensors.filter(|(name, _)| wanted(name));
            wanted.map(|(_, tensor)| bytes(tensor)).sum()
        };
        let is_expert = |name: &str| name.contains("_exps");
        // Without an output matrix of its own the embedding is one, and read whole. Otherwise only a row of it is read.
        let tied = !file.tensors().contains_key("output.weight");
        let is_gathered = |name: &str| name == "token_embd.weight" && !tied;
        let block = config.cache_layout(1, dtype);
        Ok(Self {
            weights_bytes: sum(&|_| true),
            dense_bytes: sum(&|name| !is_expert(name) && !is_gathered(name)),
            expert_bytes: sum(&is_expert),
            experts_used: experts_used(&config.layers),
            kv_bytes_per_token: (block.bytes() / BLOCK_SIZE) as u64,
            context_len: config.context_len,
        })
    }

    /// Returns the weights that a step for `batch` tokens reads, experts drawn as if by chance.
    pub fn read_bytes(&self, batch: usize) -> f64 {
        let unused = (1.0 - self.experts_used).powf(batch as f64);
        self.dense_bytes as f64 + self.expert_bytes as f64 * (1.0 - unused)
    }
}

fn bytes(tensor: &TensorInfo) -> u64 {
    tensor.bytes() as u64
}

fn experts_used(layers: &[LayerConfig]) -> f64 {
    let share = layers.iter().find_map(|layer| match layer.feed_forward {
        FeedForwardConfig::Experts(experts) => {
            Some(experts.routing.num_used as f64 / experts.num_experts as f64)
        }
        FeedForwardConfig::Dense { .. } => None,
    });
    share.unwrap_or(1.0)
}

/// A model on a card.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub card: Card,
    /// What is planned with: a part of the card's memory.
    pub usable_bytes: u64,
    /// Left for keys and values. `None`: the weights do not fit.
    pub kv_bytes: Option<u64>,
    /// Tokens of keys and values that fit, in whole blocks; 0 when the weights do not fit.
    pub kv_tokens: u64,
}

/// The least time of a step that writes one token for each of `batch` answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Floor {
    pub batch: usize,
    /// Tokens of context of each answer.
    pub context: usize,
    pub ms: f64,
    /// Tokens of all answers.
    pub tokens_per_s: f64,
    /// Whether their keys and values fit at once.
    pub fits: bool,
}

impl Plan {
    pub fn new(card: &Card, needs: &ModelNeeds) -> Self {
        let usable_bytes = ((card.memory_gb * GB) as f64 * USABLE) as u64;
        let kv_bytes = usable_bytes
            .checked_sub(needs.weights_bytes + SCRATCH_BYTES)
            .filter(|&left| left >= needs.kv_bytes_per_token * BLOCK_SIZE as u64);
        let block_bytes = (needs.kv_bytes_per_token * BLOCK_SIZE as u64).max(1);
        Self {
            card: *card,
            usable_bytes,
            kv_bytes,
            kv_tokens: kv_bytes.unwrap_or(0) / block_bytes * BLOCK_SIZE as u64,
        }
    }

    /// Returns the floor of a step.
    pub fn floor(&self, needs: &ModelNeeds, batch: usize, context: usize) -> Floor {
        let kv_tokens = (batch * context) as u64;
        let read = needs.read_bytes(batch) + (kv_tokens * needs.kv_bytes_per_token) as f64;
        let seconds = read / ((self.card.bandwidth_gb_per_s * GB) as f64 * ATTAINABLE);
        let in_blocks = (batch * context.next_multiple_of(BLOCK_SIZE)) as u64;
        Floor {
            batch,
            context,
            ms: seconds * 1e3,
            tokens_per_s: batch as f64 / seconds,
            fits: self.kv_bytes.is_some() && in_blocks <= self.kv_tokens,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Llama-3.1-8B, Q4_K_M: 4.62 GB read a token, the embedding's 0.295 GB gathered, 128 KiB of keys and values a token.
    fn llama_8b() -> ModelNeeds {
        ModelNeeds {
            weights_bytes: 4_915_000_000,
            dense_bytes: 4_620_000_000,
            expert_bytes: 0,
            experts_used: 1.0,
            kv_bytes_per_token: 128 << 10,
            context_len: 131_072,
        }
    }

    fn plan(card: &str, needs: &ModelNeeds) -> Plan {
        Plan::new(Card::find(card).unwrap(), needs)
    }

    #[test]
    fn an_8b_model_on_an_h200_has_the_floor_that_arithmetic_gives() {
        let needs = llama_8b();
        let alone = plan("H200", &needs).floor(&needs, 1, 0);
        // 4.62 GB at 4.32 TB/s.
        assert!((alone.ms - 1.069).abs() < 0.001, "{alone:?}");
        let batch = plan("H200", &needs).floor(&needs, 64, 1024);
        // 4.62 GB and 64 x 1024 x 128 KiB = 8.59 GB.
        assert!((batch.ms - 3.058).abs() < 0.002, "{batch:?}");
        assert!((batch.tokens_per_s - 20_930.0).abs() < 20.0, "{batch:?}");
        assert!(batch.fits);
    }

    #[test]
    fn what_is_left_beside_the_weights_holds_keys_and_values() {
        let needs = llama_8b();
        let plan = plan("rtx4090", &needs);
        assert_eq!(plan.usable_bytes, 21_600_000_000);
        let left = 21_600_000_000 - 4_915_000_000 - (1 << 30);
        assert_eq!(plan.kv_bytes, Some(left));
        assert_eq!(plan.kv_tokens, left / (128 << 10) / 16 * 16);
        assert!(plan.floor(&needs, 8, 8_192).fits);
        assert!(!plan.floor(&needs, 16, 8_192).fits);
    }

    #[test]
    fn weights_that_do_not_fit_leave_no_room() {
        let needs = ModelNeeds {
            weights_bytes: 40_000_000_000,
            ..llama_8b()
        };
        let plan = plan("RTX 4090", &needs);
        assert_eq!((plan.kv_bytes, plan.kv_tokens), (None, 0));
        assert!(!plan.floor(&needs, 1, 16).fits);
    }

    #[test]
    fn a_larger_batch_reads_more_experts_but_never_more_than_all() {
        // Mixtral: 2 of 8.
        let needs = ModelNeeds {
            dense_bytes: 1_000,
            expert_bytes: 8_000,
            experts_used: 0.25,
            ..llama_8b()
        };
        assert!((needs.read_bytes(1) - 3_000.0).abs() < 1e-6);
        assert!((needs.read_bytes(2) - 4_500.0).abs() < 1e-6);
        assert!(needs.read_bytes(64) <= 9_000.0 && needs.read_bytes(64) > 8_999.0);
    }

    #[test]
    fn cards_have_distinct_names_and_grow_in_bandwidth() {
        for pair in CARDS.windows(2) {
            assert!(pair[0].bandwidth_gb_per_s <= pair[1].bandwidth_gb_per_s);
        }
        for card in &CARDS {
            assert_eq!(Card::find(&card.name.to_lowercase()), Some(card));
            assert!(card.capability >= (8, 0));
        }
        assert_eq!(Card::find("Voodoo 2"), None);
    }

    #[test]
    fn a_file_is_read_as_the_engine_will_read_it() {
        use crate::gguf::synthetic::SyntheticModel;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        SyntheticModel::default().write(&path).unwrap();
        let file = GgufFile::open(&path).unwrap();
        let needs = ModelNeeds::from_gguf(&file, KvCacheDtype::F16).unwrap();
        let all: u64 = file.tensors().values().map(bytes).sum();
        assert_eq!(needs.weights_bytes, all);
        assert!(needs.dense_bytes + needs.expert_bytes <= all);
        assert!(needs.kv_bytes_per_token > 0 && needs.context_len > 0);
    }
}
