//! Server-sent events of answers.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;

use crate::suite::Suite;

/// Comment lines at this interval keep proxies and browsers from giving up on a quiet stream.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// A response that streams events; `interrupted` are its last ones when the server stops before the end.
pub(super) fn respond(
    suite: &Suite,
    events: impl Stream<Item = Event> + Send + 'static,
    interrupted: Vec<Event>,
) -> Response {
    let cut_off = Box::pin(suite.wait_for_cut_off());
    let going_on = Some((Box::pin(events), cut_off));
    let events = stream::unfold((going_on, interrupted), |(going_on, mut last)| async move {
        let Some((mut events, mut cut_off)) = going_on else {
            return (!last.is_empty()).then(|| (last.remove(0), (None, last)));
        };
        tokio::select! {
            biased;
            () = &mut cut_off => (!last.is_empty()).then(|| (last.remove(0), (None, last))),
            event = events.next() => event.map(|event| (event, (Some((events, cut_off)), last))),
        }
    });
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
