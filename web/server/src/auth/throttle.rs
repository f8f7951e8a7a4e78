//! Slows down guessing: per account and address, and per address alone.
//!
//! An attempt is counted before the password is checked, so that parallel attempts cannot slip through; success clears
//! the account's count for that address. Nobody is locked out from elsewhere by somebody else's guesses.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Attempts on one account from one address before waiting begins: room for a mistyped password.
const FREE_ATTEMPTS: u32 = 5;
/// Attempts from one address on any accounts before waiting begins: an office behind one address signs in at nine.
const FREE_ATTEMPTS_PER_ADDRESS: u32 = 60;
/// First wait; it doubles with every further attempt.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// Longest wait, and the time after which old attempts are forgotten.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);
/// Most counters kept; beyond it the forgotten ones are removed, then the oldest.
const MOST_COUNTERS: usize = 50_000;

#[derive(Clone, PartialEq, Eq, Hash)]
enum Subject {
    Account(String, IpAddr),
    Address(IpAddr),
}

struct Counter {
    attempts: u32,
    last: Instant,
    blocked_until: Option<Instant>,
}

/// Counters of recent sign-in attempts, in memory.
#[derive(Default)]
pub struct Throttle {
    counters: Mutex<HashMap<Subject, Counter>>,
}

impl Throttle {
    /// Counts an attempt at `now`.
    ///
    /// # Errors
    /// How long to wait, when there were too many; the attempt must then not be made.
    pub fn attempt(&self, email: &str, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        make_room(&mut counters, now);
        let subjects = [
            (Subject::Account(email.to_owned(), address), FREE_ATTEMPTS),
            (Subject::Address(address), FREE_ATTEMPTS_PER_ADDRESS),
        ];
        let wait = subjects
            .iter()
            .filter_map(|(subject, _)| {
                counters
                    .get(subject)?
                    .blocked_until?
                    .checked_duration_since(now)
            })
            .filter(|wait| !wait.is_zero())
            .max();
        if let Some(wait) = wait {
            return Err(wait);
        }
        for (subject, free) in subjects {
            let counter = counters.entry(subject).or_insert(Counter {
                attempts: 0,
                last: now,
                blocked_until: None,
            });
            if now.duration_since(counter.last) > LONGEST_WAIT {
                counter.attempts = 0;
            }
            counter.attempts += 1;
            counter.last = now;
            counter.blocked_until = (counter.attempts >= free).then(|| {
                let doublings = (counter.attempts - free).min(16);
                now + (FIRST_WAIT * 2_u32.pow(doublings)).min(LONGEST_WAIT)
            });
        }
        Ok(())
    }

    /// Forgets the attempts on an account from an address, after the right password.
    pub fn succeeded(&self, email: &str, address: IpAddr) {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        counters.remove(&Subject::Account(email.to_owned(), address));
        if let Some(counter) = counters.get_mut(&Subject::Address(address)) {
            counter.attempts = counter.attempts.saturating_sub(1);
            counter.blocked_until = None;
        }
    }
}

fn make_room(counters: &mut HashMap<Subject, Counter>, now: Instant) {
    if counters.len() < MOST_COUNTERS {
        return;
    }
    counters.retain(|_, counter| now.duration_since(counter.last) <= LONGEST_WAIT);
    if counters.len() >= MOST_COUNTERS {
        let mut times: Vec<Instant> = counters.values().map(|counter| counter.last).collect();
        times.sort_unstable();
        let middle = times[times.len() / 2];
        counters.retain(|_, counter| counter.last > middle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn waits_double_for_one_account_and_address_only() {
        let throttle = Throttle::default();
        let mut now = Instant::now();
        for _ in 0..FREE_ATTEMPTS {
            assert_eq!(throttle.attempt("a@x", HERE, now), Ok(()));
        }
        assert_eq!(throttle.attempt("a@x", HERE, now), Err(FIRST_WAIT));
        assert_eq!(throttle.attempt("a@x", THERE, now), Ok(()));
        assert_eq!(throttle.attempt("b@x", HERE, now), Ok(()));
        now += FIRST_WAIT;
        assert_eq!(throttle.attempt("a@x", HERE, now), Ok(()));
        assert_eq!(throttle.attempt("a@x", HERE, now), Err(FIRST_WAIT * 2));
        now += LONGEST_WAIT * 2;
        for _ in 0..FREE_ATTEMPTS {
            assert_eq!(throttle.attempt("a@x", HERE, now), Ok(()));
        }
    }

    #[test]
    fn success_forgets_the_mistakes_before_it() {
        let throttle = Throttle::default();
        let now = Instant::now();
        for _ in 0..FREE_ATTEMPTS - 1 {
            assert_eq!(throttle.attempt("a@x", HERE, now), Ok(()));
        }
        throttle.succeeded("a@x", HERE);
        for _ in 0..FREE_ATTEMPTS {
            assert_eq!(throttle.attempt("a@x", HERE, now), Ok(()));
        }
    }

    #[test]
    fn one_address_cannot_try_one_password_on_every_account() {
        let throttle = Throttle::default();
        let now = Instant::now();
        let refused = (0..200)
            .filter(|n| throttle.attempt(&format!("user{n}@x"), HERE, now).is_err())
            .count();
        assert_eq!(refused, 200 - FREE_ATTEMPTS_PER_ADDRESS as usize);
    }
}
