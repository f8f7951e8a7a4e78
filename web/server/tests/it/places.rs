//! One person, by whatever session or key, takes a share of the models and no more.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::app::{Client, MEMBER, OTHER, Options, eventually, spawn};
use crate::fakes::{HELD, LetGo, NUM_HELD, Script};

fn chat(n: usize, stream: bool) -> Value {
    json!({ "model": "scripted-model", "n": n, "stream": stream, "max_tokens": 50,
            "messages": [{ "role": "user", "content": "Go on." }] })
}

fn code(reply: &crate::app::Reply) -> (u16, &str) {
    let error = match reply.json["error"].is_object() {
        true => &reply.json["error"],
        false => &reply.json,
    };
    (reply.status, error["code"].as_str().unwrap_or_default())
}

#[test]
fn all_ways_in_share_the_places_of_a_person() {
    let app = spawn(Options {
        configure: |config| config.max_answers_per_user = 4,
        ..Options::default()
    });
    let (key, second_key) = (app.with_key(MEMBER), app.with_key(MEMBER));
    let session = app.signed_in(MEMBER);
    for _ in 0..3 {
        app.model.will(Script::Babble);
    }
    let endless = json!({ "model": "scripted-model", "n": 3, "stream": true, "max_tokens": 1900,
                          "messages": [{ "role": "user", "content": "Go on." }] });
    let mut three = key.events("POST", "/v1/chat/completions", Some(endless));
    assert!(three.next().is_some());

    let refused = second_key.post("/v1/chat/completions", chat(2, false));
    assert_eq!(
        code(&refused),
        (429, "too_many_answers"),
        "{}",
        refused.text
    );
    assert!(
        refused.text.contains("per_user") && refused.text.contains("may have 4"),
        "{}",
        refused.text
    );
    assert!(refused.header("retry-after").is_some());

    app.model.will(Script::Babble);
    let (_, answer) = app.ask(
        &session,
        "How many days of vacation does every employee have?",
    );
    eventually("the page's answer at the model", || {
        (app.model.requests.lock().unwrap().len() == 4).then_some(())
    });
    let ways: [(&Client, &str, Value); 5] = [
        (&key, "/v1/chat/completions", chat(1, false)),
        (
            &second_key,
            "/v1/completions",
            json!({ "model": "scripted-model", "prompt": "Once" }),
        ),
        (
            &key,
            "/v1/embeddings",
            json!({ "model": "hashing-embedder", "input": "text" }),
        ),
        (
            &key,
            "/api/ask-docs",
            json!({ "question": "How many days of vacation does every employee have?" }),
        ),
        (
            &session,
            "/api/ask-docs",
            json!({ "question": "How many days of vacation does every employee have?", "stream": true }),
        ),
    ];
    for (client, path, body) in &ways {
        let refused = client.post(path, body.clone());
        assert_eq!(
            code(&refused),
            (429, "too_many_answers"),
            "{path}: {}",
            refused.text
        );
    }
    let conversation = session.post("/api/conversations", json!({})).json["id"].clone();
    let path = format!(
        "/api/conversations/{}/messages",
        conversation.as_str().unwrap()
    );
    let refused = session.post(&path, json!({ "question": "And sick days?" }));
    assert_eq!(code(&refused), (429, "too_many_answers"));

    // Nobody else notices.
    let other = app.with_key(OTHER);
    assert_eq!(
        other.post("/v1/chat/completions", chat(4, false)).status,
        200
    );

    drop(three);
    eventually("three places", || {
        (key.post("/v1/chat/completions", chat(3, false)).status == 200).then_some(())
    });
    let stop = format!("/api/answers/{answer}/stop");
    assert_eq!(session.post(&stop, json!({})).status, 204);
    eventually("all places", || {
        (key.post("/v1/chat/completions", chat(4, false)).status == 200).then_some(())
    });
}

#[test]
fn a_request_that_can_never_have_its_places_is_told_so() {
    let app = spawn(Options {
        configure: |config| config.max_answers_per_user = 4,
        with_documents: false,
        ..Options::default()
    });
    let reply = app
        .with_key(MEMBER)
        .post("/v1/chat/completions", chat(5, false));
    assert_eq!(reply.status, 400, "{}", reply.text);
    assert_eq!(reply.json["error"]["param"], "n");
    assert!(reply.text.contains("per_user"), "{}", reply.text);
}

#[test]
fn the_embeddings_of_one_account_leave_a_place_for_those_of_another() {
    let app = spawn(Options {
        with_documents: false,
        ..Options::default()
    });
    let (key, second_key) = (app.with_key(MEMBER), app.with_key(MEMBER));
    let other = app.with_key(OTHER);
    std::thread::scope(|scope| {
        let let_go = LetGo;
        let requests = [&key, &key, &second_key].map(|client| {
            scope.spawn(move || client.post("/v1/embeddings", json!({ "input": HELD })))
        });
        let num_held = || NUM_HELD.load(Ordering::SeqCst);
        eventually("the first at the model", || (num_held() > 0).then_some(()));
        // All places at once are refused while any is taken, and the refusal tells how many are.
        eventually("all three", || {
            let refused = key.post("/v1/chat/completions", chat(8, false));
            let are_all = refused.text.contains("3 answers are under way");
            are_all.then_some(())
        });
        let reply = other.post("/v1/embeddings", json!({ "input": "one word" }));
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert_eq!(num_held(), 1);
        drop(let_go);
        for request in requests {
            let reply = request.join().unwrap();
            assert_eq!(reply.status, 200, "{}", reply.text);
        }
    });
}
