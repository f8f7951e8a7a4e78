//! What clients see when the server is stopped while it answers.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::app::{MEMBER, Options, spawn};
use crate::fakes::Script;

/// A server that gives running requests a moment.
fn hasty() -> Options {
    Options {
        grace: Duration::from_millis(300),
        ..Options::default()
    }
}

#[test]
fn streams_of_v1_end_with_an_error_event() {
    for (path, extra) in [
        (
            "/v1/chat/completions",
            json!({ "messages": [{ "role": "user", "content": "Hi" }] }),
        ),
        (
            "/v1/completions",
            json!({ "prompt": "Once", "max_tokens": 1000 }),
        ),
    ] {
        let mut app = spawn(hasty());
        let client = app.with_key(MEMBER);
        app.model.will(Script::Babble);
        let mut body = extra;
        body["stream"] = json!(true);
        let mut events = client.events("POST", path, Some(body));
        events.next().unwrap();
        let asked = Instant::now();
        app.ask_to_stop();
        let rest: Vec<_> = events.collect();
        assert!(
            asked.elapsed() < Duration::from_secs(5),
            "{:?}",
            asked.elapsed()
        );
        let [.., error, done] = rest.as_slice() else {
            panic!("{rest:?}")
        };
        assert_eq!(done.data, "[DONE]", "{path}");
        let error = &error.json()["error"];
        assert_eq!(
            (&error["code"], &error["type"]),
            (&json!("server_stopping"), &json!("server_error"))
        );
    }
}

#[test]
fn streams_of_the_page_end_with_an_error_event() {
    let mut app = spawn(hasty());
    let client = app.with_key(MEMBER);
    app.model.will(Script::Babble);
    let question = "How many days of vacation does every employee have?";
    let body = json!({ "question": question, "stream": true });
    let mut events = client.events("POST", "/api/ask-docs", Some(body));
    events.next().unwrap();
    crate::app::eventually("the request", || {
        (!app.model.requests.lock().unwrap().is_empty()).then_some(())
    });
    app.ask_to_stop();
    let last = events.last().unwrap();
    assert_eq!(last.name, "error", "{last:?}");
    assert!(
        last.json()["message"].as_str().unwrap().contains("stopped"),
        "{last:?}"
    );
}

#[test]
fn what_is_not_a_stream_is_answered_with_503() {
    let mut app = spawn(hasty());
    let client = app.with_key(MEMBER);
    app.model.will(Script::Babble);
    let waiting = std::thread::spawn(move || {
        let messages = json!([{ "role": "user", "content": "Hi" }]);
        client.post("/v1/chat/completions", json!({ "messages": messages }))
    });
    crate::app::eventually("the request", || {
        (!app.model.requests.lock().unwrap().is_empty()).then_some(())
    });
    app.ask_to_stop();
    let reply = waiting.join().unwrap();
    assert_eq!(
        (reply.status, &reply.json["error"]["code"]),
        (503, &json!("server_stopping"))
    );
    assert_eq!(reply.header("retry-after"), Some("60"));
}
