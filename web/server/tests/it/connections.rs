//! Clients that hold connections, dawdle with headers and bodies, or come in great numbers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::app::{ADMIN, App, MEMBER, Options, spawn};
use crate::crowds::connect_from;
use crate::fakes::Script;
use crate::raw::{connect, exchange, read_to_close, send};

const DEADLINE: Duration = Duration::from_millis(600);

/// A server that is impatient.
fn impatient() -> App {
    spawn(Options {
        configure: |config| config.body_idle = DEADLINE,
        serve: Box::new(|serve| serve.connections.head = DEADLINE),
        ..Options::default()
    })
}

#[test]
fn a_head_that_does_not_arrive_closes_the_connection() {
    let app = impatient();
    for beginning in ["", "G", "GET / HTTP/1.1\r\nHost: x\r\nX-Half: "] {
        let started = Instant::now();
        let mut stream = connect(app.ready.address);
        send(&mut stream, beginning);
        assert!(read_to_close(&mut stream).is_some(), "{beginning:?}");
        assert!(started.elapsed() >= DEADLINE / 2, "{beginning:?}");
    }
}

#[test]
fn a_head_that_comes_byte_by_byte_has_the_same_deadline() {
    let app = impatient();
    let mut stream = connect(app.ready.address);
    send(&mut stream, "GET / HTTP/1.1\r\nX-Long: ");
    let started = Instant::now();
    // Writing to a connection that the other side has closed fails soon after.
    while stream.write_all(b"x").is_ok() {
        assert!(started.elapsed() < Duration::from_secs(8), "still open");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_connection_is_kept_between_requests_but_not_for_long() {
    let app = impatient();
    let mut stream = connect(app.ready.address);
    for _ in 0..3 {
        send(&mut stream, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut answer = [0; 4096];
        let count = stream.read(&mut answer).unwrap();
        assert!(answer[..count].starts_with(b"HTTP/1.1 200"));
        std::thread::sleep(DEADLINE / 3);
    }
    assert!(read_to_close(&mut stream).is_some());
}

#[test]
fn a_body_that_stalls_is_answered_and_the_connection_closed() {
    let app = impatient();
    let member = app.signed_in(MEMBER);
    let head = "POST /api/auth/sign-in HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    for rest in [
        "Content-Length: 1000\r\n\r\n{\"email\": \"",
        "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"ema\r\n",
    ] {
        let mut stream = connect(app.ready.address);
        send(&mut stream, &format!("{head}{rest}"));
        let answer = read_to_close(&mut stream).expect("closed");
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        assert!(answer.contains("too_slow"), "{answer}");
    }
    assert_eq!(member.get("/api/me").status, 200);
}

#[test]
fn a_stranger_cannot_make_the_server_hold_a_large_body() {
    let app = impatient();
    let password = "x".repeat(100_000);
    let reply = app.client().post(
        "/api/auth/sign-in",
        json!({ "email": MEMBER, "password": password }),
    );
    assert_eq!(
        (reply.status, reply.json["code"].as_str()),
        (413, Some("too_large"))
    );
}

#[test]
fn a_slow_upload_arrives_however_long_it_takes() {
    let app = impatient();
    let admin = app.signed_in(ADMIN);
    let collection = admin.get("/api/collections").json[0]["id"].clone();
    let part =
        "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"slow.txt\"\r\n\r\n";
    let (text, end) = ("The canteen opens at noon. ".repeat(12), "\r\n--b--\r\n");
    let head = format!(
        "POST /api/collections/{collection}/documents HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{}\
         Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {}\r\n\r\n",
        admin.raw_headers(),
        part.len() + text.len() + end.len()
    );
    let mut stream = connect(app.ready.address);
    send(&mut stream, &head);
    send(&mut stream, part);
    let started = Instant::now();
    for piece in text.as_bytes().chunks(text.len() / 12) {
        std::thread::sleep(DEADLINE / 4);
        stream.write_all(piece).unwrap();
    }
    assert!(started.elapsed() > DEADLINE * 2);
    send(&mut stream, end);
    let answer = read_to_close(&mut stream).expect("closed");
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
}

#[test]
fn a_long_answer_outlives_every_deadline_and_an_upload_that_stalls_does_not() {
    let app = impatient();
    let client = app.signed_in(MEMBER);
    app.model.will(Script::Babble);
    let (_, answer) = app.ask(
        &client,
        "How many days of vacation does every employee have?",
    );
    let started = Instant::now();
    let mut events = client.events("GET", &format!("/api/answers/{answer}/events"), None);
    while started.elapsed() < DEADLINE * 4 {
        assert!(events.next().is_some(), "the stream ended early");
    }
    let admin = app.signed_in(ADMIN);
    let collection = admin.get("/api/collections").json[0]["id"].clone();
    let mut stream = connect(app.ready.address);
    let head = format!(
        "POST /api/collections/{collection}/documents HTTP/1.1\r\nHost: x\r\n{}\
         Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 5000\r\n\r\n--b\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"half.txt\"\r\n\r\nhalf",
        admin.raw_headers(),
    );
    send(&mut stream, &head);
    let answer = read_to_close(&mut stream).expect("closed");
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[test]
fn a_client_that_closes_its_writing_side_early_is_treated_as_gone() {
    let app = impatient();
    let mut stream = connect(app.ready.address);
    send(&mut stream, "GET /healthz HTTP/1.1\r\nHost: x\r\n");
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(read_to_close(&mut stream).is_some());
}

#[test]
fn half_open_connections_beyond_a_clients_share_are_closed_and_everybody_is_served() {
    const MOST: usize = 12;
    let app = spawn(Options {
        serve: Box::new(|serve| serve.connections.most_per_client = MOST),
        ..Options::default()
    });
    let healthz = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut held: Vec<TcpStream> = (0..100).map(|_| connect(app.ready.address)).collect();
    for stream in &mut held {
        // To one that is closed already this fails.
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Half: ");
    }
    // Half-open connections give way even to others of the same client.
    let answer = exchange(connect(app.ready.address), healthz);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for n in 2..6 {
        let answer = exchange(
            connect_from(&app, [127, 0, 0, n], app.ready.address),
            healthz,
        );
        assert!(answer.starts_with("HTTP/1.1 200"), "127.0.0.{n}: {answer}");
    }
    let open = held
        .iter()
        .filter(|stream| {
            stream
                .set_read_timeout(Some(Duration::from_millis(20)))
                .unwrap();
            let waits = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut];
            let mut reader = &**stream;
            let read = reader.read(&mut [0; 1]);
            read.is_err_and(|error| waits.contains(&error.kind()))
        })
        .count();
    assert!((MOST - 1..=MOST).contains(&open), "{open} are open");
    drop(held);
    // What was held is free again.
    crate::app::eventually("a free connection", || {
        let mut stream = connect(app.ready.address);
        stream.write_all(healthz.as_bytes()).ok()?;
        read_to_close(&mut stream).filter(|answer| answer.starts_with("HTTP/1.1 200"))
    });
}

#[test]
fn a_client_that_holds_all_its_connections_busy_gets_no_more_and_others_do() {
    const MOST: usize = 5;
    let app = spawn(Options {
        serve: Box::new(|serve| serve.connections.most_per_client = MOST),
        ..Options::default()
    });
    let client = app.signed_in(MEMBER);
    app.model.will(Script::Babble);
    let (_, answer) = app.ask(
        &client,
        "How many days of vacation does every employee have?",
    );
    let path = format!("/api/answers/{answer}/events");
    // The connections of the requests above are gone then.
    std::thread::sleep(Duration::from_millis(300));
    let streams: Vec<_> = (0..MOST)
        .map(|_| {
            let mut events = client.events("GET", &path, None);
            assert!(events.next().is_some());
            events
        })
        .collect();
    let healthz = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut refused = connect(app.ready.address);
    // The server may have closed it before.
    let _ = refused.write_all(healthz.as_bytes());
    assert_eq!(read_to_close(&mut refused).as_deref(), Some(""));
    let other = exchange(
        connect_from(&app, [127, 0, 0, 2], app.ready.address),
        healthz,
    );
    assert!(other.starts_with("HTTP/1.1 200"), "{other}");
    drop(streams);
}
