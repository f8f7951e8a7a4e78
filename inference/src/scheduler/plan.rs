//! What one step runs.

use crate::sequence::SequenceId;

/// A run of consecutive tokens of one sequence: a prefill chunk or one decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedRow {
    pub id: SequenceId,
    /// Position of the first token.
    pub start: usize,
    /// Number of tokens.
    pub len: usize,
    /// Whether the last token's logits are needed: the row ends the sequence's known tokens.
    pub samples: bool,
}

/// The next step: rows in order of their sequences' turn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepPlan {
    pub rows: Vec<PlannedRow>,
    /// Sequences that lost their blocks in favour of others and wait to be recomputed.
    pub preempted: Vec<SequenceId>,
    /// Sequences that left the queue with this step.
    pub admitted: Vec<SequenceId>,
}

impl StepPlan {
    pub fn num_tokens(&self) -> usize {
        self.rows.iter().map(|row| row.len).sum()
    }
}
