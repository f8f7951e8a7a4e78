//! `cloister user suspend|resume|remove|password`, with and without a running server; names in the terminal; lost accounts.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::contract::Server;
use crate::run::{Finished, Place};

const EMBEDDER: &str = "all-minilm-l6-v2";
const ADMIN: &str = "admin@example.com";
const MEMBER: &str = "member@example.com";

fn with_password(place: &Place, args: &[&str], password: &str) -> Finished {
    let mut child = place
        .command(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(format!("{password}\n").as_bytes()).unwrap();
    drop(stdin);
    Finished::from(child.wait_with_output().unwrap())
}

pub(crate) fn add(place: &Place, email: &str, role: &str) {
    let args = ["user", "add", email, "--role", role, "--password-stdin"];
    let added = with_password(place, &args, "correct horse battery staple");
    assert_eq!(added.code, Some(0), "{}", added.stderr);
}

/// Suspends, resumes, gives a password to and removes the member; the administrator can be neither suspended nor removed.
fn manage_accounts(place: &Place) {
    add(place, MEMBER, "member");
    let suspended = place.json(&["user", "suspend", MEMBER]);
    assert_eq!(
        (&suspended["email"], &suspended["suspended"]),
        (&json!(MEMBER), &json!(true))
    );
    let listed = place.run(&["user", "list"]);
    let line = listed
        .stdout
        .lines()
        .find(|line| line.contains(MEMBER))
        .unwrap();
    assert!(line.ends_with("suspended"), "{line}");
    assert_eq!(place.json(&["user", "resume", MEMBER])["suspended"], false);

    let args = ["user", "password", MEMBER, "--password-stdin", "--json"];
    let changed = with_password(place, &args, "another long enough password");
    assert_eq!(changed.code, Some(0), "{}", changed.stderr);
    let changed: Value = serde_json::from_str(&changed.stdout).unwrap();
    assert_eq!(changed["password_set"], true, "{changed}");

    let unconfirmed = place.run(&["user", "remove", MEMBER]);
    assert_eq!(unconfirmed.code, Some(2), "{}", unconfirmed.stderr);
    assert!(
        unconfirmed.stderr.contains("--yes"),
        "{}",
        unconfirmed.stderr
    );
    assert_eq!(
        place.json(&["user", "remove", MEMBER, "--yes"])["removed"],
        true
    );

    for args in [
        &["user", "suspend", ADMIN][..],
        &["user", "remove", ADMIN, "--yes"],
    ] {
        let refused = place.run(args);
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        assert!(
            refused.stderr.contains("last administrator"),
            "{}",
            refused.stderr
        );
    }
    for args in [
        &["user", "suspend", MEMBER][..],
        &["user", "resume", MEMBER],
        &["user", "remove", MEMBER, "--yes"],
    ] {
        let unknown = place.run(args);
        assert_eq!(unknown.code, Some(2), "{}", unknown.stderr);
        assert!(
            unknown.stderr.contains("hint: cloister user list"),
            "{}",
            unknown.stderr
        );
    }
    let silent = place.run(&["user", "password", ADMIN]);
    assert_eq!(silent.code, Some(2), "{}", silent.stderr);
    assert!(
        silent
            .stderr
            .contains("cloister user password EMAIL --password-stdin"),
        "{}",
        silent.stderr
    );
}

#[test]
fn accounts_are_managed_with_and_without_a_server() {
    let Some(place) = Place::with_test_models(&[EMBEDDER]) else {
        return;
    };
    add(&place, ADMIN, "admin");
    manage_accounts(&place);
    let server = Server::start(&place, &["--no-model"]);
    assert_eq!(server.ready["setup_link"], Value::Null, "{}", server.ready);
    manage_accounts(&place);
    assert_eq!(server.stop(), Some(0));
    let log = place.data().join("suite.db-wal");
    assert!(std::fs::metadata(&log).map_or(true, |file| file.len() == 0));
}

#[test]
fn file_names_command_no_terminal_and_lost_accounts_are_said() {
    let Some(place) = Place::with_test_models(&[EMBEDDER]) else {
        return;
    };
    add(&place, ADMIN, "admin");
    let hostile = "\u{1b}]52;c;aGk=\u{7}note\nforged  indexed\u{202e}.txt";
    place.write(
        &format!("documents/{hostile}"),
        "The canteen opens at noon on every working day.",
    );
    place.write("documents/\u{1b}[2Jbroken.pdf", "this is no PDF");
    let documents = place.path("documents");
    let ingested = place.run(&["ingest", documents.to_str().unwrap(), "--collection", "c"]);
    let listed = place.run(&["collection", "documents", "c"]);
    let found = place.run(&["search", "When does the canteen open?"]);
    let quoted = place.run(&["ask", "When does the canteen open?", "--quote-only"]);
    for finished in [&ingested, &listed, &found, &quoted] {
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        let text = format!("{}{}", finished.stdout, finished.stderr);
        let raw = text
            .chars()
            .find(|c| matches!(c, '\u{1b}' | '\u{7}' | '\u{202e}'));
        assert_eq!(raw, None, "{text:?}");
        assert!(!text.contains("\nforged"), "{text:?}");
    }
    assert!(
        ingested.stdout.contains("\\u001b[2Jbroken.pdf"),
        "{}",
        ingested.stdout
    );
    assert!(
        listed
            .stdout
            .contains("note\\u000aforged  indexed\\u202e.txt"),
        "{}",
        listed.stdout
    );
    // Programs read the very name.
    let json = place.json(&["collection", "documents", "c"]);
    let paths: Vec<_> = json["documents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|document| document["path"].as_str().unwrap())
        .collect();
    assert!(paths.contains(&hostile), "{paths:?}");

    std::fs::remove_file(place.data().join("suite.db")).unwrap();
    for args in [
        &["status"][..],
        &["user", "list"],
        &["serve", "--listen", "127.0.0.1:0", "--no-model"],
    ] {
        let refused = place.run(args);
        assert_eq!(refused.code, Some(3), "{}", refused.stderr);
        assert!(
            refused.stderr.contains("suite.db is missing or empty"),
            "{}",
            refused.stderr
        );
        assert!(
            refused.stderr.contains("--new-accounts"),
            "{}",
            refused.stderr
        );
    }
    let server = Server::start(&place, &["--no-model", "--new-accounts"]);
    assert!(server.ready["setup_link"].is_string(), "{}", server.ready);
    assert_eq!(server.stop(), Some(0));
}
