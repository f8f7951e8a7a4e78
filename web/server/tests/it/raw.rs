//! HTTP by hand, for clients that break off, dawdle or say nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Longer than every deadline that tests set, shorter than the ones that servers have by default.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub fn send(stream: &mut impl Write, text: &str) {
    stream.write_all(text.as_bytes()).unwrap();
    stream.flush().unwrap();
}

/// What comes until the server closes; `None` when it does not within some seconds.
pub fn read_to_close(stream: &mut impl Read) -> Option<String> {
    let started = Instant::now();
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    while started.elapsed() < PATIENCE {
        match stream.read(&mut piece) {
            Ok(0) => return Some(String::from_utf8_lossy(&all).into_owned()),
            Ok(count) => all.extend_from_slice(&piece[..count]),
            // A server that closes with something unread resets the connection.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                return Some(String::from_utf8_lossy(&all).into_owned());
            }
            Err(_) => return None,
        }
    }
    None
}

/// The whole answer to a request that asks for the connection to be closed.
pub fn exchange(mut stream: impl Read + Write, request: &str) -> String {
    send(&mut stream, request);
    read_to_close(&mut stream).expect("the server closes after its answer")
}
