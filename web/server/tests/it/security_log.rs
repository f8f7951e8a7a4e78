//! What the security log says: who, from where, what; and nothing that was asked, answered or kept secret.

use std::fmt::{self, Write};
use std::sync::{Mutex, Once, PoisonError};

use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use web_server::{LocalRequest, Role, Secret};

use crate::app::{App, PASSWORD, spawn_app};

/// Lines of target `security` of all tests of this binary, which run beside each other.
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Collector;

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "security" && *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        LINES
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line.0);
    }

    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, "{}={value:?} ", field.name());
    }
}

fn collect() {
    static START: Once = Once::new();
    START.call_once(|| tracing::subscriber::set_global_default(Collector).unwrap());
}

/// Lines that name an account of this test alone.
fn lines_of(account: &str) -> Vec<String> {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    lines
        .iter()
        .filter(|line| line.contains(account))
        .cloned()
        .collect()
}

fn add(app: &App, email: &str, role: Role) {
    app.output(LocalRequest::UserAdd {
        email: email.into(),
        role,
        password: Secret(PASSWORD.into()),
    });
}

fn assert_said(lines: &[String], pieces: &[&str]) {
    assert!(
        lines
            .iter()
            .any(|line| pieces.iter().all(|piece| line.contains(piece))),
        "{pieces:?} is missing in {lines:#?}"
    );
}

#[test]
fn security_events_name_account_and_address_and_no_content() {
    collect();
    let app = spawn_app();
    let email = "logged@example.org";
    add(&app, email, Role::Admin);
    let try_in = |email: &str, password: &str| {
        app.client()
            .post(
                "/api/auth/sign-in",
                json!({ "email": email, "password": password }),
            )
            .status
    };
    assert_eq!(try_in("Logged@example.org", "wrong horse battery"), 401);
    let client = app.signed_in(email);
    let key = app.with_key(email);
    for _ in 0..3 {
        key.get("/v1/models");
    }
    let question = "How many days of vacation does every employee have?";
    let (conversation, answer) = app.ask(&client, question);
    client
        .events("GET", &format!("/api/answers/{answer}/events"), None)
        .for_each(drop);
    assert_eq!(
        client
            .send(
                "DELETE",
                &format!("/api/conversations/{conversation}"),
                None
            )
            .status,
        204
    );
    assert_eq!(client.send("DELETE", "/api/documents/1", None).status, 204);
    assert_eq!(
        client.send("DELETE", "/api/collections/1", None).status,
        204
    );
    let id = app.output(LocalRequest::KeyList)["keys"][0]["id"]
        .as_i64()
        .unwrap();
    app.output(LocalRequest::KeyRevoke { id });
    assert_eq!(key.get("/v1/models").status, 401);
    let change = json!({ "current": PASSWORD, "new": "another long enough password" });
    assert_eq!(client.post("/api/auth/password", change).status, 200);
    client.post("/api/auth/sign-out", json!({}));
    app.output(LocalRequest::UserSuspend {
        email: email.into(),
    });
    assert_eq!(try_in(email, "another long enough password"), 403);
    app.output(LocalRequest::UserRemove {
        email: email.into(),
    });

    let lines = lines_of(email);
    for said in [
        "account added",
        "signed in",
        "signed out",
        "key made",
        "key used",
        "key revoked",
        "conversation deleted",
        "document deleted",
        "collection deleted",
        "password changed",
        "change=\"suspended\"",
        "change=\"removed\"",
    ] {
        assert_said(&lines, &[said]);
    }
    assert_said(&lines, &["sign-in failed", "wrong password", "127.0.0.1"]);
    assert_said(
        &lines,
        &["sign-in failed", "reason=\"suspended\"", "127.0.0.1"],
    );
    assert_said(&lines, &["document deleted", "document=1", "127.0.0.1"]);
    let uses = lines
        .iter()
        .filter(|line| line.contains("key used"))
        .count();
    assert_eq!(uses, 1, "once a day: {lines:#?}");
    for secret in [PASSWORD, "wrong horse", "vacation", "clk_", "another long"] {
        assert!(
            !lines.iter().any(|line| line.contains(secret)),
            "{secret}: {lines:#?}"
        );
    }
}

#[test]
fn throttling_is_logged_and_a_stranger_writes_no_lines_of_his_own() {
    collect();
    let app = spawn_app();
    let forged = "x@forged.example\nsigned in account=\"admin@example.org\"";
    for _ in 0..7 {
        app.client().post(
            "/api/auth/sign-in",
            json!({ "email": forged, "password": "guess" }),
        );
    }
    let lines = lines_of("forged.example");
    assert_said(&lines, &["sign-in throttled", "127.0.0.1"]);
    assert!(lines.iter().all(|line| !line.contains('\n')), "{lines:#?}");
    let long = format!("{}@long.example", "l".repeat(100_000));
    app.client().post(
        "/api/auth/sign-in",
        json!({ "email": long, "password": "guess" }),
    );
    let longest = LINES.lock().unwrap().iter().map(String::len).max().unwrap();
    assert!(longest < 2000, "{longest}");
}
