//! Whose turn it is at something that few may use at a time: an account has one place and its other requests wait behind that one.
//!
//! So whatever one account sends, another's request is next. Both queues are in the order of arrival; dropping a [`Turn`], or what
//! waits for one, lets the next one go on.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{AcquireError, Mutex as Queue, OwnedMutexGuard, Semaphore, SemaphorePermit};

/// Places that accounts, or whatever else shares them, take one at a time each.
pub struct Turns<K> {
    places: Semaphore,
    /// The queue of each account that has or waits for a place.
    queues: Mutex<HashMap<K, Arc<Queue<()>>>>,
}

/// One of the places, until it is dropped.
pub struct Turn<'a> {
    _place: SemaphorePermit<'a>,
    _of_account: OwnedMutexGuard<()>,
}

impl<K: Hash + Eq> Turns<K> {
    /// So many places.
    pub fn new(places: usize) -> Self {
        Self {
            places: Semaphore::new(places),
            queues: Mutex::default(),
        }
    }

    /// Waits until the account has no other place and one is free.
    ///
    /// # Errors
    /// Never: the places are not closed.
    pub async fn take(&self, key: K) -> Result<Turn<'_>, AcquireError> {
        let of_account = self.queue(key).lock_owned().await;
        Ok(Turn {
            _place: self.places.acquire().await?,
            _of_account: of_account,
        })
    }

    /// The queue of an account. Those that nobody is in any more are forgotten.
    fn queue(&self, key: K) -> Arc<Queue<()>> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.retain(|_, queue| Arc::strong_count(queue) > 1);
        Arc::clone(queues.entry(key).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use futures_util::FutureExt;

    use super::*;

    /// What is ready at once.
    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        future.now_or_never()
    }

    #[test]
    fn an_account_has_one_place_and_anothers_request_is_next() {
        let turns = Turns::new(2);
        let (ada, bob, eve) = (1, 2, 3);
        let first = now(turns.take(ada)).unwrap().unwrap();
        let mut second = Box::pin(turns.take(ada));
        assert!(now(&mut second).is_none());
        let of_bob = now(turns.take(bob)).unwrap().unwrap();
        let mut of_eve = Box::pin(turns.take(eve));
        assert!(now(&mut of_eve).is_none());

        // Eve waited for a place, Ada's second request for Ada's first.
        drop(first);
        assert!(now(&mut second).is_none());
        let of_eve = now(&mut of_eve).unwrap().unwrap();
        assert!(now(&mut second).is_none());
        drop(of_bob);
        let second = now(&mut second).unwrap().unwrap();

        drop((of_eve, second));
        drop(now(turns.take(bob)));
        let queues = turns.queues.lock().unwrap();
        assert_eq!(queues.keys().copied().collect::<Vec<_>>(), [bob]);
    }

    #[test]
    fn who_gives_up_waiting_keeps_nobody_waiting() {
        let turns = Turns::new(2);
        let first = now(turns.take(1)).unwrap().unwrap();
        let mut gives_up = Box::pin(turns.take(1));
        let mut stays = Box::pin(turns.take(1));
        assert!(now(&mut gives_up).is_none() && now(&mut stays).is_none());
        drop(gives_up);
        drop(first);
        assert!(now(&mut stays).is_some());
    }
}
