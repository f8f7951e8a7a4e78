//! Where passwords are hashed: two threads that own their memory, behind a bounded queue.
//!
//! A hash takes 19 MiB and tens of milliseconds, and strangers can ask for it. So the memory is that of the threads, whatever
//! arrives; who waits is bounded; clients take turns ([`FairQueue`]); and those who proved themselves before (a browser that
//! signed in earlier, see `device`) come before strangers. Of known browsers, accounts take turns instead: many share an address, and
//! nobody is known to an account that is not theirs. Beyond the queue the answer is "come back in n seconds".

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::fair_queue::FairQueue;
use super::password::{self, Memory};
use crate::client_address::ClientKey;
use crate::db::UserId;

/// Threads. Each takes 19 MiB and a core while it works.
const THREADS: usize = 2;
/// Attempts of strangers that may wait, in all and of one client: about a second of work, so that a place means an answer soon.
const MOST_STRANGERS: usize = 64;
const MOST_OF_ONE_STRANGER: usize = 16;
/// The same of known browsers, in all and of one account.
const MOST_KNOWN: usize = 64;
const MOST_OF_ONE_ACCOUNT: usize = 16;
/// Known browsers that are served before one stranger is, so that many of them do not shut strangers out.
const KNOWN_IN_A_ROW: u32 = 3;
/// What a hash is taken to cost until one was measured.
const FIRST_ESTIMATE: Duration = Duration::from_millis(50);

/// Who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiter {
    /// A browser that has signed in to this account before.
    Known(UserId),
    /// Anybody else.
    Stranger(ClientKey),
}

/// As many wait as may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueueFull {
    pub retry_after: Duration,
}

enum Work {
    Hash {
        password: String,
    },
    Verify {
        password: String,
        stored: Option<String>,
    },
}

enum Done {
    Hash(String),
    Verified(bool),
}

struct Job {
    work: Work,
    /// Dropped unanswered when another client's job takes the place.
    reply: oneshot::Sender<Done>,
}

struct Queues {
    /// Of people who hold a session, the setup link or the machine: few, so not bounded here.
    house: VecDeque<Job>,
    known: FairQueue<UserId, Job>,
    strangers: FairQueue<ClientKey, Job>,
    /// Jobs since a stranger's.
    others_in_a_row: u32,
    /// Of one hash, smoothed.
    mean: Duration,
    closed: bool,
}

struct Shared {
    queues: Mutex<Queues>,
    work: Condvar,
}

/// The threads and their queue. Dropping it ends them after what they are at.
pub(crate) struct PasswordHashing(Arc<Shared>);

impl PasswordHashing {
    /// Starts the threads, which take memory only when the first password arrives.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn start() -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            queues: Mutex::new(Queues::new()),
            work: Condvar::new(),
        });
        let this = Self(shared);
        for index in 0..THREADS {
            let shared = Arc::clone(&this.0);
            std::thread::Builder::new()
                .name(format!("password-{index}"))
                .spawn(move || shared.run())?;
        }
        Ok(this)
    }

    /// Whether the password is the one of the hash; takes as long without one.
    ///
    /// # Errors
    /// [`QueueFull`]; the password was not looked at then.
    pub async fn verify(
        &self,
        waiter: Waiter,
        password: String,
        stored: Option<String>,
    ) -> Result<bool, QueueFull> {
        let (reply, answer) = oneshot::channel();
        let work = Work::Verify { password, stored };
        self.0.enqueue(waiter, Job { work, reply })?;
        match answer.await {
            Ok(Done::Verified(is_right)) => Ok(is_right),
            Ok(Done::Hash(_)) => Ok(false),
            Err(_) => Err(self.0.lock().full()),
        }
    }

    /// The PHC string of a password. Only for those who were let in by something else than a password.
    ///
    /// # Panics
    /// When hashing panicked.
    pub async fn hash(&self, password: String) -> String {
        let (reply, answer) = oneshot::channel();
        let work = Work::Hash { password };
        self.0.lock().house.push_back(Job { work, reply });
        self.0.work.notify_one();
        match answer.await {
            Ok(Done::Hash(hash)) => hash,
            Ok(Done::Verified(_)) | Err(_) => {
                std::panic::panic_any("hashing a password broke down".to_owned())
            }
        }
    }

    /// [`Self::verify`] for somebody who holds a session. Does not wait behind sign-ins.
    pub async fn verify_own(&self, password: String, stored: Option<String>) -> bool {
        let (reply, answer) = oneshot::channel();
        let work = Work::Verify { password, stored };
        self.0.lock().house.push_back(Job { work, reply });
        self.0.work.notify_one();
        matches!(answer.await, Ok(Done::Verified(true)))
    }
}

impl Drop for PasswordHashing {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.work.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enqueue(&self, waiter: Waiter, job: Job) -> Result<(), QueueFull> {
        let mut queues = self.lock();
        // Whoever is displaced learns it because its reply is dropped.
        let pushed = match waiter {
            Waiter::Known(account) => queues.known.push(account, job),
            Waiter::Stranger(client) => queues.strangers.push(client, job),
        };
        if pushed.is_err() {
            return Err(queues.full());
        }
        self.work.notify_one();
        Ok(())
    }

    /// The life of a thread.
    fn run(&self) {
        let mut memory = Memory::default();
        while let Some(job) = self.next() {
            // Whoever asked may have gone.
            if job.reply.is_closed() {
                continue;
            }
            let started = Instant::now();
            let done = catch_unwind(AssertUnwindSafe(|| job.work.run(&mut memory)));
            self.lock().observe(started.elapsed());
            if let Ok(done) = done {
                // An error means that whoever asked has gone meanwhile.
                let _ = job.reply.send(done);
            }
        }
    }

    /// Waits for a job; `None` when there will be none any more.
    fn next(&self) -> Option<Job> {
        let mut queues = self.lock();
        loop {
            if queues.closed {
                return None;
            }
            if let Some(job) = queues.next() {
                return Some(job);
            }
            queues = self
                .work
                .wait(queues)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Work {
    fn run(&self, memory: &mut Memory) -> Done {
        match self {
            Work::Hash { password } => Done::Hash(password::hash(password, memory)),
            Work::Verify { password, stored } => {
                Done::Verified(password::verify(password, stored.as_deref(), memory))
            }
        }
    }
}

impl Queues {
    fn new() -> Self {
        Self {
            house: VecDeque::new(),
            known: FairQueue::new(MOST_KNOWN, MOST_OF_ONE_ACCOUNT),
            strangers: FairQueue::new(MOST_STRANGERS, MOST_OF_ONE_STRANGER),
            others_in_a_row: 0,
            mean: FIRST_ESTIMATE,
            closed: false,
        }
    }

    /// The job whose turn it is: known browsers and the house by turns, and now and then a stranger even while those wait.
    fn next(&mut self) -> Option<Job> {
        if self.others_in_a_row >= KNOWN_IN_A_ROW
            && let Some(job) = self.strangers.pop()
        {
            self.others_in_a_row = 0;
            return Some(job);
        }
        let other = if self.others_in_a_row.is_multiple_of(2) {
            self.known.pop().or_else(|| self.house.pop_front())
        } else {
            self.house.pop_front().or_else(|| self.known.pop())
        };
        match other {
            Some(job) => {
                self.others_in_a_row = self.others_in_a_row.saturating_add(1);
                Some(job)
            }
            None => {
                self.others_in_a_row = 0;
                self.strangers.pop()
            }
        }
    }

    fn observe(&mut self, took: Duration) {
        self.mean = (self.mean * 7 + took) / 8;
    }

    /// The refusal, with the time that all who wait will take.
    fn full(&self) -> QueueFull {
        let waiting = self.known.len() + self.strangers.len() + self.house.len();
        let wait = self.mean * u32::try_from(waiting).unwrap_or(u32::MAX) / THREADS as u32;
        QueueFull {
            retry_after: wait.clamp(Duration::from_secs(1), Duration::from_secs(60)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(n: u8) -> ClientKey {
        ClientKey::of(std::net::IpAddr::from([10, 0, 0, n]))
    }

    fn job(name: &str) -> Job {
        let work = Work::Hash {
            password: name.to_owned(),
        };
        Job {
            work,
            reply: oneshot::channel().0,
        }
    }

    fn name(job: Job) -> String {
        match job.work {
            Work::Hash { password } | Work::Verify { password, .. } => password,
        }
    }

    #[test]
    fn known_browsers_come_first_and_strangers_are_not_forgotten() {
        let mut queues = Queues::new();
        for n in 0..3 {
            assert!(queues.strangers.push(client(n), job("stranger")).is_ok());
        }
        for n in 0..5 {
            assert!(queues.known.push(UserId(n), job("known")).is_ok());
        }
        queues.house.push_back(job("house"));
        let order: Vec<String> = std::iter::from_fn(|| queues.next().map(name)).collect();
        assert_eq!(
            order,
            [
                "known", "house", "known", "stranger", "known", "known", "known", "stranger",
                "stranger"
            ]
        );
    }

    #[test]
    fn beyond_the_queue_there_is_a_time_to_come_back() {
        let shared = Shared {
            queues: Mutex::new(Queues::new()),
            work: Condvar::new(),
        };
        let waiters: Vec<_> = (0..MOST_STRANGERS as u8)
            .map(|n| {
                let (reply, answer) = oneshot::channel();
                let job = Job {
                    reply,
                    ..job("stranger")
                };
                (shared.enqueue(Waiter::Stranger(client(n)), job), answer)
            })
            .collect();
        assert!(waiters.iter().all(|(result, _)| result.is_ok()));
        let refused = shared.enqueue(Waiter::Stranger(client(200)), job("late"));
        assert!(refused.is_err_and(|full| full.retry_after >= Duration::from_secs(1)));
        assert_eq!(
            shared.enqueue(Waiter::Known(UserId(1)), job("known")),
            Ok(())
        );
    }

    #[test]
    fn an_account_keeps_no_other_one_out_whatever_its_address() {
        let shared = Shared {
            queues: Mutex::new(Queues::new()),
            work: Condvar::new(),
        };
        let enqueue = |account: i64, name: &str| {
            let (reply, answer) = oneshot::channel();
            let job = Job { reply, ..job(name) };
            let result = shared.enqueue(Waiter::Known(UserId(account)), job);
            (result.is_ok(), answer)
        };
        let colleague: Vec<_> = (0..2 * MOST_OF_ONE_ACCOUNT)
            .map(|_| enqueue(1, "colleague"))
            .collect();
        let waiting = colleague.iter().filter(|(waits, _)| *waits).count();
        assert_eq!(waiting, MOST_OF_ONE_ACCOUNT);
        let _me = enqueue(2, "me");
        let order: Vec<String> = std::iter::from_fn(|| shared.lock().next().map(name)).collect();
        assert_eq!(order[1], "me");

        // Where accounts fill the whole queue, one that has nothing in it gets a place.
        let _full: Vec<_> = (0..MOST_KNOWN as i64)
            .map(|n| enqueue(n % 4, "colleague"))
            .collect();
        assert!(enqueue(9, "me").0);
    }
}
