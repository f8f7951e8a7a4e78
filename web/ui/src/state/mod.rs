//! What the page knows: who is signed in, the conversations, the answers, and the small things that float above.

pub mod answer;
pub mod chat;
pub mod overlay;
pub mod session;
pub mod stream;

use web_api::ApiError;

/// Data that comes from the server.
#[derive(Debug, Clone, PartialEq)]
pub enum Loadable<T> {
    /// Under way. Also the state in which the server renders.
    Loading,
    /// Here.
    Ready(T),
    /// Not here, and why.
    Failed(ApiError),
}

impl<T> Loadable<T> {
    /// The data, if it is here.
    pub fn ready(&self) -> Option<&T> {
        match self {
            Loadable::Ready(value) => Some(value),
            _ => None,
        }
    }

    /// The data, if it is here, to be changed.
    pub fn ready_mut(&mut self) -> Option<&mut T> {
        match self {
            Loadable::Ready(value) => Some(value),
            _ => None,
        }
    }
}

impl<T> From<Result<T, ApiError>> for Loadable<T> {
    fn from(result: Result<T, ApiError>) -> Self {
        match result {
            Ok(value) => Loadable::Ready(value),
            Err(error) => Loadable::Failed(error),
        }
    }
}
