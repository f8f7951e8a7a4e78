//! Continuous batching: decides what the next step runs. Pure: no tensors, no clock, no channels.
//!
//! A step mixes decodes (one token of each running answer) and prefill chunks under a token budget. Blocks for all
//! known tokens are taken at admission, so only growing answers can run out; then the youngest sequence of the last
//! class is *preempted*: it loses its blocks and is recomputed later, which costs time and changes nothing in its
//! answer.
//!
//! Where every layer has a window, blocks that lie wholly before it return to the pool after each step: a long answer
//! then holds as many blocks as its window has, not as it is long. Admission still asks for all blocks of the known tokens,
//! since a prompt is read from its start.
//!
//! Invariants ([`Scheduler::assert_consistent`]): those of the block pool; running sequences have blocks for every
//! computed token that a coming one sees; waiting ones have none.

mod budget;
mod plan;
mod policy;

use std::collections::BTreeMap;

pub use self::{
    budget::TokenBudget,
    plan::{PlannedRow, StepPlan},
};
use crate::{
    kv_cache::{BLOCK_SIZE, BlockPool, blocks_for},
    sequence::{Priority, Sequence, SequenceId},
};

/// Limits of the scheduler.
#[derive(Debug, Clone)]
pub struct SchedulerLimits {
    pub max_num_seqs: usize,
    pub num_blocks: usize,
    pub budget: TokenBudget,
    /// Tokens that a token sees in the layer that sees most, itself included; `None`: all.
    pub window: Option<usize>,
}

/// All sequences and the blocks they hold.
#[derive(Debug)]
pub struct Scheduler {
    max_num_seqs: usize,
    pub budget: TokenBudget,
    window: Option<usize>,
    pool: BlockPool,
    running: BTreeMap<SequenceId, Sequence>,
    waiting: BTreeMap<SequenceId, Sequence>,
}

impl Scheduler {
    pub fn new(limits: SchedulerLimits) -> Self {
        Self {
            max_num_seqs: limits.max_num_seqs,
            budget: limits.budget,
            window: limits.window,
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
        let mut sequence = self
            .running
            .remove(&id)
            .or_else(|| self.waiting.remove(&id))?;
        self.release_all(&mut sequence);
        Some(sequence)
    }

    fn release_all(&mut self, sequence: &mut Sequence) {
        self.pool.release(sequence.held_blocks());
        sequence.block_table.clear();
        sequence.num_released_blocks = 0;
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
        self.running
            .keys()
            .chain(self.waiting.keys())
            .copied()
            .collect()
    }

    /// Plans the next step and takes the blocks it needs. An empty plan means that nothing is left to do.
    ///
    /// Decodes come first (they are what people watch), then prefills by rank, under way or new. Every planned row must
    /// be confirmed by [`Self::commit`] once it has run.
    pub fn plan(&mut self) -> StepPlan {
        let mut plan = StepPlan::default();
        let decodes = self.running_by_rank(Sequence::is_decoding);
        let mut tokens_left = self.budget.tokens(decodes.len());
        for id in decodes {
            self.plan_decode(id, &mut plan, &mut tokens_left);
        }
        // A step in which answers ran out of blocks admits nobody: the blocks just freed would be missed at once.
        let admits = plan.preempted.is_empty();
        for id in self.running_by_rank(|sequence| !sequence.is_decoding()) {
            let Some(class) = self.running.get(&id).map(|sequence| sequence.priority) else {
                continue;
            };
            if admits {
                self.admit(&mut plan, &mut tokens_left, Some(class));
            }
            // It may just have been preempted for a newcomer of a better class.
            if tokens_left > 0 && self.running.contains_key(&id) {
                self.plan_row(id, &mut plan, &mut tokens_left);
            }
        }
        if admits {
            self.admit(&mut plan, &mut tokens_left, None);
        }
        plan
    }

    fn running_by_rank(&self, wanted: impl Fn(&Sequence) -> bool) -> Vec<SequenceId> {
        let mut ranks: Vec<_> = self
            .running
            .values()
            .filter(|s| wanted(s))
            .map(policy::rank)
            .collect();
        ranks.sort_unstable();
        ranks.into_iter().map(|(_, id)| id).collect()
    }

    /// Plans a running answer's next token, preempting others or the answer itself if there is no block for it.
    fn plan_decode(&mut self, id: SequenceId, plan: &mut StepPlan, tokens_left: &mut usize) {
        // It may have been preempted for one planned before it.
        while let Some(sequence) = self.running.get_mut(&id) {
            let missing =
                blocks_for(sequence.token_ids.len()).saturating_sub(sequence.block_table.len());
            if self.pool.allocate(missing, &mut sequence.block_table) {
                if *tokens_left > 0 {
                    self.plan_row(id, plan, tokens_left);
                }
                return;
            }
            let victim = policy::victim(self.running.values()).map_or(id, |(_, victim)| victim);
            self.preempt(victim, plan, tokens_left);
        }
    }

    /// Takes the blocks of a running sequence and its place in the step back, and queues it again.
    fn preempt(&mut self, id: SequenceId, plan: &mut StepPlan, tokens_left: &mut usize) {
        let Some(mut sequence) = self.running.remove(&id) else {
            return;
        };
        self.release_all(&mut sequence);
        sequence.num_computed_tokens = 0;
        self.waiting.insert(id, sequence);
        *tokens_left += plan
            .rows
            .iter()
            .filter(|row| row.id == id)
            .map(|row| row.len)
            .sum::<usize>();
        plan.rows.retain(|row| row.id != id);
        plan.admitted.retain(|admitted| *admitted != id);
        plan.preempted.push(id);
    }

    /// Admits waiting sequences in order while a place, tokens and blocks for all their known tokens are there; only
    /// those of a better class than `than`, if given. The first that does not fit blocks those behind it, so a long
    /// prompt cannot starve. A better class takes places and blocks from a worse one.
    fn admit(&mut self, plan: &mut StepPlan, tokens_left: &mut usize, than: Option<Priority>) {
        while *tokens_left > 0 {
            let Some((class, id)) = policy::next(self.waiting.values()) else {
                break;
            };
            if than.is_some_and(|than| class >= than) || plan.preempted.contains(&id) {
                break;
            }
            if self.try_admit(id) {
                plan.admitted.push(id);
                self.plan_row(id, plan, tokens_left);
                continue;
            }
            match policy::victim(self.running.values()) {
                Some((victim_class, victim)) if victim_class > class => {
                    self.preempt(victim, plan, tokens_left)
                }
                _ => break,
            }
        }
    }

    /// Moves a waiting sequence to the running ones if there are a place and blocks for all its known tokens.
    fn try_admit(&mut self, id: SequenceId) -> bool {
        let Some(sequence) = self.waiting.get_mut(&id) else {
            return false;
        };
        // One block stays free for each running sequence that would outlive the newcomer, so that the next token does
        // not preempt it.
        let reserve = self
            .running
            .values()
            .filter(|running| running.priority <= sequence.priority)
            .count();
        let needed = blocks_for(sequence.token_ids.len());
        let fits =
            self.running.len() < self.max_num_seqs && needed + reserve <= self.pool.num_free();
        if !fits || !self.pool.allocate(needed, &mut sequence.block_table) {
            return false;
        }
        self.running
            .extend(self.waiting.remove(&id).map(|sequence| (id, sequence)));
        true
    }

    /// Plans as much of a running sequence as the budget allows.
    fn plan_row(&self, id: SequenceId, plan: &mut StepPlan, tokens_left: &mut usize) {
        let Some(sequence) = self.running.get(&id) else {
            return;
        };
        let pending = sequence.num_pending_tokens();
        let len = pending.min(*tokens_left);
        *tokens_left -= len;
        plan.rows.push(PlannedRow {
            id,
            start: sequence.num_computed_tokens,
            len,
            samples: len == pending,
        });
    }

    /// Records that a row has run; `sampled` is the token chosen from its logits, if it had any.
    ///
    /// # Panics
    /// When the row's sequence is not running or the row does not follow its computed tokens.
    pub fn commit(&mut self, row: &PlannedRow, sampled: Option<u32>) {
        let sequence = self
            .running
            .get_mut(&row.id)
            .expect("only running sequences are planned");
        assert_eq!(
            sequence.num_computed_tokens, row.start,
            "rows are committed in order"
        );
        sequence.num_computed_tokens += row.len;
        sequence.token_ids.extend(sampled);
        let num_unseen = unseen_blocks(self.window, sequence.num_computed_tokens);
        self.pool
            .release(&sequence.block_table[sequence.num_released_blocks..num_unseen]);
        sequence.num_released_blocks = num_unseen;
    }

    /// Checks the invariants.
    ///
    /// # Panics
    /// When one does not hold.
    pub fn assert_consistent(&self) {
        let tables = self
            .running
            .values()
            .chain(self.waiting.values())
            .map(Sequence::held_blocks);
        self.pool.assert_consistent(tables);
        for sequence in self.running.values() {
            assert!(
                sequence.block_table.len() >= blocks_for(sequence.num_computed_tokens),
                "{sequence:?}"
            );
            assert_eq!(
                sequence.num_released_blocks,
                unseen_blocks(self.window, sequence.num_computed_tokens),
                "{sequence:?}"
            );
        }
        for sequence in self.waiting.values() {
            assert!(
                sequence.block_table.is_empty()
                    && sequence.num_computed_tokens == 0
                    && sequence.num_released_blocks == 0,
                "{sequence:?}"
            );
        }
        assert!(self.running.len() <= self.max_num_seqs);
    }
}

/// Returns how many whole blocks lie before everything that the token at `position`, and those after it, see.
fn unseen_blocks(window: Option<usize>, position: usize) -> usize {
    window.map_or(0, |window| {
        (position + 1).saturating_sub(window) / BLOCK_SIZE
    })
}

#[cfg(test)]
mod tests;
