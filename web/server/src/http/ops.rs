//! `/healthz` and `/metrics`: for supervisors, without secrets.

use std::fmt::Write;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::error::Failure;
use crate::suite::Suite;

/// `{"status": "ok", "model": NAME|null}` once the database answers; 503 and `"status": "broken"` when the model's device has failed,
/// so that a supervisor restarts the server.
pub(super) async fn healthz(State(suite): State<Arc<Suite>>) -> Result<Response, Failure> {
    suite.has_admin().await?;
    let model = suite.model.as_ref().map(|model| model.name());
    let is_broken = suite
        .model
        .as_ref()
        .is_some_and(|model| model.stats().is_broken);
    if is_broken {
        let body = Json(serde_json::json!({ "status": "broken", "model": model }));
        return Ok((StatusCode::SERVICE_UNAVAILABLE, body).into_response());
    }
    Ok(Json(serde_json::json!({ "status": "ok", "model": model })).into_response())
}

/// Counters in Prometheus' text format.
pub(super) async fn metrics(State(suite): State<Arc<Suite>>) -> Response {
    let mut text = String::new();
    suite
        .metrics
        .render(&mut text)
        .and_then(|()| render_engine(&suite, &mut text))
        .expect("a String takes any text");
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    )
        .into_response()
}

fn render_engine(suite: &Suite, text: &mut String) -> std::fmt::Result {
    let mut gauge = |name: &str, kind: &str, help: &str, value: u64| {
        writeln!(
            text,
            "# HELP cloister_{name} {help}\n# TYPE cloister_{name} {kind}\ncloister_{name} {value}"
        )
    };
    gauge(
        "answers_running",
        "gauge",
        "Answers of the page being written.",
        suite.answers.running() as u64,
    )?;
    let Some(model) = &suite.model else {
        return Ok(());
    };
    let stats = model.stats();
    gauge(
        "engine_running",
        "gauge",
        "Sequences being computed.",
        stats.running as u64,
    )?;
    gauge(
        "engine_waiting",
        "gauge",
        "Requests in the queue.",
        stats.waiting as u64,
    )?;
    gauge(
        "engine_kv_blocks",
        "gauge",
        "Blocks of the KV cache.",
        stats.num_blocks as u64,
    )?;
    gauge(
        "engine_kv_blocks_free",
        "gauge",
        "Free blocks of the KV cache.",
        stats.free_blocks as u64,
    )?;
    gauge(
        "engine_prompt_tokens_total",
        "counter",
        "Prompt tokens computed.",
        stats.prompt_tokens_total,
    )?;
    gauge(
        "engine_generated_tokens_total",
        "counter",
        "Tokens generated.",
        stats.generated_tokens_total,
    )?;
    gauge(
        "engine_preemptions_total",
        "counter",
        "Sequences put back into the queue.",
        stats.preemptions_total,
    )?;
    gauge(
        "engine_cancelled_total",
        "counter",
        "Requests cancelled by their clients.",
        stats.cancelled_total,
    )?;
    gauge(
        "engine_steps_total",
        "counter",
        "Steps of the engine.",
        stats.steps_total,
    )
}
