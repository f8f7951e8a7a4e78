//! The calling end of the local socket.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::SOCKET_NAME;
use super::protocol::{LocalErrorKind, LocalEvent, LocalRequest};

/// Why a running server could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum LocalCallError {
    /// The socket is there but not for us.
    #[error("{path} belongs to another user; run the command as the user who runs the server")]
    Forbidden {
        /// The socket.
        path: PathBuf,
    },
    /// Anything else.
    #[error("cannot reach the server through {path}: {source}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Events of one command. Dropping it cancels the command in the server.
///
/// Ends after the first [`LocalEvent::Output`] or [`LocalEvent::Error`]; a server that goes away is such an error.
pub struct LocalStream {
    lines: Lines<BufReader<OwnedReadHalf>>,
    // The server takes the end of this half as the wish to cancel.
    _write: OwnedWriteHalf,
    finished: bool,
}

/// Sends a command to the server that holds the data directory. `None` when no server runs there.
///
/// # Errors
/// [`LocalCallError`] when there is a socket that cannot be used.
pub async fn call_local(
    data_dir: &Path,
    request: &LocalRequest,
) -> Result<Option<LocalStream>, LocalCallError> {
    let path = data_dir.join(SOCKET_NAME);
    let stream = match UnixStream::connect(&path).await {
        Ok(stream) => stream,
        Err(error) => {
            return match error.kind() {
                // A refused connection is a socket that a killed server left behind.
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
                io::ErrorKind::PermissionDenied => Err(LocalCallError::Forbidden { path }),
                _ => Err(LocalCallError::Io {
                    path,
                    source: error,
                }),
            };
        }
    };
    let (read, mut write) = stream.into_split();
    let line = serde_json::to_vec(request).map_err(|error| LocalCallError::Io {
        path: path.clone(),
        source: io::Error::other(error),
    })?;
    let sent = async {
        write.write_all(&line).await?;
        write.write_all(b"\n").await?;
        write.flush().await
    };
    sent.await
        .map_err(|source| LocalCallError::Io { path, source })?;
    Ok(Some(LocalStream {
        lines: BufReader::new(read).lines(),
        _write: write,
        finished: false,
    }))
}

impl Stream for LocalStream {
    type Item = LocalEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<LocalEvent>> {
        if self.finished {
            return Poll::Ready(None);
        }
        let line = match Pin::new(&mut self.lines).poll_next_line(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(line) => line,
        };
        let event = match line {
            Ok(Some(line)) => serde_json::from_str(&line).unwrap_or_else(|error| {
                broken(&format!("the server sent something that is not an event ({error}); is it of another version?"))
            }),
            Ok(None) => broken("the server went away before the command was done; run it again"),
            Err(error) => broken(&format!("the connection to the server broke: {error}")),
        };
        self.finished = event.is_last();
        Poll::Ready(Some(event))
    }
}

fn broken(message: &str) -> LocalEvent {
    LocalEvent::Error {
        kind: LocalErrorKind::Internal,
        message: message.to_owned(),
        hint: None,
    }
}
