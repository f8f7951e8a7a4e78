//! Waits until the session or key that opened a stream opens nothing any more.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Suite;
use crate::auth::CurrentUser;
use crate::db::{DatabaseError, keys, sessions};

/// How often an open stream looks whether its session has expired.
const RECHECK: Duration = Duration::from_secs(15);

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
