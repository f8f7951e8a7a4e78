//! Bodies that arrive slowly or never end: what they hold is bounded, and others get their answers.

use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::app::{ADMIN, Client, MEMBER, OTHER, Options, eventually, spawn};
use crate::raw::{connect, read_to_close, send};

/// Most bytes that all bodies of these tests hold.
const MOST: usize = 4 << 20;
const BODY: usize = 1 << 20;

fn options() -> Options {
    Options {
        configure: |config| config.max_held_body_bytes = MOST,
        with_documents: false,
        ..Options::default()
    }
}

/// What the bodies hold, as the administrators' metrics say it.
fn held(admin: &Client) -> usize {
    let text = admin.get("/metrics").text;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("cloister_request_body_bytes "));
    value.expect("the gauge is there").parse().unwrap()
}

/// A request whose body lacks its last byte.
fn unfinished(app: &crate::app::App, client: &Client) -> TcpStream {
    let mut stream = connect(app.ready.address);
    let head = format!(
        "POST /v1/embeddings HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n{}content-length: {BODY}\r\n\r\n",
        client.raw_headers()
    );
    let text = "x".repeat(BODY - 1 - "{\"input\": \"".len());
    send(&mut stream, &format!("{head}{{\"input\": \"{text}"));
    stream
}

#[test]
fn bodies_that_never_end_hold_a_bounded_memory_and_others_are_answered() {
    let app = spawn(options());
    let (member, other, admin) = (
        app.with_key(MEMBER),
        app.with_key(OTHER),
        app.with_key(ADMIN),
    );
    let mut streams: Vec<TcpStream> = (0..20).map(|_| unfinished(&app, &member)).collect();
    let answered = eventually("a body that is refused", || {
        assert!(held(&admin) <= MOST / 2);
        streams.iter().position(|stream| {
            stream.set_nonblocking(true).unwrap();
            let is_there = stream.peek(&mut [0]).is_ok();
            stream.set_nonblocking(false).unwrap();
            is_there
        })
    });
    let mut refused = streams.swap_remove(answered);
    let reply = read_to_close(&mut refused).unwrap();
    assert!(reply.starts_with("HTTP/1.1 429"), "{reply}");
    assert!(
        reply.contains("retry-after: 5") && reply.contains("\"overloaded\""),
        "{reply}"
    );
    assert!(held(&admin) > 0);

    let reply = other.post(
        "/v1/embeddings",
        json!({ "input": "y".repeat(BODY / 2), "truncate": true }),
    );
    assert_eq!(reply.status, 200, "{}", reply.text);
    drop(streams);
    eventually("all bodies are let go of", || {
        (held(&admin) == 0).then_some(())
    });
    let reply = member.post("/v1/embeddings", json!({ "input": "one text" }));
    assert_eq!(reply.status, 200, "{}", reply.text);
}

#[test]
fn a_body_that_falls_silent_lets_go_of_what_it_held() {
    let app = spawn(Options {
        configure: |config| config.body_idle = Duration::from_millis(300),
        ..options()
    });
    let (member, admin) = (app.with_key(MEMBER), app.with_key(ADMIN));
    let mut stream = unfinished(&app, &member);
    let reply = read_to_close(&mut stream).unwrap();
    assert!(reply.starts_with("HTTP/1.1 408"), "{reply}");
    assert_eq!(held(&admin), 0);
}
