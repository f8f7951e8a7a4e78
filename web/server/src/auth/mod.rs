//! Who is asking: accounts, passwords, sessions, API keys.
//!
//! Secrets (session ids, API keys, the setup token) are 256 random bits from the operating system. Only a SHA-256 that
//! is bound to the purpose is stored, so that a leaked database opens no door and one kind of secret is never another.
//! Passwords are argon2id; an unknown address costs the same as a wrong password. Attempts wait their turn (`hashing`) and are
//! slowed down (`throttle`); a browser that signed in to an account before (`device`) is spared what strangers cause.

pub(crate) mod account;
pub(crate) mod device;
mod fair_queue;
pub(crate) mod hashing;
mod password;
mod revocation;
mod secret;
mod strength;
pub(crate) mod throttle;

pub use account::{AccountError, check_email};
pub(crate) use account::{NewSession, Visit};
pub(crate) use device::LIFETIME_S as DEVICE_LIFETIME_S;
pub(crate) use hashing::PasswordHashing;
pub(crate) use revocation::Revocations;
pub use secret::{Purpose, hash_secret, new_secret};
pub(crate) use throttle::Throttle;

use std::net::IpAddr;

use web_api::Role;

use crate::db::UserId;
use crate::db::users::User;
use crate::security::Actor;

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
    /// Row id of the API key, when there is one.
    pub key: Option<i64>,
    /// Where the request came from, for the security log.
    pub address: Option<IpAddr>,
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
    pub(crate) fn of_session(user: User, session: SessionRef) -> Self {
        Self {
            id: user.id,
            email: user.email,
            role: user.role,
            session: Some(session),
            key: None,
            address: None,
        }
    }

    pub(crate) fn of_key(user: User, key: i64, address: Option<IpAddr>) -> Self {
        Self {
            id: user.id,
            email: user.email,
            role: user.role,
            session: None,
            key: Some(key),
            address,
        }
    }

    /// The account as the security log names it.
    pub(crate) fn actor(&self) -> Actor {
        Actor::remote(&self.email, self.address)
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
