//! Who is asking: accounts, passwords, sessions, API keys.
//!
//! Secrets (session ids, API keys, the setup token) are 256 random bits from the operating system. Only a SHA-256 that
//! is bound to the purpose is stored, so that a leaked database opens no door and one kind of secret is never another.
//! Passwords are argon2id; an unknown address costs the same as a wrong password.

mod accounts;
mod password;
mod secret;
mod throttle;

pub(crate) use accounts::NewSession;
pub use accounts::{AccountError, check_email, check_password};
pub use secret::{Purpose, hash_secret, new_secret};
pub use throttle::Throttle;

use web_api::Role;

use crate::db::UserId;
use crate::db::users::User;

/// The account behind a request, as the guard of the route found it.
#[derive(Debug, Clone)]
pub struct CurrentUser {
    /// Row id.
    pub id: UserId,
    /// Lower-cased address.
    pub email: String,
    /// What it may do.
    pub role: Role,
    /// The session, when there is one; an API key has none.
    pub session: Option<SessionRef>,
}

/// The session behind a request.
#[derive(Debug, Clone)]
pub struct SessionRef {
    /// SHA-256 of the id.
    pub id_hash: Vec<u8>,
    /// Must come back in the CSRF header.
    pub csrf_token: String,
}

impl CurrentUser {
    pub(crate) fn new(user: User, session: Option<SessionRef>) -> Self {
        Self {
            id: user.id,
            email: user.email,
            role: user.role,
            session,
        }
    }
}

/// The CSRF token of a session id: known to whoever holds the id, useless to find the id.
pub(crate) fn csrf_token(session_id: &str) -> String {
    hex::encode(
        &blake3::derive_key(
            "cloister 2026-11 csrf token of a session",
            session_id.as_bytes(),
        )[..16],
    )
}

/// Whether two texts are equal, in a time that does not tell where they differ.
pub(crate) fn equal_in_constant_time(left: &str, right: &str) -> bool {
    // Comparing hashes of type `blake3::Hash` takes constant time.
    blake3::hash(left.as_bytes()) == blake3::hash(right.as_bytes())
}
