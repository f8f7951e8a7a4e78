//! What a command says when it does not work: whose fault, one sentence, and the way out.

use std::fmt;
use std::process::ExitCode;

use web_server::LocalErrorKind;

/// Result of everything a command does.
pub type Outcome<T> = Result<T, Failure>;

/// Whose fault a failure is; decides the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The user's mistake: exit 2.
    User,
    /// The configuration's or the machine's: exit 3.
    Config,
    /// Ours: exit 1.
    Internal,
}

/// One clear sentence and, where there is one, the command or setting that helps.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Whose fault.
    pub blame: Blame,
    /// What happened, without a trailing full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// The user's mistake.
    pub fn user(message: impl Into<String>) -> Self {
        Failure {
            blame: Blame::User,
            message: message.into(),
            hint: None,
        }
    }

    /// The configuration's or the machine's.
    pub fn config(message: impl Into<String>) -> Self {
        Failure {
            blame: Blame::Config,
            message: message.into(),
            hint: None,
        }
    }

    /// Ours.
    pub fn internal(message: impl Into<String>) -> Self {
        Failure {
            blame: Blame::Internal,
            message: message.into(),
            hint: None,
        }
    }

    /// The same with a way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Exit status of the program.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.blame {
            Blame::User => 2,
            Blame::Config => 3,
            Blame::Internal => 1,
        })
    }

    /// A failure that a server or an in-process command reported.
    pub fn from_local(kind: LocalErrorKind, message: String, hint: Option<String>) -> Self {
        let blame = match kind {
            LocalErrorKind::User => Blame::User,
            LocalErrorKind::Config => Blame::Config,
            LocalErrorKind::Internal => Blame::Internal,
        };
        Failure {
            blame,
            message,
            hint,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "error: {}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(formatter, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure::internal(format!("{error:#}"))
    }
}

/// An error and its causes as one sentence, each cause said once.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = inner.source();
    }
    text
}
