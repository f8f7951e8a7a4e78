//! Takes connections in: an acceptor of `axum-server`, under TLS where there is TLS, whose services note their requests.

use std::convert::Infallible;
use std::future::{Future, Ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::BoxError;
use axum::body::{Body, BodyDataStream, Bytes, HttpBody};
use axum::http::{HeaderValue, Request, Response, header};
use axum_server::accept::Accept;
use futures_util::{Stream, StreamExt};
use tokio::net::TcpStream;
use tower::Service;

use super::ConnectionLimits;
use super::places::{Places, Requests};
use super::stream::Connection;
use crate::client_address::Network;

/// Gives connections their places and refuses those beyond the caps.
#[derive(Clone)]
pub(crate) struct Admission(Arc<Places>);

impl Admission {
    pub fn new(limits: ConnectionLimits, trusted_proxies: Vec<Network>) -> Self {
        Self(Places::new(limits, trusted_proxies))
    }

    fn admit<S>(&self, stream: TcpStream, service: S) -> io::Result<(Connection, Noting<S>)> {
        let (place, lost) = self.0.take(stream.peer_addr()?.ip())?;
        // Words of an answer leave as they come. Where the system refuses, they come in larger pieces.
        let _ = stream.set_nodelay(true);
        let requests = place.requests();
        let connection = Connection::new(stream, self.0.limits().write, place, lost);
        Ok((connection, Noting { service, requests }))
    }
}

impl<S> Accept<TcpStream, S> for Admission {
    type Stream = Connection;
    type Service = Noting<S>;
    type Future = Ready<io::Result<(Connection, Noting<S>)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        std::future::ready(self.admit(stream, service))
    }
}

/// A connection's service, which notes what the connection is at.
#[derive(Clone)]
pub(crate) struct Noting<S> {
    service: S,
    requests: Requests,
}

impl<B, S> Service<Request<B>> for Noting<S>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let under_way = self.requests.begin();
        let request = request.map(|body| match body.is_end_stream() {
            true => Body::empty(),
            false => holding(self.requests.await_body(), Body::new(body)),
        });
        let response = self.service.call(request);
        Box::pin(async move {
            let (mut parts, body) = response.await?.into_parts();
            if body.is_end_stream() {
                return Ok(Response::from_parts(parts, body));
            }
            // A stream does not know its length.
            if let Some(length) = body.size_hint().exact() {
                let lengths = parts.headers.entry(header::CONTENT_LENGTH);
                lengths.or_insert(HeaderValue::from(length));
            }
            Ok(Response::from_parts(parts, holding(under_way, body)))
        })
    }
}

/// The body, which holds something until it has ended or is dropped.
fn holding<T: Send + Unpin + 'static>(held: T, body: Body) -> Body {
    Body::from_stream(Holding(Some((body.into_data_stream(), held))))
}

struct Holding<T>(Option<(BodyDataStream, T)>);

impl<T: Unpin> Stream for Holding<T> {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some((pieces, _)) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let piece = ready!(pieces.poll_next_unpin(context));
        if !matches!(piece, Some(Ok(_))) {
            self.0 = None;
        }
        Poll::Ready(piece)
    }
}
