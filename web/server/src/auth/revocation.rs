//! Sessions and keys that end while something they opened is still open.
//!
//! A guard lets a request through once; a stream goes on for minutes. Whatever ends a session or a key calls
//! [`Revocations::announce`], and every open stream then asks the database whether its own still opens anything. Expiry
//! announces nothing, so they also ask at intervals.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::CurrentUser;
use crate::db::{DatabaseError, keys, sessions};
use crate::suite::Suite;

/// How often an open stream looks whether its session has expired.
const RECHECK: Duration = Duration::from_secs(15);

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

impl Suite {
    /// Completes when the session or key that the account came with opens nothing any more.
    pub(crate) async fn until_revoked(
        self: Arc<Self>,
        user: CurrentUser,
        mut revocations: watch::Receiver<u64>,
    ) {
        loop {
            tokio::select! {
                announced = revocations.changed() => {
                    if announced.is_err() {
                        // The suite is gone, and with it everything that streams.
                        return;
                    }
                }
                () = tokio::time::sleep(RECHECK) => {}
            }
            match self.still_admits(&user).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(%error, "whether a session is still alive is not known");
                }
            }
        }
    }

    async fn still_admits(&self, user: &CurrentUser) -> Result<bool, DatabaseError> {
        if let Some(key) = user.key {
            return self
                .database
                .read(move |connection| keys::is_valid(connection, key))
                .await;
        }
        let Some(session) = &user.session else {
            return Ok(false);
        };
        let (id_hash, idle) = (session.id_hash.clone(), self.config.session_idle);
        self.database
            .read(move |connection| Ok(sessions::find(connection, &id_hash, idle)?.is_some()))
            .await
    }
}
