//! Server-sent events of answers.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use serde::Serialize;

/// Comment lines at this interval keep proxies and browsers from giving up on a quiet stream.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// A response that streams events.
pub(super) fn respond(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    use futures_util::StreamExt;
    let events = events.map(Ok::<_, Infallible>);
    let mut response = Sse::new(events)
        .keep_alive(KeepAlive::new().interval(HEARTBEAT))
        .into_response();
    // nginx buffers responses unless told not to.
    response.headers_mut().insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}

/// An event whose data is JSON.
pub(super) fn json(data: &impl Serialize) -> Event {
    Event::default()
        .json_data(data)
        .expect("wire types are JSON without line breaks")
}
