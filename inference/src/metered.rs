//! Work whose memory is bounded: for code that runs on input from strangers and offers no bound of its own.
//!
//! The work runs on a thread of its own, for which [`MeteredAllocator`] counts what is allocated and not yet freed. An
//! allocation over the limit does not happen: the thread is halted there for good, since an allocator can neither fail
//! (the process would be aborted) nor unwind, and [`run`] returns. What the work held until then, at most the limit, stays
//! taken, so whoever calls must not run the same again.
//!
//! The bound holds in programs that make [`MeteredAllocator`] their global allocator; in others the work runs unbounded.
//! Not counted are stacks and memory that is mapped rather than allocated.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    io, ptr,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread::{self, Thread},
};

/// The system's allocator, with a count for threads of [`run`]. Elsewhere it costs a look at a thread-local pointer.
#[derive(Debug, Clone, Copy, Default)]
pub struct MeteredAllocator;

/// Why metered work has no result.
#[derive(Debug)]
pub enum Unfinished {
    /// It wanted more memory than its limit.
    TooMuchMemory,
    Panicked,
    /// The system gave no thread.
    NoThread(io::Error),
}

/// Limits of a piece of work.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub memory_bytes: usize,
    /// Reserved; used only as far as the work recurses.
    pub stack_bytes: usize,
}

const RUNNING: u8 = 0;
const ENDED: u8 = 1;
const HALTED: u8 = 2;

/// What the waiting thread looks at.
struct Progress {
    state: AtomicU8,
    waiting: Thread,
}

impl Progress {
    fn set(&self, state: u8) {
        self.state.store(state, Ordering::Release);
        self.waiting.unpark();
    }
}

/// The count of one thread.
struct Meter {
    held: Cell<isize>,
    limit: isize,
    progress: Arc<Progress>,
}

thread_local! {
    /// Points to the meter on the thread's own stack while [`run`] works on it. Without a destructor, so that an allocator
    /// may read it at any time.
    static METER: Cell<*const Meter> = const { Cell::new(ptr::null()) };
}

/// Runs `work` on a thread of its own within `limits` and waits for it.
///
/// # Errors
/// [`Unfinished`].
pub fn run<T: Send + 'static>(
    name: &str,
    limits: Limits,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unfinished> {
    let progress = Arc::new(Progress {
        state: AtomicU8::new(RUNNING),
        waiting: thread::current(),
    });
    let of_worker = progress.clone();
    let worker = thread::Builder::new()
        .name(name.to_owned())
        .stack_size(limits.stack_bytes)
        .spawn(move || {
            let meter = Meter {
                held: Cell::new(0),
                limit: isize::try_from(limits.memory_bytes).unwrap_or(isize::MAX),
                progress: of_worker,
            };
            let _metering = Metering::start(&meter);
            work()
        })
        .map_err(Unfinished::NoThread)?;
    loop {
        match progress.state.load(Ordering::Acquire) {
            RUNNING => thread::park(),
            HALTED => return Err(Unfinished::TooMuchMemory),
            _ => return worker.join().map_err(|_| Unfinished::Panicked),
        }
    }
}

/// Meters the thread while it lives, and says at the end, also of a panic, that the work has ended.
struct Metering<'a>(&'a Meter);

impl<'a> Metering<'a> {
    fn start(meter: &'a Meter) -> Self {
        METER.set(meter);
        Self(meter)
    }
}

impl Drop for Metering<'_> {
    fn drop(&mut self) {
        METER.set(ptr::null());
        self.0.progress.set(ENDED);
    }
}

/// Counts `bytes` more, or fewer, on a metered thread; does not return where that is over its limit.
fn count(bytes: isize) {
    let meter = METER.get();
    if meter.is_null() {
        return;
    }
    // SAFETY: `Metering` clears the pointer before the meter, which is on this thread's stack, goes.
    let meter = unsafe { &*meter };
    let held = meter.held.get().saturating_add(bytes);
    meter.held.set(held);
    // A panic is let through: its message is written under a lock that others wait for.
    if bytes > 0 && held > meter.limit && !thread::panicking() {
        METER.set(ptr::null());
        meter.progress.set(HALTED);
        loop {
            thread::park();
        }
    }
}

fn signed(size: usize) -> isize {
    // `Layout` holds no more than `isize::MAX` bytes.
    size as isize
}

// SAFETY: every call goes to the system's allocator unchanged; counting allocates nothing and does not unwind.
unsafe impl GlobalAlloc for MeteredAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        // SAFETY: the caller keeps the contract of `GlobalAlloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-signed(layout.size()));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(signed(new_size) - signed(layout.size()));
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        memory_bytes: 1 << 20,
        stack_bytes: 1 << 20,
    };

    #[test]
    fn work_within_its_limit_ends_however_much_it_allocates_in_all() {
        let total = run("test", LIMITS, || {
            let sizes = (0..1_000).map(|_| std::hint::black_box(vec![1u8; 100_000]).len());
            sizes.sum::<usize>()
        });
        assert_eq!(total.ok(), Some(100_000_000));
    }

    #[test]
    fn work_over_its_limit_is_halted_and_nobody_else() {
        type Work = fn() -> usize;
        let greedy: [Work; 4] = [
            || std::hint::black_box(vec![1u8; 2 << 20]).len(),
            || std::hint::black_box(vec![0u8; 1 << 50]).len(),
            || {
                let mut parts = Vec::new();
                loop {
                    parts.push(std::hint::black_box(vec![1u8; 1_000]));
                }
            },
            || {
                let mut text = String::new();
                loop {
                    text.push('x');
                }
            },
        ];
        for work in greedy {
            let result = run("test", LIMITS, work);
            assert!(matches!(result, Err(Unfinished::TooMuchMemory)));
        }
        assert_eq!(std::hint::black_box(vec![1u8; 2 << 20]).len(), 2 << 20);
    }

    #[test]
    fn a_panic_is_told_from_an_end() {
        let result = run("test", LIMITS, || -> usize { panic!("on purpose") });
        assert!(matches!(result, Err(Unfinished::Panicked)));
    }
}
