//! The library as the rest of the suite uses it: public interface, real files, the embedded store and
//! extraction in child processes.

// Helpers of tests may fail by panic and say what they skip.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod confine;
mod extract;
mod extract_child;
mod faults;
mod full_disk;
mod killed;
mod library;
mod passage;
