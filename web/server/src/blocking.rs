//! Blocking work beside async tasks.

/// The result of a blocking task; a panic goes on in the caller, where the server catches it and names the request.
pub(crate) fn join<T>(result: Result<T, tokio::task::JoinError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // Blocking tasks are never aborted here, so that the runtime itself must be going down.
        Err(error) => std::panic::panic_any(format!("a blocking task was cancelled: {error}")),
    }
}
