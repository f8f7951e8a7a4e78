//! The stream of a connection: its writes fail when the other side takes nothing for too long, its reads and writes when another
//! connection gets its place.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::Sleep;

use super::places::Place;

/// See the module.
pub(crate) struct Connection {
    stream: TcpStream,
    patience: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Ends when the place is another's; `None` after that.
    lost: Option<oneshot::Receiver<()>>,
    place: Place,
}

impl Connection {
    /// A connection that waits as long for its client to take something.
    pub(super) fn new(
        stream: TcpStream,
        patience: Duration,
        place: Place,
        lost: oneshot::Receiver<()>,
    ) -> Self {
        Self {
            stream,
            patience,
            stalled: None,
            lost: Some(lost),
            place,
        }
    }

    /// The error once the place is another's.
    fn is_kept(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let is_lost = match &mut self.lost {
            None => true,
            Some(lost) => Pin::new(lost).poll(context).is_ready(),
        };
        if is_lost {
            self.lost = None;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }

    /// The outcome of a write, or the error once writes have waited for too long.
    fn write<T>(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let outcome = write(Pin::new(&mut self.stream), context);
        if outcome.is_ready() {
            if self.stalled.take().is_some() {
                self.place.takes(true);
            }
            return outcome;
        }
        // What can be written is written even then.
        self.is_kept(context)?;
        if self.stalled.is_none() {
            self.place.takes(false);
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
        self.is_kept(context)?;
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
    use crate::connections::ConnectionLimits;
    use crate::connections::places::Places;

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_cut_off_and_one_that_lost_its_place_is_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let limits = ConnectionLimits {
            most: 1,
            most_per_client: 1,
            ..ConnectionLimits::default()
        };
        let places = Places::new(limits, Vec::new());
        let client = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (stream, peer) = listener.accept().await.unwrap();
        let (place, lost) = places.take(peer.ip()).unwrap();
        let mut connection = Connection::new(stream, Duration::from_millis(200), place, lost);
        let write = async { while connection.write_all(&[0; 1 << 16]).await.is_ok() {} };
        let ended = tokio::time::timeout(Duration::from_secs(20), write).await;
        assert!(ended.is_ok(), "the write still waits");
        connection.place.takes(true);
        let _newcomer = places.take(peer.ip()).unwrap();
        let read = connection.read(&mut [0; 1]).await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        drop(client);
    }
}
