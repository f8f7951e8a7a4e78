//! Block pool of the paged KV cache: who owns which block. Knows nothing about tensors.
//!
//! A *block* holds keys and values of [`super::BLOCK_SIZE`] tokens for all layers. A sequence lists its blocks in
//! order in its *block table*; attention reaches K/V only through that table.
//!
//! Invariants ([`BlockPool::assert_consistent`], run after every step in tests):
//! - a block is free xor owned: it is in `free` iff it is not in exactly one block table;
//! - no block is in two tables. (What a table holds of blocks that it gave back does not count.)
//!
//! Absent on purpose: sharing between sequences (the prefix cache will add reference counts).
//! Source: PagedAttention, arXiv 2309.06180 section 4.

/// Index of a block in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub u32);

/// The free blocks, and a mark for each block that is not.
#[derive(Debug)]
pub struct BlockPool {
    /// A stack: the block freed last is used first, while the CPU still caches it.
    free: Vec<BlockId>,
    owned: Vec<bool>,
}

impl BlockPool {
    pub fn new(num_blocks: usize) -> Self {
        // Reversed, so that the first allocations are the lowest blocks: easier to read in traces.
        let free = (0..num_blocks as u32).rev().map(BlockId).collect();
        Self {
            free,
            owned: vec![false; num_blocks],
        }
    }

    pub fn num_blocks(&self) -> usize {
        self.owned.len()
    }

    pub fn num_free(&self) -> usize {
        self.free.len()
    }

    /// Appends `count` blocks to a block table, or changes nothing and returns false when fewer are free.
    #[must_use]
    pub fn allocate(&mut self, count: usize, block_table: &mut Vec<BlockId>) -> bool {
        if count > self.free.len() {
            return false;
        }
        for block in self
            .free
            .split_off(self.free.len() - count)
            .into_iter()
            .rev()
        {
            self.owned[block.0 as usize] = true;
            block_table.push(block);
        }
        true
    }

    /// Takes blocks of a block table back.
    ///
    /// # Panics
    /// When a block is already free: that table was used after it was freed.
    pub fn release(&mut self, blocks: &[BlockId]) {
        for block in blocks.iter().rev() {
            let owned = &mut self.owned[block.0 as usize];
            assert!(*owned, "block {block:?} is freed twice");
            *owned = false;
            self.free.push(*block);
        }
    }

    /// Checks the invariants against all block tables there are.
    ///
    /// # Panics
    /// When one does not hold.
    pub fn assert_consistent<'a>(&self, block_tables: impl IntoIterator<Item = &'a [BlockId]>) {
        let mut seen = vec![0u32; self.owned.len()];
        for block in block_tables.into_iter().flatten() {
            seen[block.0 as usize] += 1;
        }
        let mut free = vec![0u32; self.owned.len()];
        for block in &self.free {
            free[block.0 as usize] += 1;
        }
        for (index, &owned) in self.owned.iter().enumerate() {
            assert_eq!(
                seen[index],
                u32::from(owned),
                "block {index} is in {} tables, owned: {owned}",
                seen[index]
            );
            assert_eq!(
                free[index],
                u32::from(!owned),
                "block {index} is {} times free, owned: {owned}",
                free[index]
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn a_request_that_does_not_fit_changes_nothing() {
        let mut pool = BlockPool::new(3);
        let mut table = Vec::new();
        assert!(pool.allocate(2, &mut table));
        assert!(!pool.allocate(2, &mut table));
        assert_eq!((table.len(), pool.num_free()), (2, 1));
        pool.assert_consistent([table.as_slice()]);
    }

    #[test]
    #[should_panic(expected = "freed twice")]
    fn freeing_twice_is_caught() {
        let mut pool = BlockPool::new(2);
        let mut table = Vec::new();
        assert!(pool.allocate(1, &mut table));
        pool.release(&table);
        pool.release(&table);
    }

    #[test]
    fn a_random_walk_of_a_hundred_thousand_steps_stays_consistent() {
        for seed in 0..3 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut pool = BlockPool::new(5);
            let mut tables: Vec<Vec<BlockId>> = vec![Vec::new(); 3];
            for _ in 0..100_000 {
                let table = &mut tables[rng.random_range(0..3)];
                if rng.random_bool(0.4) {
                    // From the front, as a window leaves them behind.
                    let behind = table.drain(..rng.random_range(0..=table.len()));
                    pool.release(&behind.collect::<Vec<_>>());
                } else {
                    let (free, count) = (pool.num_free(), rng.random_range(0..4));
                    assert_eq!(pool.allocate(count, table), count <= free);
                }
                pool.assert_consistent(tables.iter().map(Vec::as_slice));
            }
        }
    }
}
