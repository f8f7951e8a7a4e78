//! Accounts after they were made: suspended, resumed, removed, given another password.
//!
//! Each takes effect at once: sessions end, keys of a suspended account open nothing until it is resumed, answers under way
//! stop, and open streams end. The last administrator who can sign in stays one.

use super::Suite;
use super::removed_sources::ForgetError;
use crate::auth::{AccountError, CurrentUser, check_email, device};
use crate::db::users::User;
use crate::db::{keys, now_ms, sessions, users};
use crate::security;

impl Suite {
    /// Suspends an account: nobody signs in, its sessions end, its keys open nothing. Its conversations stay.
    pub(crate) async fn suspend_user(&self, email: &str) -> Result<User, AccountError> {
        let user = self
            .change_user(email, |transaction, user| {
                if is_last_admin(transaction, user)? {
                    return Ok(Err(AccountError::LastAdmin {
                        email: user.email.clone(),
                    }));
                }
                users::set_suspended(transaction, user.id, true)?;
                sessions::delete_of_user(transaction, user.id, None)?;
                Ok(Ok(()))
            })
            .await?
            .0;
        self.cut_off(&user, "suspended").await;
        Ok(User {
            suspended: true,
            ..user
        })
    }

    /// Lets a suspended account be used again, keys included.
    pub(crate) async fn resume_user(&self, email: &str) -> Result<User, AccountError> {
        let (user, ()) = self
            .change_user(email, |transaction, user| {
                users::set_suspended(transaction, user.id, false).map(Ok)
            })
            .await?;
        security::account_changed(&user.email, "resumed");
        Ok(User {
            suspended: false,
            ..user
        })
    }

    /// Removes an account with its conversations, sessions and keys; returns it and the number of conversations.
    pub(crate) async fn remove_user(&self, email: &str) -> Result<(User, usize), AccountError> {
        let (user, conversations) = self
            .change_user(email, |transaction, user| {
                if is_last_admin(transaction, user)? {
                    return Ok(Err(AccountError::LastAdmin {
                        email: user.email.clone(),
                    }));
                }
                users::delete(transaction, user.id).map(Ok)
            })
            .await?;
        self.cut_off(&user, "removed").await;
        self.answers.forget_events();
        self.database.forget().await?;
        Ok((user, conversations))
    }

    /// Gives an account another password and ends its sessions; returns it, the number of sessions, and the number of its keys, which
    /// are not concerned.
    pub(crate) async fn set_password(
        &self,
        email: &str,
        password: &str,
    ) -> Result<(User, usize, usize), AccountError> {
        self.check_new_password(password, email)?;
        let password_hash = self.hash_password(password).await;
        let (user, (ended, keys)) = self
            .change_user(email, move |transaction, user| {
                users::set_password(transaction, user.id, &password_hash)?;
                let ended = sessions::delete_of_user(transaction, user.id, None)?;
                Ok(Ok((ended, keys::count_valid(transaction, user.id)?)))
            })
            .await?;
        security::account_changed(&user.email, "password set");
        self.revocations.announce();
        Ok((user, ended, keys))
    }

    /// Gives the asking account another password, if it knows the current one, and ends its other sessions; returns how many, and
    /// the tokens with which this browser stays known. Guessing is slowed down, because whoever found a signed-in machine could
    /// guess here, too.
    pub(crate) async fn change_own_password(
        &self,
        user: &CurrentUser,
        current: &str,
        new: &str,
        device_tokens: &[String],
    ) -> Result<(usize, Vec<String>), AccountError> {
        let Some(earlier) = self.own_password(&user.email, current).await? else {
            security::password_change_failed(&user.actor());
            return Err(AccountError::WrongPassword);
        };
        self.check_new_password(new, &user.email)?;
        let password_hash = self.hash_password(new).await;
        let hashes = (earlier.as_str(), password_hash.as_str());
        let tokens = device::exchange(device_tokens, &user.email, hashes, now_ms());
        let (id, kept) = (
            user.id,
            user.session.as_ref().map(|session| session.id_hash.clone()),
        );
        let ended = self
            .database
            .write(move |transaction| {
                users::set_password(transaction, id, &password_hash)?;
                sessions::delete_of_user(transaction, id, kept.as_deref())
            })
            .await?;
        security::password_changed(&user.actor());
        self.revocations.announce();
        Ok((ended, tokens))
    }

    /// After accounts were made or removed: notes beside the documents whether there are any, and writes them into the file
    /// itself, so that neither is lost with a log. A failure costs only this.
    pub(crate) async fn accounts_changed(&self) {
        if let Err(error) = self.settle_accounts().await {
            tracing::warn!(%error, "changed accounts are only in the log of the database until the server stops");
        }
    }

    async fn settle_accounts(&self) -> Result<(), ForgetError> {
        let exist = self.database.read(users::any).await?;
        self.database.settle().await?;
        self.with_library(move |library| library.note_accounts(exist))
            .await?;
        Ok(())
    }

    /// Finds an account and changes it in one transaction.
    async fn change_user<T: Send + 'static>(
        &self,
        email: &str,
        change: impl FnOnce(
            &rusqlite::Transaction<'_>,
            &User,
        ) -> rusqlite::Result<Result<T, AccountError>>
        + Send
        + 'static,
    ) -> Result<(User, T), AccountError> {
        let email = check_email(email)?;
        self.database
            .write(move |transaction| {
                let Some((user, _)) = users::with_password(transaction, &email)? else {
                    return Ok(Err(AccountError::UnknownUser { email }));
                };
                Ok(change(transaction, &user)?.map(|value| (user, value)))
            })
            .await?
    }

    /// Ends what an account has open.
    async fn cut_off(&self, user: &User, change: &'static str) {
        security::account_changed(&user.email, change);
        self.answers.stop_of(user.id);
        self.revocations.announce();
        self.accounts_changed().await;
    }
}

/// Whether nobody could manage the suite without this account.
fn is_last_admin(transaction: &rusqlite::Transaction<'_>, user: &User) -> rusqlite::Result<bool> {
    let is_active_admin = user.role == web_api::Role::Admin && !user.suspended;
    Ok(is_active_admin && !users::has_other_active_admin(transaction, user.id)?)
}
