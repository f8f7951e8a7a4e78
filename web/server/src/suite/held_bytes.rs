//! Memory that bodies of requests hold while they arrive and are read.
//!
//! Whoever sends most of a body and then nothing holds what was sent. All bodies together hold no more than a fixed number of
//! bytes, and one sender no more than is then still free: half of it for the first, half of the rest for the second. So one that
//! holds all it can leaves as much to the others. Source: dynamic thresholds for shared memory, Choudhury and Hahne 1998.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::client_address::ClientKey;
use crate::db::UserId;

/// Whose bytes they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Sender {
    /// An account, by any of its sessions and keys.
    Account(UserId),
    /// Somebody who is not signed in.
    Client(ClientKey),
}

/// The bytes that senders hold.
pub(crate) struct HeldBytes<K> {
    most: usize,
    held: Arc<Mutex<Held<K>>>,
}

struct Held<K> {
    all: usize,
    by_sender: HashMap<K, usize>,
}

/// There is no room for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bodies of requests hold as many bytes as they may")]
pub(crate) struct NoRoom;

/// What one body holds. Dropping it gives the bytes back.
pub(crate) struct Holding<K: Hash + Eq> {
    most: usize,
    held: Arc<Mutex<Held<K>>>,
    sender: K,
    bytes: usize,
}

impl<K: Hash + Eq + Copy> HeldBytes<K> {
    /// At most so many bytes in all.
    pub fn new(most: usize) -> Self {
        let held = Held {
            all: 0,
            by_sender: HashMap::new(),
        };
        Self {
            most,
            held: Arc::new(Mutex::new(held)),
        }
    }

    /// A body that holds nothing yet.
    pub fn begin(&self, sender: K) -> Holding<K> {
        Holding {
            most: self.most,
            held: Arc::clone(&self.held),
            sender,
            bytes: 0,
        }
    }

    /// Bytes held by all.
    pub fn all(&self) -> usize {
        lock(&self.held).all
    }
}

impl<K: Hash + Eq + Copy> Holding<K> {
    /// Takes so many bytes more.
    ///
    /// # Errors
    /// [`NoRoom`]; nothing more is held then.
    pub fn grow(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let mut held = lock(&self.held);
        let all = held.all + bytes;
        let own = held.by_sender.get(&self.sender).copied().unwrap_or(0) + bytes;
        // More than there is leaves no room for anybody.
        let free = self.most.checked_sub(all).ok_or(NoRoom)?;
        if own > free {
            return Err(NoRoom);
        }
        held.all = all;
        held.by_sender.insert(self.sender, own);
        self.bytes += bytes;
        Ok(())
    }
}

impl<K: Hash + Eq> Drop for Holding<K> {
    fn drop(&mut self) {
        let mut held = lock(&self.held);
        held.all -= self.bytes;
        if let Some(own) = held.by_sender.get_mut(&self.sender) {
            *own -= self.bytes;
            if *own == 0 {
                held.by_sender.remove(&self.sender);
            }
        }
    }
}

fn lock<K>(held: &Mutex<Held<K>>) -> MutexGuard<'_, Held<K>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sender_leaves_as_much_as_it_holds_and_the_sum_is_bounded() {
        let bytes = HeldBytes::new(100);
        let mut bodies: Vec<Holding<u8>> = Vec::new();
        for sender in [1, 2, 3] {
            loop {
                let mut body = bytes.begin(sender);
                match body.grow(1) {
                    Ok(()) => bodies.push(body),
                    Err(NoRoom) => break,
                }
            }
        }
        let of = |sender| bodies.iter().filter(|body| body.sender == sender).count();
        assert_eq!((of(1), of(2), of(3)), (50, 25, 12));
        assert_eq!(bytes.all(), 87);
        assert_eq!(bytes.begin(4).grow(6), Ok(()));
        assert_eq!(bytes.begin(4).grow(7), Err(NoRoom));
        bodies.clear();
        assert_eq!(bytes.all(), 0);
        assert!(lock(&bytes.held).by_sender.is_empty());
    }

    #[test]
    fn a_body_that_does_not_fit_keeps_what_it_has() {
        let bytes = HeldBytes::new(100);
        let mut body = bytes.begin(1);
        assert_eq!(body.grow(30), Ok(()));
        assert_eq!(body.grow(30), Err(NoRoom));
        assert_eq!(body.grow(usize::MAX - 100), Err(NoRoom));
        assert_eq!((body.bytes, bytes.all()), (30, 30));
    }
}
