//! What an account, an address and a password are, and why somebody is not let in.

use std::time::Duration;

use super::strength;
use crate::client_address::ClientKey;
use crate::db::DatabaseError;
use crate::db::users::User;
use crate::email::EMAIL_MAX_BYTES;

/// Fewest characters of a new password. Length is what counts; composition rules are not asked for (NIST SP 800-63B).
const PASSWORD_MIN_CHARS: usize = 10;
/// Longest password: argon2 takes any length, but a megabyte is an attack.
pub(crate) const PASSWORD_MAX_BYTES: usize = 1024;

/// Why an account could not be made or entered.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The address is not one.
    #[error("`{email}` is not an e-mail address")]
    InvalidEmail {
        /// As typed.
        email: String,
    },
    /// The password is too short or too long.
    #[error(
        "a password has {PASSWORD_MIN_CHARS} characters or more (at most {PASSWORD_MAX_BYTES} bytes); this one does not"
    )]
    InvalidPassword,
    /// The password is among the first that anybody tries.
    #[error("this password is too easy to guess: {reason}")]
    WeakPassword {
        /// Why, and what helps.
        reason: String,
    },
    /// The address is taken.
    #[error("an account for {email} exists already")]
    Exists {
        /// The address.
        email: String,
    },
    /// There is no such account.
    #[error("there is no account for {email}; add it with `cloister user add`")]
    UnknownUser {
        /// The address.
        email: String,
    },
    /// Address or password is wrong; which one is not said.
    #[error("the e-mail address or the password is not right")]
    WrongCredentials,
    /// The account is suspended; said only to who knows its password.
    #[error("this account is suspended; an administrator can resume it")]
    Suspended,
    /// Nobody could manage the suite any more.
    #[error(
        "{email} is the last administrator who can sign in; make another one first with `cloister user add --role admin`"
    )]
    LastAdmin {
        /// The address.
        email: String,
    },
    /// The current password of a change is not right.
    #[error("the current password is not right")]
    WrongPassword,
    /// Too many attempts.
    #[error("too many attempts to sign in; try again in {} s", .retry_after.as_secs().max(1))]
    Throttled {
        /// When the next one is accepted.
        retry_after: Duration,
    },
    /// So many sign in at this moment that there is no place to wait.
    #[error("very many people are signing in just now; try again in {} s", .retry_after.as_secs().max(1))]
    Crowded {
        /// When there is likely to be a place.
        retry_after: Duration,
    },
    /// The setup link was used, is of an earlier start, or an administrator exists.
    #[error(
        "this setup link is no longer valid; the current one, if any, is in the output of the server's last start"
    )]
    SetupLink,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// The address in the form in which it is stored and compared.
///
/// # Errors
/// [`AccountError::InvalidEmail`].
pub fn check_email(email: &str) -> Result<String, AccountError> {
    let email = email.trim().to_lowercase();
    let valid = email.len() <= EMAIL_MAX_BYTES
        && email.split_once('@').is_some_and(|(name, host)| {
            !name.is_empty() && !host.is_empty() && !host.contains('@')
        })
        && !email.chars().any(|character| {
            character.is_whitespace() || character.is_control() || "<>\"\\,;".contains(character)
        });
    if valid {
        Ok(email)
    } else {
        Err(AccountError::InvalidEmail {
            email: email.chars().take(80).collect(),
        })
    }
}

/// Whether a new password may be used; `known` is what everybody knows of the account, such as its address and the server's name.
///
/// # Errors
/// [`AccountError::InvalidPassword`] or [`AccountError::WeakPassword`].
pub(crate) fn check_password(password: &str, known: &[&str]) -> Result<(), AccountError> {
    let valid =
        password.chars().count() >= PASSWORD_MIN_CHARS && password.len() <= PASSWORD_MAX_BYTES;
    if !valid {
        return Err(AccountError::InvalidPassword);
    }
    match strength::weakness(password, known) {
        Some(reason) => Err(AccountError::WeakPassword { reason }),
        None => Ok(()),
    }
}

/// Who is at the door.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    /// Whose turn and whose attempts it is.
    pub client: ClientKey,
    /// Of the browser, see [`super::device`].
    pub device_tokens: Vec<String>,
}

/// A session that was just started; the id goes into the cookie and nowhere else.
pub(crate) struct NewSession {
    pub user: User,
    pub id: String,
    pub csrf_token: String,
    /// What makes the browser known to its accounts, the newest first.
    pub device_tokens: Vec<String>,
}

/// A key that was just made, shown this once.
pub(crate) struct NewKey {
    pub id: i64,
    pub key: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_trimmed_and_lower_cased_and_nonsense_is_refused() {
        assert_eq!(check_email(" Ada@Example.ORG ").unwrap(), "ada@example.org");
        for bad in ["", "ada", "@x", "ada@", "a@b@c", "a b@c", "a\n@c", "<a@b>"] {
            assert!(check_email(bad).is_err(), "{bad}");
        }
        assert!(check_password("short", &[]).is_err());
        assert!(check_password("long enough to stay", &[]).is_ok());
    }
}
