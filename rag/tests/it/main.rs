//! The library as the rest of the suite uses it: public interface, real files, the embedded store and
//! extraction in child processes.

mod extract;
mod extract_child;
mod killed;
mod library;
mod passage;
