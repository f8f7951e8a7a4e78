//! Sessions and keys that end while something they opened is still open.
//!
//! A guard lets a request through once; a stream goes on for minutes. Whatever ends a session or a key calls
//! [`Revocations::announce`], and every open stream then asks the database whether its own still opens anything. Expiry
//! announces nothing, so they also ask at intervals.

use tokio::sync::watch;

/// Tells open streams that some session or key has ended.
#[derive(Default)]
pub struct Revocations {
    count: watch::Sender<u64>,
}

impl Revocations {
    /// Something has ended; who it concerns finds out for itself.
    pub fn announce(&self) {
        self.count
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// To be taken before a credential is checked, so that nothing that ends in between is missed.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }
}
