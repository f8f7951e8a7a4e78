//! Around every request: its id, its span in the log, its place in the metrics, security headers, and a caught panic.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tracing::Instrument;
use uuid::Uuid;
use web_api::REQUEST_ID_HEADER;

use super::error::Failure;
use crate::suite::Suite;

tokio::task_local! {
    static REQUEST_ID: String;
}

/// Id of the request that this task answers, if it answers one.
pub(super) fn current_request_id() -> Option<String> {
    REQUEST_ID.try_with(String::clone).ok()
}

/// See the module.
pub(super) async fn around_every_request(
    State(suite): State<Arc<Suite>>,
    request: Request,
    next: Next,
) -> Response {
    let id = Uuid::new_v4().simple().to_string();
    let method = request.method().clone();
    // The pattern and not the path: ids of conversations do not belong into logs and metrics.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("none", MatchedPath::as_str)
        .to_owned();
    let started = Instant::now();
    let span = tracing::info_span!("request", request_id = %id, %method, route);
    let work = async {
        match AssertUnwindSafe(next.run(request)).catch_unwind().await {
            Ok(response) => response,
            Err(_) => panicked(&route),
        }
    };
    let mut response = REQUEST_ID
        .scope(id.clone(), work.instrument(span.clone()))
        .await;
    let elapsed = started.elapsed();
    suite
        .metrics
        .request_finished(&method, &route, response.status(), elapsed);
    span.in_scope(|| tracing::debug!(status = response.status().as_u16(), ?elapsed, "answered"));
    let headers = response.headers_mut();
    headers.insert(
        HeaderName::from_static(REQUEST_ID_HEADER),
        HeaderValue::from_str(&id).expect("hex digits"),
    );
    add_security_headers(headers, suite.config.secure_cookies);
    response
}

/// The panic hook has logged the place; the client gets the request id and no more.
fn panicked(route: &str) -> Response {
    tracing::error!("a handler panicked");
    let failure = Failure::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "Something went wrong on the server. Try again; if it happens again, give the request id to an administrator.",
    );
    if route.starts_with("/v1/") {
        failure.into_openai_response()
    } else {
        failure.into_response()
    }
}

fn add_security_headers(headers: &mut HeaderMap, behind_tls: bool) {
    let mut default = |name: &'static str, value: &'static str| {
        headers
            .entry(HeaderName::from_static(name))
            .or_insert(HeaderValue::from_static(value));
    };
    // Pages bring their own policy with a nonce; everything else is data and may do nothing.
    default(
        "content-security-policy",
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    );
    default("x-content-type-options", "nosniff");
    default("x-frame-options", "DENY");
    // `same-origin` and not `no-referrer`: the latter makes browsers send `Origin: null` with forms of our own page.
    default("referrer-policy", "same-origin");
    default("cross-origin-opener-policy", "same-origin");
    default("cross-origin-resource-policy", "same-origin");
    default(
        "permissions-policy",
        "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    );
    default("cache-control", "no-store");
    if behind_tls {
        default("strict-transport-security", "max-age=31536000");
    }
    headers.remove(header::SERVER);
}
