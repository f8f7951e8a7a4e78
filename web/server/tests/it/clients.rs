//! What real client libraries send, replayed: `tests/data/clients` holds their requests as they were on the wire.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::{Client, MEMBER, spawn_app};
use crate::fakes::Script;

/// Requests of one client library.
#[derive(Deserialize)]
struct Recorded {
    client: String,
    requests: Vec<Request>,
}

#[derive(Deserialize)]
struct Request {
    name: String,
    path: String,
    /// The parameter by which it must be refused.
    refused: Option<String>,
    body: Value,
}

fn recorded() -> Vec<Recorded> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/clients");
    let files = std::fs::read_dir(folder).unwrap();
    let texts = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    texts
        .map(|text| serde_json::from_str(&text).unwrap())
        .collect()
}

#[test]
fn requests_of_client_libraries_are_answered_or_refused_by_name() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    // Token ids 0 and 1 of the recorded requests are the words of this.
    client.post("/v1/completions", json!({ "prompt": "zero one" }));
    let all = recorded();
    assert!(all.len() >= 5, "{}", all.len());
    for Recorded {
        client: library,
        requests,
    } in all
    {
        for request in requests {
            let what = format!("{library}: {}", request.name);
            if let Some(param) = &request.refused {
                let reply = client.post(&request.path, request.body);
                assert_eq!(reply.status, 400, "{what}: {}", reply.text);
                assert_eq!(reply.json["error"]["param"], **param, "{what}");
                continue;
            }
            let count = |name: &str| request.body[name].as_array().map_or(1, Vec::len);
            let answers = match request.body["n"].as_u64() {
                Some(n) => n as usize,
                None => 1,
            };
            for _ in 0..answers * count("prompt") {
                app.model.will(Script::Say("Something said."));
            }
            match request.path.as_str() {
                "/v1/embeddings" => check_vectors(&client, &request, count("input"), &what),
                _ => check_texts(&client, &request, answers * count("prompt"), &what),
            }
        }
    }
}

fn check_vectors(client: &Client, request: &Request, texts: usize, what: &str) {
    let reply = client.post(&request.path, request.body.clone());
    assert_eq!(reply.status, 200, "{what}: {}", reply.text);
    let data = reply.json["data"].as_array().unwrap();
    assert_eq!(data.len(), texts, "{what}");
    let is_base64 = request.body["encoding_format"] == "base64";
    assert!(
        data.iter()
            .all(|item| item["embedding"].is_string() == is_base64),
        "{what}"
    );
}

fn check_texts(client: &Client, request: &Request, choices: usize, what: &str) {
    let text_of = |choice: &Value| -> String {
        let texts = ["message", "delta"].map(|place| choice[place]["content"].as_str());
        let texts = texts.into_iter().chain([choice["text"].as_str()]);
        texts.flatten().collect()
    };
    let mut texts = vec![String::new(); choices];
    let mut add = |answer: &Value| {
        for choice in answer["choices"].as_array().unwrap() {
            texts[choice["index"].as_u64().unwrap() as usize] += &text_of(choice);
        }
    };
    if request.body["stream"] == true {
        let events = client.events("POST", &request.path, Some(request.body.clone()));
        let mut events: Vec<_> = events.collect();
        assert_eq!(events.pop().unwrap().data, "[DONE]", "{what}");
        events.iter().for_each(|event| add(&event.json()));
    } else {
        let reply = client.post(&request.path, request.body.clone());
        assert_eq!(reply.status, 200, "{what}: {}", reply.text);
        add(&reply.json);
    }
    assert!(
        texts.iter().all(|text| text == "Something said."),
        "{what}: {texts:?}"
    );
}
