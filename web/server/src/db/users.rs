//! Rows of `users` and the setup link.

use rusqlite::{Connection, OptionalExtension, Row, params};
use web_api::Role;

use super::{UserId, now_ms};

/// An account without its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Row id.
    pub id: UserId,
    /// Lower-cased address.
    pub email: String,
    /// What it may do.
    pub role: Role,
    /// Whether an administrator suspended it: nobody signs in and its keys open nothing until it is resumed.
    pub suspended: bool,
}

/// Inserts an account; `None` when the address is taken.
pub fn insert(
    connection: &Connection,
    email: &str,
    role: Role,
    password_hash: &str,
) -> rusqlite::Result<Option<User>> {
    let inserted = connection.execute(
        "INSERT INTO users (email, role, password_hash, created_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        params![email, role.as_str(), password_hash, now_ms()],
    )?;
    Ok((inserted == 1).then(|| User {
        id: UserId(connection.last_insert_rowid()),
        email: email.to_owned(),
        role,
        suspended: false,
    }))
}

/// The account of an address, with its password hash.
pub fn with_password(
    connection: &Connection,
    email: &str,
) -> rusqlite::Result<Option<(User, String)>> {
    connection
        .query_row(
            "SELECT id, email, role, suspended_at IS NOT NULL, password_hash FROM users WHERE email = ?1",
            [email],
            |row| Ok((user(row)?, row.get(4)?)),
        )
        .optional()
}

/// All accounts by address.
pub fn list(connection: &Connection) -> rusqlite::Result<Vec<User>> {
    connection
        .prepare("SELECT id, email, role, suspended_at IS NOT NULL FROM users ORDER BY email")?
        .query_map([], user)?
        .collect()
}

/// Whether an administrator exists.
pub fn has_admin(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM users WHERE role = 'admin')",
        [],
        |row| row.get(0),
    )
}

/// Whether there is any account.
pub fn any(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT EXISTS (SELECT 1 FROM users)", [], |row| row.get(0))
}

/// Whether the account exists and is not suspended.
pub fn is_active(connection: &Connection, id: UserId) -> rusqlite::Result<bool> {
    connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM users WHERE id = ?1 AND suspended_at IS NULL)",
        [id.0],
        |row| row.get(0),
    )
}

/// Whether an administrator other than this account can sign in.
pub fn has_other_active_admin(connection: &Connection, id: UserId) -> rusqlite::Result<bool> {
    connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM users WHERE role = 'admin' AND suspended_at IS NULL AND id <> ?1)",
        [id.0],
        |row| row.get(0),
    )
}

/// Suspends an account, or lets it be used again.
pub fn set_suspended(connection: &Connection, id: UserId, suspended: bool) -> rusqlite::Result<()> {
    connection
        .execute(
            "UPDATE users SET suspended_at = CASE WHEN ?2 THEN coalesce(suspended_at, ?3) END WHERE id = ?1",
            params![id.0, suspended, now_ms()],
        )
        .map(drop)
}

/// Gives an account another password.
pub fn set_password(
    connection: &Connection,
    id: UserId,
    password_hash: &str,
) -> rusqlite::Result<()> {
    connection
        .execute(
            "UPDATE users SET password_hash = ?2 WHERE id = ?1",
            params![id.0, password_hash],
        )
        .map(drop)
}

/// Removes an account with its sessions, keys and conversations; returns the number of conversations.
pub fn delete(connection: &Connection, id: UserId) -> rusqlite::Result<usize> {
    // Messages and conversations go by hand and not by cascade, because a cascade would not run the triggers of the search
    // index.
    connection.execute("DELETE FROM messages WHERE user_id = ?1", [id.0])?;
    let conversations =
        connection.execute("DELETE FROM conversations WHERE user_id = ?1", [id.0])?;
    connection.execute("DELETE FROM users WHERE id = ?1", [id.0])?;
    Ok(conversations)
}

/// Makes `token_hash` the only setup link.
pub fn replace_setup_link(connection: &Connection, token_hash: &[u8]) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM setup_links", [])?;
    connection.execute(
        "INSERT INTO setup_links (token_hash, created_at) VALUES (?1, ?2)",
        params![token_hash, now_ms()],
    )?;
    Ok(())
}

/// Removes the setup link and tells whether it was this one.
pub fn use_setup_link(connection: &Connection, token_hash: &[u8]) -> rusqlite::Result<bool> {
    Ok(connection.execute(
        "DELETE FROM setup_links WHERE token_hash = ?1",
        [token_hash],
    )? == 1)
}

/// Removes any setup link.
pub fn drop_setup_links(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM setup_links", []).map(drop)
}

/// An account from columns `id, email, role, whether it is suspended`.
pub(super) fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    let role: String = row.get(2)?;
    let role = role.parse().map_err(|reason: String| {
        rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, reason.into())
    })?;
    Ok(User {
        id: UserId(row.get(0)?),
        email: row.get(1)?,
        role,
        suspended: row.get(3)?,
    })
}
