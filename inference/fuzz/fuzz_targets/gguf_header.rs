//! Any bytes as the header of a GGUF file: an error or a header that lies inside the bytes, never a panic.
//!
//! `tests/gguf_fuzz.rs` runs a seeded version of this in the normal test run, with bounds on memory and time.

#![no_main]

use inference::gguf::parse_header;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(header) = parse_header(bytes) {
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
