//! `/v1/*`: limits and their defaults, embeddings, names of models, and what is not an answer.

use serde_json::{Value, json};

use crate::app::{App, Client, MEMBER, Options, spawn, spawn_app};
use crate::fakes::CONTEXT_LEN;

fn max_tokens_of(app: &App, client: &Client, path: &str, extra: Value) -> usize {
    let mut body = match path {
        "/v1/completions" => json!({ "prompt": "Once upon a time" }),
        _ => json!({ "messages": [{ "role": "user", "content": "Say something to me." }] }),
    };
    for (name, value) in extra.as_object().unwrap() {
        body[name] = value.clone();
    }
    let reply = client.post(path, body);
    assert_eq!(reply.status, 200, "{}", reply.text);
    let requests = app.model.requests.lock().unwrap();
    requests.last().unwrap().1.max_tokens
}

#[test]
fn without_a_limit_an_answer_ends_with_the_model_or_its_context() {
    let (chat, completions) = ("/v1/chat/completions", "/v1/completions");
    let room = CONTEXT_LEN - 4;
    let unlimited = spawn_app();
    let capped = spawn(Options {
        configure: |config| config.default_max_tokens = Some(50),
        ..Options::default()
    });
    let (none, off) = (json!({}), json!({ "max_tokens": -1 }));
    let off_newer = json!({ "max_completion_tokens": -1, "max_tokens": 3 });
    for (app, path, extra, want) in [
        (&unlimited, chat, &none, room),
        (&unlimited, chat, &off, room),
        (&unlimited, chat, &off_newer, room),
        (&unlimited, completions, &none, 16),
        (&unlimited, completions, &off, room),
        (&capped, chat, &none, 50),
        (&capped, chat, &off, 50),
        (&capped, chat, &json!({ "max_tokens": 60 }), 60),
        (&capped, completions, &off, 50),
    ] {
        let client = app.with_key(MEMBER);
        assert_eq!(
            max_tokens_of(app, &client, path, extra.clone()),
            want,
            "{path} {extra}"
        );
    }
}

#[test]
fn what_is_too_long_is_named_the_prompt_or_the_limit() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    let long = "word ".repeat(CONTEXT_LEN);
    let nearly = "word ".repeat(CONTEXT_LEN - 5);
    let chat = |text: &str| json!([{ "role": "user", "content": text }]);
    for (path, body, param) in [
        ("/v1/completions", json!({ "prompt": long }), "prompt"),
        (
            "/v1/completions",
            json!({ "prompt": "a", "max_tokens": 9000 }),
            "max_tokens",
        ),
        (
            "/v1/chat/completions",
            json!({ "messages": chat(&long) }),
            "messages",
        ),
        (
            "/v1/chat/completions",
            json!({ "messages": chat("a"), "max_tokens": 9000 }),
            "max_tokens",
        ),
    ] {
        let reply = client.post(path, body);
        let error = &reply.json["error"];
        assert_eq!(
            (reply.status, &error["param"]),
            (400, &json!(param)),
            "{}",
            reply.text
        );
        assert_eq!(error["code"], "context_length_exceeded");
        assert!(
            error["message"].as_str().unwrap().starts_with(param),
            "{error}"
        );
    }
    // What nobody asked for is not what is too long.
    let reply = client.post("/v1/completions", json!({ "prompt": nearly }));
    assert_eq!(reply.status, 200, "{}", reply.text);
}

/// The vectors of an input.
fn vectors(client: &Client, body: Value) -> Vec<Value> {
    let reply = client.post("/v1/embeddings", body);
    assert_eq!(reply.status, 200, "{}", reply.text);
    let data = reply.json["data"].as_array().unwrap();
    let indices: Vec<_> = data
        .iter()
        .map(|item| item["index"].as_u64().unwrap())
        .collect();
    assert!(indices.into_iter().eq(0..data.len() as u64));
    data.iter().map(|item| item["embedding"].clone()).collect()
}

#[test]
fn embeddings_take_2048_texts_and_token_ids() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    let texts: Vec<String> = (0..2048).map(|number| format!("text {number}")).collect();
    let all = vectors(&client, json!({ "input": texts }));
    assert_eq!(all.len(), 2048);
    assert_eq!(
        all[777],
        vectors(&client, json!({ "input": "text 777" }))[0]
    );
    for (wrong, want) in [
        (
            json!(vec!["a"; 2049]),
            "input has 2049 texts; 1 to 2048 are accepted.",
        ),
        (json!([]), "input has 0 texts; 1 to 2048 are accepted."),
        (
            json!(["a", ""]),
            "input[1] is empty; there is no vector of nothing.",
        ),
        (
            json!(["a", "b", " \n"]),
            "input[2] is empty; there is no vector of nothing.",
        ),
        (
            json!("\u{200b}"),
            "input[0] is empty; there is no vector of nothing.",
        ),
    ] {
        let error = client
            .post("/v1/embeddings", json!({ "input": wrong }))
            .json["error"]
            .clone();
        assert_eq!(
            (&error["param"], &error["message"]),
            (&json!("input"), &json!(want))
        );
    }

    let of_text = vectors(&client, json!({ "input": "7 8" }));
    assert_eq!(vectors(&client, json!({ "input": [7, 8] })), of_text);
    assert_eq!(
        vectors(&client, json!({ "input": [[9], [7, 8], [1]] }))[1],
        of_text[0]
    );
    assert_eq!(
        vectors(&client, json!({ "input": ["a", [7, 8]] }))[1],
        of_text[0]
    );
}

#[test]
fn a_text_that_is_too_long_to_embed_is_an_error_unless_it_may_be_cut() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    // The model reads 256, two of them around the text.
    for (long, fits) in [
        (
            json!(["a", "word ".repeat(255)]),
            json!(["a", "word ".repeat(254)]),
        ),
        (json!([vec![7; 255]]), json!([vec![7; 254]])),
    ] {
        let reply = client.post("/v1/embeddings", json!({ "input": long }));
        let error = &reply.json["error"];
        assert_eq!(
            (reply.status, &error["param"]),
            (400, &json!("input")),
            "{}",
            reply.text
        );
        let message = error["message"].as_str().unwrap();
        assert!(
            ["255", "254", "truncate"]
                .iter()
                .all(|part| message.contains(part)),
            "{message}"
        );
        let cut = client.post("/v1/embeddings", json!({ "input": long, "truncate": true }));
        assert_eq!(cut.status, 200, "{}", cut.text);
        let tokens = cut.json["usage"]["prompt_tokens"].as_u64().unwrap();
        assert!((254..=255).contains(&tokens), "{tokens}");
        assert_eq!(
            client
                .post("/v1/embeddings", json!({ "input": fits }))
                .status,
            200
        );
    }
}

#[test]
fn a_text_has_one_vector_however_its_accents_were_typed() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    for (composed, decomposed) in [
        ("caf\u{e9} cr\u{e8}me", "cafe\u{301} cre\u{300}me"),
        ("\u{c5}ngstr\u{f6}m", "A\u{30a}ngstro\u{308}m"),
        (
            "\u{d55c}\u{ae00}",
            "\u{1112}\u{1161}\u{11ab}\u{1100}\u{1173}\u{11af}",
        ),
    ] {
        let both = vectors(&client, json!({ "input": [composed, decomposed] }));
        assert_eq!(both[0], both[1], "{composed}");
    }
}

#[test]
fn models_tell_their_age_and_length_and_have_other_names() {
    let app = spawn(Options {
        configure: |config| {
            config.embedder_created = 1_600_000_000;
            config.model_aliases = [
                ("gpt-4o-mini", "scripted-model"),
                ("text-embedding-3-small", "hashing-embedder"),
            ]
            .map(|(alias, name)| (alias.to_owned(), name.to_owned()))
            .into();
        },
        ..Options::default()
    });
    let client = app.with_key(MEMBER);
    let models = client.get("/v1/models").json;
    let listed: Vec<_> = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| {
            (
                model["id"].as_str().unwrap(),
                model["created"].as_i64().unwrap(),
                model["context_length"].as_u64().unwrap() as usize,
                model["root"].as_str(),
            )
        })
        .collect();
    let (written, embedded) = (1_700_000_000, 1_600_000_000);
    let want = [
        ("scripted-model", written, CONTEXT_LEN, None),
        ("hashing-embedder", embedded, 254, None),
        ("gpt-4o-mini", written, CONTEXT_LEN, Some("scripted-model")),
        (
            "text-embedding-3-small",
            embedded,
            254,
            Some("hashing-embedder"),
        ),
    ];
    assert_eq!(listed, want);
    assert_eq!(client.get("/v1/models/gpt-4o-mini").json, models["data"][2]);
    let body = json!({ "model": "gpt-4o-mini", "messages": [{ "role": "user", "content": "Hi" }] });
    let reply = client.post("/v1/chat/completions", body);
    assert_eq!(
        (reply.status, &reply.json["model"]),
        (200, &json!("scripted-model"))
    );
    let body = json!({ "model": "gpt-4o-mini", "prompt": "Hi" });
    assert_eq!(client.post("/v1/completions", body).status, 200);
    let body = json!({ "model": "text-embedding-3-small", "input": "Hi" });
    assert_eq!(client.post("/v1/embeddings", body).status, 200);
    // Not every name will do, and one kind of model does not do the other's work.
    for (path, body) in [
        (
            "/v1/embeddings",
            json!({ "model": "gpt-4o-mini", "input": "Hi" }),
        ),
        (
            "/v1/completions",
            json!({ "model": "text-embedding-3-small", "prompt": "Hi" }),
        ),
        (
            "/v1/completions",
            json!({ "model": "gpt-5", "prompt": "Hi" }),
        ),
    ] {
        let reply = client.post(path, body);
        assert_eq!(
            (reply.status, &reply.json["error"]["param"]),
            (404, &json!("model"))
        );
    }
}

#[test]
fn a_model_that_does_other_work_is_said_to() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    let chat = json!([{ "role": "user", "content": "Hi" }]);
    for (path, body, want) in [
        (
            "/v1/chat/completions",
            json!({ "model": "hashing-embedder", "messages": chat }),
            "`hashing-embedder` is an embedding model; use `scripted-model` here",
        ),
        (
            "/v1/embeddings",
            json!({ "model": "scripted-model", "input": "Hi" }),
            "`scripted-model` is a language model; use `hashing-embedder` here",
        ),
        (
            "/v1/embeddings",
            json!({ "model": "gpt-5", "input": "Hi" }),
            "There is no model `gpt-5` here; use `hashing-embedder`",
        ),
    ] {
        let reply = client.post(path, body);
        assert_eq!(reply.status, 404, "{}", reply.text);
        let message = reply.json["error"]["message"].as_str().unwrap();
        assert!(message.starts_with(want), "{message}");
    }
}

#[test]
fn mistakes_are_told_in_words_about_the_request() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    let (chat, docs) = ("/v1/chat/completions", "/api/ask-docs");
    let messages = |content: Value| json!({ "messages": [{ "role": "user", "content": content }] });
    let with = |name: &str, value: Value| {
        let mut body = messages(json!("Hi"));
        body[name] = value;
        body
    };
    for (path, body, want) in [
        (
            chat,
            json!([]),
            "The body must be a JSON object; it is a list.",
        ),
        (
            docs,
            json!("Hi"),
            "The body must be a JSON object; it is a text.",
        ),
        (
            docs,
            json!({}),
            "question is missing; the request needs it.",
        ),
        (
            docs,
            json!({ "question": 5 }),
            "question must be a text; it is 5.",
        ),
        (
            docs,
            json!({ "question": "Hi", "collections": [1] }),
            "collections[0] must be a text; it is 1.",
        ),
        (
            chat,
            messages(json!(5)),
            "messages[0].content must be a text or a list of parts; it is 5.",
        ),
        (
            chat,
            with("stop", json!([null, "a"])),
            "stop[0] must be a text; it is null.",
        ),
        (
            chat,
            with("stream_options", json!({ "include_usage": 1 })),
            "stream_options.include_usage must be true or false; it is 1.",
        ),
        (
            chat,
            with("n", json!(0)),
            "n must be between 1 and 8; it is 0.",
        ),
        (
            chat,
            with("n", json!(-1)),
            "n must be between 1 and 8; it is -1.",
        ),
    ] {
        let reply = client.post(path, body);
        let message = match path {
            "/api/ask-docs" => &reply.json["message"],
            _ => &reply.json["error"]["message"],
        };
        assert_eq!(
            (reply.status, message),
            (400, &json!(want)),
            "{}",
            reply.text
        );
    }
    let passes = client.post(chat, with("top_logprobs", json!(0)));
    assert_eq!(passes.status, 200, "{}", passes.text);
    let broken = client.send_bytes("POST", docs, "application/json", b"{\"question\"".to_vec());
    assert_eq!(
        broken.json["message"],
        "The body is no JSON: it ends too early."
    );
}

#[test]
fn a_slash_at_the_end_of_an_address_changes_nothing() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    for path in ["/v1/models", "/v1/models/scripted-model"] {
        assert_eq!(
            client.get(&format!("{path}/")).json,
            client.get(path).json,
            "{path}"
        );
    }
    for (path, body) in [
        (
            "/v1/chat/completions/",
            json!({ "messages": [{ "role": "user", "content": "Hi" }] }),
        ),
        ("/v1/completions/", json!({ "prompt": "Hi" })),
        ("/v1/embeddings/", json!({ "input": "Hi" })),
    ] {
        let reply = client.post(path, body);
        assert_eq!(reply.status, 200, "{path}: {}", reply.text);
    }
}

#[test]
fn a_wrong_method_is_answered_in_json_with_the_right_ones() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    for (method, path, allow) in [
        ("GET", "/v1/chat/completions", "POST"),
        ("DELETE", "/v1/completions", "POST"),
        ("PUT", "/v1/embeddings/", "POST"),
        ("POST", "/v1/models", "GET,HEAD"),
    ] {
        let body = matches!(method, "PUT" | "POST").then(|| json!({}));
        let reply = client.send(method, path, body);
        assert_eq!(
            (reply.status, reply.header("allow")),
            (405, Some(allow)),
            "{method} {path}"
        );
        let error = &reply.json["error"];
        assert_eq!(
            (&error["type"], &error["code"]),
            (
                &json!("invalid_request_error"),
                &json!("method_not_allowed")
            )
        );
        assert!(
            error["message"].as_str().unwrap().contains("`Allow`"),
            "{error}"
        );
    }
    let reply = app
        .signed_in(MEMBER)
        .send("GET", "/api/auth/sign-out", None);
    assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")));
    assert_eq!(
        (&reply.json["code"], &reply.json["status"]),
        (&json!("method_not_allowed"), &json!(405))
    );
}

#[test]
fn without_a_key_the_answer_says_which_scheme_there_is() {
    let app = spawn_app();
    let mut wrong = app.client();
    wrong.set("authorization", "Bearer nonsense");
    for client in [app.client(), wrong] {
        let reply = client.get("/v1/models");
        assert_eq!(
            (reply.status, reply.header("www-authenticate")),
            (401, Some("Bearer"))
        );
    }
    // A person who is signed out signs in on the page.
    assert_eq!(app.client().get("/api/me").header("www-authenticate"), None);
}

#[test]
fn health_has_two_names() {
    let app = spawn_app();
    for path in ["/health", "/healthz", "/health/", "/healthz/"] {
        let health = app.client().get(path);
        assert_eq!(
            (health.status, &health.json["status"]),
            (200, &json!("ok")),
            "{path}"
        );
    }
}
