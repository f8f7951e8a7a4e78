//! Accounts and sessions of the suite: creating, signing in, finding out who asks.

use std::net::IpAddr;
use std::time::Instant;

use web_api::Role;

use super::Suite;
use crate::auth::account::{
    AccountError, NewKey, NewSession, PASSWORD_MAX_BYTES, Visit, check_email, check_password,
};
use crate::auth::hashing::Waiter;
use crate::auth::throttle::Visitor;
use crate::auth::{CurrentUser, Purpose, SessionRef, csrf_token, device, hash_secret, new_secret};
use crate::client_address::ClientKey;
use crate::db::users::User;
use crate::db::{DatabaseError, UserId, keys, now_ms, sessions, users};
use crate::email::claimed_email;
use crate::security::{self, Actor};

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
        device_tokens: &[String],
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
        self.check_new_password(password, &email)?;
        let password_hash = self.hash_password(password).await;
        let device_tokens = device::renew(device_tokens, &email, &password_hash, now_ms());
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
        self.accounts_changed().await;
        Ok(NewSession {
            device_tokens,
            ..self.start_session(user).await?
        })
    }

    /// Checks address and password and starts a session. Takes as long for an unknown address as for a wrong password.
    pub(crate) async fn sign_in(
        &self,
        email: &str,
        password: &str,
        visit: &Visit,
    ) -> Result<NewSession, AccountError> {
        // An address that cannot exist goes the whole way, too; the length limit keeps the throttle's table small.
        let email = claimed_email(email);
        let lookup = email.clone();
        let found = self
            .database
            .read(move |connection| users::with_password(connection, &lookup))
            .await?;
        let (user, stored) = found.unzip();
        let id = user.as_ref().map(|user| user.id);
        let tokens = visit.device_tokens.iter().map(String::as_str);
        // Without an account no token is known, as none is with a wrong one.
        let known = device::recognise(
            tokens,
            &email,
            stored.as_deref().unwrap_or_default(),
            now_ms(),
        );
        let is_right = self
            .attempt(
                &email,
                password,
                stored.clone(),
                id.zip(known),
                visit.client,
            )
            .await?;
        match (user, stored) {
            (Some(user), Some(stored)) if is_right => Ok(NewSession {
                device_tokens: device::renew(&visit.device_tokens, &email, &stored, now_ms()),
                ..self.start_session(user).await?
            }),
            _ => Err(AccountError::WrongCredentials),
        }
    }

    /// One guess at a password: counted, queued, checked. Without an account (`stored` is `None`) it takes as long and is wrong.
    async fn attempt(
        &self,
        email: &str,
        password: &str,
        stored: Option<String>,
        known: Option<(UserId, device::DeviceId)>,
        client: ClientKey,
    ) -> Result<bool, AccountError> {
        let (waiter, visitor) = match known {
            Some((account, device)) => (Waiter::Known(account), Visitor::Known(device)),
            None => (Waiter::Stranger(client), Visitor::Stranger(client)),
        };
        let attempt = self
            .throttle
            .begin(email, &visitor, Instant::now())
            .map_err(|retry_after| AccountError::Throttled { retry_after })?;
        if password.len() > PASSWORD_MAX_BYTES {
            return Ok(false);
        }
        let verified = self
            .password_hashing
            .verify(waiter, password.to_owned(), stored)
            .await;
        match verified {
            Ok(true) => self.throttle.succeeded(&attempt),
            Ok(false) => {}
            Err(full) => {
                self.throttle.withdraw(&attempt);
                let retry_after = full.retry_after;
                return Err(AccountError::Crowded { retry_after });
            }
        }
        Ok(verified.is_ok_and(|is_right| is_right))
    }

    async fn start_session(&self, user: User) -> Result<NewSession, AccountError> {
        let id = new_secret(Purpose::Session);
        let id_hash = hash_secret(Purpose::Session, &id);
        let (user_id, max) = (user.id, self.config.session_max);
        let started = self
            .database
            .write(move |transaction| {
                if !users::is_active(transaction, user_id)? {
                    return Ok(false);
                }
                sessions::insert(transaction, &id_hash, user_id, max)?;
                Ok(true)
            })
            .await?;
        if !started {
            return Err(AccountError::Suspended);
        }
        Ok(NewSession {
            user,
            csrf_token: csrf_token(&id),
            id,
            device_tokens: Vec::new(),
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
        Ok(Some(CurrentUser::of_session(found.user, session)))
    }

    /// Ends a session; its cookie opens nothing from the next request on.
    pub(crate) async fn end_session(&self, id_hash: Vec<u8>) -> Result<(), DatabaseError> {
        self.database
            .write(move |transaction| sessions::delete(transaction, &id_hash))
            .await?;
        self.revocations.announce();
        Ok(())
    }

    /// The account of an API key, unless the key was revoked.
    pub(crate) async fn key_user(
        &self,
        key: &str,
        address: Option<IpAddr>,
    ) -> Result<Option<CurrentUser>, DatabaseError> {
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
        if found.first_of_day {
            security::key_used(&Actor::remote(&found.user.email, address), found.id);
        }
        Ok(Some(CurrentUser::of_key(found.user, found.id, address)))
    }

    /// Creates an account without the page.
    pub(crate) async fn add_user(
        &self,
        email: &str,
        role: Role,
        password: &str,
    ) -> Result<User, AccountError> {
        let email = check_email(email)?;
        self.check_new_password(password, &email)?;
        let password_hash = self.hash_password(password).await;
        let stored_email = email.clone();
        let user = self
            .database
            .write(move |transaction| {
                let user = users::insert(transaction, &stored_email, role, &password_hash)?;
                if user.is_some() && role == Role::Admin {
                    users::drop_setup_links(transaction)?;
                }
                Ok(user)
            })
            .await?
            .ok_or(AccountError::Exists { email })?;
        self.accounts_changed().await;
        security::account_added(&user.email, user.role);
        Ok(user)
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
            .ok_or_else(|| AccountError::UnknownUser {
                email: email.clone(),
            })?;
        security::key_made(&email, id);
        Ok(NewKey { id, key })
    }

    /// [`check_password`] with what is known of an account here.
    pub(crate) fn check_new_password(
        &self,
        password: &str,
        email: &str,
    ) -> Result<(), AccountError> {
        let host = self.config.public_url.as_ref().map(|url| url.host());
        let known: Vec<&str> = [email].into_iter().chain(host).collect();
        check_password(password, &known)
    }

    /// What is stored of the password of an account whose session asks, as before a change of it; `None` when it is another
    /// password. Counted and slowed down by itself, so that strangers at the sign-in do not hinder it and whoever found a
    /// signed-in machine cannot guess.
    pub(crate) async fn own_password(
        &self,
        email: &str,
        password: &str,
    ) -> Result<Option<String>, AccountError> {
        let attempt = self
            .throttle
            .begin(email, &Visitor::SignedIn, Instant::now())
            .map_err(|retry_after| AccountError::Throttled { retry_after })?;
        let lookup = email.to_owned();
        let stored = self
            .database
            .read(move |connection| users::with_password(connection, &lookup))
            .await?
            .map(|(_, stored)| stored);
        let is_right = password.len() <= PASSWORD_MAX_BYTES
            && self
                .password_hashing
                .verify_own(password.to_owned(), stored.clone())
                .await;
        if !is_right {
            return Ok(None);
        }
        self.throttle.succeeded(&attempt);
        Ok(stored)
    }

    /// Hashes the password of somebody who was let in by something else than a password.
    pub(crate) async fn hash_password(&self, password: &str) -> String {
        self.password_hashing.hash(password.to_owned()).await
    }
}
