//! Accounts and sessions of the suite: creating, signing in, finding out who asks.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use web_api::Role;

use super::secret::{Purpose, hash_secret, new_secret};
use super::{CurrentUser, SessionRef, csrf_token, password};
use crate::db::users::User;
use crate::db::{DatabaseError, keys, sessions, users};
use crate::suite::{Suite, join};

/// Fewest characters of a new password. Length is what counts; composition rules are not asked for (NIST SP 800-63B).
const PASSWORD_MIN_CHARS: usize = 10;
/// Longest password: argon2 takes any length, but a megabyte is an attack.
const PASSWORD_MAX_BYTES: usize = 1024;
/// Longest address (RFC 5321).
const EMAIL_MAX_BYTES: usize = 254;

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
    /// Too many attempts.
    #[error("too many attempts to sign in; try again in {} s", .retry_after.as_secs().max(1))]
    Throttled {
        /// When the next one is accepted.
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

/// Whether a new password may be used.
///
/// # Errors
/// [`AccountError::InvalidPassword`].
pub fn check_password(password: &str) -> Result<(), AccountError> {
    let valid =
        password.chars().count() >= PASSWORD_MIN_CHARS && password.len() <= PASSWORD_MAX_BYTES;
    if valid {
        Ok(())
    } else {
        Err(AccountError::InvalidPassword)
    }
}

/// A session that was just started; the id goes into the cookie and nowhere else.
pub(crate) struct NewSession {
    pub user: User,
    pub id: String,
    pub csrf_token: String,
}

/// A key that was just made, shown this once.
pub(crate) struct NewKey {
    pub id: i64,
    pub key: String,
}

impl Suite {
    /// A new token for the setup link, making earlier ones useless; `None` when an administrator exists.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn issue_setup_link(&self) -> Result<Option<String>, DatabaseError> {
        let token = new_secret(Purpose::Setup);
        let hash = hash_secret(Purpose::Setup, &token);
        let issued = self
            .database
            .write(move |transaction| {
                if users::has_admin(transaction)? {
                    users::drop_setup_links(transaction)?;
                    return Ok(false);
                }
                users::replace_setup_link(transaction, &hash)?;
                Ok(true)
            })
            .await?;
        Ok(issued.then_some(token))
    }

    /// Whether an administrator exists, so that sign-in and not setup is the way in.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn has_admin(&self) -> Result<bool, DatabaseError> {
        self.database.read(users::has_admin).await
    }

    /// Creates the first administrator and signs in. The link is used up in the same transaction, so that of two
    /// simultaneous requests one fails.
    pub(crate) async fn set_up(
        &self,
        token: &str,
        email: &str,
        password: &str,
    ) -> Result<NewSession, AccountError> {
        let token_hash = hash_secret(Purpose::Setup, token);
        let lookup = token_hash.clone();
        // Looked at before hashing, so that a stranger cannot make the server hash passwords.
        let known = self
            .database
            .read(move |connection| {
                connection.query_row(
                    "SELECT EXISTS (SELECT 1 FROM setup_links WHERE token_hash = ?1)",
                    [lookup],
                    |row| row.get::<_, bool>(0),
                )
            })
            .await?;
        if !known {
            return Err(AccountError::SetupLink);
        }
        let email = check_email(email)?;
        check_password(password)?;
        let password_hash = self.hash_password(password).await;
        let stored_email = email.clone();
        let user = self
            .database
            .write(move |transaction| {
                if users::has_admin(transaction)?
                    || !users::use_setup_link(transaction, &token_hash)?
                {
                    return Ok(Err(AccountError::SetupLink));
                }
                Ok(
                    match users::insert(transaction, &stored_email, Role::Admin, &password_hash)? {
                        Some(user) => Ok(user),
                        None => {
                            // A member of that name exists; the link must stay usable for another address.
                            users::replace_setup_link(transaction, &token_hash)?;
                            Err(AccountError::Exists {
                                email: stored_email,
                            })
                        }
                    },
                )
            })
            .await??;
        tracing::info!(user = user.id.0, "the first administrator was created");
        self.start_session(user).await
    }

    /// Checks address and password and starts a session. Takes as long for an unknown address as for a wrong password.
    pub(crate) async fn sign_in(
        &self,
        email: &str,
        password: &str,
        address: IpAddr,
    ) -> Result<NewSession, AccountError> {
        // An address that cannot exist goes the whole way, too; the length limit keeps the throttle's table small.
        let email: String = email
            .trim()
            .to_lowercase()
            .chars()
            .take(EMAIL_MAX_BYTES)
            .collect();
        self.throttle
            .attempt(&email, address, Instant::now())
            .map_err(|retry_after| AccountError::Throttled { retry_after })?;
        if password.len() > PASSWORD_MAX_BYTES {
            return Err(AccountError::WrongCredentials);
        }
        let lookup = email.clone();
        let found = self
            .database
            .read(move |connection| users::with_password(connection, &lookup))
            .await?;
        let (user, stored) = found.unzip();
        let verified = {
            let _permit = self.password_hashing.acquire().await;
            let password = password.to_owned();
            join(
                tokio::task::spawn_blocking(move || password::verify(&password, stored.as_deref()))
                    .await,
            )
        };
        match user {
            Some(user) if verified => {
                self.throttle.succeeded(&email, address);
                self.start_session(user).await
            }
            _ => Err(AccountError::WrongCredentials),
        }
    }

    async fn start_session(&self, user: User) -> Result<NewSession, AccountError> {
        let id = new_secret(Purpose::Session);
        let id_hash = hash_secret(Purpose::Session, &id);
        let (user_id, max) = (user.id, self.config.session_max);
        self.database
            .write(move |transaction| sessions::insert(transaction, &id_hash, user_id, max))
            .await?;
        Ok(NewSession {
            user,
            csrf_token: csrf_token(&id),
            id,
        })
    }

    /// The account of a session id, if the session is alive.
    pub(crate) async fn session_user(
        &self,
        session_id: &str,
    ) -> Result<Option<CurrentUser>, DatabaseError> {
        let id_hash = hash_secret(Purpose::Session, session_id);
        let (lookup, idle) = (id_hash.clone(), self.config.session_idle);
        let Some(found) = self
            .database
            .read(move |connection| sessions::find(connection, &lookup, idle))
            .await?
        else {
            return Ok(None);
        };
        if found.touch_due {
            let id_hash = id_hash.clone();
            self.database
                .write(move |transaction| sessions::touch(transaction, &id_hash))
                .await?;
        }
        let session = SessionRef {
            id_hash,
            csrf_token: csrf_token(session_id),
        };
        Ok(Some(CurrentUser::new(found.user, Some(session))))
    }

    /// Ends a session; its cookie opens nothing from the next request on.
    pub(crate) async fn end_session(&self, id_hash: Vec<u8>) -> Result<(), DatabaseError> {
        self.database
            .write(move |transaction| sessions::delete(transaction, &id_hash))
            .await
    }

    /// The account of an API key, unless the key was revoked.
    pub(crate) async fn key_user(&self, key: &str) -> Result<Option<CurrentUser>, DatabaseError> {
        let hash = hash_secret(Purpose::ApiKey, key);
        let Some(found) = self
            .database
            .read(move |connection| keys::find(connection, &hash))
            .await?
        else {
            return Ok(None);
        };
        if found.touch_due {
            self.database
                .write(move |transaction| keys::touch(transaction, found.id))
                .await?;
        }
        Ok(Some(CurrentUser::new(found.user, None)))
    }

    /// Creates an account without the page.
    pub(crate) async fn add_user(
        &self,
        email: &str,
        role: Role,
        password: &str,
    ) -> Result<User, AccountError> {
        let email = check_email(email)?;
        check_password(password)?;
        let password_hash = self.hash_password(password).await;
        let stored_email = email.clone();
        self.database
            .write(move |transaction| {
                let user = users::insert(transaction, &stored_email, role, &password_hash)?;
                if user.is_some() && role == Role::Admin {
                    users::drop_setup_links(transaction)?;
                }
                Ok(user)
            })
            .await?
            .ok_or(AccountError::Exists { email })
    }

    /// Creates an API key of an account.
    pub(crate) async fn add_key(&self, email: &str, name: &str) -> Result<NewKey, AccountError> {
        let email = check_email(email)?;
        let key = new_secret(Purpose::ApiKey);
        let (hash, prefix) = (
            hash_secret(Purpose::ApiKey, &key),
            key.chars().take(8).collect::<String>(),
        );
        let (name, lookup) = (name.chars().take(100).collect::<String>(), email.clone());
        let id = self
            .database
            .write(move |transaction| {
                let Some((user, _)) = users::with_password(transaction, &lookup)? else {
                    return Ok(None);
                };
                keys::insert(transaction, user.id, &name, &prefix, &hash).map(Some)
            })
            .await?
            .ok_or(AccountError::UnknownUser { email })?;
        Ok(NewKey { id, key })
    }

    async fn hash_password(&self, password: &str) -> String {
        let _permit = self.password_hashing.acquire().await;
        let password = password.to_owned();
        join(tokio::task::spawn_blocking(move || password::hash(&password)).await)
    }
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
        assert!(check_password("short").is_err());
        assert!(check_password("long enough").is_ok());
    }
}
