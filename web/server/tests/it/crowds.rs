//! Clients that hold all connections of the server, from many addresses: whoever comes next is served all the same.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::app::{App, MEMBER, Options, PASSWORD, spawn};
use crate::raw::{exchange, read_to_close};

const HEALTHZ: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
const HALF_A_SIGN_IN: &str = "POST /api/auth/sign-in HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                              Content-Length: 9000\r\n\r\n{\"email\":\"";
const MOST: usize = 48;
const MOST_PER_CLIENT: usize = 12;

fn small() -> App {
    spawn(Options {
        serve: Box::new(|serve| {
            serve.connections.most = MOST;
            serve.connections.most_per_client = MOST_PER_CLIENT;
        }),
        with_documents: false,
        ..Options::default()
    })
}

/// A connection from another address of this machine.
pub fn connect_from(app: &App, source: [u8; 4], target: SocketAddr) -> TcpStream {
    let stream = app.runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((source, 0))).unwrap();
        socket.connect(target).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream
}

/// Whether the server has left a connection open. What it sent is read.
fn is_open(stream: &mut TcpStream) -> bool {
    stream
        .set_read_timeout(Some(Duration::from_millis(1)))
        .unwrap();
    let waits = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut];
    loop {
        match stream.read(&mut [0; 4096]) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return waits.contains(&error.kind()),
        }
    }
}

/// As many connections of as many addresses as there may be in all, each with this behind it.
fn hold(app: &App, addresses: u8, each: usize, beginning: &str) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for address in 1..=addresses {
        for _ in 0..each {
            let mut stream = connect_from(app, [127, 0, 7, address], app.ready.address);
            // To one that is closed already this fails.
            let _ = stream.write_all(beginning.as_bytes());
            held.push(stream);
        }
    }
    // The server has seen what was sent.
    std::thread::sleep(Duration::from_millis(300));
    held
}

/// The head of the answer to a sign-in of a browser that sends this cookie, from an address of its own.
fn sign_in(app: &App, cookie: &str) -> String {
    let body = json!({ "email": MEMBER, "password": PASSWORD }).to_string();
    let request = format!(
        "POST /api/auth/sign-in HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: {cookie}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = connect_from(app, [127, 0, 9, 9], app.ready.address);
    // To one that is closed already this fails.
    let _ = stream.write_all(request.as_bytes());
    read_to_close(&mut stream).expect("closed")
}

fn check_that_a_known_browser_gets_in(addresses: u8, each: usize, beginning: &str) {
    let app = small();
    let credentials = json!({ "email": MEMBER, "password": PASSWORD });
    let first = app.client().post("/api/auth/sign-in", credentials);
    let device = first.cookies()[1].clone();
    let mut held = hold(&app, addresses, each, beginning);
    let open = held
        .iter_mut()
        .filter_map(|stream| is_open(stream).then_some(()));
    let open = open.count();
    assert!((MOST / 2..=MOST).contains(&open), "{open} are held");
    for _ in 0..3 {
        let started = Instant::now();
        let answer = sign_in(&app, &device);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
        assert!(started.elapsed() < Duration::from_secs(2));
    }
}

#[test]
fn connections_between_requests_keep_nobody_out() {
    check_that_a_known_browser_gets_in(8, MOST_PER_CLIENT, HEALTHZ);
}

#[test]
fn bodies_that_do_not_come_keep_nobody_out() {
    check_that_a_known_browser_gets_in(12, 6, HALF_A_SIGN_IN);
}

#[test]
fn the_address_of_the_metrics_has_a_cap_and_deadlines() {
    let app = spawn(Options {
        serve: Box::new(|serve| {
            serve.metrics_listen = Some("127.0.0.1:0".parse().unwrap());
            serve.connections.head = Duration::from_secs(2);
        }),
        with_documents: false,
        ..Options::default()
    });
    let metrics = app.ready.metrics.unwrap();
    let mut held: Vec<TcpStream> = (0..120)
        .map(|n| {
            let mut stream = connect_from(&app, [127, 0, 7, 1 + n % 8], metrics);
            let _ = stream.write_all(b"GET /met");
            stream
        })
        .collect();
    std::thread::sleep(Duration::from_millis(200));
    let open = held
        .iter_mut()
        .filter_map(|stream| is_open(stream).then_some(()));
    let open = open.count();
    assert!((1..=64).contains(&open), "{open} are open");
    let scrape = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let scraped = exchange(connect_from(&app, [127, 0, 9, 9], metrics), scrape);
    assert!(
        scraped.contains("cloister_http_requests_total"),
        "{scraped}"
    );
    crate::app::eventually("the end of the half requests", || {
        held.retain_mut(is_open);
        held.is_empty().then_some(())
    });
}
