//! A sequence: one request as the scheduler sees it. Ids, lengths and blocks; no text, no sampling, no channel.

use crate::kv_cache::BlockId;

/// Identifies a sequence for as long as the engine runs. Grows with arrival, so it also orders by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(pub u64);

/// Class of a request. Earlier classes are admitted first and preempted last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Priority {
    /// A person watches the answer arrive.
    #[default]
    Interactive,
    /// A program waits for the answer.
    Api,
    /// Nobody waits.
    Batch,
}

impl Priority {
    /// The classes, best first.
    pub const ALL: [Self; 3] = [Self::Interactive, Self::Api, Self::Batch];
}

/// A sequence between arrival and end.
///
/// Invariant: `num_computed_tokens < token_ids.len()`: at least the last token has not been run yet, because its
/// logits are what comes next.
#[derive(Debug)]
pub struct Sequence {
    pub id: SequenceId,
    pub priority: Priority,
    /// Prompt, then generated tokens.
    pub token_ids: Vec<u32>,
    pub prompt_len: usize,
    /// Tokens whose keys and values are in the cache.
    pub num_computed_tokens: usize,
    /// The block of every 16 positions, in order.
    pub block_table: Vec<BlockId>,
    /// How many blocks at the front of the table were given back, because no token will see them again. They may be
    /// anybody's; the table keeps them so that positions stay where they are.
    pub num_released_blocks: usize,
}

impl Sequence {
    /// Returns a sequence that has run nothing.
    ///
    /// # Panics
    /// When the prompt is empty; the engine refuses such requests.
    pub fn new(id: SequenceId, priority: Priority, prompt: Vec<u32>) -> Self {
        assert!(!prompt.is_empty(), "a sequence needs a token to start from");
        Self {
            id,
            priority,
            prompt_len: prompt.len(),
            token_ids: prompt,
            num_computed_tokens: 0,
            block_table: Vec::new(),
            num_released_blocks: 0,
        }
    }

    /// Returns the blocks that are the sequence's own.
    pub fn held_blocks(&self) -> &[BlockId] {
        &self.block_table[self.num_released_blocks..]
    }

    /// Returns how many tokens must run before the next one can be chosen.
    pub fn num_pending_tokens(&self) -> usize {
        self.token_ids.len() - self.num_computed_tokens
    }

    /// Whether only the newest token has to run.
    pub fn is_decoding(&self) -> bool {
        self.num_pending_tokens() == 1 && self.num_computed_tokens > 0
    }

    pub fn num_generated(&self) -> usize {
        self.token_ids.len() - self.prompt_len
    }
}
