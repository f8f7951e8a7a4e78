//! Work on the data directory: through the server that owns it, else in this process, with the same events.

use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use serde_json::Value;
use tokio::sync::mpsc;
use web_server::{LocalEvent, LocalRequest, call_local, run_local};

use crate::compose::{self, Need};
use crate::config::Config;
use crate::failure::{Failure, Outcome};
use crate::output;

/// Events that may pile up before the work waits for the terminal.
const EVENT_BUFFER: usize = 64;

/// Sends a request to whoever owns the data directory and returns its output; progress and deltas go to `on_event`.
///
/// # Errors
/// What the command reports, or that nobody can be reached and the data cannot be opened here.
pub async fn call(
    config: &Config,
    request: LocalRequest,
    need: Need,
    mut on_event: impl FnMut(&LocalEvent),
) -> Outcome<Value> {
    let served = call_local(&config.data_dir, &request)
        .await
        .map_err(|error| Failure::config(error.to_string()))?;
    match served {
        Some(stream) => collect(Box::pin(stream), &mut on_event).await,
        None => call_here(config, request, need, &mut on_event).await,
    }
}

/// [`call`] with a progress bar for people.
///
/// # Errors
/// As [`call`].
pub async fn call_with_progress(
    config: &Config,
    request: LocalRequest,
    need: Need,
) -> Outcome<Value> {
    let bar = output::counter();
    let outcome = call(config, request, need, |event| {
        if let LocalEvent::Progress {
            stage,
            done,
            total,
            message,
        } = event
        {
            bar.set_length(*total);
            bar.set_position(*done);
            bar.set_prefix(stage.clone());
            bar.set_message(output::one_line(message, 60));
        }
    })
    .await;
    bar.finish_and_clear();
    outcome
}

async fn call_here(
    config: &Config,
    request: LocalRequest,
    need: Need,
    on_event: &mut dyn FnMut(&LocalEvent),
) -> Outcome<Value> {
    let opening = config.clone();
    let opened = tokio::task::spawn_blocking(move || compose::open(&opening, &need))
        .await
        .map_err(|_| Failure::internal("opening the data directory broke down"))??;
    let (events, receiver) = mpsc::channel(EVENT_BUFFER);
    let suite = std::sync::Arc::clone(&opened.suite);
    let work = tokio::spawn(async move { run_local(&suite, request, events).await });
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|event| (event, receiver))
    });
    let outcome = collect(Box::pin(stream), on_event).await;
    if work.await.is_err() {
        return Err(Failure::internal(
            "the command broke down; please report what you did",
        ));
    }
    // Databases and indexes close on a thread that may wait.
    let _ = tokio::task::spawn_blocking(move || drop(opened)).await;
    outcome
}

async fn collect(
    mut stream: Pin<Box<dyn Stream<Item = LocalEvent> + Send>>,
    on_event: &mut dyn FnMut(&LocalEvent),
) -> Outcome<Value> {
    while let Some(event) = stream.next().await {
        match event {
            LocalEvent::Output { value } => return Ok(value),
            LocalEvent::Error {
                kind,
                message,
                hint,
            } => return Err(Failure::from_local(kind, message, hint)),
            event => on_event(&event),
        }
    }
    Err(Failure::internal("the command ended without a result"))
}

/// A string of an output, empty where there is none.
pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A number of an output, 0 where there is none.
pub fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or_default()
}

/// A list of an output, empty where there is none.
pub fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}
