//! JSON bodies and queries whose rejections have the right shape, in words of our own.
//!
//! A body is held in memory until it is read; [`HeldBytes`](crate::suite::held_bytes::HeldBytes) bounds what all of them and
//! those of one sender hold. Uploads are not among them: they go to the disk while they arrive.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_json::{Map, Value};

use super::AppState;
use super::body::{is_stalled, too_slow};
use super::error::Failure;
use super::kind::{Kind, in_words, shown};
use crate::auth::CurrentUser;
use crate::client_address::Client;
use crate::suite::Suite;
use crate::suite::held_bytes::{Holding, NoRoom, Sender};

/// How much of a body that is refused is read and dropped. A client that is still sending when the connection closes sees a
/// broken connection and not the answer that says why.
const DRAINED_BYTES: usize = 16 << 20;
/// A client whose body is refused and that sends nothing for so long is not sending, but waiting for its answer, or for nothing.
const DRAIN_PAUSE: Duration = Duration::from_secs(1);

/// Largest body of somebody who is not signed in: an address and a password. Whoever holds many such bodies open holds no memory.
const STRANGERS_BODY_BYTES: usize = 16 << 10;
/// A JSON body has arrived by then. 2 MiB need a line of 35 kB/s, the 8 MiB of embeddings one of 140 kB/s.
const LONGEST_ARRIVAL: Duration = Duration::from_secs(60);

/// A JSON body of `/api/*`.
pub(super) struct Json<T>(pub T);

/// The query of an address under `/api/*`.
pub(super) struct Query<T>(pub T);

/// What is read from a body of `/api/*`.
pub(super) trait Fields: DeserializeOwned {
    /// All fields that are read. Others are ignored; `null` is absent.
    const FIELDS: &'static [Field];
}

/// A field of a body.
pub(super) struct Field {
    pub name: &'static str,
    pub kind: Kind,
    pub is_required: bool,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        let axum::extract::Query(value) = query.map_err(|_| {
            Failure::invalid(
                "The query of the address cannot be read. Each name may stand in it once.",
            )
        })?;
        Ok(Query(value))
    }
}

/// The number of a query.
///
/// # Errors
/// 400 naming it.
pub(super) fn number(name: &'static str, text: Option<&str>) -> Result<Option<usize>, Failure> {
    let read = |text: &str| {
        text.parse().map_err(|_| {
            let text = shown(text);
            let reason = format!("{name} must be a whole number, 0 or more; it is `{text}`.");
            Failure::invalid_param(name, reason)
        })
    };
    text.map(read).transpose()
}

impl<T: Fields> FromRequest<AppState> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Failure> {
        let limit = state.suite.config.max_body_bytes;
        let mut body = object(limit, request, &state.suite).await?;
        body.retain(|_, value| !value.is_null());
        for field in T::FIELDS {
            match body.get(field.name) {
                Some(value) => field.kind.check(field.name, value)?,
                None if field.is_required => return Err(Failure::missing(field.name)),
                None => {}
            }
        }
        // The parser's words are about our types and stay here.
        let value = serde_json::from_value(Value::Object(body));
        let value =
            value.map_err(|_| Failure::invalid("A value of the request is out of range."))?;
        Ok(Json(value))
    }
}

/// The JSON object of a request's body, which has at most `limit` bytes.
pub(super) async fn object(
    limit: usize,
    request: Request,
    suite: &Suite,
) -> Result<Map<String, Value>, Failure> {
    let (parts, body) = request.into_parts();
    // The guard of the route has run.
    let user = parts.extensions.get::<CurrentUser>();
    let (sender, limit) = match (user, parts.extensions.get::<Client>()) {
        (Some(user), _) => (Sender::Account(user.id), limit),
        (None, Some(client)) => (Sender::Client(client.key), limit.min(STRANGERS_BODY_BYTES)),
        (None, None) => unreachable!("every request has a client, see `around_every_request`"),
    };
    let arriving = Arriving::new(suite.bodies.begin(sender), limit);
    let arrived = tokio::time::timeout(LONGEST_ARRIVAL, arriving.read(body))
        .await
        .map_err(|_| too_slow())??;
    if !is_json(&parts.headers) {
        return Err(Failure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not_json",
            "The request must be JSON: send the header `Content-Type: application/json`.",
        ));
    }
    match serde_json::from_slice(&arrived.bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(Failure::invalid(format!(
            "The body must be a JSON object; it is {}.",
            in_words(&other)
        ))),
        Err(error) => Err(no_json(&error)),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let Some((kind, subtype)) = kind.and_then(|kind| kind.split(';').next()?.split_once('/'))
    else {
        return false;
    };
    let (kind, subtype) = (kind.trim(), subtype.trim().to_ascii_lowercase());
    kind.eq_ignore_ascii_case("application") && (subtype == "json" || subtype.ends_with("+json"))
}

fn no_json(error: &serde_json::Error) -> Failure {
    let (line, column) = (error.line(), error.column());
    Failure::invalid(match error.classify() {
        Category::Eof => "The body is no JSON: it ends too early.".to_owned(),
        Category::Io | Category::Syntax | Category::Data => {
            format!("The body is no JSON: line {line}, column {column} cannot be read.")
        }
    })
}

/// A body while it arrives.
struct Arriving {
    bytes: Vec<u8>,
    limit: usize,
    holding: Holding<Sender>,
}

impl Arriving {
    fn new(holding: Holding<Sender>, limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            limit,
            holding,
        }
    }

    /// Reads the body to its end. What is refused is let go of and then read on, see [`drain`].
    async fn read(mut self, body: Body) -> Result<Self, Failure> {
        let mut pieces = body.into_data_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| match is_stalled(&error) {
                true => too_slow(),
                false => Failure::invalid("The request broke off. Send it again."),
            })?;
            if let Err(failure) = self.push(&piece) {
                let read = self.bytes.len() + piece.len();
                drop((self, piece));
                drain(pieces, read).await;
                return Err(failure);
            }
        }
        Ok(self)
    }

    fn push(&mut self, piece: &[u8]) -> Result<(), Failure> {
        let needed = self.bytes.len() + piece.len();
        if needed > self.limit {
            return Err(too_large(self.limit));
        }
        let there = self.bytes.capacity();
        if needed > there {
            // What is reserved counts, used or not.
            let wanted = needed.max(2 * there).min(self.limit);
            self.holding
                .grow(wanted - there)
                .map_err(|NoRoom| no_room())?;
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }
}

/// Reads on and drops what comes, up to [`DRAINED_BYTES`] with what was read before.
async fn drain(mut pieces: BodyDataStream, mut read: usize) {
    while read <= DRAINED_BYTES {
        match tokio::time::timeout(DRAIN_PAUSE, pieces.next()).await {
            Ok(Some(Ok(piece))) => read += piece.len(),
            Ok(Some(Err(_)) | None) | Err(_) => return,
        }
    }
}

fn too_large(limit: usize) -> Failure {
    Failure::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too_large",
        format!(
            "The request's body is larger than {} KiB, the most that is read.",
            limit / 1024
        ),
    )
}

fn no_room() -> Failure {
    Failure::busy(
        "The server is receiving as many large requests as it has memory for, or as one account may send at once. Try again in \
         a few seconds.",
    )
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn json_is_known_by_its_type_whatever_its_parameters() {
        let with = |kind: &'static str| {
            HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))])
        };
        for json in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/vnd.api+json",
        ] {
            assert!(is_json(&with(json)), "{json}");
        }
        for other in [
            "text/plain",
            "text/json",
            "json",
            "multipart/form-data; a=json",
        ] {
            assert!(!is_json(&with(other)), "{other}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }

    #[test]
    fn mistakes_in_json_are_told_with_their_place_and_without_what_was_sent() {
        let failure =
            |text: &str| no_json(&serde_json::from_str::<Value>(text).unwrap_err()).message;
        assert_eq!(
            failure("{\"a\": "),
            "The body is no JSON: it ends too early."
        );
        assert_eq!(failure(""), "The body is no JSON: it ends too early.");
        let message = failure("{\"secret\": nothing}");
        assert!(
            message.starts_with("The body is no JSON: line 1, column 1"),
            "{message}"
        );
        assert!(!message.contains("secret"), "{message}");
    }

    #[test]
    fn numbers_of_a_query_are_named_when_they_are_none() {
        assert_eq!(number("after", None).unwrap(), None);
        assert_eq!(number("after", Some("12")).unwrap(), Some(12));
        for wrong in ["-1", "x", "", "1.5"] {
            let failure = number("after", Some(wrong)).unwrap_err();
            assert_eq!(
                failure.message,
                format!("after must be a whole number, 0 or more; it is `{wrong}`.")
            );
        }
    }
}
