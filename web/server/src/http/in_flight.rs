//! Requests under way of one client behind a trusted proxy. The proxy's connections are many clients', so the cap on connections
//! does not see them; this counts their requests instead, each until its answer is sent.

use axum::body::{Body, HttpBody};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use super::error::Failure;
use crate::client_address::{Client, ClientKey};
use crate::suite::Suite;
use crate::suite::places::Places;

/// A place for the request, where one is needed.
pub(super) fn admit(suite: &Suite, client: Client) -> Result<Option<Places<ClientKey>>, Failure> {
    if !client.is_proxied {
        return Ok(None);
    }
    let most = suite.config.max_requests_per_client;
    let place = suite.requests.take(client.key, 1, most).map_err(|error| {
        Failure::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_requests",
            format!(
                "{most} requests are under way from your address, the most that one may have (`max_connections_per_client`). \
                 Wait for one to end."
            ),
        )
        .retry_after(error.retry_after())
    })?;
    Ok(Some(place))
}

/// The response, which holds the place until it is sent or its client is gone.
pub(super) fn hold(place: Option<Places<ClientKey>>, response: Response) -> Response {
    let Some(place) = place else {
        return response;
    };
    let (mut parts, body) = response.into_parts();
    if body.is_end_stream() {
        return Response::from_parts(parts, body);
    }
    // A stream does not know its length.
    if let Some(length) = body.size_hint().exact() {
        parts
            .headers
            .entry(header::CONTENT_LENGTH)
            .or_insert(HeaderValue::from(length));
    }
    let pieces = place.hold(body.into_data_stream());
    Response::from_parts(parts, Body::from_stream(pieces))
}
