//! Connections: how many there may be, in all and of one client, and how long each may keep still.
//!
//! - A connection beyond the caps takes the place of the oldest one that has not sent a request yet, of the same client or, where
//!   all places are taken, of any. Where there is none, it is closed at once. So half-open connections keep nobody out.
//!   Connections of trusted proxies count in all only, because they are many clients'.
//! - The head of a request has a deadline, which an unused connection has, too (hyper's `header_read_timeout`).
//! - A client that takes nothing of an answer for too long is cut off; one that takes a little now and then is not.
//!
//! Bodies have their deadlines in `http::body`. HTTP/1.1 alone is spoken: there a connection is one request at a time, which is
//! what these limits count.

use std::collections::{BTreeMap, HashMap};
use std::future::Ready;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum_server::Server;
use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::Sleep;
use tower::Service;

use crate::http::{ClientKey, Network};

/// Largest head of a request, and most of a body or an answer that is held for a connection.
const BUFFER_BYTES: usize = 64 << 10;
/// Open files that are left for databases, indexes, uploads and children.
const FILES_KEPT: u64 = 256;
/// A refusal is logged this often at most.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// How many connections, and how patient the server is with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Open at once, in all. Each takes some 20 kB and an open file; more are closed as they come.
    pub most: usize,
    /// Open at once of one client (an IPv4 address, a /64 of IPv6). People behind one address share it.
    pub most_per_client: usize,
    /// The head of a request is complete by then, and an unused connection is kept for so long.
    pub head: Duration,
    /// A client that takes nothing of an answer for so long is cut off.
    pub write: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            most: 4096,
            most_per_client: 256,
            head: Duration::from_secs(20),
            write: Duration::from_secs(60),
        }
    }
}

impl ConnectionLimits {
    /// The limits, lowered to what the open files of this process allow, which are raised as far as the system lets.
    pub(crate) fn within_open_files(self) -> Self {
        let Some(files) = allow_open_files(self.most as u64 + FILES_KEPT) else {
            return self;
        };
        let room = usize::try_from(files.saturating_sub(FILES_KEPT)).unwrap_or(usize::MAX);
        if room >= self.most {
            return self;
        }
        let most = room.max(16);
        tracing::warn!(
            most,
            files,
            "the limit of open files (`ulimit -n`) leaves room for fewer connections than `max_connections` under [server]"
        );
        Self { most, ..self }
    }

    /// Gives a server its deadlines.
    pub(crate) fn prepare<A>(
        &self,
        server: Server<std::net::SocketAddr, A>,
    ) -> Server<std::net::SocketAddr, A> {
        let mut server = server.http1_only();
        server
            .http_builder()
            .http1()
            .header_read_timeout(self.head)
            .max_buf_size(BUFFER_BYTES);
        server
    }
}

/// Raises the limit of open files to `wanted` or as far as it goes; returns the limit then.
fn allow_open_files(wanted: u64) -> Option<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid place for the result, and lives for the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return None;
    }
    if limit.rlim_cur >= wanted {
        return Some(limit.rlim_cur);
    }
    let raised = libc::rlimit {
        rlim_cur: wanted.min(limit.rlim_max),
        rlim_max: limit.rlim_max,
    };
    // SAFETY: `raised` is a valid value that lives for the call.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } {
        0 => Some(raised.rlim_cur),
        _ => Some(limit.rlim_cur),
    }
}

/// Counts connections and refuses those beyond the caps. An acceptor of `axum-server`, under TLS where there is TLS.
#[derive(Clone)]
pub(crate) struct Admission(Arc<Shared>);

struct Shared {
    limits: ConnectionLimits,
    trusted_proxies: Vec<Network>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    all: usize,
    by_client: HashMap<ClientKey, usize>,
    /// Connections without a request so far, the oldest first.
    fresh: BTreeMap<u64, Fresh>,
    next_id: u64,
    warned: Option<Instant>,
}

struct Fresh {
    client: Option<ClientKey>,
    /// Dropping it closes the connection.
    alive: oneshot::Sender<()>,
}

impl Open {
    /// Closes the oldest connection without a request, of this client or, for `None`, of anybody; false when there is none.
    fn close_a_fresh_one(&mut self, client: Option<ClientKey>) -> bool {
        let is_meant = |fresh: &Fresh| client.is_none() || fresh.client == client;
        let oldest = self.fresh.iter().find(|(_, fresh)| is_meant(fresh));
        let id = oldest.map(|(id, _)| *id);
        id.and_then(|id| self.fresh.remove(&id)).is_some()
    }

    fn warn(&mut self, peer: IpAddr, of_client: usize) {
        if self.warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
            self.warned = Some(Instant::now());
            tracing::warn!(address = %peer, of_client, all = self.all, "too many connections; more are closed");
        }
    }
}

impl Admission {
    pub fn new(limits: ConnectionLimits, trusted_proxies: Vec<Network>) -> Self {
        Self(Arc::new(Shared {
            limits,
            trusted_proxies,
            open: Mutex::default(),
        }))
    }

    /// A place for a connection from this address, if there is one or can be one.
    fn place(&self, peer: IpAddr) -> io::Result<(Place, oneshot::Receiver<()>)> {
        let shared = &self.0;
        let proxies = &shared.trusted_proxies;
        let client = match proxies.iter().any(|network| network.contains(peer)) {
            true => None,
            false => Some(ClientKey::of(peer)),
        };
        let mut open = shared.lock();
        let of_client = client.and_then(|client| open.by_client.get(&client).copied());
        let of_client = of_client.unwrap_or(0);
        // What is closed for it counts until its task has noticed, so both may be exceeded for a moment.
        let is_admitted = if of_client >= shared.limits.most_per_client {
            open.close_a_fresh_one(client)
        } else {
            open.all < shared.limits.most || open.close_a_fresh_one(None)
        };
        if !is_admitted {
            open.warn(peer, of_client);
            return Err(io::Error::other("too many connections"));
        }
        open.all += 1;
        if let Some(client) = client {
            *open.by_client.entry(client).or_default() += 1;
        }
        let id = open.next_id;
        open.next_id += 1;
        let (alive, closed) = oneshot::channel();
        let fresh = Fresh { client, alive };
        open.fresh.insert(id, fresh);
        let shared = Arc::clone(shared);
        Ok((Place { shared, client, id }, closed))
    }

    fn admit<S>(&self, stream: TcpStream, service: S) -> io::Result<(Connection, Begins<S>)> {
        let (place, closed) = self.place(stream.peer_addr()?.ip())?;
        // Words of an answer leave as they come. Where the system refuses, they come in larger pieces.
        let _ = stream.set_nodelay(true);
        let service = Begins {
            service,
            shared: Arc::clone(&self.0),
            id: place.id,
        };
        let connection = Connection {
            stream,
            patience: self.0.limits.write,
            stalled: None,
            closed: Some(closed),
            _place: place,
        };
        Ok((connection, service))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a connection has sent a request, after which it is closed for nobody.
    fn has_begun(&self, id: u64) {
        let fresh = self.lock().fresh.remove(&id);
        if let Some(fresh) = fresh {
            // An answer, which keeps the connection, in contrast to dropping the sender.
            let _ = fresh.alive.send(());
        }
    }
}

impl<S> Accept<TcpStream, S> for Admission {
    type Stream = Connection;
    type Service = Begins<S>;
    type Future = Ready<io::Result<(Connection, Begins<S>)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        std::future::ready(self.admit(stream, service))
    }
}

/// A connection's service, which notes its first request.
#[derive(Clone)]
pub(crate) struct Begins<S> {
    service: S,
    shared: Arc<Shared>,
    id: u64,
}

impl<R, S: Service<R>> Service<R> for Begins<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.shared.has_begun(self.id);
        self.service.call(request)
    }
}

/// The place of a connection; dropping it gives it back.
struct Place {
    shared: Arc<Shared>,
    client: Option<ClientKey>,
    id: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.shared.lock();
        open.all -= 1;
        open.fresh.remove(&self.id);
        let Some(client) = self.client else {
            return;
        };
        if let Some(count) = open.by_client.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                open.by_client.remove(&client);
            }
        }
    }
}

/// A stream whose writes fail when the other side takes nothing for too long, and whose reads fail when another connection gets
/// its place.
pub(crate) struct Connection {
    stream: TcpStream,
    patience: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Ends with an error when the place is another's; `None` once there was a request.
    closed: Option<oneshot::Receiver<()>>,
    _place: Place,
}

impl Connection {
    /// The outcome of a write, or the error once writes have waited for too long.
    fn write<T>(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let outcome = write(Pin::new(&mut self.stream), context);
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let patience = self.patience;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(closed) = &mut self.closed {
            match Pin::new(closed).poll(context) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.closed = None,
                Poll::Ready(Err(_)) => {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                }
            }
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |stream, context| {
            stream.poll_write_vectored(context, pieces)
        })
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write(context, |stream, context| stream.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write(context, |stream, context| stream.poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn admission(most: usize, most_per_client: usize) -> Admission {
        let limits = ConnectionLimits {
            most,
            most_per_client,
            write: Duration::from_millis(200),
            ..ConnectionLimits::default()
        };
        Admission::new(limits, vec!["10.0.0.0/8".parse().unwrap()])
    }

    /// The place of a connection that has sent a request.
    fn busy(admission: &Admission, address: &str) -> io::Result<Place> {
        let (place, mut closed) = admission.place(address.parse().unwrap())?;
        admission.0.has_begun(place.id);
        assert_eq!(closed.try_recv(), Ok(()));
        Ok(place)
    }

    #[test]
    fn one_client_cannot_take_all_places_and_proxies_are_many_clients() {
        let admission = admission(5, 2);
        let first = busy(&admission, "192.0.2.1").unwrap();
        let _second = busy(&admission, "::ffff:192.0.2.1").unwrap();
        assert!(busy(&admission, "192.0.2.1").is_err());
        let proxied: Vec<_> = (0..3)
            .map(|_| busy(&admission, "10.0.0.1").unwrap())
            .collect();
        assert!(busy(&admission, "192.0.2.2").is_err(), "all are taken");
        assert!(busy(&admission, "10.0.0.1").is_err());
        drop(first);
        let _other = busy(&admission, "192.0.2.2").unwrap();
        drop(proxied);
        let _third = busy(&admission, "192.0.2.1").unwrap();
        assert!(busy(&admission, "192.0.2.1").is_err());
        let open = admission.0.lock();
        assert_eq!((open.all, open.by_client.len()), (3, 2));
        assert!(open.fresh.is_empty());
    }

    #[test]
    fn half_open_connections_give_way_the_oldest_first_and_of_the_same_client() {
        let admission = admission(4, 2);
        let place = |address: &str| admission.place(address.parse().unwrap()).unwrap();
        let (_mine, mut mine) = place("192.0.2.9");
        let (_a, mut a) = place("192.0.2.1");
        let (_b, mut b) = place("192.0.2.1");
        let (_c, mut c) = place("192.0.2.1");
        let is_closed = |receiver: &mut oneshot::Receiver<()>| {
            receiver.try_recv() == Err(oneshot::error::TryRecvError::Closed)
        };
        assert!(is_closed(&mut a) && !is_closed(&mut b) && !is_closed(&mut c));
        assert!(!is_closed(&mut mine));
        // All four places are taken; the oldest of anybody goes.
        let (_d, _) = place("192.0.2.8");
        assert!(is_closed(&mut mine));
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_cut_off_and_one_that_lost_its_place_is_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admission = admission(1, 1);
        let client = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (stream, _) = listener.accept().await.unwrap();
        let (mut connection, _service) = admission.admit(stream, ()).unwrap();
        let write = async { while connection.write_all(&[0; 1 << 16]).await.is_ok() {} };
        let ended = tokio::time::timeout(Duration::from_secs(20), write).await;
        assert!(ended.is_ok(), "the write still waits");
        let _newcomer = admission.place("127.0.0.1".parse().unwrap()).unwrap();
        let read = connection.read(&mut [0; 1]).await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        drop(client);
    }
}
