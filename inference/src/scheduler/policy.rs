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

/// Returns how many of a step's tokens the eldest prompt of a class is sure of: a quarter, at least one. A short prompt
/// then finds most of a step, and a long one takes at most four times as long as alone.
pub fn eldest_share(tokens: usize) -> usize {
    tokens.div_ceil(4)
}

/// Returns how many of all blocks those may hold that passed a prompt that does not fit yet: an eighth, so that several
/// short questions are answered while long ones fill the cache.
pub fn passing_share(num_blocks: usize) -> usize {
    num_blocks / 8
}
