//! A small HTTP server for download tests: routes are closures, requests are remembered, transfers can break.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What a client asked for.
#[derive(Debug, Clone)]
pub struct Request {
    pub path: String,
    /// First byte of a `Range: bytes=N-`.
    pub from: Option<usize>,
}

/// What it gets.
pub enum Response {
    NotFound,
    /// The bytes, honouring a range.
    Bytes(Vec<u8>),
    /// As `Bytes`, but the connection breaks after so many bytes.
    Broken(Vec<u8>, usize),
    Page(&'static str, String),
}

/// Runs until the test ends.
pub struct Server {
    pub url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub fn start(route: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let route = Arc::new(route);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, route) = (Arc::clone(&seen), Arc::clone(&route));
                std::thread::spawn(move || {
                    let Some(request) = read_request(&stream) else {
                        return;
                    };
                    seen.lock().unwrap().push(request.clone());
                    // A client that has gone away is its own business.
                    let _ = respond(stream, &request, route(&request));
                });
            }
        });
        Server { url, requests }
    }

    /// Paths asked for so far, with the byte each began at.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let path = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
    let mut from = None;
    for line in lines {
        let line = line.ok()?.to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse().ok();
        }
    }
    Some(Request { path, from })
}

fn respond(mut stream: TcpStream, request: &Request, response: Response) -> std::io::Result<()> {
    let (bytes, limit) = match response {
        Response::NotFound => {
            return write!(
                stream,
                "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
        }
        Response::Page(kind, text) => {
            let length = text.len();
            return write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}"
            );
        }
        Response::Bytes(bytes) => {
            let length = bytes.len();
            (bytes, length)
        }
        Response::Broken(bytes, limit) => (bytes, limit),
    };
    let from = request.from.unwrap_or(0);
    if from >= bytes.len() {
        return write!(
            stream,
            "HTTP/1.1 416 Range Not Satisfiable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
    }
    let (status, range) = match request.from {
        Some(from) => (
            "206 Partial Content",
            format!(
                "content-range: bytes {from}-{}/{}\r\n",
                bytes.len() - 1,
                bytes.len()
            ),
        ),
        None => ("200 OK", String::new()),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{range}content-length: {}\r\nconnection: close\r\n\r\n",
        bytes.len() - from
    )?;
    stream.write_all(&bytes[from..bytes.len().min(from.max(limit))])?;
    stream.flush()
}
