//! How much one person has under way: answers of the page, `/api/ask-docs`, `/v1/*`, by session or by any of the person's keys.
//!
//! A place is one generation (each of `n` takes one) or one request for embeddings, from before it enters the model's queue until
//! its stream is dropped. So one person or key never holds more of the model and its queue than that, and others find room.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{Stream, StreamExt};

/// When an account with all places taken should come back: about when an answer ends.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Places taken, by account or whatever else shares them.
pub struct PlacesBy<K> {
    taken: Taken<K>,
}

type Taken<K> = Arc<Mutex<HashMap<K, usize>>>;

impl<K> Default for PlacesBy<K> {
    fn default() -> Self {
        Self {
            taken: Taken::default(),
        }
    }
}

/// An account has as much under way as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooMuch {
    /// When others of its answers have ended there is room.
    #[error(
        "{taken} answers are under way for this account, which may have {most} (`per_user`, at most half of `max_num_seqs`); wait for one or stop one"
    )]
    Now {
        /// Under way.
        taken: usize,
        /// The limit.
        most: usize,
    },
    /// One request asks for more than there ever is.
    #[error(
        "{asked} answers at once are more than the {most} that one account may have under way (`per_user`, at most half of `max_num_seqs`)"
    )]
    Ever {
        /// Asked for.
        asked: usize,
        /// The limit.
        most: usize,
    },
}

impl TooMuch {
    /// When to come back.
    pub fn retry_after(&self) -> Duration {
        RETRY_AFTER
    }
}

/// Places of one request. Dropping it gives them back.
#[derive(Debug)]
pub struct Places<K: Hash + Eq> {
    taken: Taken<K>,
    key: K,
    count: usize,
}

impl<K: Hash + Eq + Copy> PlacesBy<K> {
    /// Takes `count` of the `most` places of an account.
    ///
    /// # Errors
    /// [`TooMuch`]; nothing is taken then.
    pub fn take(&self, key: K, count: usize, most: usize) -> Result<Places<K>, TooMuch> {
        if count > most {
            return Err(TooMuch::Ever { asked: count, most });
        }
        let mut places = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = places.get(&key).copied().unwrap_or(0);
        if taken + count > most {
            return Err(TooMuch::Now { taken, most });
        }
        places.insert(key, taken + count);
        Ok(Places {
            taken: Arc::clone(&self.taken),
            key,
            count,
        })
    }
}

impl<K: Hash + Eq + Send> Places<K> {
    /// The stream, which holds the places until it is dropped.
    pub fn hold<S: Stream + Send>(self, stream: S) -> impl Stream<Item = S::Item> + Send {
        stream.map(move |item| {
            let _held = &self;
            item
        })
    }
}

impl<K: Hash + Eq> Drop for Places<K> {
    fn drop(&mut self) {
        let mut places = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = places.get_mut(&self.key) {
            *taken -= self.count;
            if *taken == 0 {
                places.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::UserId;

    #[test]
    fn one_account_has_its_places_and_no_more() {
        let places = PlacesBy::default();
        let (ada, bob) = (UserId(1), UserId(2));
        let three = places.take(ada, 3, 4).unwrap();
        let refused = places.take(ada, 2, 4).unwrap_err();
        assert_eq!(refused, TooMuch::Now { taken: 3, most: 4 });
        let _one = places.take(ada, 1, 4).unwrap();
        let _others = places.take(bob, 4, 4).unwrap();
        assert_eq!(
            places.take(bob, 5, 4).unwrap_err(),
            TooMuch::Ever { asked: 5, most: 4 }
        );
        let stream = three.hold(futures_util::stream::pending::<()>());
        assert!(places.take(ada, 1, 4).is_err());
        drop(stream);
        let _again = places.take(ada, 3, 4).unwrap();
        assert!(places.take(ada, 1, 4).is_err());
    }
}
