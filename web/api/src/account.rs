//! Accounts: setup of the first administrator, sign-in, who am I.

use serde::{Deserialize, Serialize};

use crate::Collection;

/// What an account may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads every page, manages collections and documents.
    Admin,
    /// Asks questions and keeps conversations.
    Member,
}

impl Role {
    /// The role as it is stored and sent: `admin` or `member`.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Member => "member",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "admin" => Ok(Role::Admin),
            "member" => Ok(Role::Member),
            other => Err(format!("`{other}` is not a role; use `admin` or `member`")),
        }
    }
}

/// `POST /api/auth/setup`: creates the first administrator and signs in. Works only while no administrator exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupRequest {
    /// The one-time token of the link that the server printed at its start.
    pub token: String,
    /// Address of the new administrator.
    pub email: String,
    /// At least 10 characters.
    pub password: String,
}

/// `POST /api/auth/sign-in`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// Case does not matter.
    pub email: String,
    /// As typed.
    pub password: String,
}

/// `POST /api/auth/password`: the signed-in account gives itself another password. Its other sessions end.
///
/// `403` with the code `wrong_password` when `current` is not right; attempts are throttled as at the sign-in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangePassword {
    /// The password so far.
    pub current: String,
    /// At least 10 characters.
    pub new: String,
}

/// Answer of a change of password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordChanged {
    /// Other sessions of the account that ended: machines that have to sign in again.
    pub sessions_ended: usize,
}

/// Answer of setup and sign-in: the session cookie is set, and the page may go on without another request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedIn {
    /// Who is signed in now.
    pub user: UserInfo,
    /// Goes into [`crate::CSRF_HEADER`].
    pub csrf_token: String,
}

/// An account as others may see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserInfo {
    /// Lower-cased address.
    pub email: String,
    /// What the account may do.
    pub role: Role,
}

/// `GET /api/me`: everything the page needs to draw itself. `401` without a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Me {
    /// The signed-in account.
    pub user: UserInfo,
    /// Goes into [`crate::CSRF_HEADER`] of every request that is not a GET.
    pub csrf_token: String,
    /// Which model answers.
    pub model: ModelStatus,
    /// Collections that this account may ask.
    pub collections: Vec<Collection>,
    /// What documents may be.
    pub formats: Vec<DocumentFormat>,
}

/// A kind of document that can be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentFormat {
    /// As people call it.
    pub name: String,
    /// Extensions of such files, lower case, without the dot.
    pub extensions: Vec<String>,
}

/// Which language model answers, if any.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelStatus {
    /// Name of the language model; `None` when the server runs without one.
    pub name: Option<String>,
    /// Whether answers are verbatim quotes because there is no language model.
    pub quote_only: bool,
    /// How an administrator adds a model, in one sentence; `None` when there is one.
    pub how_to_add: Option<String>,
}
