//! Runs the suite: public HTTP or HTTPS and the local socket, until asked to stop.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use axum_server::{Handle, Server};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::connections::{Admission, ConnectionLimits};
use crate::db::DatabaseError;
use crate::http::{metrics_router, router};
use crate::local::socket::{self, SocketError};
use crate::suite::Suite;
use crate::suite::upload::read_uploads;
use crate::tls::{Loaded, TlsError, TlsFiles};

/// A client that has not finished its TLS handshake by then is cut off.
const LONGEST_HANDSHAKE: Duration = Duration::from_secs(10);

/// How often the databases are written anew after deletions.
const TIDY_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// How long answers that are cut off may take to say so; a client that does not read is not waited for longer.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How to serve.
pub struct ServeConfig {
    /// Address of the public service. Port 0 takes a free one; see [`Ready::url`].
    pub listen: SocketAddr,
    /// Address of the metrics alone, for whoever can reach it; `None` leaves them to administrators on the public one.
    pub metrics_listen: Option<SocketAddr>,
    /// Requests still running this long after the signal to stop are cut off.
    pub grace: Duration,
    /// Certificate and key; without them plain HTTP is spoken.
    pub tls: Option<TlsFiles>,
    /// How often certificate and key are looked at for changes.
    pub tls_look: Duration,
    /// How many connections, and how patient the server is with them.
    pub connections: ConnectionLimits,
    /// Called once, when requests are accepted.
    pub on_ready: Box<dyn FnOnce(Ready) + Send>,
}

impl ServeConfig {
    /// Serves on an address and calls back when ready.
    pub fn new(listen: SocketAddr, on_ready: impl FnOnce(Ready) + Send + 'static) -> Self {
        Self {
            listen,
            metrics_listen: None,
            grace: Duration::from_secs(10),
            tls: None,
            tls_look: Duration::from_secs(10),
            connections: ConnectionLimits::default(),
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
    /// Address of the metrics alone, where they have one.
    pub metrics: Option<SocketAddr>,
    /// Set when passwords and documents travel unencrypted beyond this machine.
    pub warning: Option<String>,
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
    /// Certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
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
    let (listener, address) = bind(listen).await?;
    let metrics = match config.metrics_listen {
        Some(listen) => Some(bind(listen).await?),
        None => None,
    };
    let tls = config.tls.as_ref().map(TlsFiles::load).transpose()?;
    let local = socket::bind(&suite.config.data_dir)?;
    let setup_token = suite.issue_setup_link().await?;

    let url = url(&suite, address, tls.is_some());
    (config.on_ready)(Ready {
        address,
        setup_link: setup_token.map(|token| format!("{url}/setup#token={token}")),
        url,
        socket: local.path().to_owned(),
        metrics: metrics.as_ref().map(|(_, address)| *address),
        warning: unencrypted(&suite, address),
    });

    let (stop, stopped) = watch::channel(false);
    let local_task = tokio::spawn(socket::accept(Arc::clone(&suite), local, stopped.clone()));
    let uploads_task = tokio::spawn(read_uploads(Arc::clone(&suite)));
    let tidy_task = tokio::spawn(tidy(Arc::clone(&suite)));
    let metrics_handle = Handle::new();
    let metrics_task = metrics.map(|(listener, _)| {
        start_metrics(&suite, listener, config.connections, metrics_handle.clone())
    });
    let handle = Handle::new();
    let (mut http_task, tls_task) = start_http(
        &suite,
        listener,
        config.connections,
        config.tls.zip(tls).map(|(files, loaded)| Tls {
            files,
            loaded,
            look: config.tls_look,
        }),
        handle.clone(),
    );

    let result = tokio::select! {
        () = shutdown => {
            suite.answers.stop_all();
            stop.send_replace(true);
            handle.graceful_shutdown(None);
            match tokio::time::timeout(config.grace, &mut http_task).await {
                Ok(result) => result,
                Err(_) => {
                    // What still runs tells its client that it ends, and ends.
                    suite.cut_off.send_replace(true);
                    let ended = tokio::time::timeout(LAST_WORDS, &mut http_task).await;
                    // Connections are tasks of their own, which this ends.
                    handle.shutdown();
                    if ended.is_err() {
                        http_task.abort();
                    }
                    Ok(Ok(()))
                }
            }
        }
        result = &mut http_task => result,
    };
    stop.send_replace(true);
    // What was not read yet is on disk and is read at the next start.
    uploads_task.abort();
    tidy_task.abort();
    if tokio::time::timeout(config.grace, suite.answers.until_idle())
        .await
        .is_err()
    {
        tracing::warn!("an answer did not end in time; the next start marks it as failed");
    }
    metrics_handle.shutdown();
    if let Some(metrics_task) = metrics_task {
        metrics_task.abort();
    }
    if let Some(task) = tls_task {
        task.abort();
    }
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

/// Removes what deletions left, at intervals, until it is dropped.
async fn tidy(suite: Arc<Suite>) {
    loop {
        tokio::time::sleep(TIDY_INTERVAL).await;
        let suite = Arc::clone(&suite);
        // A panic in it is in the log.
        let _ = tokio::task::spawn_blocking(move || suite.tidy()).await;
    }
}

/// A listener and the address that it got.
async fn bind(listen: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |source| ServeError::Listen { listen, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// TLS as it begins.
struct Tls {
    files: TlsFiles,
    loaded: Loaded,
    look: Duration,
}

type HttpTask = JoinHandle<std::io::Result<()>>;

/// Starts to accept connections; the second task, if any, follows the files of the certificate.
fn start_http(
    suite: &Arc<Suite>,
    listener: TcpListener,
    limits: ConnectionLimits,
    tls: Option<Tls>,
    handle: Handle<SocketAddr>,
) -> (HttpTask, Option<JoinHandle<()>>) {
    let service = router(Arc::clone(suite)).into_make_service_with_connect_info::<SocketAddr>();
    let limits = limits.within_open_files();
    let admission = Admission::new(limits, suite.config.trusted_proxies.clone());
    let server = Server::<SocketAddr>::from_listener(listener).handle(handle);
    let Some(tls) = tls else {
        let server = limits.prepare(server.acceptor(admission));
        return (tokio::spawn(server.serve(service)), None);
    };
    let serving = RustlsConfig::from_config(tls.loaded.config);
    let acceptor = RustlsAcceptor::new(serving.clone())
        .handshake_timeout(LONGEST_HANDSHAKE)
        .acceptor(admission);
    let server = limits.prepare(server.acceptor(acceptor));
    let follow = tls.files.follow(serving, tls.loaded.contents, tls.look);
    (
        tokio::spawn(server.serve(service)),
        Some(tokio::spawn(follow)),
    )
}

/// Starts to accept connections to the metrics alone.
fn start_metrics(
    suite: &Arc<Suite>,
    listener: TcpListener,
    limits: ConnectionLimits,
    handle: Handle<SocketAddr>,
) -> HttpTask {
    let service = metrics_router(Arc::clone(suite)).into_make_service();
    let limits = limits.of_metrics();
    let admission = Admission::new(limits, Vec::new());
    let server = Server::<SocketAddr>::from_listener(listener).handle(handle);
    let server = limits.prepare(server.acceptor(admission));
    tokio::spawn(server.serve(service))
}

/// Where people find the page.
fn url(suite: &Suite, address: SocketAddr, is_tls: bool) -> String {
    match &suite.config.public_url {
        Some(url) => url.to_string(),
        None if is_tls => format!("https://{}", reachable(address)),
        None => format!("http://{}", reachable(address)),
    }
}

/// What to say when what people send can be read on the way. The sign-in page says it, too, by itself: browsers know.
fn unencrypted(suite: &Suite, address: SocketAddr) -> Option<String> {
    let config = &suite.config;
    let is_here = address.ip().is_loopback()
        && config
            .public_url
            .as_ref()
            .is_none_or(|url| url.is_loopback());
    if config.secure_cookies || is_here {
        return None;
    }
    let warning = "passwords, questions and documents travel unencrypted: set `tls_cert` and `tls_key` under [server], or put a TLS \
                   proxy in front and set `public_url` to its https address";
    tracing::warn!("{warning}");
    Some(warning.to_owned())
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
