//! `/v1/*` in OpenAI's shapes.

use std::sync::atomic::Ordering;

use base64::Engine as _;
use inference::Priority;
use serde_json::{Value, json};

use crate::app::{ADMIN, Client, MEMBER, Options, eventually, spawn, spawn_app};
use crate::fakes::{CONTEXT_LEN, Script};

fn chat(extra: Value) -> Value {
    let mut body = json!({
        "model": "scripted-model",
        "messages": [{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "Say something." }],
    });
    for (name, value) in extra.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// The JSON of all chunks before `[DONE]`.
fn chunks(client: &Client, path: &str, body: Value) -> Vec<Value> {
    let mut events: Vec<_> = client.events("POST", path, Some(body)).collect();
    assert_eq!(events.pop().unwrap().data, "[DONE]");
    events.iter().map(|event| event.json()).collect()
}

#[test]
fn a_chat_answer_has_openais_shape() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    app.model.will(Script::Say("Something said."));
    let reply = client.post("/v1/chat/completions", chat(json!({})));
    assert_eq!(reply.status, 200, "{}", reply.text);
    let body = reply.json;
    assert!(body["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(
        body["choices"][0]["message"],
        json!({ "role": "assistant", "content": "Something said." })
    );
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    assert_eq!(
        body["usage"],
        json!({ "prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6 })
    );
    app.model.will(Script::Say("one two three four"));
    let cut = client.post("/v1/chat/completions", chat(json!({ "max_tokens": 2 })));
    assert_eq!(cut.json["choices"][0]["finish_reason"], "length");
}

#[test]
fn pitfall_25_reasoning_is_told_apart_from_the_answer() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    let script = || Script::Say("<think>\nIs it so? Yes. </think>\n\nIt is so.");
    app.model.will(script());
    let reply = client.post("/v1/chat/completions", chat(json!({ "logprobs": true })));
    assert_eq!(
        reply.json["choices"][0]["message"],
        json!({ "role": "assistant", "content": "It is so.", "reasoning_content": "Is it so? Yes." })
    );
    let scored = reply.json["choices"][0]["logprobs"]["content"].as_array();
    assert_eq!(scored.unwrap().len(), 3, "{}", reply.text);
    app.model.will(script());
    let streamed = chat(json!({ "stream": true }));
    let chunks = chunks(&client, "/v1/chat/completions", streamed);
    let joined = |name: &str| -> String {
        let deltas = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]);
        deltas.filter_map(|delta| delta[name].as_str()).collect()
    };
    assert_eq!(joined("reasoning_content"), "Is it so? Yes.");
    assert_eq!(joined("content"), "It is so.");
}

#[test]
fn a_chat_stream_opens_with_the_role_and_ends_with_reason_usage_and_done() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    app.model.will(Script::Say("Something said."));
    let body = chat(json!({ "stream": true, "stream_options": { "include_usage": true } }));
    let chunks = chunks(&client, "/v1/chat/completions", body);
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk["object"] == "chat.completion.chunk"
                && chunk["id"] == chunks[0]["id"])
    );
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let text: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, "Something said.");
    let [.., last, usage] = chunks.as_slice() else {
        panic!("{chunks:?}")
    };
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    assert_eq!(
        (
            usage["choices"].clone(),
            usage["usage"]["completion_tokens"].as_u64()
        ),
        (json!([]), Some(2))
    );
}

#[test]
fn collections_make_a_chat_an_answer_from_documents_with_citations() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    let body = json!({
        "model": "scripted-model",
        "messages": [{ "role": "user", "content": "How many days of vacation does every employee have?" }],
        "collections": ["handbook"],
    });
    let reply = client.post("/v1/chat/completions", body.clone());
    assert_eq!(reply.status, 200, "{}", reply.text);
    let message = &reply.json["choices"][0]["message"];
    assert!(
        message["content"].as_str().unwrap().contains("[1]"),
        "{message}"
    );
    assert_eq!(message["citations"][0]["path"], "vacation.md");
    assert_eq!(message["refused"], false);
    assert_eq!(message["unsupported"], json!([]));
    assert_eq!(message["mode"], "generated");
    assert_eq!(message["notice"], json!(null));
    assert_eq!(app.model.requests.lock().unwrap()[0].2, Priority::Api);

    let mut stream = body.clone();
    stream["stream"] = json!(true);
    let chunks = chunks(&client, "/v1/chat/completions", stream);
    let last = chunks.last().unwrap();
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    assert_eq!(
        last["choices"][0]["delta"]["citations"],
        message["citations"]
    );

    for name in ["refused", "unsupported", "mode"] {
        assert_eq!(last["choices"][0]["delta"][name], message[name], "{name}");
    }

    let mut unknown = body;
    unknown["collections"] = json!(["nope"]);
    let reply = client.post("/v1/chat/completions", unknown);
    assert_eq!(
        (reply.status, reply.json["error"]["param"].as_str()),
        (404, Some("collections"))
    );
}

#[test]
fn a_statement_against_the_documents_is_asked_once_more_and_replaced() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    let body = json!({
        "model": "scripted-model",
        "messages": [{ "role": "user", "content": "How many days of vacation does every employee have?" }],
        "collections": ["handbook"],
    });
    let wrong = Script::Say("Every employee has 99 days of vacation per year.");
    app.model.will(wrong);
    let reply = client.post("/v1/chat/completions", body.clone());
    let corrected = &reply.json["choices"][0]["message"];
    let text = corrected["content"].as_str().unwrap();
    assert!(text.contains("30 days") && !text.contains("99"), "{text}");
    assert!(corrected["notice"].is_string(), "{corrected}");
    assert_eq!(app.model.requests.lock().unwrap().len(), 2);

    for _ in 0..2 {
        let wrong = Script::Say("Every employee has 99 days of vacation per year.");
        app.model.will(wrong);
    }
    let mut stream = body;
    stream["stream"] = json!(true);
    let chunks = chunks(&client, "/v1/chat/completions", stream);
    let deltas = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]);
    let text: String = deltas
        .filter_map(|delta| delta["content"].as_str())
        .collect();
    assert!(text.starts_with("The closest passage says: "), "{text}");
    assert!(!text.contains("99"), "{text}");
    let last = &chunks.last().unwrap()["choices"][0]["delta"];
    assert_eq!(last["citations"][0]["path"], "vacation.md");
    assert!(last["notice"].is_string(), "{last}");
}

#[test]
fn sampling_fields_reach_the_model_and_wrong_ones_are_named() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    let fields = json!({
        "temperature": 0.5, "top_p": 0.9, "seed": 7, "stop": ["\n"], "presence_penalty": 0.1, "frequency_penalty": 0.2,
        "max_completion_tokens": 12, "user": "ignored", "logit_bias": {},
    });
    assert_eq!(
        client.post("/v1/chat/completions", chat(fields)).status,
        200
    );
    let sampling = app.model.requests.lock().unwrap()[0].1.clone();
    assert_eq!(
        (
            sampling.temperature,
            sampling.top_p,
            sampling.seed,
            sampling.max_tokens
        ),
        (0.5, 0.9, Some(7), 12)
    );
    assert_eq!(
        (
            sampling.stop,
            sampling.presence_penalty,
            sampling.frequency_penalty
        ),
        (vec!["\n".into()], 0.1, 0.2)
    );

    let harmless = json!({ "tools": [], "response_format": { "type": "text" } });
    app.model.will(Script::Say("Something said."));
    let reply = client.post("/v1/chat/completions", chat(harmless));
    assert_eq!(reply.status, 200, "{}", reply.text);

    let wrong = [
        ("temperature", json!({ "temperature": 3 })),
        ("n", json!({ "n": 9 })),
        ("n", json!({ "n": 0 })),
        ("top_logprobs", json!({ "top_logprobs": 2 })),
        (
            "top_logprobs",
            json!({ "logprobs": true, "top_logprobs": 21 }),
        ),
        ("logit_bias", json!({ "logit_bias": { "1": 200 } })),
        ("min_p", json!({ "min_p": -1 })),
        ("dry_base", json!({ "dry_base": 0.5 })),
        ("mirostat", json!({ "mirostat": 3 })),
        ("banned_strings", json!({ "banned_strings": [""] })),
        ("stop", json!({ "stop": vec!["a"; 17] })),
        ("tools", json!({ "tools": [{ "type": "function" }] })),
        ("functions", json!({ "functions": [{ "name": "f" }] })),
        (
            "response_format",
            json!({ "response_format": { "type": "json_object" } }),
        ),
        ("messages", json!({ "messages": [] })),
        (
            "messages",
            json!({ "messages": [{ "role": "robot", "content": "x" }] }),
        ),
        (
            "messages",
            json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url" }] }] }),
        ),
    ];
    for (param, extra) in wrong {
        let reply = client.post("/v1/chat/completions", chat(extra));
        assert_eq!(
            (reply.status, reply.json["error"]["param"].as_str()),
            (400, Some(param)),
            "{}",
            reply.text
        );
        assert_eq!(reply.json["error"]["type"], "invalid_request_error");
    }
    let model = client.post("/v1/chat/completions", chat(json!({ "model": "gpt-4" })));
    assert_eq!(
        (model.status, model.json["error"]["code"].as_str()),
        (404, Some("model_not_found"))
    );
    assert!(
        model.json["error"]["message"]
            .as_str()
            .unwrap()
            .contains("scripted-model")
    );
}

#[test]
fn an_oversize_prompt_is_refused_with_the_numbers_and_a_busy_model_with_a_time() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    let long = "word ".repeat(CONTEXT_LEN);
    let body = chat(json!({ "messages": [{ "role": "user", "content": long }] }));
    let reply = client.post("/v1/chat/completions", body);
    assert_eq!(
        (reply.status, reply.json["error"]["code"].as_str()),
        (400, Some("context_length_exceeded"))
    );
    let message = reply.json["error"]["message"].as_str().unwrap();
    assert!(
        message.matches(&CONTEXT_LEN.to_string()).count() >= 2,
        "{message}"
    );
    let completion = client.post(
        "/v1/completions",
        json!({ "model": "scripted-model", "prompt": long }),
    );
    assert_eq!(completion.status, 400);

    for extra in [
        json!({}),
        json!({ "stream": true }),
        json!({ "collections": [] }),
    ] {
        app.model.will(Script::Busy);
        let question = json!([{ "role": "user", "content": "How many days of vacation does every employee have?" }]);
        let mut body = chat(extra);
        body["messages"] = question;
        let busy = client.post("/v1/chat/completions", body);
        assert_eq!(
            (busy.status, busy.header("retry-after")),
            (429, Some("7")),
            "{}",
            busy.text
        );
        assert_eq!(busy.json["error"]["type"], "rate_limit_error");
    }
}

#[test]
fn completions_continue_a_text() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    app.model.will(Script::Say("upon a time"));
    let reply = client.post(
        "/v1/completions",
        json!({ "model": "scripted-model", "prompt": "Once" }),
    );
    assert_eq!(reply.json["object"], "text_completion");
    assert_eq!(reply.json["choices"][0]["text"], "upon a time");
    app.model.will(Script::Say("upon a time"));
    let body = json!({ "model": "scripted-model", "prompt": ["Once"], "stream": true });
    let chunks = chunks(&client, "/v1/completions", body);
    let text: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["text"].as_str())
        .collect();
    assert_eq!(text, "upon a time");
}

#[test]
fn several_prompts_as_texts_or_token_ids_have_their_choices_in_order() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    let say = || ["one", "two", "three", "four"].map(|text| app.model.will(Script::Say(text)));
    say();
    let body =
        json!({ "prompt": ["a b", "c"], "n": 2, "stream_options": { "include_usage": true } });
    let reply = client.post("/v1/completions", body.clone()).json;
    let choices: Vec<_> = (0..4)
        .map(|index| {
            let choice = &reply["choices"][index];
            (
                choice["index"].as_u64().unwrap(),
                choice["text"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(choices, [(0, "one"), (1, "two"), (2, "three"), (3, "four")]);
    // Each prompt counts once: `a b` and `c`.
    let usage = json!({ "prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7 });
    assert_eq!(reply["usage"], usage);
    let prompts = || -> Vec<String> {
        let mut requests = app.model.requests.lock().unwrap();
        requests.drain(..).map(|request| request.0).collect()
    };
    assert_eq!(prompts(), ["a b", "a b", "c", "c"]);

    say();
    let mut streamed = body;
    streamed["stream"] = json!(true);
    let chunks = chunks(&client, "/v1/completions", streamed);
    let mut texts = [const { String::new() }; 4];
    for choice in chunks
        .iter()
        .flat_map(|chunk| chunk["choices"].as_array().unwrap())
    {
        texts[choice["index"].as_u64().unwrap() as usize] += choice["text"].as_str().unwrap();
    }
    assert_eq!(texts, ["one", "two", "three", "four"]);
    assert_eq!(chunks.last().unwrap()["usage"], usage);
    prompts();

    // The ids of `a ` and `b` are 0 and 1, as they came first.
    for (ids, want) in [
        (json!([0, 1]), vec!["a b"]),
        (json!([[0, 1], [1]]), vec!["a b", "b"]),
    ] {
        let reply = client.post("/v1/completions", json!({ "prompt": ids }));
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert_eq!(prompts(), want);
    }
    for wrong in [
        json!([]),
        json!([""]),
        json!([[]]),
        json!([99999]),
        json!(vec!["a"; 33]),
    ] {
        let reply = client.post("/v1/completions", json!({ "prompt": wrong }));
        assert_eq!(
            (reply.status, reply.json["error"]["param"].as_str()),
            (400, Some("prompt")),
            "{}",
            reply.text
        );
    }
}

#[test]
fn prompts_beyond_a_persons_places_are_written_after_the_others() {
    const NUMBERS: [&str; 12] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"];
    let app = spawn(Options {
        configure: |config| config.max_answers_per_user = 4,
        with_documents: false,
        ..Options::default()
    });
    let client = app.with_key(MEMBER);
    let prompts: Vec<String> = NUMBERS.map(|number| format!("prompt {number}")).into();
    for stream in [false, true] {
        // The fifth finds the queue full at first.
        for number in &NUMBERS[..4] {
            app.model.will(Script::Say(number));
        }
        app.model.will(Script::Busy);
        for number in &NUMBERS[4..] {
            app.model.will(Script::Say(number));
        }
        let body = json!({ "prompt": prompts, "stream": stream });
        let mut texts = vec![String::new(); 12];
        let mut add = |answer: &Value| {
            for choice in answer["choices"].as_array().unwrap() {
                let index = choice["index"].as_u64().unwrap() as usize;
                texts[index] += choice["text"].as_str().unwrap();
            }
        };
        if stream {
            chunks(&client, "/v1/completions", body)
                .iter()
                .for_each(&mut add);
        } else {
            let reply = client.post("/v1/completions", body);
            assert_eq!(reply.status, 200, "{}", reply.text);
            add(&reply.json);
        }
        assert_eq!(texts, NUMBERS);
    }
    let with_a_long_one = [prompts, vec!["word ".repeat(CONTEXT_LEN)]].concat();
    let too_long = json!({ "prompt": with_a_long_one });
    let reply = client.post("/v1/completions", too_long);
    assert_eq!(
        (reply.status, &reply.json["error"]["param"]),
        (400, &json!("prompt")),
        "{}",
        reply.text
    );
    let too_many = client.post("/v1/completions", json!({ "prompt": vec!["a"; 33] }));
    assert_eq!(
        (too_many.status, &too_many.json["error"]["param"]),
        (400, &json!("prompt"))
    );
}

#[test]
fn a_history_with_tool_calls_reaches_the_model() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    let history = json!([
        { "role": "user", "content": "Rain?" },
        { "role": "assistant", "content": null, "tool_calls": [
            { "id": "c1", "type": "function", "function": { "name": "weather", "arguments": "{\"city\": \"Oslo\"}" } },
            { "id": "c2", "type": "custom", "custom": { "name": "note", "input": "wet" } },
        ] },
        { "role": "tool", "tool_call_id": "c1", "content": "sun" },
        { "role": "assistant", "content": null },
        { "role": "user", "content": "And then?" },
    ]);
    let reply = client.post("/v1/chat/completions", chat(json!({ "messages": history })));
    assert_eq!(reply.status, 200, "{}", reply.text);
    let prompt = app.model.requests.lock().unwrap()[0].0.clone();
    assert_eq!(
        prompt,
        "Rain?\nweather({\"city\":\"Oslo\"})note(\"wet\")\nsun\n\nAnd then?"
    );
}

#[test]
fn chunks_have_a_usage_of_null_and_answers_a_fingerprint() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    let whole = client.post("/v1/chat/completions", chat(json!({}))).json;
    let fingerprint = whole["system_fingerprint"].as_str().unwrap();
    assert!(
        fingerprint.starts_with("fp_") && fingerprint.len() == 13,
        "{fingerprint}"
    );
    for (path, mut body) in [
        ("/v1/chat/completions", chat(json!({}))),
        ("/v1/completions", json!({ "prompt": "Once" })),
    ] {
        body["stream"] = json!(true);
        for chunk in chunks(&client, path, body.clone()) {
            assert_eq!(chunk["system_fingerprint"], fingerprint);
            assert!(chunk.get("usage").is_none(), "{chunk}");
        }
        body["stream_options"] = json!({ "include_usage": true });
        let chunks = chunks(&client, path, body);
        let (last, others) = chunks.split_last().unwrap();
        assert!(last["usage"].is_object(), "{last}");
        for chunk in others {
            assert_eq!(chunk.get("usage"), Some(&Value::Null), "{chunk}");
        }
    }
}

#[test]
fn a_client_that_goes_away_cancels_the_model() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    app.model.will(Script::Babble);
    let mut events = client.events(
        "POST",
        "/v1/chat/completions",
        Some(chat(json!({ "stream": true }))),
    );
    assert!(events.next().is_some());
    drop(events);
    drop(client);
    eventually("the cancellation", || {
        (app.model.cancelled.load(Ordering::SeqCst) == 1).then_some(())
    });
}

#[test]
fn embeddings_come_as_numbers_or_base64() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    let body = json!({ "model": "hashing-embedder", "input": ["one text", "another text"] });
    let reply = client.post("/v1/embeddings", body).json;
    let vectors: Vec<Vec<f32>> = reply["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| serde_json::from_value(item["embedding"].clone()).unwrap())
        .collect();
    assert_eq!(
        (
            vectors.len(),
            vectors[0].len(),
            reply["usage"]["prompt_tokens"].as_u64()
        ),
        (2, 128, Some(4))
    );
    let body =
        json!({ "model": "hashing-embedder", "input": "one text", "encoding_format": "base64" });
    let encoded = client.post("/v1/embeddings", body).json["data"][0]["embedding"]
        .as_str()
        .unwrap()
        .to_owned();
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(encoded)
        .unwrap();
    let decoded: Vec<f32> = bytes
        .chunks_exact(4)
        .map(|four| f32::from_le_bytes(four.try_into().unwrap()))
        .collect();
    assert_eq!(decoded, vectors[0]);
    let empty = client.post(
        "/v1/embeddings",
        json!({ "model": "hashing-embedder", "input": [] }),
    );
    assert_eq!(empty.json["error"]["param"], "input");
}

#[test]
fn models_are_listed_and_unknown_addresses_have_openais_shape() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    let ids: Vec<String> = client.get("/v1/models").json["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids, ["scripted-model", "hashing-embedder"]);
    assert_eq!(
        client.get("/v1/models/scripted-model").json["object"],
        "model"
    );
    for path in ["/v1/nothing", "/v1", "/v1/"] {
        let reply = client.get(path);
        assert_eq!(
            (reply.status, &reply.json["error"]["code"]),
            (404, &json!("not_found")),
            "{path}"
        );
    }
    let broken = client.send_bytes(
        "POST",
        "/v1/chat/completions",
        "application/json",
        b"{".to_vec(),
    );
    assert_eq!(
        (broken.status, broken.json["error"]["type"].as_str()),
        (400, Some("invalid_request_error"))
    );
}

#[test]
fn metrics_name_routes_and_no_ids() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    client.get("/v1/models");
    client.get("/api/conversations/some-secret-id");
    let text = app.with_key(ADMIN).get("/metrics").text;
    assert!(
        text.contains(
            "cloister_http_requests_total{method=\"GET\",route=\"/v1/models\",status=\"200\"} 1"
        ),
        "{text}"
    );
    assert!(text.contains("cloister_engine_kv_blocks_free 32"), "{text}");
    assert!(!text.contains("some-secret-id"), "{text}");
}

#[test]
fn several_answers_come_whole_or_as_a_stream_and_are_counted_together() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    let say = || {
        for text in ["one", "one two", "one two three"] {
            app.model.will(Script::Say(text));
        }
    };
    say();
    let three = json!({ "n": 3, "seed": 7 });
    let reply = client.post("/v1/chat/completions", chat(three)).json;
    let texts: Vec<&str> = (0..3)
        .map(|index| {
            reply["choices"][index]["message"]["content"]
                .as_str()
                .unwrap()
        })
        .collect();
    assert_eq!(texts, ["one", "one two", "one two three"]);
    assert_eq!(reply["choices"][2]["index"], 2);
    let counted = json!({ "prompt_tokens": 4, "completion_tokens": 6, "total_tokens": 10 });
    assert_eq!(reply["usage"], counted);
    let indices: Vec<u64> = app
        .model
        .requests
        .lock()
        .unwrap()
        .iter()
        .map(|request| request.1.answer_idx)
        .collect();
    assert_eq!(indices, [0, 1, 2]);

    say();
    let streamed = json!({ "n": 3, "stream": true, "stream_options": { "include_usage": true } });
    let chunks = chunks(&client, "/v1/chat/completions", chat(streamed));
    let mut texts = [const { String::new() }; 3];
    let mut finished = 0;
    for chunk in &chunks {
        for choice in chunk["choices"].as_array().unwrap() {
            let index = choice["index"].as_u64().unwrap() as usize;
            texts[index] += choice["delta"]["content"].as_str().unwrap_or_default();
            finished += usize::from(choice["finish_reason"] == "stop");
        }
    }
    assert_eq!(
        (texts, finished),
        (["one", "one two", "one two three"].map(str::to_owned), 3)
    );
    assert_eq!(chunks.last().unwrap()["usage"], counted);

    say();
    let body = json!({ "model": "scripted-model", "prompt": "Once", "n": 3 });
    let reply = client.post("/v1/completions", body).json;
    assert_eq!(reply["choices"][1]["text"], "one two");
    assert_eq!(reply["usage"]["completion_tokens"], 6);
}

#[test]
fn when_one_of_several_answers_cannot_start_or_fails_the_others_are_cancelled() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    let cancelled = |count: usize| {
        eventually("the cancellation", || {
            (app.model.cancelled.load(Ordering::SeqCst) == count).then_some(())
        });
    };
    app.model.will(Script::Babble);
    app.model.will(Script::Busy);
    let busy = client.post("/v1/chat/completions", chat(json!({ "n": 2 })));
    assert_eq!((busy.status, busy.header("retry-after")), (429, Some("7")));
    cancelled(1);

    app.model.will(Script::Babble);
    app.model.will(Script::Fail);
    let failed = client.post("/v1/chat/completions", chat(json!({ "n": 2 })));
    assert_eq!(
        (failed.status, failed.json["error"]["code"].as_str()),
        (500, Some("generation_failed"))
    );
    cancelled(2);

    for (path, body) in [
        (
            "/v1/chat/completions",
            chat(json!({ "n": 2, "stream": true })),
        ),
        (
            "/v1/completions",
            json!({ "model": "scripted-model", "prompt": "Once", "n": 2, "stream": true }),
        ),
    ] {
        app.model.will(Script::Babble);
        app.model.will(Script::Fail);
        let chunks = chunks(&client, path, body);
        assert_eq!(chunks.last().unwrap()["error"]["code"], "generation_failed");
    }
    cancelled(4);
}

#[test]
fn logprobs_come_with_chats_and_completions_whole_and_streamed() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    let say = || app.model.will(Script::Say("Something said."));
    say();
    let asked = json!({ "logprobs": true, "top_logprobs": 1 });
    let whole = client
        .post("/v1/chat/completions", chat(asked.clone()))
        .json;
    let content = whole["choices"][0]["logprobs"]["content"].clone();
    let top = json!([{ "token": "other", "logprob": -2.0, "bytes": b"other" }]);
    assert_eq!(
        content[1],
        json!({ "token": "said.", "logprob": -0.125, "bytes": b"said.", "top_logprobs": top })
    );
    say();
    let mut streamed = chat(asked);
    streamed["stream"] = json!(true);
    let chunks_of_chat = chunks(&client, "/v1/chat/completions", streamed);
    let joined: Vec<Value> = chunks_of_chat
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["logprobs"]["content"].as_array())
        .flatten()
        .cloned()
        .collect();
    assert_eq!(json!(joined), content);
    say();
    let none = client.post("/v1/chat/completions", chat(json!({}))).json;
    assert_eq!(none["choices"][0]["logprobs"], Value::Null);

    let want = json!({
        "tokens": ["Something ", "said."],
        "token_logprobs": [0.0, -0.125],
        "top_logprobs": [{ "Something ": 0.0, "other": -2.0 }, { "other": -2.0, "said.": -0.125 }],
        "text_offset": [0, 10],
    });
    let body = json!({ "model": "scripted-model", "prompt": "Once", "logprobs": 1 });
    say();
    let completion = client.post("/v1/completions", body.clone()).json;
    assert_eq!(completion["choices"][0]["logprobs"], want);
    say();
    let mut streamed = body.clone();
    streamed["stream"] = json!(true);
    let chunks_of_text = chunks(&client, "/v1/completions", streamed);
    assert_eq!(
        chunks_of_text[1]["choices"][0]["logprobs"]["text_offset"],
        json!([10])
    );
    let mut too_many = body;
    too_many["logprobs"] = json!(21);
    let refused = client.post("/v1/completions", too_many);
    assert_eq!(
        (refused.status, refused.json["error"]["param"].as_str()),
        (400, Some("logprobs"))
    );
}

#[test]
fn with_collections_what_makes_no_sense_is_refused_and_the_rest_reaches_the_model() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    let ask = |extra: Value| {
        let mut body = chat(extra);
        body["messages"] = json!([{ "role": "user", "content": "How many days of vacation does every employee have?" }]);
        body["collections"] = json!(["handbook"]);
        client.post("/v1/chat/completions", body)
    };
    for (param, extra) in [
        ("n", json!({ "n": 2 })),
        ("logprobs", json!({ "logprobs": true })),
        ("ignore_eos", json!({ "ignore_eos": true })),
        ("top_p", json!({ "top_p": 2 })),
    ] {
        let reply = ask(extra);
        let there = (reply.status, reply.json["error"]["param"].as_str());
        assert_eq!(there, (400, Some(param)), "{}", reply.text);
    }
    for last in [
        json!({ "role": "assistant", "content": "30 days." }),
        json!({ "role": "system", "content": "Be brief." }),
        json!({ "role": "tool", "tool_call_id": "c1", "content": "30 days." }),
        json!({ "role": "assistant", "content": null, "tool_calls": [
            { "id": "c1", "type": "function", "function": { "name": "f", "arguments": "{}" } },
        ] }),
    ] {
        let question = json!({ "role": "user", "content": "How many days of vacation are there?" });
        let mut body = chat(json!({ "collections": ["handbook"] }));
        body["messages"] = json!([question, last]);
        let reply = client.post("/v1/chat/completions", body);
        let error = &reply.json["error"];
        assert_eq!(
            (reply.status, &error["param"], &error["message"]),
            (
                400,
                &json!("messages"),
                &json!("With collections the last message must be the user's question.")
            ),
            "{last}"
        );
    }
    assert_eq!(
        ask(json!({ "logit_bias": { "3": -100 }, "top_k": 5, "n": 1, "logprobs": false })).status,
        200
    );
    let sampling = app.model.requests.lock().unwrap()[0].1.clone();
    assert_eq!(
        (sampling.logit_bias, sampling.top_k, sampling.temperature),
        (vec![(3, -100.0)], 5, 0.0)
    );
}
