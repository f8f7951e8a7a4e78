//! Slows down guessing: strangers by account and client, by client alone, and by account alone; a known browser by itself.
//!
//! An attempt is counted before the password is checked, so that parallel attempts cannot slip through; success takes it back.
//! What strangers do lengthens the waits of strangers only: a browser that has signed in to the account before (`device`) has
//! its own count, so nobody locks the owner of an account out. A client is an IPv4 address or a /64 of IPv6.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::device::DeviceId;
use crate::client_address::ClientKey;

/// Attempts on one account from one client before waiting begins: room for a mistyped password.
const FREE_ATTEMPTS: u32 = 5;
/// Attempts from one client on any accounts before waiting begins: an office behind one address signs in at nine.
const FREE_ATTEMPTS_PER_CLIENT: u32 = 60;
/// Failures of all strangers together on one account before all of them wait (NIST SP 800-63B: at most 100).
const FREE_ATTEMPTS_PER_ACCOUNT: u32 = 100;
/// First wait; it doubles with every further attempt.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// Longest wait. Attempts are forgotten after it; of those on an account as a whole, one each time, so that a guesser with many
/// addresses has about a hundred guesses and then four an hour.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);
/// Most counters kept; beyond it the half with the fewest attempts goes, the oldest first.
const MOST_COUNTERS: usize = 50_000;

/// Who makes an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Visitor {
    /// A browser that has signed in to this account before.
    Known(DeviceId),
    /// Somebody with a session of this account, who is asked for its password once more.
    SignedIn,
    /// Anybody else.
    Stranger(ClientKey),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Subject {
    Device(String, DeviceId),
    SignedIn(String),
    AccountFromClient(String, ClientKey),
    Client(ClientKey),
    Account(String),
}

impl Subject {
    fn free_attempts(&self) -> u32 {
        match self {
            Subject::Device(..) | Subject::SignedIn(_) | Subject::AccountFromClient(..) => {
                FREE_ATTEMPTS
            }
            Subject::Client(_) => FREE_ATTEMPTS_PER_CLIENT,
            Subject::Account(_) => FREE_ATTEMPTS_PER_ACCOUNT,
        }
    }
}

struct Counter {
    attempts: u32,
    last: Instant,
    blocked_until: Option<Instant>,
}

/// An attempt that was counted: what it was counted under.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Attempt(Vec<Subject>);

/// Counters of recent sign-in attempts, in memory.
#[derive(Default)]
pub(crate) struct Throttle {
    counters: Mutex<HashMap<Subject, Counter>>,
}

impl Throttle {
    /// Counts an attempt at `now`.
    ///
    /// # Errors
    /// How long to wait, when there were too many; the attempt must then not be made.
    pub fn begin(&self, email: &str, visitor: &Visitor, now: Instant) -> Result<Attempt, Duration> {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        make_room(&mut counters);
        let email = email.to_owned();
        let subjects = match visitor {
            Visitor::Known(device) => vec![Subject::Device(email, device.clone())],
            Visitor::SignedIn => vec![Subject::SignedIn(email)],
            Visitor::Stranger(client) => vec![
                Subject::AccountFromClient(email.clone(), *client),
                Subject::Client(*client),
                Subject::Account(email),
            ],
        };
        let wait = subjects
            .iter()
            .filter_map(|subject| {
                let until = counters.get(subject)?.blocked_until?;
                until.checked_duration_since(now)
            })
            .filter(|wait| !wait.is_zero())
            .max();
        if let Some(wait) = wait {
            return Err(wait);
        }
        for subject in &subjects {
            let counter = counters.entry(subject.clone()).or_insert(Counter {
                attempts: 0,
                last: now,
                blocked_until: None,
            });
            counter.forget(subject, now);
            counter.count(subject, now);
        }
        Ok(Attempt(subjects))
    }

    /// Takes back an attempt of which no password was checked.
    pub fn withdraw(&self, attempt: &Attempt) {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        for subject in &attempt.0 {
            if let Some(counter) = counters.get_mut(subject) {
                counter.take_back();
            }
        }
    }

    /// After the right password: forgets the mistakes of this browser, or of this client on this account, before it.
    pub fn succeeded(&self, attempt: &Attempt) {
        self.withdraw(attempt);
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        for subject in &attempt.0 {
            if matches!(
                subject,
                Subject::Device(..) | Subject::SignedIn(_) | Subject::AccountFromClient(..)
            ) {
                counters.remove(subject);
            }
        }
    }
}

impl Counter {
    fn forget(&mut self, subject: &Subject, now: Instant) {
        let quiet = now.saturating_duration_since(self.last);
        match subject {
            Subject::Account(_) => {
                let forgotten = quiet.as_secs() / LONGEST_WAIT.as_secs();
                let forgotten = u32::try_from(forgotten).unwrap_or(u32::MAX);
                self.attempts = self.attempts.saturating_sub(forgotten);
            }
            _ if quiet > LONGEST_WAIT => self.attempts = 0,
            _ => {}
        }
    }

    fn count(&mut self, subject: &Subject, now: Instant) {
        let free = subject.free_attempts();
        self.attempts += 1;
        self.last = now;
        self.blocked_until = (self.attempts >= free).then(|| {
            let doublings = (self.attempts - free).min(16);
            now + (FIRST_WAIT * 2_u32.pow(doublings)).min(LONGEST_WAIT)
        });
    }

    fn take_back(&mut self) {
        self.attempts = self.attempts.saturating_sub(1);
        self.blocked_until = None;
    }
}

/// Drops half of the counters once there are too many. Those with many attempts stay, so that a flood of invented addresses does
/// not make a guesser's count forgotten.
fn make_room(counters: &mut HashMap<Subject, Counter>) {
    if counters.len() < MOST_COUNTERS {
        return;
    }
    let mut ranks: Vec<(u32, Instant)> = counters
        .values()
        .map(|counter| (counter.attempts, counter.last))
        .collect();
    ranks.sort_unstable();
    let middle = ranks[ranks.len() / 2];
    counters.retain(|_, counter| (counter.attempts, counter.last) > middle);
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::auth::device;

    fn stranger(n: u8) -> Visitor {
        Visitor::Stranger(ClientKey::of(IpAddr::from([10, 0, 0, n])))
    }

    fn known() -> Visitor {
        let token = device::issue("a@x", "hash", 0);
        Visitor::Known(device::recognise([token.as_str()], "a@x", "hash", 0).unwrap())
    }

    fn wait(throttle: &Throttle, email: &str, visitor: &Visitor, now: Instant) -> Duration {
        throttle
            .begin(email, visitor, now)
            .map_or_else(|wait| wait, |_| Duration::ZERO)
    }

    #[test]
    fn waits_double_for_one_account_and_client_only() {
        let throttle = Throttle::default();
        let mut now = Instant::now();
        let free = Duration::ZERO;
        for _ in 0..FREE_ATTEMPTS {
            assert_eq!(wait(&throttle, "a@x", &stranger(1), now), free);
        }
        assert_eq!(wait(&throttle, "a@x", &stranger(1), now), FIRST_WAIT);
        assert_eq!(wait(&throttle, "a@x", &stranger(2), now), free);
        assert_eq!(wait(&throttle, "b@x", &stranger(1), now), free);
        now += FIRST_WAIT;
        assert_eq!(wait(&throttle, "a@x", &stranger(1), now), free);
        assert_eq!(wait(&throttle, "a@x", &stranger(1), now), FIRST_WAIT * 2);
        now += LONGEST_WAIT * 2;
        for _ in 0..FREE_ATTEMPTS {
            assert_eq!(wait(&throttle, "a@x", &stranger(1), now), free);
        }
    }

    #[test]
    fn success_forgets_the_mistakes_before_it() {
        let throttle = Throttle::default();
        let now = Instant::now();
        for visitor in [stranger(1), known(), Visitor::SignedIn] {
            for round in 0..4 {
                for _ in 1..FREE_ATTEMPTS {
                    assert!(throttle.begin("a@x", &visitor, now).is_ok(), "{round}");
                }
                let attempt = throttle.begin("a@x", &visitor, now).unwrap();
                throttle.succeeded(&attempt);
            }
        }
    }

    #[test]
    fn an_attempt_that_was_not_made_does_not_count() {
        let throttle = Throttle::default();
        let now = Instant::now();
        for _ in 0..1000 {
            let attempt = throttle.begin("a@x", &stranger(1), now).unwrap();
            throttle.withdraw(&attempt);
        }
    }

    #[test]
    fn one_client_cannot_try_one_password_on_every_account() {
        let throttle = Throttle::default();
        let now = Instant::now();
        let refused = (0..200)
            .filter(|n| {
                let email = format!("user{n}@x");
                throttle.begin(&email, &stranger(1), now).is_err()
            })
            .count();
        assert_eq!(refused, 200 - FREE_ATTEMPTS_PER_CLIENT as usize);
    }

    #[test]
    fn many_clients_together_have_a_hundred_guesses_at_an_account_and_then_four_an_hour() {
        let throttle = Throttle::default();
        let mut now = Instant::now();
        let mut guesses = 0;
        let guess = |now| (0..=255_u8).any(|n| throttle.begin("a@x", &stranger(n), now).is_ok());
        while guess(now) {
            guesses += 1;
        }
        assert_eq!(guesses, FREE_ATTEMPTS_PER_ACCOUNT);
        let day = Duration::from_secs(24 * 3600);
        let end = now + day;
        let mut later = 0;
        while now < end {
            now += Duration::from_secs(20);
            later += u32::from(guess(now));
        }
        assert!((90..115).contains(&later), "{later} guesses in a day");
    }

    #[test]
    fn strangers_lock_nobody_out_who_signed_in_here_before() {
        let throttle = Throttle::default();
        let now = Instant::now();
        let owner = known();
        for n in 0..200 {
            let _ = throttle.begin("a@x", &stranger(n), now);
        }
        assert!(throttle.begin("a@x", &stranger(201), now).is_err());
        for _ in 0..FREE_ATTEMPTS {
            assert!(throttle.begin("a@x", &owner, now).is_ok());
            assert!(throttle.begin("a@x", &Visitor::SignedIn, now).is_ok());
        }
        // A browser that was known and is somebody else's now has no more guesses than a stranger.
        assert!(throttle.begin("a@x", &owner, now).is_err());
        assert!(throttle.begin("a@x", &Visitor::SignedIn, now).is_err());
    }

    #[test]
    fn a_flood_of_invented_accounts_does_not_hide_a_guesser() {
        let throttle = Throttle::default();
        let now = Instant::now();
        for n in 0..=255_u8 {
            let _ = throttle.begin("a@x", &stranger(n), now);
        }
        for n in 0..MOST_COUNTERS {
            let client = IpAddr::from([11, (n >> 16) as u8, (n >> 8) as u8, n as u8]);
            let visitor = Visitor::Stranger(ClientKey::of(client));
            let _ = throttle.begin(&format!("{n}@x"), &visitor, now);
        }
        assert!(throttle.begin("a@x", &stranger(9), now).is_err());
        assert!(throttle.counters.lock().unwrap().len() <= MOST_COUNTERS + 3);
    }
}
