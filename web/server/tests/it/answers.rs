//! Asking: the order of events, resuming, stopping, storing, quoting when there is no model or it is busy.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::app::{ADMIN, Client, MEMBER, Options, SseEvent, ask_in, eventually, spawn, spawn_app};
use crate::fakes::{DEFAULT_ANSWER, Script};

const QUESTION: &str = "How many days of vacation does every employee have?";

fn follow(client: &Client, answer: &str) -> Vec<SseEvent> {
    client
        .events("GET", &format!("/api/answers/{answer}/events"), None)
        .collect()
}

fn text_of(events: &[SseEvent]) -> String {
    events
        .iter()
        .filter(|event| event.name == "delta")
        .map(|event| event.json()["text"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn an_answer_streams_in_order_with_a_verified_citation_and_is_stored() {
    let app = spawn_app();
    let client = app.signed_in(MEMBER);
    let (conversation, answer) = app.ask(&client, QUESTION);
    let events = follow(&client, &answer);
    let ids: Vec<_> = events.iter().map(|event| event.id.unwrap()).collect();
    assert_eq!(ids, (1..=events.len()).collect::<Vec<_>>());
    let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
    let first = |name: &str| {
        names
            .iter()
            .position(|other| *other == name)
            .unwrap_or_else(|| panic!("{name}: {names:?}"))
    };
    assert_eq!(events[0].json()["text"], "Searching 1 collection…");
    assert!(
        first("status") < first("sources") && first("sources") < first("delta"),
        "{names:?}"
    );
    assert!(first("citation") < first("done"));
    assert_eq!(names.iter().filter(|name| **name == "done").count(), 1);
    assert_eq!(names.last(), Some(&"done"));
    for event in &events {
        assert_eq!(event.json()["type"], event.name.as_str());
    }

    let message = events.last().unwrap().json()["message"].clone();
    assert_eq!(message["answer"].as_str().unwrap(), text_of(&events));
    assert!(
        message["answer"]
            .as_str()
            .unwrap()
            .starts_with(DEFAULT_ANSWER.trim_end_matches('.'))
    );
    assert!(
        message["answer"].as_str().unwrap().contains("[1]"),
        "{message}"
    );
    assert_eq!(
        (message["status"].as_str(), message["refused"].as_bool()),
        (Some("done"), Some(false))
    );
    assert_eq!(message["model"], "scripted-model");
    assert_eq!(message["prompt_version"], rag::PROMPT_VERSION);
    assert!(message["usage"]["prompt_tokens"].as_u64().unwrap() > 0);
    let citation = &message["citations"][0];
    assert_eq!(citation["path"], "vacation.md");
    assert!(
        citation["quote"]
            .as_str()
            .unwrap()
            .contains("30 days of vacation")
    );

    let detail = client
        .get(&format!("/api/conversations/{conversation}"))
        .json;
    assert_eq!(detail["conversation"]["title"], QUESTION);
    assert_eq!(detail["messages"], json!([message]));
    // Long after, the stream is one event.
    check_view(&client, citation);
}

/// The citation panel shows the quote at the place that the citation names.
fn check_view(client: &Client, citation: &Value) {
    let (start, end) = (
        citation["start"].as_u64().unwrap(),
        citation["end"].as_u64().unwrap(),
    );
    let path = format!(
        "/api/documents/{}/view?start={start}&end={end}",
        citation["document"]
    );
    let view = client.get(&path).json;
    let blocks = view["blocks"].as_array().unwrap();
    let block = blocks
        .iter()
        .rev()
        .find(|block| block["start"].as_u64().unwrap() <= start)
        .unwrap_or_else(|| panic!("no block holds the quote: {view}"));
    let skip = usize::try_from(start - block["start"].as_u64().unwrap()).unwrap();
    let take = usize::try_from(end - start).unwrap();
    let there: String = block["text"]
        .as_str()
        .unwrap()
        .chars()
        .skip(skip)
        .take(take)
        .collect();
    assert_eq!(there, citation["quote"].as_str().unwrap());
    assert_eq!(view["title"], "Vacation");
}

#[test]
fn reasoning_is_no_part_of_an_answer_and_is_not_checked() {
    let app = spawn_app();
    let client = app.signed_in(MEMBER);
    app.model.will(Script::Say(
        "<think>The moon is made of cheese.</think> Every employee has 30 days of vacation.",
    ));
    let (_, answer) = app.ask(&client, QUESTION);
    let events = follow(&client, &answer);
    let is_thinking =
        |event: &SseEvent| event.name == "status" && event.json()["text"] == "Thinking…";
    assert!(events.iter().any(is_thinking), "{events:?}");
    let text = text_of(&events);
    assert!(text.starts_with("Every employee has 30 days"), "{text}");
    assert!(!text.contains("cheese"), "{text}");

    app.model
        .will(Script::Say("<think>I will never come to an end"));
    let (_, answer) = app.ask(&client, QUESTION);
    let events = follow(&client, &answer);
    assert!(!text_of(&events).contains("never"), "{}", text_of(&events));
    assert_eq!(events.last().unwrap().name, "done");
}

#[test]
fn a_reload_follows_from_where_it_was() {
    let app = spawn_app();
    let client = app.signed_in(MEMBER);
    let (_, answer) = app.ask(&client, QUESTION);
    let path = format!("/api/answers/{answer}/events");
    // The first connection is dropped in the middle of the answer.
    let mut beginning = Vec::new();
    for event in client.events("GET", &path, None) {
        let is_delta = event.name == "delta";
        beginning.push(event);
        if is_delta {
            break;
        }
    }
    let seen = beginning.len();
    let mut reconnecting = client.clone();
    reconnecting.set("last-event-id", &seen.to_string());
    let by_header: Vec<_> = reconnecting.events("GET", &path, None).collect();
    let by_query: Vec<_> = client
        .events("GET", &format!("{path}?after={seen}"), None)
        .collect();
    let whole = follow(&client, &answer);
    assert_eq!(by_header, by_query);
    assert_eq!(by_header[0].id, Some(seen + 1));
    assert_eq!([beginning, by_header].concat(), whole);
    let over = client.get(&format!("{path}?after={}", whole.len()));
    assert_eq!(over.status, 204, "a browser would connect again and again");
}

#[test]
fn stopping_keeps_what_there_is_and_cancels_the_model() {
    let app = spawn_app();
    app.model.will(Script::Babble);
    let client = app.signed_in(MEMBER);
    let (conversation, answer) = app.ask(&client, QUESTION);
    let mut events = client.events("GET", &format!("/api/answers/{answer}/events"), None);
    assert!(events.any(|event| event.name == "delta"));
    assert_eq!(
        client
            .post(&format!("/api/answers/{answer}/stop"), json!({}))
            .status,
        204
    );
    let last = events.last().unwrap();
    assert_eq!(last.name, "done");
    let message = last.json()["message"].clone();
    assert_eq!(message["status"], "stopped");
    assert!(
        message["answer"]
            .as_str()
            .unwrap()
            .starts_with("Every employee has 30 days")
    );
    assert_eq!(app.model.cancelled.load(Ordering::SeqCst), 1);
    let stored = client
        .get(&format!("/api/conversations/{conversation}"))
        .json;
    assert_eq!(stored["messages"][0]["status"], "stopped");
    assert_eq!(
        client
            .post(&format!("/api/answers/{answer}/stop"), json!({}))
            .status,
        204,
        "stopping twice"
    );
}

#[test]
fn an_answer_goes_on_when_nobody_listens() {
    let app = spawn_app();
    let client = app.signed_in(MEMBER);
    let (conversation, _) = app.ask(&client, QUESTION);
    let status = eventually("the answer", || {
        let messages = client
            .get(&format!("/api/conversations/{conversation}"))
            .json["messages"]
            .clone();
        messages[0]["status"]
            .as_str()
            .filter(|status| *status != "running")
            .map(str::to_owned)
    });
    assert_eq!(status, "done");
    assert_eq!(app.model.cancelled.load(Ordering::SeqCst), 0);
}

#[test]
fn a_deadline_breaks_an_endless_answer_off_and_keeps_it() {
    let app = spawn(Options {
        configure: |config| config.answer_deadline = std::time::Duration::from_millis(700),
        ..Options::default()
    });
    app.model.will(Script::Babble);
    let client = app.signed_in(MEMBER);
    let (conversation, answer) = app.ask(&client, QUESTION);
    let last = follow(&client, &answer).pop().unwrap();
    assert_eq!(last.name, "error");
    assert!(
        last.json()["message"]
            .as_str()
            .unwrap()
            .contains("too long")
    );
    let message = client
        .get(&format!("/api/conversations/{conversation}"))
        .json["messages"][0]
        .clone();
    assert_eq!(message["status"], "failed");
    assert!(
        message["answer"]
            .as_str()
            .unwrap()
            .starts_with("Every employee has 30 days"),
        "{message}"
    );
}

#[test]
fn a_busy_model_is_replaced_by_quotes_that_say_so() {
    let app = spawn_app();
    app.model.will(Script::Busy);
    let client = app.signed_in(MEMBER);
    let (_, answer) = app.ask(&client, QUESTION);
    let events = follow(&client, &answer);
    let message = events.last().unwrap().json()["message"].clone();
    assert_eq!(
        (message["mode"].as_str(), message["model"].as_str()),
        (Some("quote_only"), None)
    );
    assert!(message["notice"].as_str().unwrap().contains("busy"));
    assert!(
        message["answer"]
            .as_str()
            .unwrap()
            .contains("30 days of vacation"),
        "{message}"
    );
    assert!(
        events
            .iter()
            .any(|event| event.name == "status" && event.data.contains("busy"))
    );
}

#[test]
fn without_a_model_answers_are_quotes_and_the_page_says_how_to_add_one() {
    let app = spawn(Options {
        with_model: false,
        ..Options::default()
    });
    let client = app.signed_in(ADMIN);
    let model = client.get("/api/me").json["model"].clone();
    assert_eq!(
        (model["name"].as_str(), model["quote_only"].as_bool()),
        (None, Some(true))
    );
    assert!(
        model["how_to_add"]
            .as_str()
            .unwrap()
            .contains("cloister models pull")
    );
    let (_, answer) = app.ask(&client, QUESTION);
    let message = follow(&client, &answer).last().unwrap().json()["message"].clone();
    assert_eq!(message["mode"], "quote_only");
    assert!(
        message["citations"][0]["quote"]
            .as_str()
            .unwrap()
            .contains("30 days")
    );
    let chat = json!({ "model": "any", "messages": [{ "role": "user", "content": "hi" }] });
    assert_eq!(
        app.with_key(ADMIN)
            .post("/v1/chat/completions", chat)
            .status,
        404
    );
}

#[test]
fn a_question_that_the_documents_do_not_answer_is_refused_without_the_model() {
    let app = spawn_app();
    let client = app.signed_in(MEMBER);
    let (_, answer) = app.ask(
        &client,
        "Which moons of Jupiter did Galileo discover through his telescope?",
    );
    let message = follow(&client, &answer).last().unwrap().json()["message"].clone();
    assert_eq!(message["refused"], true, "{message}");
    assert_eq!(message["citations"], json!([]));
    assert_eq!(app.model.requests.lock().unwrap().len(), 0);
}

#[test]
fn a_follow_up_is_searched_with_the_question_before_and_shown_the_answer() {
    let app = spawn_app();
    let client = app.signed_in(MEMBER);
    let (conversation, first) = app.ask(&client, QUESTION);
    follow(&client, &first);
    let second = ask_in(&client, &conversation, "And when do they expire?");
    let events = follow(&client, &second);
    let sources = events
        .iter()
        .find(|event| event.name == "sources")
        .unwrap()
        .json();
    assert_eq!(sources["passages"][0]["path"], "vacation.md", "{sources}");
    let requests = app.model.requests.lock().unwrap();
    let prompt = &requests.last().unwrap().0;
    assert!(
        prompt.contains(QUESTION) && prompt.contains("And when do they expire?"),
        "{prompt}"
    );
    assert!(
        !prompt.contains("year [1]"),
        "markers of an earlier answer are in the prompt: {prompt}"
    );
}

#[test]
fn bad_questions_and_unknown_collections_are_refused_in_words() {
    let app = spawn_app();
    let client = app.signed_in(MEMBER);
    let conversation = client.post("/api/conversations", json!({})).json["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("/api/conversations/{conversation}/messages");
    let cases = [
        (json!({ "question": "  " }), 400),
        (json!({ "question": "x".repeat(4001) }), 400),
        (json!({ "question": "Why?", "collections": [12345] }), 404),
        (json!({ "quote_only": true }), 400),
    ];
    for (body, status) in cases {
        let reply = client.post(&path, body.clone());
        assert_eq!(reply.status, status, "{body}");
        assert!(
            reply.json["message"].as_str().unwrap().len() > 10,
            "{}",
            reply.text
        );
    }
    assert_eq!(
        client
            .post(
                "/api/conversations/nope/messages",
                json!({ "question": "Why is it so?" })
            )
            .status,
        404
    );
    let huge = client.post(&path, json!({ "question": "x".repeat(3_000_000) }));
    assert_eq!(huge.status, 413);
}

#[test]
fn an_account_has_a_few_answers_under_way_and_no_more() {
    let app = spawn(Options {
        configure: |config| config.max_answers_per_user = 2,
        ..Options::default()
    });
    let client = app.signed_in(MEMBER);
    for _ in 0..2 {
        app.model.will(Script::Babble);
        app.ask(&client, QUESTION);
    }
    let conversation = client.post("/api/conversations", json!({})).json["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("/api/conversations/{conversation}/messages");
    let reply = client.post(&path, json!({ "question": QUESTION }));
    assert_eq!(
        (reply.status, reply.json["code"].as_str()),
        (429, Some("too_many_answers"))
    );
    assert!(reply.header("retry-after").is_some());
    assert_eq!(
        app.signed_in(ADMIN)
            .post("/api/conversations", json!({}))
            .status,
        201
    );
}

#[test]
fn a_panic_under_an_answer_ends_it_with_a_sentence() {
    let app = spawn_app();
    app.model.will(Script::Panic);
    let client = app.signed_in(MEMBER);
    let (_, answer) = app.ask(&client, QUESTION);
    let last = follow(&client, &answer).pop().unwrap();
    assert_eq!(last.name, "error");
    assert!(!last.data.contains("a bug in the model"), "{}", last.data);
    let chat =
        json!({ "model": "scripted-model", "messages": [{ "role": "user", "content": "hi" }] });
    app.model.will(Script::Panic);
    let reply = app.with_key(MEMBER).post("/v1/chat/completions", chat);
    assert_eq!(
        (reply.status, reply.json["error"]["type"].as_str()),
        (500, Some("server_error"))
    );
    assert_eq!(app.client().get("/healthz").json["status"], "ok");
}

#[test]
fn a_model_whose_device_has_failed_makes_the_server_unhealthy() {
    let app = spawn_app();
    assert_eq!(app.client().get("/healthz").status, 200);
    app.model.is_broken.store(true, Ordering::Relaxed);
    let reply = app.client().get("/healthz");
    assert_eq!(
        (reply.status, reply.json["status"].as_str()),
        (503, Some("broken"))
    );
    // Requests are refused with the reason, at once.
    let chat =
        json!({ "model": "scripted-model", "messages": [{ "role": "user", "content": "hi" }] });
    let reply = app.with_key(MEMBER).post("/v1/chat/completions", chat);
    let error = &reply.json["error"];
    assert_eq!(
        (reply.status, error["code"].as_str()),
        (503, Some("model_stopped"))
    );
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("fallen off the bus") && message.contains("restart"),
        "{message}"
    );
}

#[test]
fn conversations_are_renamed_searched_and_deleted() {
    let app = spawn_app();
    let client = app.signed_in(MEMBER);
    let (first, answer) = app.ask(&client, QUESTION);
    follow(&client, &answer);
    let (second, answer) = app.ask(&client, "Who gets the report about a lost badge?");
    follow(&client, &answer);
    let ids = |query: &str| -> Vec<String> {
        let list = client.get(&format!("/api/conversations{query}")).json;
        list.as_array()
            .unwrap()
            .iter()
            .map(|hit| hit["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids(""), [second.clone(), first.clone()]);
    let path = format!("/api/conversations/{first}");
    let renamed = client.send(
        "PATCH",
        &path,
        Some(json!({ "title": "  Holiday \n rules " })),
    );
    assert_eq!(renamed.json["title"], "Holiday rules");
    assert_eq!(
        client
            .send("PATCH", &path, Some(json!({ "title": " " })))
            .status,
        400
    );
    assert_eq!(ids("?query=holid"), std::slice::from_ref(&first));
    assert_eq!(ids("?query=badge"), [second]);
    assert_eq!(ids("?query=how%20man"), std::slice::from_ref(&first));
    assert_eq!(ids("?query=%22%20OR%20%2A"), Vec::<String>::new());
    assert_eq!(client.send("DELETE", &path, None).status, 204);
    assert_eq!(ids("?query=how%20man"), Vec::<String>::new());
    assert_eq!(client.get(&path).status, 404);
}

#[test]
fn ask_docs_answers_once_or_as_a_stream() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    let body = json!({ "question": QUESTION, "collections": ["handbook"] });
    let reply = client.post("/api/ask-docs", body.clone());
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.json["citations"][0]["path"], "vacation.md");
    assert_eq!(reply.json["model"], "scripted-model");
    let mut stream = body.clone();
    stream["stream"] = json!(true);
    let events: Vec<_> = client
        .events("POST", "/api/ask-docs", Some(stream))
        .collect();
    assert_eq!(events.last().unwrap().name, "done");
    assert_eq!(text_of(&events), reply.json["answer"].as_str().unwrap());
    let unknown = client.post(
        "/api/ask-docs",
        json!({ "question": QUESTION, "collections": ["nope"] }),
    );
    assert_eq!(unknown.status, 404);
    assert!(unknown.json["message"].as_str().unwrap().contains("`nope`"));
    app.model.will(Script::Busy);
    let busy = client.post("/api/ask-docs", body);
    assert_eq!((busy.status, busy.header("retry-after")), (429, Some("7")));
    assert_eq!(client.get("/api/conversations").status, 401);
}
