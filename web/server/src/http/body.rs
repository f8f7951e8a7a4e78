//! Deadlines on the bodies of requests: a sender that falls silent loses its place.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::StatusCode;
use futures_util::{StreamExt, stream};

use super::error::Failure;

/// The sender of a body sent nothing for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nothing came for {} s", .0.as_secs())]
pub(super) struct Stalled(Duration);

/// The body, which fails with [`Stalled`] when its next piece takes longer than `idle`. How long the whole takes is not limited:
/// large files over slow lines arrive.
pub(super) fn with_idle_deadline(body: Body, idle: Duration) -> Body {
    if body.is_end_stream() {
        return body;
    }
    let pieces = Some(body.into_data_stream());
    Body::from_stream(stream::unfold(pieces, move |pieces| async move {
        let mut pieces = pieces?;
        match tokio::time::timeout(idle, pieces.next()).await {
            Ok(Some(Ok(piece))) => Some((Ok(piece), Some(pieces))),
            Ok(Some(Err(error))) => Some((Err(error), None)),
            Ok(None) => None,
            Err(_) => Some((Err(axum::Error::new(Stalled(idle))), None)),
        }
    }))
}

/// Whether an error, or one that it comes from, is [`Stalled`].
pub(super) fn is_stalled(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<Stalled>())
}

/// The answer to a request whose body does not come.
pub(super) fn too_slow() -> Failure {
    Failure::new(
        StatusCode::REQUEST_TIMEOUT,
        "too_slow",
        "The request did not arrive in time, so the server stopped waiting. Send it again.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_body_arrives_and_a_silent_one_does_not() {
        let pieces = |waits: &'static [u64]| {
            Body::from_stream(stream::iter(waits).then(|wait| async move {
                tokio::time::sleep(Duration::from_millis(*wait)).await;
                Ok::<_, std::io::Error>("x")
            }))
        };
        let idle = Duration::from_millis(300);
        let read = |body| axum::body::to_bytes(with_idle_deadline(body, idle), usize::MAX);
        let slow: &[u64] = &[50; 10];
        assert_eq!(read(pieces(slow)).await.unwrap().len(), 10);
        let error = read(pieces(&[10, 10, 5_000])).await.unwrap_err();
        assert!(is_stalled(&error), "{error}");
    }
}
