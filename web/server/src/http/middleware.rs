//! Around every request: its id, its client, its span in the log, its place in the metrics, the deadline of its body, security
//! headers, and a caught panic.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tracing::Instrument;
use uuid::Uuid;
use web_api::REQUEST_ID_HEADER;

use super::body::with_idle_deadline;
use super::error::{Failure, stopping};
use super::in_flight::{admit, hold};
use super::request_id::REQUEST_ID;
use crate::client_address::{Client, client_address};
use crate::suite::Suite;

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
    let (request, client) = prepared(&suite, request);
    let span =
        tracing::info_span!("request", request_id = %id, %method, route, client = %client.address);
    let path = request.uri().path();
    let is_openai = path == "/v1" || path.starts_with("/v1/");
    let work = async {
        let place = match admit(&suite, client) {
            Ok(place) => place,
            Err(failure) => return in_shape(failure, is_openai),
        };
        let response = tokio::select! {
            response = AssertUnwindSafe(next.run(request)).catch_unwind() => match response {
                Ok(response) => with_body(response, is_openai),
                Err(_) => panicked(is_openai),
            },
            () = suite.wait_for_cut_off() => in_shape(stopping(), is_openai),
        };
        hold(place, response)
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

/// The request with its [`Client`] and a deadline on its body.
fn prepared(suite: &Suite, mut request: Request) -> (Request, Client) {
    let client = client_of(suite, &request);
    request.extensions_mut().insert(client);
    let request = request.map(|body| with_idle_deadline(body, suite.config.body_idle));
    (request, client)
}

fn client_of(suite: &Suite, request: &Request) -> Client {
    // Without a connection (a test that calls the router) all are one client.
    let peer = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |info| info.0.ip());
    let client = client_address(peer, request.headers(), &suite.config.trusted_proxies);
    if !client.is_proxied && request.headers().contains_key("x-forwarded-for") {
        say_once_that_a_proxy_is_not_trusted(peer);
    }
    client
}

fn say_once_that_a_proxy_is_not_trusted(peer: IpAddr) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            %peer,
            "a request says on whose behalf it comes, but its sender is not in `trusted_proxies` under [server]. If that is your \
             proxy, add it: until then all people behind it share the limits of one client"
        );
    }
}

/// The panic hook has logged the place; the client gets the request id and no more.
fn panicked(is_openai: bool) -> Response {
    tracing::error!("a handler panicked");
    let failure = Failure::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "Something went wrong on the server. Try again; if it happens again, give the request id to an administrator.",
    );
    in_shape(failure, is_openai)
}

/// Says in JSON what the router says with a status alone: that an address does not take the method.
fn with_body(response: Response, is_openai: bool) -> Response {
    if response.status() != StatusCode::METHOD_NOT_ALLOWED {
        return response;
    }
    // The router adds the header after this.
    let failure = Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "This address does not take this method; the header `Allow` of this answer names those it takes.",
    );
    in_shape(failure, is_openai)
}

fn in_shape(failure: Failure, is_openai: bool) -> Response {
    match is_openai {
        true => failure.into_openai_response(),
        false => failure.into_response(),
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
