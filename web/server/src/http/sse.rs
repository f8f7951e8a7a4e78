//! Server-sent events of answers.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;

use web_api::AnswerEvent;

use super::error::Failure;
use crate::suite::Suite;

/// Comment lines at this interval keep proxies and browsers from giving up on a quiet stream.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The last event of an answer that a failure ends.
pub(super) fn last_word(failure: Failure) -> Event {
    let event = AnswerEvent::Error {
        message: failure.message,
    };
    json(&event).event(event.name())
}

/// The last lines of a stream of `/v1/*` that a failure ends.
pub(super) fn last_words_openai(failure: &Failure) -> Vec<Event> {
    vec![error_event(failure), done()]
}

/// The line that ends a stream of `/v1/*`.
pub(super) fn done() -> Event {
    Event::default().data("[DONE]")
}

/// The line of a stream that tells of a failure after 200 was sent.
pub(super) fn error_event(failure: &Failure) -> Event {
    json(&failure.openai_body())
}

/// A response that streams events; `interrupted` are its last ones when the server stops before the end.
pub(super) fn respond(
    suite: &Suite,
    events: impl Stream<Item = Event> + Send + 'static,
    interrupted: Vec<Event>,
) -> Response {
    let interrupted = stream::iter(interrupted);
    let events = until_cut_off(events, suite.wait_for_cut_off(), interrupted);
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

/// The body of a response that streams events, until `ended` completes before its end; then the events `last`.
pub(super) fn end_with(
    body: Body,
    ended: impl Future<Output = ()> + Send + 'static,
    last: Vec<Event>,
) -> Body {
    let last = stream::iter(last).map(Ok::<_, Infallible>);
    let last = Sse::new(last).into_response().into_body();
    Body::from_stream(until_cut_off(
        body.into_data_stream(),
        ended,
        last.into_data_stream(),
    ))
}

/// The items; those of `last` instead of the rest once `cut_off` completes, when the rest is dropped.
fn until_cut_off<T: Send + 'static>(
    items: impl Stream<Item = T> + Send + 'static,
    cut_off: impl Future<Output = ()> + Send + 'static,
    last: impl Stream<Item = T> + Send + Unpin + 'static,
) -> impl Stream<Item = T> + Send + 'static {
    let going_on = Some((Box::pin(items), Box::pin(cut_off)));
    stream::unfold((going_on, last), |(going_on, mut last)| async move {
        if let Some((mut items, mut cut_off)) = going_on {
            tokio::select! {
                biased;
                () = &mut cut_off => {}
                item = items.next() => return item.map(|item| (item, (Some((items, cut_off)), last))),
            }
        }
        last.next().await.map(|item| (item, (None, last)))
    })
}

/// An event whose data is JSON.
pub(super) fn json(data: &impl Serialize) -> Event {
    Event::default()
        .json_data(data)
        .expect("wire types are JSON without line breaks")
}
