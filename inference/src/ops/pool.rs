//! The threads that compute on the CPU: one pool a process.
//!
//! A caller hands out an indexed job and works on it too. Threads take chunks from a shared cursor, and the caller
//! waits only for threads that are inside a chunk: one that the operating system has not scheduled costs nothing. (With
//! a barrier that every thread must reach, a machine with other work on it computes at a tenth of its speed.) Idle
//! threads spin for some microseconds, because the next job of a step follows at once, and then sleep.
//!
//! Invariant: the job's closure is used only between `open` and the return of [`Pool::run`]. A thread enters by
//! counting itself into `state` while the job is open; the caller closes the job and waits for the count to be 0.

use std::{
    cell::{Cell, UnsafeCell},
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::Thread,
};

/// State bits: the number of threads inside, whether the job is open, and the job's number.
const INSIDE: u64 = (1 << 16) - 1;
const OPEN: u64 = 1 << 16;
const NUMBER: u64 = 1 << 17;
/// Turns of an idle thread before it sleeps, about 50 us.
const IDLE_SPINS: u32 = 2_000;
/// Turns of a waiting caller before it lets others run.
const WAIT_SPINS: u32 = 500;
/// Chunks a thread takes on average: enough to even out, few enough not to fight for the cursor.
const CHUNKS_A_THREAD: usize = 8;

thread_local! {
    /// Whether this thread is working on a job; a job within a job runs where it is.
    static IN_JOB: Cell<bool> = const { Cell::new(false) };
}

/// A pool of threads.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<Thread>,
    caller: Mutex<()>,
}

struct Shared {
    state: AtomicU64,
    cursor: AtomicUsize,
    panicked: AtomicBool,
    job: UnsafeCell<Job>,
}

#[derive(Clone, Copy)]
struct Job {
    items: usize,
    chunk: usize,
    data: *const (),
    call: unsafe fn(*const (), Range<usize>),
}

// SAFETY: `job` is written only while the job is closed and nobody is inside, and read only by threads inside.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` is to a `Sync` closure that outlives every use (module invariant).
unsafe impl Send for Shared {}

unsafe fn call<F: Fn(Range<usize>) + Sync>(data: *const (), range: Range<usize>) {
    // SAFETY: `data` came from a `&F` that `Pool::run` keeps alive.
    let body = unsafe { &*data.cast::<F>() };
    body(range);
}

impl Pool {
    /// Starts `threads - 1` threads; the caller of [`Self::run`] is the last one.
    pub fn new(threads: usize) -> Self {
        unsafe fn nothing(_: *const (), _: Range<usize>) {}
        let job = Job {
            items: 0,
            chunk: 1,
            data: std::ptr::null(),
            call: nothing,
        };
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            cursor: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            job: UnsafeCell::new(job),
        });
        let workers = (1..threads).filter_map(|index| {
            let shared = shared.clone();
            let name = format!("compute-{index}");
            let worker = std::thread::Builder::new()
                .name(name)
                .spawn(move || shared.work());
            // Fewer threads than asked for still compute everything.
            worker.ok().map(|worker| worker.thread().clone())
        });
        Self {
            workers: workers.collect(),
            shared,
            caller: Mutex::new(()),
        }
    }

    /// Returns the number of threads that compute, the caller's included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `body` on parts of `0..items` that together cover it once; returns when all are done. While the pool is
    /// busy with another caller's job, and within a job, everything runs here.
    ///
    /// # Panics
    /// When `body` panics, on whatever thread.
    pub fn run<F: Fn(Range<usize>) + Sync>(&self, items: usize, body: &F) {
        if items == 0 {
            return;
        }
        let alone = self.workers.is_empty() || items == 1 || IN_JOB.get();
        let Some(_caller) = (if alone {
            None
        } else {
            self.caller.try_lock().ok()
        }) else {
            return body(0..items);
        };
        let chunk = items.div_ceil(self.threads() * CHUNKS_A_THREAD);
        // SAFETY: the last job is closed, nobody is inside it (its `Closer` saw to that), and this is the only caller.
        unsafe {
            *self.shared.job.get() = Job {
                items,
                chunk,
                data: std::ptr::from_ref(body).cast(),
                call: call::<F>,
            }
        };
        self.shared.cursor.store(0, Ordering::Relaxed);
        let number = self.shared.state.load(Ordering::Relaxed) / NUMBER + 1;
        self.shared
            .state
            .store(number.wrapping_mul(NUMBER) | OPEN, Ordering::Release);
        self.workers.iter().for_each(Thread::unpark);
        let closer = Closer(&self.shared);
        IN_JOB.set(true);
        self.shared.take_chunks();
        drop(closer);
        assert!(
            !self.shared.panicked.swap(false, Ordering::Relaxed),
            "a compute thread panicked"
        );
    }
}

/// Closes the job and waits for the threads inside, also when the caller's own part panics.
struct Closer<'a>(&'a Shared);

impl Drop for Closer<'_> {
    fn drop(&mut self) {
        IN_JOB.set(false);
        self.0.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0;
        while self.0.state.load(Ordering::Acquire) & INSIDE != 0 {
            spins += 1;
            if spins < WAIT_SPINS {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
    }
}

impl Shared {
    /// Body of a worker thread; it lives as long as the process.
    fn work(&self) {
        IN_JOB.set(true);
        let (mut last, mut spins) = (0, 0);
        loop {
            let state = self.state.load(Ordering::Acquire);
            if state & OPEN != 0 && state / NUMBER != last {
                let entered = self.state.compare_exchange(
                    state,
                    state + 1,
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                );
                if entered.is_ok() {
                    (last, spins) = (state / NUMBER, 0);
                    if catch_unwind(AssertUnwindSafe(|| self.take_chunks())).is_err() {
                        self.panicked.store(true, Ordering::Relaxed);
                    }
                    self.state.fetch_sub(1, Ordering::AcqRel);
                }
                continue;
            }
            spins += 1;
            if spins < IDLE_SPINS {
                std::hint::spin_loop();
            } else {
                // `run` unparks after it opens a job, so a job that opened just now makes this return at once.
                std::thread::park();
                spins = 0;
            }
        }
    }

    /// Takes chunks until none is left. Only for threads inside.
    fn take_chunks(&self) {
        // SAFETY: the caller is inside, so the job is not being written.
        let job = unsafe { *self.job.get() };
        loop {
            let start = self.cursor.fetch_add(job.chunk, Ordering::Relaxed);
            if start >= job.items {
                return;
            }
            // SAFETY: the closure behind `data` lives until everybody is outside (module invariant).
            unsafe { (job.call)(job.data, start..job.items.min(start + job.chunk)) };
        }
    }
}

static POOL: OnceLock<Pool> = OnceLock::new();

/// Returns the process's pool, created by the first call: with `threads` threads, or one a physical core.
pub fn pool(threads: Option<usize>) -> &'static Pool {
    POOL.get_or_init(|| {
        Pool::new(
            threads
                .unwrap_or_else(candle_core::utils::get_num_threads)
                .clamp(1, 1_024),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_runs_once_in_thousands_of_short_jobs() {
        let pool = Pool::new(4);
        for items in (0..3_000).map(|index| index % 67) {
            let counts: Vec<AtomicUsize> = (0..items).map(|_| AtomicUsize::new(0)).collect();
            pool.run(items, &|range: Range<usize>| {
                range.for_each(|item| {
                    counts[item].fetch_add(1, Ordering::Relaxed);
                });
            });
            assert!(
                counts
                    .iter()
                    .all(|count| count.load(Ordering::Relaxed) == 1)
            );
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let pool = Pool::new(3);
        for _ in 0..20 {
            let job = || {
                pool.run(64, &|range: Range<usize>| {
                    assert!(!range.contains(&37), "item 37")
                })
            };
            assert!(catch_unwind(AssertUnwindSafe(job)).is_err());
            let sum = AtomicUsize::new(0);
            pool.run(64, &|range: Range<usize>| {
                sum.fetch_add(range.sum::<usize>(), Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 63 * 64 / 2);
        }
    }

    #[test]
    fn callers_and_jobs_within_jobs_do_not_wait_for_each_other() {
        let pool = Pool::new(2);
        let sum = AtomicUsize::new(0);
        let add = |range: Range<usize>| {
            sum.fetch_add(range.len(), Ordering::Relaxed);
        };
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        pool.run(8, &|outer: Range<usize>| {
                            outer.for_each(|_| pool.run(5, &add))
                        });
                    }
                });
            }
        });
        assert_eq!(sum.into_inner(), 3 * 200 * 8 * 5);
    }
}
