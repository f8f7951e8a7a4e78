//! What is open ends with the session or key that opened it; events beyond the end; metrics.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::json;
use web_server::LocalRequest;

use crate::app::{
    ADMIN, App, Client, MEMBER, OTHER, Options, SseEvent, eventually, spawn, spawn_app,
};
use crate::fakes::Script;

/// Far above what ending takes, far below an answer's deadline.
const SOON: Duration = Duration::from_secs(8);

/// Follows a stream that never ends by itself; returns once its first event has come, with what tells of its last events.
fn follow(
    client: &Client,
    method: &'static str,
    path: String,
    body: Option<serde_json::Value>,
) -> mpsc::Receiver<Vec<SseEvent>> {
    let client = client.clone();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut events = client.events(method, &path, body);
        sender.send(events.next().into_iter().collect()).unwrap();
        let mut last = Vec::new();
        for event in events {
            last.drain(..last.len().saturating_sub(1));
            last.push(event);
        }
        // The test that waits may be over.
        let _ = sender.send(last);
    });
    assert_eq!(receiver.recv_timeout(SOON).unwrap().len(), 1);
    receiver
}

/// Waits for the end of a stream of the page, whose last event must tell why it ended.
fn page_ends(stream: &mpsc::Receiver<Vec<SseEvent>>, why: &str) {
    let last = stream.recv_timeout(SOON).unwrap().pop().unwrap();
    assert_eq!(last.name, "error", "{last:?}");
    let message = last.json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains(why), "{message}");
}

/// The same of a stream of `/v1/*`.
fn v1_ends(stream: &mpsc::Receiver<Vec<SseEvent>>) {
    let events = stream.recv_timeout(SOON).unwrap();
    let [error, done] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!(done.data, "[DONE]");
    let error = &error.json()["error"];
    assert_eq!(
        (&error["code"], &error["type"]),
        (&json!("invalid_api_key"), &json!("authentication_error"))
    );
}

fn page_stream(app: &App, client: &Client) -> mpsc::Receiver<Vec<SseEvent>> {
    app.model.will(Script::Babble);
    let (_, answer) = app.ask(
        client,
        "How many days of vacation does every employee have?",
    );
    follow(client, "GET", format!("/api/answers/{answer}/events"), None)
}

fn chat(stream: bool) -> serde_json::Value {
    json!({
        "model": "scripted-model", "stream": stream, "max_tokens": 1500,
        "messages": [{ "role": "user", "content": "Talk." }],
    })
}

#[test]
fn a_page_stream_ends_when_its_session_does_and_others_go_on() {
    let app = spawn_app();
    let (member, other) = (app.signed_in(MEMBER), app.signed_in(OTHER));
    let ending = page_stream(&app, &member);
    let staying = page_stream(&app, &other);
    assert_eq!(member.post("/api/auth/sign-out", json!({})).status, 204);
    page_ends(&ending, "signed out");
    assert_eq!(
        staying.recv_timeout(Duration::from_millis(200)),
        Err(mpsc::RecvTimeoutError::Timeout)
    );

    app.output(LocalRequest::UserSuspend {
        email: OTHER.into(),
    });
    // The answer is stopped, too, and may say so first.
    let last = staying.recv_timeout(SOON).unwrap().pop().unwrap();
    assert!(["error", "done"].contains(&last.name.as_str()), "{last:?}");
    eventually("the suspended account's answer stops", || {
        (app.output(LocalRequest::Status)["answers_running"] == 1).then_some(())
    });
}

#[test]
fn a_keys_requests_end_when_it_is_revoked() {
    let app = spawn_app();
    let (first, second) = (app.with_key(MEMBER), app.with_key(MEMBER));
    app.model.will(Script::Babble);
    let stream = follow(
        &first,
        "POST",
        "/v1/chat/completions".to_owned(),
        Some(chat(true)),
    );
    app.model.will(Script::Babble);
    let waiting = {
        let (client, started) = (first.clone(), Instant::now());
        std::thread::spawn(move || {
            let reply = client.post("/v1/chat/completions", chat(false));
            (reply.status, started.elapsed())
        })
    };
    app.model.will(Script::Babble);
    let docs = follow(
        &first,
        "POST",
        "/api/ask-docs".to_owned(),
        Some(
            json!({ "question": "How many days of vacation does every employee have?", "stream": true }),
        ),
    );
    app.model.will(Script::Babble);
    let staying = follow(
        &second,
        "POST",
        "/v1/chat/completions".to_owned(),
        Some(chat(true)),
    );
    eventually("all four requests reach the model", || {
        (app.model.requests.lock().unwrap().len() == 4).then_some(())
    });
    app.output(LocalRequest::KeyRevoke { id: 1 });
    v1_ends(&stream);
    page_ends(&docs, "revoked");
    let (status, took) = waiting.join().unwrap();
    assert_eq!(status, 401);
    assert!(took < SOON, "{took:?}");
    assert_eq!(
        staying.recv_timeout(Duration::from_millis(200)),
        Err(mpsc::RecvTimeoutError::Timeout)
    );
    app.output(LocalRequest::UserRemove {
        email: MEMBER.into(),
    });
    v1_ends(&staying);
}

#[test]
fn events_beyond_the_end_end_at_once() {
    let app = spawn_app();
    let member = app.signed_in(MEMBER);
    app.model.will(Script::Babble);
    let (_, answer) = app.ask(
        &member,
        "How many days of vacation does every employee have?",
    );
    let events = format!("/api/answers/{answer}/events");
    let wrong = member.get(&format!("{events}?after=-1"));
    assert_eq!(
        (wrong.status, &wrong.json["message"]),
        (
            400,
            &json!("after must be a whole number, 0 or more; it is `-1`.")
        )
    );
    for after in [u64::MAX / 2, 1_000_000] {
        let started = Instant::now();
        assert_eq!(member.get(&format!("{events}?after={after}")).status, 204);
        assert!(started.elapsed() < SOON);
    }
    member.post(&format!("/api/answers/{answer}/stop"), json!({}));
    assert_eq!(
        member.events("GET", &events, None).last().unwrap().name,
        "done"
    );
    assert_eq!(member.get(&format!("{events}?after=1000000")).status, 204);
}

#[test]
fn metrics_are_for_administrators_or_have_an_address_of_their_own() {
    let app = spawn(Options {
        serve: Box::new(|config| config.metrics_listen = Some("127.0.0.1:0".parse().unwrap())),
        with_documents: false,
        ..Options::default()
    });
    let unknown = app.client().get("/metrics");
    assert_eq!(
        (unknown.status, unknown.header("www-authenticate")),
        (401, Some("Bearer"))
    );
    assert!(
        unknown.text.contains("cloister key create"),
        "{}",
        unknown.text
    );
    assert_eq!(app.signed_in(MEMBER).get("/metrics").status, 403);
    assert_eq!(app.with_key(MEMBER).get("/metrics").status, 403);
    for client in [app.signed_in(ADMIN), app.with_key(ADMIN)] {
        assert!(
            client
                .get("/metrics")
                .text
                .contains("cloister_http_requests_total")
        );
    }
    let own = app.ready.metrics.unwrap();
    let read = |path: &str| ureq::get(format!("http://{own}{path}")).call();
    let text = read("/metrics")
        .unwrap()
        .body_mut()
        .read_to_string()
        .unwrap();
    assert!(text.contains("cloister_http_requests_total"), "{text}");
    assert!(read("/api/me").is_err(), "nothing else is there");
}
