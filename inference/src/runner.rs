//! Turns the scheduler's plan into the arrays a forward pass needs.

use crate::{
    kv_cache::{blocks_for, slot},
    ops::paged_attention::AttentionSequence,
    sampling::Wanted,
    scheduler::{Scheduler, StepPlan},
    sequence::Sequence,
};

/// Input of one forward pass: the tokens of all rows one after another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepInput {
    /// `[num_tokens]`
    pub token_ids: Vec<u32>,
    /// `[num_tokens]`: position in the token's own sequence.
    pub positions: Vec<u32>,
    /// `[num_tokens]`: where its key and value go.
    pub slots: Vec<u32>,
    /// One a planned row.
    pub sequences: Vec<AttentionSequence>,
    /// Tokens whose logits are needed, ascending.
    pub logits_rows: Vec<u32>,
    /// What each of them is wanted for. Shorter: the whole row.
    pub wanted: Vec<Wanted>,
}

impl StepInput {
    /// Builds the input of a planned step.
    pub fn from_plan(plan: &StepPlan, scheduler: &Scheduler) -> Self {
        let mut input = Self::default();
        for row in &plan.rows {
            let sequence = scheduler.get(row.id).expect("planned sequences exist");
            input.push(sequence, row.start, row.len);
            if row.samples {
                input.logits_rows.push(input.token_ids.len() as u32 - 1);
            }
        }
        input
    }

    /// Returns what a row with logits is wanted for.
    pub fn wanted(&self, row: usize) -> Wanted {
        self.wanted.get(row).copied().unwrap_or(Wanted::Row)
    }

    /// Appends `len` tokens of a sequence from position `start`; its blocks must be there.
    pub fn push(&mut self, sequence: &Sequence, start: usize, len: usize) {
        let context_len = start + len;
        let q_start = self.token_ids.len();
        self.token_ids
            .extend_from_slice(&sequence.token_ids[start..context_len]);
        self.positions.extend(start as u32..context_len as u32);
        self.slots
            .extend((start..context_len).map(|position| slot(&sequence.block_table, position)));
        let blocks = &sequence.block_table[..blocks_for(context_len)];
        let block_table = blocks.iter().map(|block| block.0).collect();
        self.sequences.push(AttentionSequence {
            q_start,
            q_len: len,
            context_len,
            block_table,
        });
    }
}
