//! `cloister user` and `cloister key`

use std::io::BufRead;

use serde_json::Value;
use web_server::{LocalRequest, Role, Secret};

use super::local::{self, list, number, text};
use crate::args::{KeyCommand, RoleArg, UserCommand};
use crate::compose::Need;
use crate::config::Config;
use crate::failure::{Failure, Outcome};
use crate::output;

/// Creates, lists, suspends, resumes and removes accounts, and gives them other passwords.
///
/// # Errors
/// No password on stdin, an address that is taken or unknown, the last administrator, whatever the suite reports.
pub async fn user(config: &Config, command: UserCommand) -> Outcome<()> {
    match command {
        UserCommand::Add {
            email,
            role,
            password_stdin,
        } => {
            let password = read_password(password_stdin, "add")?;
            let role = match role {
                RoleArg::Admin => Role::Admin,
                RoleArg::Member => Role::Member,
            };
            let user = send(
                config,
                LocalRequest::UserAdd {
                    email,
                    role,
                    password,
                },
            )
            .await?;
            show(config, &user, |user| {
                format!(
                    "account {} ({}) created",
                    text(user, "email"),
                    text(user, "role")
                )
            });
        }
        UserCommand::List => {
            let users = send(config, LocalRequest::UserList).await?;
            show(config, &users, |users| {
                let row = |user: &Value| {
                    vec![
                        number(user, "id").to_string(),
                        text(user, "email").to_owned(),
                        text(user, "role").to_owned(),
                        state_of(user).to_owned(),
                    ]
                };
                output::table(
                    &["ID", "EMAIL", "ROLE", "STATE"],
                    &list(users, "users").iter().map(row).collect::<Vec<_>>(),
                )
            });
        }
        UserCommand::Suspend { email } => {
            let user = send(config, LocalRequest::UserSuspend { email }).await?;
            show(config, &user, |user| {
                format!("account {} is suspended", text(user, "email"))
            });
        }
        UserCommand::Resume { email } => {
            let user = send(config, LocalRequest::UserResume { email }).await?;
            show(config, &user, |user| {
                format!("account {} can be used again", text(user, "email"))
            });
        }
        UserCommand::Remove { email, yes } => remove(config, email, yes).await?,
        UserCommand::Password {
            email,
            password_stdin,
        } => {
            let password = read_password(password_stdin, "password")?;
            let changed = send(config, LocalRequest::UserPassword { email, password }).await?;
            show(config, &changed, |changed| {
                format!(
                    "account {} has another password; {} session(s) ended",
                    text(changed, "email"),
                    number(changed, "sessions_ended")
                )
            });
            let keys = number(&changed, "keys_valid");
            if keys > 0 && !config.json {
                output::note(&format!(
                    "{keys} API key(s) of this account are as valid as before: `cloister key list` shows them, \
                     `cloister key revoke ID` ends one"
                ));
            }
        }
    }
    Ok(())
}

async fn remove(config: &Config, email: String, yes: bool) -> Outcome<()> {
    if !yes {
        let email = output::name(&email);
        return Err(Failure::user(format!(
            "removing account {email} with its conversations cannot be undone"
        ))
        .hint(format!(
            "cloister user remove {email} --yes, or cloister user suspend {email}"
        )));
    }
    let removed = send(config, LocalRequest::UserRemove { email }).await?;
    show(config, &removed, |removed| {
        format!(
            "account {} is removed, and {} conversation(s) with it",
            text(removed, "email"),
            number(removed, "conversations")
        )
    });
    Ok(())
}

fn state_of(user: &Value) -> &'static str {
    match user.get("suspended").and_then(Value::as_bool) {
        Some(true) => "suspended",
        _ => "active",
    }
}

/// Creates, lists and revokes API keys.
///
/// # Errors
/// An unknown account or key, whatever the suite reports.
pub async fn key(config: &Config, command: KeyCommand) -> Outcome<()> {
    match command {
        KeyCommand::Create { user, name } => {
            let key = send(
                config,
                LocalRequest::KeyCreate {
                    user_email: user,
                    name,
                },
            )
            .await?;
            show(config, &key, |key| text(key, "key").to_owned());
            if !config.json {
                output::note("Keep it now: it is not shown again.");
            }
        }
        KeyCommand::List => {
            let keys = send(config, LocalRequest::KeyList).await?;
            show(config, &keys, |keys| {
                let state = |key: &Value| {
                    if key.get("revoked").and_then(Value::as_bool) == Some(true) {
                        "revoked"
                    } else {
                        "valid"
                    }
                };
                let row = |key: &Value| {
                    let columns = [
                        text(key, "email"),
                        text(key, "name"),
                        text(key, "prefix"),
                        state(key),
                    ];
                    std::iter::once(number(key, "id").to_string())
                        .chain(columns.map(str::to_owned))
                        .collect()
                };
                output::table(
                    &["ID", "EMAIL", "NAME", "BEGINS WITH", "STATE"],
                    &list(keys, "keys").iter().map(row).collect::<Vec<_>>(),
                )
            });
        }
        KeyCommand::Revoke { id } => {
            let key = send(config, LocalRequest::KeyRevoke { id }).await?;
            show(config, &key, |key| {
                format!("key {} is revoked", number(key, "id"))
            });
        }
    }
    Ok(())
}

async fn send(config: &Config, request: LocalRequest) -> Outcome<Value> {
    local::call(config, request, Need::Retrieval, |_| {}).await
}

fn show(config: &Config, value: &Value, text: impl FnOnce(&Value) -> String) {
    if config.json {
        output::json(value);
    } else {
        output::line(text(value).trim_end());
    }
}

fn read_password(from_stdin: bool, command: &str) -> Outcome<Secret> {
    let hint = format!("echo \"$PASSWORD\" | cloister user {command} EMAIL --password-stdin");
    if !from_stdin {
        return Err(Failure::user(
            "the password must come from stdin, so that it stays out of the command history",
        )
        .hint(hint));
    }
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| Failure::user(format!("cannot read stdin: {error}")))?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Failure::user("there is no password on stdin").hint(hint));
    }
    Ok(Secret(password.to_owned()))
}
