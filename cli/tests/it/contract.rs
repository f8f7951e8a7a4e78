//! The command contract: names, JSON keys, exit statuses, and that commands go through a running server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::people::add;
use crate::run::{Finished, Place, repository};

const CHAT: &str = "smollm2-135m-instruct";
const EMBEDDER: &str = "all-minilm-l6-v2";

fn assert_keys(value: &Value, keys: &[&str]) {
    for key in keys {
        assert!(value.get(key).is_some(), "no `{key}` in {value}");
    }
}

fn samples() -> String {
    repository()
        .join("samples/company")
        .canonicalize()
        .unwrap()
        .display()
        .to_string()
}

#[test]
fn a_plan_for_a_card_needs_no_card() {
    let Some(place) = Place::with_test_models(&[CHAT]) else {
        return;
    };
    let plan = |card: &str| place.json(&["doctor", "--plan", "--model", CHAT, "--card", card]);
    let (small, large) = (plan("RTX 3060"), plan("h200"));
    for plan in [&small, &large] {
        assert_keys(plan, &["weights_bytes", "kv_bytes_per_token", "cards"]);
        // 30 layers of 3 heads of 64, keys and values of 2 bytes.
        assert_eq!(plan["kv_bytes_per_token"], 30 * 3 * 64 * 2 * 2);
    }
    let bytes = place.json(&[
        "doctor",
        "--plan",
        "--model",
        CHAT,
        "--card",
        "h200",
        "--kv-cache-dtype",
        "q8_0",
    ]);
    // Of 64 numbers and two scales.
    assert_eq!(bytes["kv_bytes_per_token"], 30 * 3 * 68 * 2);
    let floor = |plan: &Value| plan["cards"][0]["floors"][0]["floor_ms"].as_f64().unwrap();
    let ratio = floor(&small) / floor(&large);
    assert!((ratio - 4800.0 / 360.0).abs() < 1e-6, "{ratio}");

    let unknown = place.run(&["doctor", "--plan", "--model", CHAT, "--card", "abacus"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("RTX 4090"), "{}", unknown.stderr);
}

#[test]
fn pitfall_24_the_doctor_and_devices_say_why_there_is_no_gpu() {
    let place = Place::new();
    let report = place.json(&["doctor"]);
    assert_keys(
        &report,
        &["version", "cuda_build", "gpus", "device", "document_reader"],
    );
    let missing = report["document_reader"]["missing_protections"]
        .as_array()
        .unwrap();
    assert!(!missing.contains(&"seccomp".into()), "{report}");
    let expected = match (&report["cuda_build"], &report["gpu_problem"]) {
        (Value::Bool(false), _) => Some("no CUDA support"),
        (_, problem) => problem.as_str(),
    };
    if let Some(expected) = expected {
        let asked = place.json(&["doctor", "--device", "cuda"]);
        assert_eq!(asked["device"], Value::Null);
        let problem = asked["device_problem"].as_str().unwrap();
        assert!(problem.contains(expected), "{problem}");
        let auto = place.run(&["doctor", "--device", "auto"]);
        assert_eq!(auto.code, Some(0));
        assert!(
            auto.stderr.contains("computing on the CPU"),
            "{}",
            auto.stderr
        );
    }
}

#[test]
fn a_language_model_by_itself_keeps_the_contract() {
    let Some(place) = Place::with_test_models(&[CHAT]) else {
        return;
    };
    let generate = |extra: &[&str]| {
        let mut args = vec![
            "generate",
            "--model",
            CHAT,
            "--prompt",
            "The capital of France is",
            "--max-tokens",
            "8",
        ];
        args.extend(extra);
        place.json(&args)
    };
    let first = generate(&["--temperature", "0"]);
    assert_keys(&first, &["text", "tokens", "usage", "timings"]);
    assert!(first["text"].as_str().unwrap().contains("Paris"), "{first}");
    assert_eq!(
        first["usage"]["completion_tokens"].as_u64(),
        first["tokens"].as_array().map(|tokens| tokens.len() as u64)
    );
    let sampled = || generate(&["--temperature", "1.2", "--seed", "7"])["tokens"].clone();
    assert_eq!(sampled(), sampled(), "a seed makes sampling repeatable");

    let tokens = place.json(&["tokenize", "--model", CHAT, "<|im_start|>"]);
    assert!(
        tokens["tokens"].as_array().unwrap().len() > 1,
        "a look-alike stays text: {tokens}"
    );
    let tokens = place.json(&["tokenize", "--model", CHAT, "--special", "<|im_start|>"]);
    assert_eq!(tokens["tokens"].as_array().unwrap().len(), 1, "{tokens}");
}

#[test]
fn a_document_is_shown_as_ingestion_sees_it() {
    let place = Place::new();
    for file in [
        "employee-handbook.md",
        "it-security-policy.html",
        "travel-and-expenses.docx",
        "workshop-safety.pdf",
        "minutes-2026-09-14.txt",
    ] {
        let shown = place.json(&["extract", &format!("{}/{file}", samples())]);
        let blocks = shown["blocks"].as_array().unwrap();
        assert!(blocks.len() >= 5, "{file}: {} blocks", blocks.len());
        assert_keys(&blocks[0], &["kind", "text", "page", "heading"]);
    }
    let pdf = place.json(&["extract", &format!("{}/workshop-safety.pdf", samples())]);
    let page_of = |words: &str| {
        let blocks = pdf["blocks"].as_array().unwrap();
        blocks
            .iter()
            .find(|block| block["text"].as_str().unwrap().contains(words))
            .map(|block| block["page"].as_u64())
    };
    assert_eq!(page_of("maximum test pressure").flatten(), Some(2));
    let markdown = place.run(&["extract", &format!("{}/employee-handbook.md", samples())]);
    assert!(
        markdown.stdout.contains("# Employee handbook") && markdown.stdout.contains("29 days"),
        "{}",
        markdown.stdout
    );
}

fn samples_are_ingested_once(place: &Place) {
    let report = place.json(&["ingest", &samples(), "--collection", "samples"]);
    assert_keys(
        &report,
        &[
            "added",
            "updated",
            "unchanged",
            "removed",
            "failed",
            "passages",
            "seconds",
        ],
    );
    assert_eq!(
        (
            report["added"].as_u64(),
            report["failed"].as_array().map(Vec::len)
        ),
        (Some(8), Some(0)),
        "{report}"
    );
    let again = place.json(&["ingest", &samples(), "--collection", "samples"]);
    assert_eq!(
        (again["added"].as_u64(), again["unchanged"].as_u64()),
        (Some(0), Some(8)),
        "{again}"
    );
}

fn a_search_names_document_and_page(place: &Place) {
    let found = place.json(&[
        "search",
        "maximum test pressure of the benches",
        "--collection",
        "samples",
        "-k",
        "3",
    ]);
    let hit = &found["hits"][0];
    assert_keys(hit, &["document", "page", "start", "end", "text", "score"]);
    assert_eq!(
        (hit["document"].as_str(), hit["page"].as_u64()),
        (Some("workshop-safety.pdf"), Some(2)),
        "{hit}"
    );
}

fn an_answer_cites_its_document(place: &Place) {
    let answer = place.json(&[
        "ask",
        "How many days of paid leave does a full-time employee have?",
        "--collection",
        "samples",
        "--quote-only",
    ]);
    assert_keys(
        &answer,
        &[
            "answer",
            "refused",
            "citations",
            "model",
            "usage",
            "timings",
        ],
    );
    assert!(
        answer["answer"].as_str().unwrap().contains("29 days"),
        "{answer}"
    );
    let citation = &answer["citations"][0];
    assert_keys(
        citation,
        &["n", "document", "page", "quote", "start", "end"],
    );
    assert_eq!(citation["document"], "employee-handbook.md");

    let human = place.run(&[
        "ask",
        "How long must a password be?",
        "--collection",
        "samples",
        "--quote-only",
    ]);
    assert!(
        human.stdout.contains("14 characters") && human.stdout.contains("Sources"),
        "{}",
        human.stdout
    );
}

fn retrieval_is_measured(place: &Place) {
    let questions = repository()
        .join("samples/questions.jsonl")
        .display()
        .to_string();
    let metrics = place.json(&[
        "eval",
        &questions,
        "--collection",
        "samples",
        "--retrieval-only",
    ]);
    assert_keys(
        &metrics,
        &["recall@1", "recall@5", "recall@20", "ndcg@10", "refusal"],
    );
    assert!(metrics["recall@1"].as_f64().unwrap() >= 0.85, "{metrics}");
    assert!(metrics["recall@5"].as_f64().unwrap() >= 0.95, "{metrics}");
}

#[test]
fn samples_are_ingested_searched_answered_and_evaluated() {
    let Some(place) = Place::with_test_models(&[EMBEDDER]) else {
        return;
    };
    samples_are_ingested_once(&place);
    a_search_names_document_and_page(&place);
    an_answer_cites_its_document(&place);
    retrieval_is_measured(&place);
}

/// A running `cloister serve` that is stopped at the end of the test.
pub struct Server {
    pub child: Child,
    pub ready: Value,
}

impl Server {
    pub fn start(place: &Place, model: &[&str]) -> Self {
        let mut args = vec!["serve", "--listen", "127.0.0.1:0", "--json"];
        args.extend(model);
        let mut child = place
            .command(&args)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        Server { child, ready }
    }

    fn get(&self, path: &str) -> String {
        let address = self.ready["address"].as_str().unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    }

    /// SIGTERM; returns the exit status.
    pub fn stop(mut self) -> Option<i32> {
        let killed = std::process::Command::new("kill")
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
        assert!(killed.success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Only matters when an assertion failed first.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_stop_as_soon_as_the_server_is_ready_is_heard() {
    let Some(place) = Place::with_test_models(&[EMBEDDER]) else {
        return;
    };
    for _ in 0..5 {
        let server = Server::start(&place, &["--no-model"]);
        assert_eq!(server.stop(), Some(0));
    }
}

#[test]
fn a_stop_ends_a_stream_that_is_under_way_with_an_error() {
    let Some(place) = Place::with_test_models(&[EMBEDDER, CHAT]) else {
        return;
    };
    let server = Server::start(&place, &["--model", CHAT]);
    add(&place, "ann@example.org", "admin");
    let key = place.json(&["key", "create", "--user", "ann@example.org"]);
    let body = format!(
        r#"{{"model": "{CHAT}", "prompt": "1 2 3 4 5 6 7 8 9", "max_tokens": 1900, "temperature": 0, "stream": true}}"#
    );
    let address = server.ready["address"].as_str().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST /v1/completions HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        key["key"].as_str().unwrap(),
        body.len()
    )
    .unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let first = lines.find(|line| line.starts_with("data: ")).unwrap();
    assert!(first.contains("text_completion"), "{first}");
    assert_eq!(server.stop(), Some(0));
    let rest: Vec<String> = lines.filter(|line| line.starts_with("data: ")).collect();
    let [.., error, done] = rest.as_slice() else {
        panic!("{rest:?}");
    };
    assert!(error.contains(r#""code":"server_stopping""#), "{error}");
    assert_eq!(done, "data: [DONE]");
}

#[test]
fn while_a_server_runs_every_command_goes_through_it() {
    let Some(place) = Place::with_test_models(&[EMBEDDER, CHAT]) else {
        return;
    };
    let server = Server::start(&place, &["--model", CHAT]);
    assert!(
        server.ready["setup_link"]
            .as_str()
            .unwrap()
            .contains("/setup"),
        "{}",
        server.ready
    );
    assert!(server.get("/healthz").starts_with("HTTP/1.1 200"));

    let report = place.json(&["ingest", &samples(), "--collection", "samples"]);
    assert_eq!(report["added"].as_u64(), Some(8), "{report}");
    let answer = place.json(&[
        "ask",
        "How long must a password be?",
        "--collection",
        "samples",
    ]);
    assert_eq!(answer["model"], CHAT, "{answer}");
    let user = {
        let mut child = place
            .command(&[
                "user",
                "add",
                "admin@example.com",
                "--role",
                "admin",
                "--password-stdin",
                "--json",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(b"correct horse battery staple\n")
            .unwrap();
        Finished::from(child.wait_with_output().unwrap())
    };
    assert_eq!(user.code, Some(0), "{}", user.stderr);
    assert_keys(
        &serde_json::from_str(&user.stdout).unwrap(),
        &["id", "email", "role"],
    );
    assert_keys(
        &place.json(&["key", "create", "--user", "admin@example.com"]),
        &["key"],
    );
    assert_keys(&place.json(&["status"]), &["version", "model"]);

    let second = place.run(&["serve", "--listen", "127.0.0.1:0", "--model", CHAT]);
    assert_eq!(second.code, Some(3), "{}", second.stderr);
    assert!(
        second.stderr.contains("in use by another cloister"),
        "{}",
        second.stderr
    );
    assert_eq!(server.stop(), Some(0));

    let kept = place.json(&["search", "password", "--collection", "samples", "-k", "1"]);
    assert_eq!(
        kept["hits"][0]["document"], "it-security-policy.html",
        "{kept}"
    );
}
