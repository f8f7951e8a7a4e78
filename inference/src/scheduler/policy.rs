//! Who goes first, and who gives way.

use crate::sequence::{Priority, Sequence, SequenceId};

/// Rank of a sequence: smaller runs, is admitted and keeps its blocks before larger. Within a class the older first,
/// so a sequence that was preempted returns to its place and cannot starve.
pub fn rank(sequence: &Sequence) -> (Priority, SequenceId) {
    (sequence.priority, sequence.id)
}

/// Returns the rank of the sequence to preempt: the youngest of the last class.
pub fn victim<'a>(running: impl Iterator<Item = &'a Sequence>) -> Option<(Priority, SequenceId)> {
    running.map(rank).max()
}

/// Returns the rank of the waiting sequence to admit next: the oldest of the first class.
pub fn next<'a>(waiting: impl Iterator<Item = &'a Sequence>) -> Option<(Priority, SequenceId)> {
    waiting.map(rank).min()
}
