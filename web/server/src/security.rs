//! The security log: who came in, who was turned away, what was made, used and destroyed. Target `security`, level info, which
//! the default of the program shows.
//!
//! A line names the account and, where a request came over the network, the address; never a question, an answer, a
//! document's name or a secret. Accounts are what a stranger typed: they are fields of type `str`, which the log quotes and
//! escapes, so that nobody writes lines of his own.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use web_api::Role;

use crate::email::claimed_email;

/// Who did something.
#[derive(Debug, Clone)]
pub struct Actor {
    /// Account.
    pub account: String,
    /// Where the request came from; `None` on the local socket.
    pub address: Option<IpAddr>,
}

impl Actor {
    /// Somebody on the network, as far as known.
    pub fn remote(account: &str, address: Option<IpAddr>) -> Self {
        Self {
            // It may be of somebody who only pretends to have one.
            account: claimed_email(account),
            address,
        }
    }

    /// The owner of the machine, who needs no account.
    pub fn owner() -> Self {
        Self {
            account: "owner of the machine".to_owned(),
            address: None,
        }
    }
}

/// An address, or the local socket.
struct Place(Option<IpAddr>);

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(formatter),
            None => formatter.write_str("local"),
        }
    }
}

macro_rules! event {
    ($actor:expr, $text:literal $(, $field:ident = $value:expr)*) => {{
        let actor = &$actor;
        tracing::info!(
            target: "security",
            account = actor.account.as_str(),
            address = %Place(actor.address),
            $($field = $value,)*
            $text
        );
    }};
}

/// A session began.
pub fn signed_in(actor: &Actor) {
    event!(actor, "signed in");
}

/// A session was ended by its owner.
pub fn signed_out(actor: &Actor) {
    event!(actor, "signed out");
}

/// A wrong password, an unknown account, or a suspended one.
pub fn sign_in_failed(actor: &Actor, reason: &'static str) {
    event!(actor, "sign-in failed", reason = reason);
}

/// Too many attempts: this one was not even looked at.
pub fn sign_in_throttled(actor: &Actor, wait: Duration) {
    event!(actor, "sign-in throttled", wait_s = wait.as_secs().max(1));
}

/// The setup link was used.
pub fn first_administrator(actor: &Actor) {
    event!(actor, "the first administrator was created");
}

/// A setup link that is not the current one.
pub fn setup_refused(actor: &Actor) {
    event!(actor, "setup refused");
}

/// An account was created by the owner of the machine.
pub fn account_added(account: &str, role: Role) {
    event!(
        Actor::owner(),
        "account added",
        of = account,
        role = role.as_str()
    );
}

/// An account was suspended, resumed or removed, or got a new password, by the owner of the machine.
pub fn account_changed(account: &str, change: &'static str) {
    event!(
        Actor::owner(),
        "account changed",
        of = account,
        change = change
    );
}

/// An account gave itself a new password.
pub fn password_changed(actor: &Actor) {
    event!(actor, "password changed");
}

/// An account tried to give itself a new password without knowing the current one.
pub fn password_change_failed(actor: &Actor) {
    event!(actor, "password change failed");
}

/// An API key was made.
pub fn key_made(account: &str, key: i64) {
    event!(Actor::owner(), "key made", of = account, key = key);
}

/// The first use of an API key on a day.
pub fn key_used(actor: &Actor, key: i64) {
    event!(actor, "key used", key = key);
}

/// A key that is unknown, revoked, or of a suspended account.
pub fn key_refused(address: Option<IpAddr>) {
    event!(Actor::remote("", address), "key refused");
}

/// An API key was revoked.
pub fn key_revoked(account: &str, key: i64) {
    event!(Actor::owner(), "key revoked", of = account, key = key);
}

/// A document was deleted.
pub fn document_deleted(actor: &Actor, document: i64) {
    event!(actor, "document deleted", document = document);
}

/// A collection was deleted.
pub fn collection_deleted(actor: &Actor, collection: i64) {
    event!(actor, "collection deleted", collection = collection);
}

/// A conversation was deleted.
pub fn conversation_deleted(actor: &Actor, conversation: &str) {
    event!(actor, "conversation deleted", conversation = conversation);
}

/// A stream ended because its session or key did.
pub fn stream_ended(actor: &Actor) {
    event!(actor, "stream ended with its session or key");
}
