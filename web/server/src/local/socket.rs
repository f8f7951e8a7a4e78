//! The serving end of the local socket.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::SOCKET_NAME;
use super::commands::run_local;
use super::protocol::{LocalErrorKind, LocalEvent, LocalRequest};
use crate::suite::Suite;

/// Longest request: an evaluation sends its questions along.
const REQUEST_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// A client that connects and says nothing is let go.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Events on their way to a slow reader; progress beyond that waits.
const EVENTS_AHEAD: usize = 64;

/// Why the socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another server runs on the data directory.
    #[error(
        "another server is running on this data directory (it answers on {path}); stop it first"
    )]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is not a socket is in its place.
    #[error("{path} is in the way and is not a socket; remove it")]
    InTheWay {
        /// The file.
        path: PathBuf,
    },
    /// Anything else, e.g. a path of more than 107 bytes.
    #[error("cannot make the local socket {path}: {source}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A bound socket; the file goes with it.
pub struct LocalSocket {
    listener: UnixListener,
    path: PathBuf,
    owner: u32,
}

impl LocalSocket {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for LocalSocket {
    fn drop(&mut self) {
        // Failing leaves a stale socket, which the next start replaces.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Makes `DATA/cloister.sock`, for the owner alone. A socket that a killed server left behind is replaced.
///
/// # Errors
/// [`SocketError`].
pub fn bind(data_dir: &Path) -> Result<LocalSocket, SocketError> {
    let path = data_dir.join(SOCKET_NAME);
    let failed = |source| SocketError::Io {
        path: path.clone(),
        source,
    };
    match std::fs::symlink_metadata(&path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(SocketError::InTheWay { path });
        }
        Ok(_) if std::os::unix::net::UnixStream::connect(&path).is_ok() => {
            return Err(SocketError::InUse { path });
        }
        Ok(_) | Err(_) => {}
    }
    // Bound under another name and moved once its mode is right, so that nobody can connect in between. Moving also
    // replaces a stale socket.
    let unready = data_dir.join(format!(".sock-{}", std::process::id()));
    let _ = std::fs::remove_file(&unready);
    let listener = UnixListener::bind(&unready).map_err(failed)?;
    let prepared = std::fs::set_permissions(&unready, std::fs::Permissions::from_mode(0o600))
        .and_then(|()| std::fs::metadata(&unready))
        .and_then(|metadata| std::fs::rename(&unready, &path).map(|()| metadata.uid()));
    match prepared {
        Ok(owner) => Ok(LocalSocket {
            listener,
            path,
            owner,
        }),
        Err(source) => {
            let _ = std::fs::remove_file(&unready);
            Err(failed(source))
        }
    }
}

/// Serves commands until `stopped` becomes true; commands still running are cancelled then.
pub async fn accept(suite: Arc<Suite>, socket: LocalSocket, mut stopped: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = socket.listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            // An error means that the server is gone, which is a reason to stop, too.
            _ = stopped.wait_for(|stopped| *stopped) => break,
        };
        match accepted {
            Ok((stream, _)) if is_owner(&stream, socket.owner) => {
                connections.spawn(serve_connection(Arc::clone(&suite), stream));
            }
            Ok(_) => tracing::warn!("another user's connection to the local socket was refused"),
            Err(error) => {
                tracing::warn!(%error, "a connection to the local socket failed");
                // Out of file descriptors, most likely: accepting again at once would spin.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    connections.shutdown().await;
}

/// The kernel's word on who connected; mode 0600 says the same, but modes can be changed.
fn is_owner(stream: &UnixStream, owner: u32) -> bool {
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == owner || peer.uid() == 0)
}

async fn serve_connection(suite: Arc<Suite>, stream: UnixStream) {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let request = match read_request(&mut read).await {
        Ok(request) => request,
        Err(message) => {
            let event = LocalEvent::Error {
                kind: LocalErrorKind::User,
                message,
                hint: None,
            };
            // A client that is gone does not read the answer.
            let _ = write_event(&mut write, &event).await;
            return;
        }
    };
    let (sender, mut events) = mpsc::channel(EVENTS_AHEAD);
    let work = run_local(&suite, request, sender);
    let forward = async {
        while let Some(event) = events.recv().await {
            if write_event(&mut write, &event).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        ((), ()) = async { tokio::join!(work, forward) } => {}
        // The client went away: dropping the work cancels it.
        () = end_of(&mut read) => {}
    }
}

async fn read_request(read: &mut BufReader<OwnedReadHalf>) -> Result<LocalRequest, String> {
    let mut line = Vec::new();
    let mut limited = read.take(REQUEST_MAX_BYTES);
    match tokio::time::timeout(REQUEST_TIMEOUT, limited.read_until(b'\n', &mut line)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(format!("The request cannot be read: {error}.")),
        Err(_) => return Err("The request did not arrive in time.".to_owned()),
    }
    serde_json::from_slice(&line).map_err(|error| {
        format!("The request is not understood ({error}); is the command of another version than the server?")
    })
}

async fn end_of(read: &mut BufReader<OwnedReadHalf>) {
    let mut ignored = [0_u8; 256];
    while read.read(&mut ignored).await.is_ok_and(|count| count > 0) {}
}

async fn write_event(write: &mut OwnedWriteHalf, event: &LocalEvent) -> io::Result<()> {
    let mut line = serde_json::to_vec(event).map_err(io::Error::other)?;
    line.push(b'\n');
    write.write_all(&line).await
}
