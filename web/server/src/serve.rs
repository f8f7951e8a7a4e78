//! Runs the suite: public HTTP and the local socket, until asked to stop.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::db::DatabaseError;
use crate::http::router;
use crate::local::socket::{self, SocketError};
use crate::suite::Suite;
use crate::suite::upload::read_uploads;

/// How to serve.
pub struct ServeConfig {
    /// Address of the public service. Port 0 takes a free one; see [`Ready::url`].
    pub listen: SocketAddr,
    /// Requests still running this long after the signal to stop are cut off.
    pub grace: Duration,
    /// Called once, when requests are accepted.
    pub on_ready: Box<dyn FnOnce(Ready) + Send>,
}

impl ServeConfig {
    /// Serves on an address and calls back when ready.
    pub fn new(listen: SocketAddr, on_ready: impl FnOnce(Ready) + Send + 'static) -> Self {
        Self {
            listen,
            grace: Duration::from_secs(10),
            on_ready: Box::new(on_ready),
        }
    }
}

/// What to tell the person who started the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// Address actually bound.
    pub address: SocketAddr,
    /// Where the page is.
    pub url: String,
    /// One-time link that creates the first administrator; `None` once there is one. Good until used or the next start.
    pub setup_link: Option<String>,
    /// Path of the local socket.
    pub socket: PathBuf,
}

/// Why serving could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Somebody else has the port, or the address is not ours.
    #[error("cannot listen on {listen}: {source}")]
    Listen {
        /// The address asked for.
        listen: SocketAddr,
        /// Why; `AddrInUse` when another program has the port.
        #[source]
        source: std::io::Error,
    },
    /// The local socket cannot be made.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The setup link could not be stored.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Accepting connections failed.
    #[error("the server stopped: {source}")]
    Http {
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Serves until `shutdown` completes, then lets running requests end for the grace period.
///
/// # Errors
/// [`ServeError`]; nothing keeps running then.
pub async fn serve(
    suite: Arc<Suite>,
    config: ServeConfig,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let listen = config.listen;
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|source| ServeError::Listen { listen, source })?;
    let address = listener
        .local_addr()
        .map_err(|source| ServeError::Listen { listen, source })?;
    let local = socket::bind(&suite.config.data_dir)?;
    let setup_token = suite.issue_setup_link().await?;

    let url = format!("http://{}", reachable(address));
    (config.on_ready)(Ready {
        address,
        setup_link: setup_token.map(|token| format!("{url}/setup#token={token}")),
        url,
        socket: local.path().to_owned(),
    });

    let (stop, stopped) = watch::channel(false);
    let local_task = tokio::spawn(socket::accept(Arc::clone(&suite), local, stopped.clone()));
    let uploads_task = tokio::spawn(read_uploads(Arc::clone(&suite)));
    let service = router(Arc::clone(&suite)).into_make_service_with_connect_info::<SocketAddr>();
    let mut http_stopped = stopped.clone();
    let http = axum::serve(listener, service).with_graceful_shutdown(async move {
        // An error means that the sender is gone, which is a reason to stop, too.
        let _ = http_stopped.wait_for(|stop| *stop).await;
    });
    let mut http_task = tokio::spawn(async move { http.await });

    let result = tokio::select! {
        () = shutdown => {
            suite.answers.stop_all();
            stop.send_replace(true);
            match tokio::time::timeout(config.grace, &mut http_task).await {
                Ok(result) => result,
                Err(_) => {
                    http_task.abort();
                    Ok(Ok(()))
                }
            }
        }
        result = &mut http_task => result,
    };
    stop.send_replace(true);
    // What was not read yet is on disk and is read at the next start.
    uploads_task.abort();
    if tokio::time::timeout(config.grace, local_task)
        .await
        .is_err()
    {
        tracing::warn!("a command on the local socket did not end in time");
    }
    match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(source)) => Err(ServeError::Http { source }),
        Err(error) => Err(ServeError::Http {
            source: std::io::Error::other(error),
        }),
    }
}

/// An address that a browser on this machine can open: `0.0.0.0` and `::` are not.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => {
            SocketAddr::from(([127, 0, 0, 1], v4.port()))
        }
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
            SocketAddr::from(([127, 0, 0, 1], v6.port()))
        }
        other => other,
    }
}
