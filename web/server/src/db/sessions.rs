//! Rows of `sessions`. Ids arrive hashed.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::users::{User, user};
use super::{UserId, now_ms};

/// `last_used_at` is written at most this often, so that reading does not become writing.
const TOUCH_INTERVAL_MS: i64 = 60_000;

/// A session that was found, with its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The account.
    pub user: User,
    /// Whether [`touch`] is due.
    pub touch_due: bool,
}

/// Inserts a session and removes the expired ones of the account.
pub fn insert(
    connection: &Connection,
    id_hash: &[u8],
    user: UserId,
    max: Duration,
) -> rusqlite::Result<()> {
    let now = now_ms();
    connection.execute(
        "DELETE FROM sessions WHERE user_id = ?1 AND expires_at <= ?2",
        params![user.0, now],
    )?;
    connection.execute(
        "INSERT INTO sessions (id_hash, user_id, created_at, last_used_at, expires_at) VALUES (?1, ?2, ?3, ?3, ?4)",
        params![id_hash, user.0, now, now.saturating_add(millis(max))],
    )?;
    Ok(())
}

/// The session of an id, unless it has expired, was idle for too long, or its account is suspended.
pub fn find(
    connection: &Connection,
    id_hash: &[u8],
    idle: Duration,
) -> rusqlite::Result<Option<Found>> {
    let now = now_ms();
    connection
        .query_row(
            "SELECT u.id, u.email, u.role, u.suspended_at IS NOT NULL, s.last_used_at \
             FROM sessions s JOIN users u ON u.id = s.user_id \
             WHERE s.id_hash = ?1 AND s.expires_at > ?2 AND s.last_used_at > ?3 AND u.suspended_at IS NULL",
            params![id_hash, now, now.saturating_sub(millis(idle))],
            |row| Ok(Found { user: user(row)?, touch_due: now - row.get::<_, i64>(4)? > TOUCH_INTERVAL_MS }),
        )
        .optional()
}

/// Notes that a session was used just now.
pub fn touch(connection: &Connection, id_hash: &[u8]) -> rusqlite::Result<()> {
    connection
        .execute(
            "UPDATE sessions SET last_used_at = ?2 WHERE id_hash = ?1",
            params![id_hash, now_ms()],
        )
        .map(drop)
}

/// Ends a session.
pub fn delete(connection: &Connection, id_hash: &[u8]) -> rusqlite::Result<()> {
    connection
        .execute("DELETE FROM sessions WHERE id_hash = ?1", [id_hash])
        .map(drop)
}

/// Ends all sessions of an account but the one given, and returns how many there were.
pub fn delete_of_user(
    connection: &Connection,
    user: UserId,
    but: Option<&[u8]>,
) -> rusqlite::Result<usize> {
    connection.execute(
        "DELETE FROM sessions WHERE user_id = ?1 AND id_hash IS NOT ?2",
        params![user.0, but],
    )
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
