//! The id of a request: in its answer, its errors and its lines of the log.

tokio::task_local! {
    pub(super) static REQUEST_ID: String;
}

/// Id of the request that this task answers, if it answers one.
pub(super) fn current_request_id() -> Option<String> {
    REQUEST_ID.try_with(String::clone).ok()
}
