//! A bounded queue that goes round by client (an address, or an account): whoever sends much waits behind itself and not before
//! others.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Waiting items by client. Clients take turns, and the items of one come in their order.
///
/// Invariant: a client is in `turns` exactly once iff it has an item waiting, so memory is bounded by `capacity`.
pub(super) struct FairQueue<K, T> {
    turns: VecDeque<K>,
    waiting: HashMap<K, VecDeque<T>>,
    len: usize,
    capacity: usize,
    capacity_per_client: usize,
}

impl<K: Copy + Eq + Hash, T> FairQueue<K, T> {
    pub fn new(capacity: usize, capacity_per_client: usize) -> Self {
        Self {
            turns: VecDeque::new(),
            waiting: HashMap::new(),
            len: 0,
            capacity,
            capacity_per_client,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Adds an item. When the queue is full, the newest item of the client that has most makes room, unless the newcomer would
    /// then have as many; what had to leave is returned.
    ///
    /// # Errors
    /// The item itself, when there is no room for it.
    pub fn push(&mut self, client: K, item: T) -> Result<Option<T>, T> {
        let own = self.waiting.get(&client).map_or(0, VecDeque::len);
        if own >= self.capacity_per_client {
            return Err(item);
        }
        let mut displaced = None;
        if self.len >= self.capacity {
            displaced = self.displace_for(own);
            if displaced.is_none() {
                return Err(item);
            }
        }
        if own == 0 {
            self.turns.push_back(client);
        }
        self.waiting.entry(client).or_default().push_back(item);
        self.len += 1;
        Ok(displaced)
    }

    /// Takes the newest item of the client that has most, if that is more than a newcomer with `own` items would have.
    fn displace_for(&mut self, own: usize) -> Option<T> {
        let (client, _) = self
            .waiting
            .iter()
            .map(|(client, items)| (*client, items.len()))
            .max_by_key(|(_, len)| *len)
            .filter(|(_, len)| *len > own + 1)?;
        let item = self.waiting.get_mut(&client)?.pop_back()?;
        self.len -= 1;
        Some(item)
    }

    /// The item whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        let client = self.turns.pop_front()?;
        let items = self.waiting.get_mut(&client)?;
        let item = items.pop_front()?;
        self.len -= 1;
        if items.is_empty() {
            self.waiting.remove(&client);
        } else {
            self.turns.push_back(client);
        }
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_address::ClientKey;

    fn client(n: u8) -> ClientKey {
        ClientKey::of(std::net::IpAddr::from([10, 0, 0, n]))
    }

    #[test]
    fn a_client_with_one_item_waits_for_one_turn_of_each_other() {
        let mut queue = FairQueue::new(100, 50);
        for n in 0..50 {
            assert_eq!(queue.push(client(1), n), Ok(None));
        }
        assert_eq!(queue.push(client(2), 100), Ok(None));
        let order: Vec<i32> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order[..3], [0, 100, 1]);
        assert_eq!(order.len(), 51);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn a_full_queue_takes_a_newcomer_in_the_place_of_the_client_that_has_most() {
        let mut queue = FairQueue::new(4, 4);
        for n in 0..4 {
            assert_eq!(queue.push(client(1), n), Ok(None));
        }
        assert_eq!(queue.push(client(1), 4), Err(4), "its own share is full");
        assert_eq!(queue.push(client(2), 20), Ok(Some(3)));
        assert_eq!(queue.push(client(2), 21), Ok(Some(2)));
        assert_eq!(queue.push(client(2), 22), Err(22), "both have as many");
        assert!(matches!(queue.push(client(3), 30), Ok(Some(1 | 21))));
        assert_eq!(queue.len(), 4);
    }

    #[test]
    fn items_leave_once_and_turns_stay_true_to_them() {
        // A walk over a tiny universe: every item that went in comes out or was displaced, exactly once.
        let mut state = 1_u32;
        let mut random = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % below
        };
        let mut queue = FairQueue::new(6, 3);
        let (mut inside, mut next) = (std::collections::BTreeSet::new(), 0);
        for _ in 0..20_000 {
            if random(3) > 0 {
                if let Ok(displaced) = queue.push(client(random(4) as u8), next) {
                    inside.insert(next);
                    if let Some(displaced) = displaced {
                        assert!(inside.remove(&displaced));
                    }
                }
                next += 1;
            } else {
                match queue.pop() {
                    Some(item) => assert!(inside.remove(&item)),
                    None => assert!(inside.is_empty()),
                }
            }
            assert_eq!(queue.len(), inside.len());
            assert!(queue.len() <= 6 && queue.turns.len() == queue.waiting.len());
        }
    }
}
