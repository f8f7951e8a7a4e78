//! Continuous batching: decides what the next step runs. Pure: no tensors, no clock, no channels.
//!
//! A step mixes decodes (one token of each running answer) and prefill chunks under a token budget. Blocks for all
//! known tokens are taken at admission, so only growing answers can run out; then the youngest sequence of the last
//! class is *preempted*: it loses its blocks and is recomputed later, which costs time and changes nothing in its
//! answer.
//!
//! Invariants ([`Scheduler::assert_consistent`]): those of the block pool; running sequences have blocks for every
//! computed token; waiting ones have none.

mod budget;
mod plan;
mod policy;

use std::collections::BTreeMap;

pub use self::{
    budget::TokenBudget,
    plan::{PlannedRow, StepPlan},
};
use crate::{
    kv_cache::{BlockPool, blocks_for},
    sequence::{Sequence, SequenceId},
};

/// Limits of the scheduler.
#[derive(Debug, Clone)]
pub struct SchedulerLimits {
    pub max_num_seqs: usize,
    pub num_blocks: usize,
    pub budget: TokenBudget,
}

/// All sequences and the blocks they hold.
#[derive(Debug)]
pub struct Scheduler {
    max_num_seqs: usize,
    pub budget: TokenBudget,
    pool: BlockPool,
    running: BTreeMap<SequenceId, Sequence>,
    waiting: BTreeMap<SequenceId, Sequence>,
}

impl Scheduler {
    pub fn new(limits: SchedulerLimits) -> Self {
        Self {
            max_num_seqs: limits.max_num_seqs,
            budget: limits.budget,
            pool: BlockPool::new(limits.num_blocks),
            running: BTreeMap::new(),
            waiting: BTreeMap::new(),
        }
    }

    /// Queues a sequence.
    pub fn add(&mut self, sequence: Sequence) {
        self.waiting.insert(sequence.id, sequence);
    }

    /// Removes a sequence wherever it is and frees its blocks; returns it if it was there.
    pub fn remove(&mut self, id: SequenceId) -> Option<Sequence> {
        let mut sequence = self.running.remove(&id).or_else(|| self.waiting.remove(&id))?;
        self.pool.release(&mut sequence.block_table);
        Some(sequence)
    }

    pub fn get(&self, id: SequenceId) -> Option<&Sequence> {
        self.running.get(&id).or_else(|| self.waiting.get(&id))
    }

    pub fn num_running(&self) -> usize {
        self.running.len()
    }

    pub fn num_waiting(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    pub fn num_free_blocks(&self) -> usize {
        self.pool.num_free()
    }

    /// Returns the ids of all sequences, running ones first.
    pub fn ids(&self) -> Vec<SequenceId> {
        self.running.keys().chain(self.waiting.keys()).copied().collect()
    }

    /// Plans the next step and takes the blocks it needs. An empty plan means that nothing is left to do.
    ///
    /// Every planned row must be confirmed by [`Self::commit`] once it has run.
    pub fn plan(&mut self) -> StepPlan {
        let mut plan = StepPlan::default();
        let num_decodes = self.running.values().filter(|sequence| sequence.is_decoding()).count();
        let mut tokens_left = self.budget.tokens(num_decodes);
        self.plan_running(&mut plan, &mut tokens_left);
        // A step that had to preempt admits nobody: the blocks just freed would go to a newcomer and be missed at once.
        if plan.preempted.is_empty() {
            self.admit(&mut plan, &mut tokens_left);
        }
        plan
    }

    /// Decodes first (they are what people watch), then the prefills that are under way.
    fn plan_running(&mut self, plan: &mut StepPlan, tokens_left: &mut usize) {
        let mut order: Vec<_> = self.running.values().map(|s| (!s.is_decoding(), policy::rank(s), s.id)).collect();
        order.sort_unstable();
        for (_, _, id) in order {
            if *tokens_left == 0 {
                break;
            }
            if self.ensure_blocks(id, plan) {
                *tokens_left -= self.plan_row(id, *tokens_left, plan);
            }
        }
    }

    /// Makes sure that a running sequence has blocks for all its tokens, preempting others or itself if none are
    /// free. Returns whether it is still running.
    fn ensure_blocks(&mut self, id: SequenceId, plan: &mut StepPlan) -> bool {
        loop {
            // It may have been preempted for a sequence planned earlier in this step.
            let Some(sequence) = self.running.get_mut(&id) else { return false };
            let missing = blocks_for(sequence.token_ids.len()).saturating_sub(sequence.block_table.len());
            if self.pool.allocate(missing, &mut sequence.block_table) {
                return true;
            }
            // The sequence itself is running, so there is a victim. One that is already planned in this step ranks
            // before this one within its phase; taking it back is right only if it ranks last of all.
            let victim = policy::victim(self.running.values()).unwrap_or(id);
            self.preempt(victim, plan);
        }
    }

    fn preempt(&mut self, id: SequenceId, plan: &mut StepPlan) {
        let Some(mut sequence) = self.running.remove(&id) else { return };
        self.pool.release(&mut sequence.block_table);
        sequence.num_computed_tokens = 0;
        self.waiting.insert(id, sequence);
        plan.rows.retain(|row| row.id != id);
        plan.preempted.push(id);
    }

    /// Plans as much of a sequence as the budget allows; returns the tokens used.
    fn plan_row(&self, id: SequenceId, tokens_left: usize, plan: &mut StepPlan) -> usize {
        let Some(sequence) = self.running.get(&id) else { return 0 };
        let pending = sequence.num_pending_tokens();
        let len = pending.min(tokens_left);
        let start = sequence.num_computed_tokens;
        plan.rows.push(PlannedRow { id, start, len, samples: len == pending });
        len
    }

    /// Admits waiting sequences in order while a place, tokens and blocks for all their known tokens are there. The
    /// first that does not fit blocks those behind it, so a long prompt cannot starve.
    fn admit(&mut self, plan: &mut StepPlan, tokens_left: &mut usize) {
        while *tokens_left > 0 && self.running.len() < self.max_num_seqs {
            let Some(id) = policy::next(self.waiting.values()) else { break };
            let Some(sequence) = self.waiting.get_mut(&id) else { break };
            let needed = blocks_for(sequence.token_ids.len());
            // One block stays free for each running sequence, so that a newcomer is not preempted by the next token.
            if needed + self.running.len() > self.pool.num_free() && !self.running.is_empty() {
                break;
            }
            if !self.pool.allocate(needed, &mut sequence.block_table) {
                break;
            }
            if let Some(sequence) = self.waiting.remove(&id) {
                self.running.insert(id, sequence);
            }
            plan.admitted.push(id);
            *tokens_left -= self.plan_row(id, *tokens_left, plan);
        }
    }

    /// Records that a row has run; `sampled` is the token chosen from its logits, if it had any.
    ///
    /// # Panics
    /// When the row's sequence is not running or the row does not follow its computed tokens.
    pub fn commit(&mut self, row: &PlannedRow, sampled: Option<u32>) {
        let sequence = self.running.get_mut(&row.id).expect("only running sequences are planned");
        assert_eq!(sequence.num_computed_tokens, row.start, "rows are committed in order");
        sequence.num_computed_tokens += row.len;
        sequence.token_ids.extend(sampled);
    }

    /// Checks the invariants.
    ///
    /// # Panics
    /// When one does not hold.
    pub fn assert_consistent(&self) {
        let tables = self.running.values().chain(self.waiting.values()).map(|s| s.block_table.as_slice());
        self.pool.assert_consistent(tables);
        for sequence in self.running.values() {
            assert!(sequence.block_table.len() >= blocks_for(sequence.num_computed_tokens), "{sequence:?}");
        }
        for sequence in self.waiting.values() {
            assert!(sequence.block_table.is_empty() && sequence.num_computed_tokens == 0, "{sequence:?}");
        }
        assert!(self.running.len() <= self.max_num_seqs);
    }
}

#[cfg(test)]
mod tests;
