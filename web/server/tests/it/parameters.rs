//! Every row of the table of parameters, over HTTP: a value that is refused by name, a value that passes.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use web_server::http::{Endpoint, ParameterInfo, ParameterUse, parameter_table};

use crate::app::{Client, MEMBER, spawn_app};

/// The least request of an endpoint.
fn least(endpoint: Endpoint) -> Value {
    match endpoint {
        Endpoint::Chat => json!({ "messages": [{ "role": "user", "content": "Hi" }] }),
        Endpoint::Completions => json!({ "prompt": "Once" }),
        Endpoint::Embeddings => json!({ "input": "one text" }),
    }
}

/// Values of one parameter, with what else the request needs.
struct Values {
    refused: Vec<Value>,
    pass: Vec<Value>,
    /// Added to the requests that pass.
    with: Value,
}

fn values(refused: &[Value], pass: &[Value]) -> Values {
    Values {
        refused: refused.to_vec(),
        pass: pass.to_vec(),
        with: json!({}),
    }
}

fn number(pass: f64) -> Values {
    values(&[json!("five"), json!([]), json!(true)], &[json!(pass)])
}

fn whole(pass: i64) -> Values {
    values(
        &[json!("5"), json!(1.5), json!({})],
        &[json!(pass), json!(pass as f64)],
    )
}

fn count(pass: i64) -> Values {
    let refused = [json!("5"), json!(1.5), json!({}), json!(-1), json!(5e9)];
    Values {
        refused: refused.to_vec(),
        ..whole(pass)
    }
}

/// Something of every kind that means something.
fn anything() -> Vec<Value> {
    vec![json!("high"), json!({ "a": 1 }), json!(["a"]), json!(7.5)]
}

#[rustfmt::skip]
fn read() -> BTreeMap<&'static str, Values> {
    let messages = json!([{ "role": "user", "content": "Hi" }]);
    let texts = || values(&[json!(5), json!("a"), json!([1])], &[json!(["a"]), json!([])]);
    BTreeMap::from([
        ("model", values(&[json!(5)], &[])),
        ("messages", values(&[json!("Hi"), json!([{ "content": "Hi" }]), json!([5])], &[messages])),
        ("prompt", values(&[json!(5), json!([1.5]), json!([-1]), json!("")], &[json!("Once"), json!(["Once", "Twice"]), json!([0]), json!([0.0]), json!([[0], [0.0]])])),
        ("input", values(&[json!({}), json!([[]]), json!([1000]), json!(["a", 1])], &[json!("a"), json!(["a", "b"]), json!([7, 8]), json!([7.0, 8]), json!(["a", [7], [8.0]])])),
        ("encoding_format", values(&[json!(5), json!("int8")], &[json!("float"), json!("base64")])),
        ("truncate", values(&[json!("END")], &[json!(true), json!(false)])),
        ("collections", values(&[json!("a"), json!([5])], &[])),
        ("stream", values(&[json!("yes"), json!(1)], &[json!(false)])),
        ("stream_options", values(&[json!(true), json!({ "include_usage": "yes" })], &[json!({}), json!({ "include_usage": null }), json!({ "include_usage": true })])),
        ("n", count(1)),
        ("max_tokens", whole(5)),
        ("n_predict", whole(-1)),
        ("max_completion_tokens", whole(-1)),
        ("max_tokens_to_sample", whole(-1)),
        ("stop", values(&[json!(5), json!([5]), json!("")], &[json!("a"), json!(vec!["a"; 16]), json!([])])),
        ("ignore_eos", values(&[json!("no"), json!(1)], &[json!(true)])),
        ("seed", whole(1)),
        ("sampling_seed", whole(1)),
        ("logprobs", values(&[json!("yes"), json!(-1)], &[])),
        ("top_logprobs", Values { with: json!({ "logprobs": true }), ..count(2) }),
        ("temperature", number(0.5)),
        ("top_p", Values { pass: vec![json!(0), json!(0.5), json!(1)], ..number(0.5) }),
        ("top_k", Values { pass: vec![json!(-1), json!(0), json!(40.0)], ..whole(0) }),
        ("min_p", number(0.1)),
        ("typical_p", number(0.9)),
        ("typical", number(0.9)),
        ("top_n_sigma", number(1.0)),
        ("nsigma", number(1.0)),
        ("xtc_probability", number(0.1)),
        ("xtc_threshold", number(0.1)),
        ("mirostat", count(2)),
        ("mirostat_tau", number(5.0)),
        ("mirostat_eta", number(0.1)),
        ("repetition_penalty", number(1.1)),
        ("repeat_penalty", number(1.1)),
        ("rep_pen", number(1.1)),
        ("repeat_last_n", whole(-1)),
        ("presence_penalty", number(0.5)),
        ("frequency_penalty", number(0.5)),
        ("dry_multiplier", number(0.8)),
        ("dry_base", number(1.75)),
        ("dry_allowed_length", count(2)),
        ("dry_penalty_last_n", whole(-1)),
        ("dry_sequence_breakers", texts()),
        ("logit_bias", values(&[json!([[5, 1.0]]), json!("a"), json!({ "hello": 1 }), json!({ "5": "x" })], &[json!({ "5": -100 }), json!({}), json!([])])),
        ("banned_strings", texts()),
    ])
}

#[rustfmt::skip]
fn refused() -> BTreeMap<&'static str, Values> {
    let tool = json!([{ "type": "function", "function": { "name": "f", "parameters": {} } }]);
    let is = |neutral: f64| values(&[json!(neutral + 1.5), json!("high")], &[json!(neutral)]);
    let never = || values(&anything(), &[]);
    let empty = || values(&anything(), &[json!([]), json!({}), json!("")]);
    let off = || values(&[json!(true), json!("high")], &[json!(false)]);
    let on = || values(&[json!(false), json!("high")], &[json!(true)]);
    BTreeMap::from([
        ("tools", Values { with: json!({ "tool_choice": "none" }), ..values(std::slice::from_ref(&tool), &[tool.clone(), json!([])]) }),
        ("tool_choice", values(&[json!("required"), json!({ "type": "function", "function": { "name": "f" } })], &[json!("none"), json!("auto")])),
        ("functions", Values { with: json!({ "function_call": "none" }), ..values(&[json!([{ "name": "f" }])], &[json!([{ "name": "f" }]), json!([])]) }),
        ("function_call", values(&[json!({ "name": "f" })], &[json!("none"), json!("auto")])),
        ("modalities", values(&[json!(["text", "audio"]), json!("audio")], &[json!(["text"])])),
        ("audio", never()),
        ("web_search_options", never()),
        ("response_format", values(&[json!({ "type": "json_object" }), json!({ "type": "json_schema", "json_schema": {} }), json!("json")], &[json!({ "type": "text" })])),
        ("grammar", values(&[json!("root ::= \"a\"")], &[json!("")])),
        ("json_schema", never()), ("structured_outputs", never()), ("guided_json", never()), ("guided_regex", never()),
        ("guided_choice", never()), ("guided_grammar", never()), ("regex", never()), ("ebnf", never()),
        ("structural_tag", never()), ("format", empty()), ("grammar_string", values(&[json!("root ::= \"a\"")], &[json!("")])),
        ("system", empty()), ("instructions", empty()), ("previous_response_id", never()), ("safe_prompt", off()), ("options", empty()),
        ("verbosity", values(&[json!("low"), json!("high")], &[json!("medium")])),
        ("reasoning_effort", values(&[json!("low"), json!("high"), json!("none")], &[])),
        ("reasoning", never()), ("thinking", never()), ("thinking_budget", never()), ("enable_thinking", values(&[json!(true), json!(false)], &[])),
        ("think", values(&[json!(true), json!(false)], &[])),
        ("reasoning_budget", is(-1.0)), ("thinking_token_budget", never()),
        ("include_reasoning", on()), ("separate_reasoning", on()),
        ("reasoning_format", values(&[json!("none")], &[json!("auto")])),
        ("chat_template", never()),
        ("chat_template_kwargs", values(&[json!({ "enable_thinking": false })], &[json!({})])),
        ("add_generation_prompt", on()), ("continue_final_message", off()),
        ("documents", empty()),
        ("suffix", values(&[json!("\n    return result")], &[json!("")])),
        ("echo", off()),
        ("best_of", Values { with: json!({ "n": 2 }), ..values(&[json!(3), json!("3")], &[json!(2), json!(1)]) }),
        ("use_beam_search", off()),
        ("num_beams", is(1.0)), ("do_sample", on()),
        ("max_new_tokens", never()), ("max_output_tokens", never()), ("num_predict", never()), ("random_seed", never()),
        ("min_tokens", is(0.0)), ("min_new_tokens", is(0.0)), ("ban_eos_token", off()),
        ("stop_regex", empty()), ("no_stop_trim", off()), ("add_bos_token", on()), ("return_full_text", off()),
        ("decoder_input_details", off()), ("top_n_tokens", is(0.0)),
        ("custom_logit_processor", empty()), ("custom_token_bans", empty()), ("watermark", off()), ("mirostat_mode", is(0.0)),
        ("no_repeat_ngram_size", is(0.0)), ("repetition_penalty_range", is(0.0)), ("encoder_repetition_penalty", is(1.0)),
        ("stop_token_ids", values(&[json!([2])], &[json!([])])),
        ("include_stop_str_in_output", off()), ("skip_special_tokens", on()),
        ("add_special_tokens", values(&[json!("high")], &[])),
        ("truncate_prompt_tokens", values(&[json!(100), json!(-1)], &[])),
        ("truncation", values(&[json!("auto")], &[json!("disabled")])),
        ("prompt_logprobs", values(&[json!(1), json!(0)], &[])),
        ("n_probs", is(0.0)),
        ("return_token_ids", off()), ("return_tokens", off()), ("return_tokens_as_token_ids", off()),
        ("allowed_token_ids", empty()), ("bad_words", empty()), ("logits_processors", empty()),
        ("samplers", empty()), ("sampler_order", empty()), ("sampler_priority", empty()), ("temperature_last", on()),
        ("dynatemp_range", is(0.0)), ("dynamic_temperature", off()), ("smoothing_factor", is(0.0)), ("tfs_z", is(1.0)),
        ("tfs", is(1.0)), ("top_a", is(0.0)), ("epsilon_cutoff", is(0.0)), ("eta_cutoff", is(0.0)),
        ("penalty_alpha", is(0.0)), ("guidance_scale", is(1.0)), ("negative_prompt", empty()), ("n_indent", is(0.0)),
        ("t_max_predict_ms", values(&[json!(500)], &[json!(0), json!(-1)])),
        ("lora", empty()), ("lora_path", empty()), ("lora_request", never()), ("image_data", empty()),
        ("dimensions", values(&[json!(64), json!("128")], &[])), ("truncate", values(&[json!(100), json!(true)], &[])),
        ("normalize", on()), ("embd_normalize", is(2.0)),
        ("n_cmpl", is(1.0)), ("min_keep", is(0.0)), ("response_fields", empty()), ("post_sampling_probs", off()), ("prompt_embeds", never()),
        ("adaptive_target", is(-1.0)), ("adaptive_decay", is(0.9)),
        ("stopping_strings", empty()), ("stop_sequences", empty()), ("suppress_tokens", empty()),
        ("output_dimension", values(&[json!(64), json!("128")], &[])),
        ("output_dtype", values(&[json!("int8"), json!(5)], &[json!("float")])),
        ("embedding_types", values(&[json!(["int8"]), json!(["float", "ubinary"]), json!("float")], &[json!(["float"])])),
        ("prompt_name", never()),
        ("truncation_direction", values(&[json!("Left"), json!(true)], &[json!("Right"), json!("right")])),
        ("rep_pen_range", is(0.0)), ("token_healing", off()), ("min_temp", is(1.0)), ("max_temp", is(1.0)), ("skew", is(0.0)),
        ("banned_tokens", empty()), ("bad_words_ids", empty()), ("force_words_ids", empty()),
        ("guided_json_object", off()), ("guided_decoding", never()), ("response_schema", never()), ("vllm_xargs", empty()),
        ("num_return_sequences", is(1.0)), ("min_length", is(0.0)), ("max_length", never()), ("num_ctx", never()),
        ("plugins", empty()), ("transforms", empty()), ("models", empty()),
        ("search_parameters", values(&[json!({ "mode": "auto" }), json!({}), json!("off")], &[json!({ "mode": "off" })])),
        ("images", empty()),
    ])
}

struct Row<'a> {
    client: &'a Client,
    info: ParameterInfo,
}

impl Row<'_> {
    fn body(&self, value: &Value, with: &Value) -> Value {
        let mut body = least(self.info.endpoint);
        for (name, value) in with.as_object().unwrap() {
            body[name] = value.clone();
        }
        if self.info.endpoint != Endpoint::Embeddings {
            body["max_tokens"] = json!(1);
        }
        body[self.info.name] = value.clone();
        body
    }

    fn must_pass(&self, value: &Value, with: &Value) {
        let body = self.body(value, with);
        let reply = self.client.post(self.info.endpoint.path(), body.clone());
        assert_eq!(reply.status, 200, "{body}: {}", reply.text);
    }

    fn must_be_refused(&self, value: &Value, with: &Value) {
        let body = self.body(value, with);
        let name = self.info.name;
        let reply = self.client.post(self.info.endpoint.path(), body.clone());
        let error = &reply.json["error"];
        assert_eq!(
            (reply.status, &error["param"]),
            (400, &json!(name)),
            "{body}: {}",
            reply.text
        );
        // As it is spelled, and from its beginning.
        assert!(
            error["message"].as_str().unwrap().starts_with(name),
            "{body}: {error}"
        );
        assert_eq!(error["type"], "invalid_request_error");
    }
}

#[test]
fn every_parameter_is_read_refused_by_name_or_ignored() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    client.post("/v1/completions", json!({ "prompt": "zero" }));
    let (read, refused) = (read(), refused());
    let table = parameter_table();
    assert!(table.len() > 150, "{}", table.len());
    for name in read.keys().chain(refused.keys()) {
        let is_there = table.iter().any(|info| info.name == *name);
        assert!(is_there, "{name} is not in the table");
    }
    for info in table {
        let row = Row {
            client: &client,
            info,
        };
        let required = least(info.endpoint).get(info.name).is_some();
        let nothing = json!({});
        if !required {
            row.must_pass(&Value::Null, &nothing);
        }
        let tested = match info.used {
            ParameterUse::Read | ParameterUse::Spelling => &read,
            ParameterUse::Refused => &refused,
            ParameterUse::Ignored => {
                for value in anything() {
                    row.must_pass(&value, &nothing);
                }
                continue;
            }
        };
        let values = tested.get(info.name);
        let values = values.unwrap_or_else(|| panic!("{info:?} has no values to test it with"));
        for value in &values.refused {
            row.must_be_refused(value, &nothing);
        }
        for value in &values.pass {
            row.must_pass(value, &values.with);
        }
    }
}

#[test]
fn what_differs_between_endpoints_passes_at_each() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    for (path, extra) in [
        (
            "/v1/chat/completions",
            json!({ "model": "scripted-model", "logprobs": true, "add_special_tokens": false }),
        ),
        (
            "/v1/chat/completions",
            json!({ "logprobs": false, "top_logprobs": null }),
        ),
        (
            "/v1/chat/completions",
            json!({ "collections": null, "some_name_of_tomorrow": { "a": 1 } }),
        ),
        (
            "/v1/completions",
            json!({ "model": "scripted-model", "logprobs": 2.0, "add_special_tokens": true }),
        ),
        (
            "/v1/embeddings",
            json!({ "model": "hashing-embedder", "some_name_of_tomorrow": true }),
        ),
        ("/v1/embeddings", json!({ "dimensions": 128 })),
        ("/v1/embeddings", json!({ "dimensions": 128.0 })),
    ] {
        let endpoint = Endpoint::ALL
            .into_iter()
            .find(|endpoint| endpoint.path() == path);
        let mut body = least(endpoint.unwrap());
        for (name, value) in extra.as_object().unwrap() {
            body[name] = value.clone();
        }
        let reply = client.post(path, body.clone());
        assert_eq!(reply.status, 200, "{body}: {}", reply.text);
    }
    for endpoint in Endpoint::ALL {
        let mut body = least(endpoint);
        let required = body.as_object().unwrap().keys().next().unwrap().clone();
        body[&required] = Value::Null;
        let reply = client.post(endpoint.path(), body);
        assert_eq!(
            (reply.status, &reply.json["error"]["param"]),
            (400, &json!(required)),
            "{}",
            reply.text
        );
    }
}

#[test]
fn of_two_spellings_one_counts_and_the_error_names_what_was_sent() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    let chat = |extra: Value| {
        let mut body = least(Endpoint::Chat);
        for (name, value) in extra.as_object().unwrap() {
            body[name] = value.clone();
        }
        client.post("/v1/chat/completions", body)
    };
    let sent = || app.model.requests.lock().unwrap().last().unwrap().1.clone();
    assert_eq!(
        chat(json!({ "repetition_penalty": 1.1, "repeat_penalty": 1.2 })).status,
        200
    );
    assert_eq!(sent().repetition_penalty, 1.1);
    assert_eq!(
        chat(json!({ "repetition_penalty": null, "repeat_penalty": 1.2 })).status,
        200
    );
    assert_eq!(sent().repetition_penalty, 1.2);
    assert_eq!(
        chat(json!({ "max_tokens": 5, "max_completion_tokens": 6.0, "n_predict": 7 })).status,
        200
    );
    assert_eq!(sent().max_tokens, 6);
    assert_eq!(chat(json!({ "n_predict": 7 })).status, 200);
    assert_eq!(sent().max_tokens, 7);
    let of_others = json!({ "max_tokens_to_sample": 8, "rep_pen": 1.3, "typical": 0.9, "nsigma": 2, "sampling_seed": 5 });
    assert_eq!(chat(of_others).status, 200);
    let sampling = sent();
    assert_eq!((sampling.max_tokens, sampling.seed), (8, Some(5)));
    assert_eq!(
        (
            sampling.repetition_penalty,
            sampling.typical_p,
            sampling.top_n_sigma
        ),
        (1.3, 0.9, 2.0)
    );
    for (name, value) in [
        ("repeat_penalty", json!(11)),
        ("n_predict", json!(0)),
        ("n_predict", json!(5000)),
        ("max_tokens_to_sample", json!(5000)),
        ("rep_pen", json!(11)),
        ("typical", json!(2)),
        ("nsigma", json!(101)),
        ("max_completion_tokens", json!(0)),
        ("max_completion_tokens", json!(5000)),
        ("max_tokens", json!(5000)),
    ] {
        let reply = chat(json!({ name: value }));
        let error = &reply.json["error"];
        assert_eq!(
            (reply.status, &error["param"]),
            (400, &json!(name)),
            "{}",
            reply.text
        );
        assert!(
            error["message"].as_str().unwrap().starts_with(name),
            "{error}"
        );
    }
}
