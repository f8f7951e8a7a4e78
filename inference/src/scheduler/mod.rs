//! Continuous batching: decides what the next step runs. Pure: no tensors, no clock, no channels.
//!
//! A step mixes decodes (one token of each running answer) and prefill chunks under a token budget. Within a class the
//! shortest prompt goes first and the eldest always advances, so that neither holds up the other for long. Blocks for all
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
    num_blocks: usize,
    pub budget: TokenBudget,
    window: Option<usize>,
    pool: BlockPool,
    running: BTreeMap<SequenceId, Sequence>,
    waiting: BTreeMap<SequenceId, Sequence>,
}

/// Sharing one step among the prompts of a class.
struct PrefillRound {
    /// The eldest that runs.
    eldest: Option<SequenceId>,
    /// Tokens that are kept for the eldest until its turn.
    reserved: usize,
    /// Whether waiting prompts may still begin.
    admits: bool,
}

impl Scheduler {
    pub fn new(limits: SchedulerLimits) -> Self {
        Self {
            max_num_seqs: limits.max_num_seqs,
            num_blocks: limits.num_blocks,
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
    /// Decodes come first (they are what people watch), then the prompts of each class, see [`Self::plan_prefills`].
    /// Every planned row must be confirmed by [`Self::commit`] once it has run.
    pub fn plan(&mut self) -> StepPlan {
        let mut plan = StepPlan::default();
        let decodes = self.running_by_rank(Sequence::is_decoding);
        let mut tokens_left = self.budget.tokens(decodes.len());
        for id in decodes {
            self.plan_decode(id, &mut plan, &mut tokens_left);
        }
        // A step in which answers ran out of blocks admits nobody: the blocks just freed would be missed at once.
        let admits = plan.preempted.is_empty();
        for class in Priority::ALL {
            self.plan_prefills(class, admits, &mut plan, &mut tokens_left);
        }
        plan
    }

    /// Shares what is left of a step among the prompts of one class, under way or waiting: those with the fewest tokens
    /// to go first, so that a short question does not wait for a long document. The *eldest* prompt is sure of
    /// [`policy::eldest_share`], so a long one advances however many short ones arrive, and then the next is the eldest.
    fn plan_prefills(
        &mut self,
        class: Priority,
        admits: bool,
        plan: &mut StepPlan,
        tokens_left: &mut usize,
    ) {
        if *tokens_left == 0 {
            return;
        }
        let mut round = self.prefill_round(class, admits, plan, tokens_left);
        let mut num_rows = 0;
        for (_, id) in self.prefills_by_length(class, round.admits) {
            if Some(id) == round.eldest {
                round.reserved = 0;
            }
            if *tokens_left <= round.reserved {
                continue;
            }
            if self.waiting.contains_key(&id) {
                round.admits = round.admits && self.admit_in_turn(id, class, plan, tokens_left);
                if !round.admits {
                    continue;
                }
            }
            self.plan_row(id, *tokens_left - round.reserved, plan, tokens_left);
            num_rows += 1;
        }
        let first = plan.rows.len() - num_rows;
        plan.rows[first..].sort_unstable_by_key(|row| row.id);
    }

    /// Finds the eldest prompt of a class, and admits it if it waits and fits.
    fn prefill_round(
        &mut self,
        class: Priority,
        admits: bool,
        plan: &mut StepPlan,
        tokens_left: &mut usize,
    ) -> PrefillRound {
        let running = |scheduler: &Self| {
            let prefills = scheduler.running.values().filter(|s| !s.is_decoding());
            let of_class = prefills.filter(|s| s.priority == class);
            of_class.map(|s| s.id).min()
        };
        let mut eldest = running(self);
        if admits
            && let Some(waiting) = self.oldest_waiting(class)
            && eldest.is_none_or(|eldest| waiting < eldest)
            && self.admit(waiting, class, plan, tokens_left)
        {
            eldest = Some(waiting);
        }
        let pending = eldest
            .and_then(|eldest| self.running.get(&eldest))
            .map_or(0, Sequence::num_pending_tokens);
        PrefillRound {
            eldest,
            reserved: pending.min(policy::eldest_share(*tokens_left)),
            admits,
        }
    }

    /// Returns the prompts of a class with their tokens to go, fewest first, of equal ones the older.
    fn prefills_by_length(&self, class: Priority, admits: bool) -> Vec<(usize, SequenceId)> {
        let running = self.running.values().filter(|s| !s.is_decoding());
        let waiting = self.waiting.values().filter(|_| admits);
        let mut prefills: Vec<_> = running
            .chain(waiting)
            .filter(|sequence| sequence.priority == class)
            .map(|sequence| (sequence.num_pending_tokens(), sequence.id))
            .collect();
        prefills.sort_unstable();
        prefills
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
                self.plan_row(id, *tokens_left, plan, tokens_left);
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

    fn oldest_waiting(&self, class: Priority) -> Option<SequenceId> {
        let waiting = self.waiting.values().filter(|s| s.priority == class);
        waiting.map(|sequence| sequence.id).min()
    }

    /// Admits a waiting sequence if the oldest one of its class fits, too, or may be passed by it.
    fn admit_in_turn(
        &mut self,
        id: SequenceId,
        class: Priority,
        plan: &mut StepPlan,
        tokens_left: &mut usize,
    ) -> bool {
        let oldest = self.oldest_waiting(class).filter(|oldest| *oldest != id);
        let is_passable = oldest.is_none_or(|oldest| {
            self.fits(oldest)
                || self.admit(oldest, class, plan, tokens_left)
                || self.may_pass(id, oldest)
        });
        is_passable && self.admit(id, class, plan, tokens_left)
    }

    /// Whether a sequence may be admitted before an older one that does not fit yet.
    ///
    /// Those that passed may hold a part of the blocks and half of the places, and only where the older one fits into the
    /// rest: once everybody before it has ended it is admitted, so it cannot starve.
    fn may_pass(&self, id: SequenceId, oldest: SequenceId) -> bool {
        let (Some(sequence), Some(passed)) = (self.waiting.get(&id), self.waiting.get(&oldest))
        else {
            return false;
        };
        let passing = self
            .running
            .values()
            .filter(|s| policy::rank(s) > policy::rank(passed));
        let (num_passing, held) = passing.fold((0, 0), |(count, held), s| {
            (count + 1, held + s.held_blocks().len())
        });
        let share = policy::passing_share(self.num_blocks);
        let rest = self.num_blocks.saturating_sub(share + self.max_num_seqs);
        blocks_for(passed.token_ids.len()) <= rest
            && held + blocks_for(sequence.token_ids.len()) <= share
            && num_passing < self.max_num_seqs / 2
    }

    /// Admits a waiting sequence if a place and blocks for all its known tokens are there; a better class takes them from
    /// a worse one. One that was preempted in this step stays out of it.
    fn admit(
        &mut self,
        id: SequenceId,
        class: Priority,
        plan: &mut StepPlan,
        tokens_left: &mut usize,
    ) -> bool {
        if plan.preempted.contains(&id) {
            return false;
        }
        while !self.try_admit(id) {
            match policy::victim(self.running.values()) {
                Some((victim_class, victim)) if victim_class > class => {
                    self.preempt(victim, plan, tokens_left)
                }
                _ => return false,
            }
        }
        plan.admitted.push(id);
        true
    }

    /// Whether there are a place and blocks for all known tokens of a waiting sequence.
    fn fits(&self, id: SequenceId) -> bool {
        let Some(sequence) = self.waiting.get(&id) else {
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
        self.running.len() < self.max_num_seqs && needed + reserve <= self.pool.num_free()
    }

    /// Moves a waiting sequence to the running ones if it fits.
    fn try_admit(&mut self, id: SequenceId) -> bool {
        if !self.fits(id) {
            return false;
        }
        let Some(mut sequence) = self.waiting.remove(&id) else {
            return false;
        };
        let needed = blocks_for(sequence.token_ids.len());
        let has_blocks = self.pool.allocate(needed, &mut sequence.block_table);
        let place = match has_blocks {
            true => &mut self.running,
            false => &mut self.waiting,
        };
        place.insert(id, sequence);
        has_blocks
    }

    /// Plans as much of a running sequence as `most` tokens of the budget allow.
    fn plan_row(&self, id: SequenceId, most: usize, plan: &mut StepPlan, tokens_left: &mut usize) {
        let Some(sequence) = self.running.get(&id).filter(|_| most > 0) else {
            return;
        };
        let pending = sequence.num_pending_tokens();
        let len = pending.min(most);
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
