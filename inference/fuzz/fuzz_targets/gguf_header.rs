//! Any bytes as the header of a GGUF file: an error or a header that lies inside the bytes, never a panic, in memory bounded
//! by the bytes.
//!
//! libFuzzer searches for inputs by what code they reach; `tests/gguf_fuzz.rs` draws damage from a seed. Bounds and
//! the reason for them are the same.

#![no_main]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

use inference::gguf::parse_header;
use libfuzzer_sys::fuzz_target;

/// Bytes that parsing may hold at once for a byte of the file, and beyond that.
const MEMORY_FACTOR: usize = 16;
const MEMORY_CONSTANT: usize = 16_384;

/// Counts the bytes that Rust code holds and their peak; libFuzzer allocates elsewhere.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged; counting touches no memory but two atomics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's promises about `layout` are the ones needed.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the pointer came from `alloc` above with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fuzz_target!(|bytes: &[u8]| {
    let before = ALLOCATED.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let parsed = parse_header(bytes);
    let peak = PEAK.load(Ordering::Relaxed) - before;
    assert!(
        peak <= MEMORY_FACTOR * bytes.len() + MEMORY_CONSTANT,
        "{peak} bytes of memory for a file of {}",
        bytes.len()
    );
    if let Ok(header) = parsed {
        let tensors = header.tensors;
        let total: usize = tensors.values().map(|tensor| tensor.bytes()).sum();
        assert!(
            total <= bytes.len(),
            "tensors of {total} bytes in a file of {}",
            bytes.len()
        );
        tensors
            .values()
            .for_each(|tensor| assert!(tensor.elements() > 0));
    }
});
