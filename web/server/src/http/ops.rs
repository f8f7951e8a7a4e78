//! `/healthz` and `/metrics`: for supervisors, without secrets. Metrics tell who works when and how much, so that on the public
//! address only administrators read them; `[server] metrics_listen` gives them an address of their own.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

use crate::suite::Suite;

/// `{"status": "ok", "model": NAME|null, "reasons": []}`. 503 and `"broken"` when the database does not answer or the model's device has
/// failed, so that a supervisor restarts the server. 200 and `"degraded"` when the disk has too little room for documents or
/// messages: questions are answered while the database can grow, and a restart would not help, as it needs room too. The reasons
/// say what it is, without paths.
pub(super) async fn healthz(State(suite): State<Arc<Suite>>) -> Response {
    let model = suite.model.as_ref().map(|model| model.name());
    let mut status = "ok";
    let mut reasons = Vec::new();
    if suite
        .with_library(|library| library.check_room())
        .await
        .is_err()
    {
        status = "degraded";
        reasons.push("the disk of the data directory is nearly full: no documents are taken in");
    }
    match suite.has_admin().await {
        Ok(_) => {}
        Err(error) if error.is_disk_full() => {
            status = "degraded";
            reasons.push("the disk of the data directory is full: the database cannot be used");
        }
        Err(error) => {
            tracing::error!(%error, "the database does not answer");
            status = "broken";
            reasons.push("the database does not answer");
        }
    }
    if suite
        .model
        .as_ref()
        .is_some_and(|model| model.stats().is_broken)
    {
        status = "broken";
        reasons.push("the device of the language model has failed");
    }
    let code = match status {
        "broken" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    };
    let body = serde_json::json!({ "status": status, "model": model, "reasons": reasons });
    (code, Json(body)).into_response()
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

/// The service of the address that has only `/metrics`: whoever reaches it may read it.
pub(crate) fn metrics_router(suite: Arc<Suite>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .with_state(suite)
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
    gauge(
        "request_body_bytes",
        "gauge",
        "Bytes that bodies of requests hold while they arrive.",
        suite.bodies.all() as u64,
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
