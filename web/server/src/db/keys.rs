//! Rows of `api_keys`. Keys arrive hashed.

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use super::users::{User, user};
use super::{UserId, now_ms};

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

/// The key of a hash, unless it was revoked.
pub fn find(connection: &Connection, key_hash: &[u8]) -> rusqlite::Result<Option<Found>> {
    let now = now_ms();
    connection
        .query_row(
            "SELECT u.id, u.email, u.role, k.id, k.last_used_at FROM api_keys k JOIN users u ON u.id = k.user_id \
             WHERE k.key_hash = ?1 AND k.revoked_at IS NULL",
            [key_hash],
            |row| {
                let last_used_at: Option<i64> = row.get(4)?;
                Ok(Found {
                    id: row.get(3)?,
                    user: user(row)?,
                    touch_due: last_used_at.is_none_or(|at| now - at > 60_000),
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

/// Revokes a key; false when there is no such key.
pub fn revoke(connection: &Connection, id: i64) -> rusqlite::Result<bool> {
    Ok(connection.execute(
        "UPDATE api_keys SET revoked_at = coalesce(revoked_at, ?2) WHERE id = ?1",
        params![id, now_ms()],
    )? == 1)
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
