//! Connections: how many there may be, in all and of one client, and how long each may keep still.
//!
//! - Who gets a place, and who gives one up, is said in `places`. Connections that are half open, between requests or stalled
//!   keep nobody out.
//! - The head of a request has a deadline, which an unused connection has, too (hyper's `header_read_timeout`).
//! - A client that takes nothing of an answer for too long is cut off; one that takes a little now and then is not.
//!
//! Bodies have their deadlines in `http::body`. HTTP/1.1 alone is spoken: there a connection is one request at a time, which is
//! what these limits count. The address of the metrics has the same deadlines and caps of its own.

mod admission;
mod places;
mod stream;

use std::time::Duration;

use axum_server::Server;

pub(crate) use admission::Admission;

/// Largest head of a request, and most of a body or an answer that is held for a connection.
const BUFFER_BYTES: usize = 64 << 10;
/// Open at once on the address of the metrics, in all and of one client: a few programs that read them.
const MOST_OF_METRICS: usize = 32;
const MOST_OF_METRICS_PER_CLIENT: usize = 16;
/// Open files that are left for databases, indexes, uploads, children, and whoever reads the metrics.
const FILES_KEPT: u64 = 256 + MOST_OF_METRICS as u64;

/// How many connections, and how patient the server is with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Open at once, in all. Each takes some 20 kB and an open file; more are closed as they come.
    pub most: usize,
    /// Open at once of one client (an IPv4 address, a /64 of IPv6). People behind one address share it. Where fewer than four
    /// times as many are free, it is a quarter of those, and 8 at least.
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

    /// The same deadlines, with the caps of the address that has only the metrics.
    pub(crate) fn of_metrics(self) -> Self {
        Self {
            most: MOST_OF_METRICS,
            most_per_client: MOST_OF_METRICS_PER_CLIENT,
            ..self
        }
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
