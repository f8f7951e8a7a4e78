//! Rows of `api_keys`. Keys arrive hashed.

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use super::users::{User, user};
use super::{UserId, now_ms};

/// `last_used_at` is written at most this often, so that reading does not become writing.
const TOUCH_INTERVAL_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 3600 * 1000;

/// An API key as listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Key {
    /// Row id.
    pub id: i64,
    /// Address of the owner.
    pub email: String,
    /// What it is for.
    pub name: String,
    /// First characters.
    pub prefix: String,
    /// When it was made.
    pub created_at: i64,
    /// Last use, to the minute.
    pub last_used_at: Option<i64>,
    /// Whether it is useless.
    pub revoked: bool,
}

/// A key that was found, with its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Row id of the key.
    pub id: i64,
    /// The owner.
    pub user: User,
    /// Whether [`touch`] is due.
    pub touch_due: bool,
    /// Whether it was not used before on this day (UTC).
    pub first_of_day: bool,
}

/// Inserts a key and returns its row id.
pub fn insert(
    connection: &Connection,
    user: UserId,
    name: &str,
    prefix: &str,
    key_hash: &[u8],
) -> rusqlite::Result<i64> {
    connection.execute(
        "INSERT INTO api_keys (user_id, name, prefix, key_hash, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![user.0, name, prefix, key_hash, now_ms()],
    )?;
    Ok(connection.last_insert_rowid())
}

/// The key of a hash, unless it was revoked or its account is suspended.
pub fn find(connection: &Connection, key_hash: &[u8]) -> rusqlite::Result<Option<Found>> {
    let now = now_ms();
    connection
        .query_row(
            "SELECT u.id, u.email, u.role, u.suspended_at IS NOT NULL, k.id, k.last_used_at \
             FROM api_keys k JOIN users u ON u.id = k.user_id \
             WHERE k.key_hash = ?1 AND k.revoked_at IS NULL AND u.suspended_at IS NULL",
            [key_hash],
            |row| {
                let last_used_at: Option<i64> = row.get(5)?;
                Ok(Found {
                    id: row.get(4)?,
                    user: user(row)?,
                    touch_due: last_used_at.is_none_or(|at| now - at > TOUCH_INTERVAL_MS),
                    first_of_day: last_used_at.is_none_or(|at| at / DAY_MS != now / DAY_MS),
                })
            },
        )
        .optional()
}

/// Notes that a key was used just now.
pub fn touch(connection: &Connection, id: i64) -> rusqlite::Result<()> {
    connection
        .execute(
            "UPDATE api_keys SET last_used_at = ?2 WHERE id = ?1",
            params![id, now_ms()],
        )
        .map(drop)
}

/// Revokes a key and returns the address of its owner; `None` when there is no such key.
pub fn revoke(connection: &Connection, id: i64) -> rusqlite::Result<Option<String>> {
    connection
        .query_row(
            "UPDATE api_keys SET revoked_at = coalesce(revoked_at, ?2) WHERE id = ?1 \
             RETURNING (SELECT email FROM users WHERE users.id = user_id)",
            params![id, now_ms()],
            |row| row.get(0),
        )
        .optional()
}

/// Whether a key still opens anything: it is there, is not revoked, and its account is not suspended.
pub fn is_valid(connection: &Connection, id: i64) -> rusqlite::Result<bool> {
    connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM api_keys k JOIN users u ON u.id = k.user_id \
         WHERE k.id = ?1 AND k.revoked_at IS NULL AND u.suspended_at IS NULL)",
        [id],
        |row| row.get(0),
    )
}

/// Keys of an account that were not revoked.
pub fn count_valid(connection: &Connection, user: UserId) -> rusqlite::Result<usize> {
    connection.query_row(
        "SELECT count(*) FROM api_keys WHERE user_id = ?1 AND revoked_at IS NULL",
        [user.0],
        |row| row.get(0),
    )
}

/// All keys of all accounts, for the owner of the machine.
pub fn list(connection: &Connection) -> rusqlite::Result<Vec<Key>> {
    connection
        .prepare(
            "SELECT k.id, u.email, k.name, k.prefix, k.created_at, k.last_used_at, k.revoked_at IS NOT NULL \
             FROM api_keys k JOIN users u ON u.id = k.user_id ORDER BY u.email, k.id",
        )?
        .query_map([], |row| {
            Ok(Key {
                id: row.get(0)?,
                email: row.get(1)?,
                name: row.get(2)?,
                prefix: row.get(3)?,
                created_at: row.get(4)?,
                last_used_at: row.get(5)?,
                revoked: row.get(6)?,
            })
        })?
        .collect()
}
