//! Deleted means gone: words are planted in documents, conversations and answers, deleted, and looked for in every byte of
//! the data directory.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use web_server::{LocalRequest, SuiteConfig};

use crate::app::{ADMIN, App, Client, MEMBER, OTHER, ask_in, eventually, open_suite, spawn_app};
use crate::fakes::Script;

const REMOVED: &str = "(source was removed)";
const QUESTION: &str = "Which code word does every member of the vault team have for the night?";

/// Files below a folder that contain any of the words, in any case.
fn files_with(folder: &Path, words: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
            continue;
        }
        // A socket has no bytes.
        let Ok(mut bytes) = fs::read(&path) else {
            continue;
        };
        // Files of vectors are mostly holes; no word has a zero in it.
        bytes.retain(|byte| *byte != 0);
        bytes.make_ascii_lowercase();
        for word in words {
            let in_name = path.to_string_lossy().to_lowercase().contains(word);
            if in_name
                || bytes
                    .windows(word.len())
                    .any(|window| window == word.as_bytes())
            {
                found.push((path.clone(), (*word).to_owned()));
            }
        }
    }
    found
}

/// Ingests one document from outside the data directory.
fn ingest(app: &App, name: &str, text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(name), text).unwrap();
    let report = app.output(LocalRequest::Ingest {
        paths: vec![folder.path().to_owned()],
        collection: "vault".into(),
        full: false,
    });
    assert_eq!(report["added"], 1, "{report}");
    folder
}

fn answered(client: &Client, answer: &str) -> Value {
    let events = client.events("GET", &format!("/api/answers/{answer}/events"), None);
    let last = events.last().unwrap();
    assert_eq!(last.name, "done");
    last.json()["message"].clone()
}

fn delete(client: &Client, path: &str) {
    let reply = client.send("DELETE", path, None);
    assert_eq!(reply.status, 204, "{path}: {}", reply.text);
}

fn document_id(client: &Client, name: &str) -> i64 {
    let collections = client.get("/api/collections").json;
    for collection in collections.as_array().unwrap() {
        let path = format!("/api/collections/{}/documents", collection["id"]);
        for document in client.get(&path).json.as_array().unwrap() {
            if document["path"] == name && document["state"] == "indexed" {
                return document["id"].as_i64().unwrap();
            }
        }
    }
    panic!("no document {name}");
}

#[test]
fn deleted_words_are_in_no_byte_of_the_data_directory() {
    let mut app = spawn_app();
    let (admin, member) = (app.signed_in(ADMIN), app.signed_in(MEMBER));
    let _folder = ingest(
        &app,
        "zebrafjord.md",
        "# Vault of quillmarten\n\nEvery member of the vault team has the code word zanzibarquark for the night.\n",
    );
    app.model.will(Script::Say(
        "Every member of the vault team has the code word zanzibarquark.",
    ));
    let (kept, answer) = app.ask(&member, QUESTION);
    let message = answered(&member, &answer);
    assert!(
        message["citations"][0]["quote"]
            .as_str()
            .unwrap()
            .contains("zanzibarquark"),
        "{message}"
    );
    let (gone, answer) = app.ask(
        &member,
        "Is the xylophonist on vacation for 30 days per year?",
    );
    answered(&member, &answer);
    let rename = json!({ "title": "About the yachtsmanship" });
    assert_eq!(
        member
            .send("PATCH", &format!("/api/conversations/{gone}"), Some(rename))
            .status,
        200
    );
    let uploaded = format!(
        "/api/collections/{}/documents",
        collection_id(&admin, "handbook")
    );
    admin.upload(
        &uploaded,
        &[(
            "wyvernpaper.txt",
            b"The parking lot is called vorpalgate by everybody.",
        )],
    );
    let upload = eventually("the upload is read", || {
        let documents = admin.get(&uploaded).json;
        let document = documents
            .as_array()?
            .iter()
            .find(|document| document["path"] == "wyvernpaper.txt")?
            .clone();
        (document["state"] == "indexed").then(|| document["id"].as_i64().unwrap())
    });

    let words = [
        "zanzibarquark",
        "zebrafjord",
        "quillmarten",
        "xylophonist",
        "yachtsmanship",
        "wyvernpaper",
        "vorpalgate",
    ];
    let before = files_with(app.data.path(), &words);
    for word in words {
        assert!(
            before.iter().any(|(_, found)| found == word),
            "{word} is not there to be deleted"
        );
    }

    delete(
        &admin,
        &format!("/api/documents/{}", document_id(&admin, "zebrafjord.md")),
    );
    delete(&admin, &format!("/api/documents/{upload}"));
    delete(&member, &format!("/api/conversations/{gone}"));
    // While the server runs, as its housekeeping does every few minutes.
    app.suite.tidy();
    assert_eq!(files_with(app.data.path(), &words), []);
    assert_removed_everywhere(&app, &member, &kept);

    app.stop();
    assert_eq!(files_with(app.data.path(), &words), []);
}

fn collection_id(client: &Client, name: &str) -> i64 {
    let collections = client.get("/api/collections").json;
    let found = collections
        .as_array()
        .unwrap()
        .iter()
        .find(|collection| collection["name"] == name);
    found.unwrap()["id"].as_i64().unwrap()
}

/// On screen, in search, for late listeners and in the next prompt.
fn assert_removed_everywhere(app: &App, member: &Client, conversation: &str) {
    let detail = member.get(&format!("/api/conversations/{conversation}"));
    let message = &detail.json["messages"][0];
    assert_eq!(message["answer"], REMOVED, "{message}");
    assert_eq!(message["question"], QUESTION);
    assert_eq!(
        (&message["citations"], &message["sources"]),
        (&json!([]), &sources_of_others(message))
    );
    for word in [
        "zanzibarquark",
        "ornithopter",
        "xylophonist",
        "yachtsmanship",
    ] {
        let hits = member.get(&format!("/api/conversations?query={word}")).json;
        assert_eq!(hits, json!([]), "{word}");
    }
    let hits = member.get("/api/conversations?query=source%20removed").json;
    assert_eq!(hits[0]["id"], conversation, "{hits}");

    let late = answered(member, message["id"].as_str().unwrap());
    assert_eq!(late["answer"], REMOVED);
    let next = ask_in(
        member,
        conversation,
        "How many days of vacation does every employee have?",
    );
    answered(member, &next);
    let requests = app.model.requests.lock().unwrap();
    let prompt = &requests.last().unwrap().0;
    assert!(
        prompt.contains("vacation") && !prompt.contains("zanzibarquark"),
        "{prompt}"
    );
}

/// Passages of documents that are still there may have been read, too.
fn sources_of_others(message: &Value) -> Value {
    let sources = message["sources"].as_array().unwrap();
    let others = sources
        .iter()
        .filter(|source| source["path"] != "zebrafjord.md");
    Value::Array(others.cloned().collect())
}

#[test]
fn what_another_document_supports_stays() {
    let app = spawn_app();
    let (admin, member) = (app.signed_in(ADMIN), app.signed_in(MEMBER));
    let _folder = ingest(
        &app,
        "bonus.md",
        "# Vacation bonus\n\nEvery employee has a vacation bonus of 417 euros per year.\n",
    );
    app.model.will(Script::Say(
        "Every employee has 30 days of vacation per year. Every employee has a vacation bonus of 417 euros per year.",
    ));
    let (conversation, answer) = app.ask(
        &member,
        "How many days of vacation and which vacation bonus does every employee have?",
    );
    let message = answered(&member, &answer);
    assert_eq!(
        message["citations"].as_array().unwrap().len(),
        2,
        "{message}"
    );
    delete(
        &admin,
        &format!("/api/documents/{}", document_id(&admin, "bonus.md")),
    );

    let detail = member
        .get(&format!("/api/conversations/{conversation}"))
        .json;
    let message = &detail["messages"][0];
    let text = message["answer"].as_str().unwrap();
    assert!(
        text.starts_with("Every employee has 30 days of vacation per year"),
        "{text}"
    );
    assert!(text.ends_with(REMOVED) && !text.contains("417"), "{text}");
    let citations = message["citations"].as_array().unwrap();
    assert_eq!(citations.len(), 1, "{message}");
    assert!(text.contains(&format!("[{}]", citations[0]["n"])), "{text}");
}

#[test]
fn a_document_that_leaves_its_folder_or_its_collection_leaves_the_answers_too() {
    let mut app = spawn_app();
    let member = app.signed_in(MEMBER);
    let text = "Every member of the vault team has the code word zanzibarquark for the night.\n";
    let folder = ingest(&app, "vault.md", text);
    fs::write(
        folder.path().join("other.md"),
        "The canteen opens at noon.\n",
    )
    .unwrap();
    app.model.will(Script::Say(
        "Every member of the vault team has the code word zanzibarquark.",
    ));
    let (first, answer) = app.ask(&member, QUESTION);
    answered(&member, &answer);
    fs::remove_file(folder.path().join("vault.md")).unwrap();
    let report = app.output(LocalRequest::Ingest {
        paths: vec![folder.path().to_owned()],
        collection: "vault".into(),
        full: false,
    });
    assert_eq!(report["removed"], 1, "{report}");
    let answer_of = |conversation: &str| {
        member
            .get(&format!("/api/conversations/{conversation}"))
            .json["messages"][0]["answer"]
            .clone()
    };
    assert_eq!(answer_of(&first), REMOVED);

    fs::write(folder.path().join("vault.md"), text).unwrap();
    app.output(LocalRequest::Ingest {
        paths: vec![folder.path().to_owned()],
        collection: "vault".into(),
        full: false,
    });
    app.model.will(Script::Say(
        "Every member of the vault team has the code word zanzibarquark.",
    ));
    let (second, answer) = app.ask(&member, QUESTION);
    answered(&member, &answer);
    assert!(
        answer_of(&second)
            .as_str()
            .unwrap()
            .contains("zanzibarquark")
    );
    app.output(LocalRequest::CollectionDelete {
        name: "vault".into(),
    });
    assert_eq!(answer_of(&second), REMOVED);
    app.stop();
    assert_eq!(files_with(app.data.path(), &["zanzibarquark"]), []);
}

#[test]
fn a_document_that_changes_takes_the_words_it_loses_out_of_the_answers() {
    let mut app = spawn_app();
    let (admin, member) = (app.signed_in(ADMIN), app.signed_in(MEMBER));
    let line = "Every member of the vault team has the code word zanzibarquark for the night.\n";
    let folder = ingest(&app, "vault.md", line);
    let said = || {
        app.model.will(Script::Say(
            "Every member of the vault team has the code word zanzibarquark.",
        ));
    };
    let message_of = |conversation: &str| {
        let path = format!("/api/conversations/{conversation}");
        member.get(&path).json["messages"][0].clone()
    };
    let change = |text: &str| {
        fs::write(folder.path().join("vault.md"), text).unwrap();
        let report = app.output(LocalRequest::Ingest {
            paths: vec![folder.path().to_owned()],
            collection: "vault".into(),
            full: false,
        });
        assert_eq!(report["updated"], 1, "{report}");
    };
    said();
    let (conversation, answer) = app.ask(&member, QUESTION);
    let before = answered(&member, &answer);
    assert_eq!(before["citations"][0]["start"], 0, "{before}");

    // The words are still there, behind others: the answer stays, and its quote is found at its new place.
    change(&format!("Since the summer:\n\n{line}"));
    let moved = message_of(&conversation);
    assert_eq!(moved["answer"], before["answer"]);
    assert_eq!(moved["citations"][0]["start"], 19, "{moved}");

    change("Every member of the vault team has a new code word, ornithopter, for the night.\n");
    assert_eq!(message_of(&conversation)["answer"], REMOVED);

    // The same through an upload that replaces one.
    let uploads = format!(
        "/api/collections/{}/documents",
        collection_id(&admin, "handbook")
    );
    let upload = |text: &str| {
        admin.upload(&uploads, &[("night.txt", text.as_bytes())]);
        eventually("the upload is read", || {
            let documents = admin.get(&uploads).json;
            let mut documents = documents.as_array()?.iter();
            let document = documents.find(|d| d["path"] == "night.txt")?;
            (document["state"] == "indexed" && document["bytes"] == text.len()).then_some(())
        });
    };
    upload(line);
    said();
    let (conversation, answer) = app.ask(&member, QUESTION);
    let before = answered(&member, &answer);
    assert_eq!(before["citations"][0]["path"], "night.txt", "{before}");
    upload("The canteen opens at noon.\n");
    eventually("the answer is compared", || {
        (message_of(&conversation)["answer"] == REMOVED).then_some(())
    });
    app.stop();
    assert_eq!(files_with(app.data.path(), &["zanzibarquark"]), []);
}

/// Asks for quotes, and returns the conversation with its message.
fn quoted(client: &Client, question: &str) -> (String, Value) {
    let conversation = client.post("/api/conversations", json!({})).json["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("/api/conversations/{conversation}/messages");
    let body = json!({ "question": question, "quote_only": true });
    let started = client.post(&path, body);
    let message = answered(client, started.json["answer_id"].as_str().unwrap());
    (conversation, message)
}

/// Ingests a folder again, as the collection of [`ingest`], and expects one change of a kind.
fn ingest_again(app: &App, folder: &Path, kind: &str) {
    let report = app.output(LocalRequest::Ingest {
        paths: vec![folder.to_owned()],
        collection: "vault".into(),
        full: false,
    });
    assert_eq!(report[kind], 1, "{report}");
}

#[test]
fn a_column_head_that_changes_leaves_the_answers_that_read_it() {
    let mut app = spawn_app();
    let member = app.signed_in(MEMBER);
    let table = |head: &str| format!("# Pumps\n\n| Pump | {head} |\n|---|---|\n| P4 | 120 |\n");
    let folder = ingest(
        &app,
        "pumps.md",
        &table("greatest hydrowort pressure in bar"),
    );
    let (conversation, before) = quoted(&member, "Which greatest pressure has the pump P4?");
    let text = before["answer"].as_str().unwrap();
    assert!(text.contains("hydrowort pressure in bar: 120"), "{before}");
    let head = before["citations"][0]["table_head"].as_str().unwrap();
    assert!(head.contains("hydrowort"), "{before}");

    fs::write(
        folder.path().join("pumps.md"),
        table("greatest pressure in psi"),
    )
    .unwrap();
    ingest_again(&app, folder.path(), "updated");
    let path = format!("/api/conversations/{conversation}");
    let after = member.get(&path).json["messages"][0].clone();
    let text = after["answer"].as_str().unwrap();
    assert!(text.contains(REMOVED) && !text.contains("120"), "{after}");
    app.stop();
    assert_eq!(files_with(app.data.path(), &["hydrowort"]), []);
}

#[test]
fn a_quote_moves_with_its_section_and_a_document_with_its_name() {
    let app = spawn_app();
    let member = app.signed_in(MEMBER);
    let sentence = "The valve of this pump opens at 120 bar, as measured.";
    let text = |headings: &[&str]| -> String {
        let sections = headings.iter();
        sections
            .map(|heading| format!("# {heading}\n\n{sentence}\n\n"))
            .collect()
    };
    let folder = ingest(&app, "pumps.md", &text(&["Pump Alpha", "Pump Omega"]));
    let (conversation, before) = quoted(&member, "At which bar does the valve of this pump open?");
    let document = &before["citations"][0]["document"];
    let message = || {
        let path = format!("/api/conversations/{conversation}");
        member.get(&path).json["messages"][0].clone()
    };
    // The headings of the block in which the quote is.
    let section = |message: &Value| {
        let citation = &message["citations"][0];
        let (start, end) = (&citation["start"], &citation["end"]);
        let path = format!("/api/documents/{document}/view?start={start}&end={end}");
        let view = member.get(&path).json;
        let mut blocks = view["blocks"].as_array().unwrap().iter().rev();
        let start = start.as_u64().unwrap();
        let block = blocks.find(|block| block["start"].as_u64().unwrap() <= start);
        block.unwrap()["heading"].clone()
    };
    let cited = section(&before);
    assert_ne!(cited, json!([]), "{before}");

    fs::write(
        folder.path().join("pumps.md"),
        text(&["Pump Omega", "Pump Alpha"]),
    )
    .unwrap();
    ingest_again(&app, folder.path(), "updated");
    let moved = message();
    assert_eq!(moved["answer"], before["answer"]);
    assert_ne!(
        moved["citations"][0]["start"],
        before["citations"][0]["start"]
    );
    assert_eq!(section(&moved), cited, "{moved}");

    fs::rename(
        folder.path().join("pumps.md"),
        folder.path().join("valves.md"),
    )
    .unwrap();
    ingest_again(&app, folder.path(), "renamed");
    let renamed = message();
    assert_eq!(renamed["answer"], before["answer"]);
    for part in ["citations", "sources"] {
        let mut items = renamed[part].as_array().unwrap().iter();
        let of_document = items.find(|item| &item["document"] == document).unwrap();
        assert_eq!(of_document["path"], "valves.md", "{renamed}");
    }

    // Both sections have another name: nothing tells which one was quoted.
    fs::write(
        folder.path().join("valves.md"),
        text(&["Pump Beta", "Pump Gamma"]),
    )
    .unwrap();
    ingest_again(&app, folder.path(), "updated");
    let gone = message();
    assert!(
        !gone["answer"].as_str().unwrap().contains("valve"),
        "{gone}"
    );
    assert!(!gone["citations"].to_string().contains("valve"), "{gone}");
}

#[test]
fn words_that_go_while_an_answer_is_written_are_not_replayed() {
    let app = spawn_app();
    let member = app.signed_in(MEMBER);
    app.model.will(Script::Babble);
    let (_, answer) = app.ask(
        &member,
        "How many days of vacation does every employee have?",
    );
    let path = format!("/api/answers/{answer}/events");
    let mut events = member.events("GET", &path, None);
    assert!(events.any(|event| event.name == "citation" && event.data.contains("30 days")));
    let folder = app.data.path().join("handbook");
    fs::write(
        folder.join("vacation.md"),
        "# Leave\n\nThe works council decides on leave.\n",
    )
    .unwrap();
    let report = app.output(LocalRequest::Ingest {
        paths: vec![folder],
        collection: "handbook".into(),
        full: false,
    });
    assert_eq!(report["updated"], 1, "{report}");
    member.post(&format!("/api/answers/{answer}/stop"), json!({}));
    let last = events.last().unwrap();
    assert_eq!(last.name, "done");
    assert!(!last.data.contains("30 days"), "{}", last.data);

    let replay: Vec<_> = member
        .events("GET", &format!("{path}?after=0"), None)
        .collect();
    assert_eq!(replay.len(), 1, "{replay:?}");
    assert_eq!(replay[0].json()["message"], last.json()["message"]);
}

#[test]
fn a_removed_account_leaves_no_word() {
    let mut app = spawn_app();
    let other = app.signed_in(OTHER);
    let (_, answer) = app.ask(
        &other,
        "Is the xylophonist on vacation for 30 days per year?",
    );
    answered(&other, &answer);
    app.output(LocalRequest::UserRemove {
        email: OTHER.into(),
    });
    app.stop();
    assert_eq!(
        files_with(app.data.path(), &["xylophonist", "other@example.org"]),
        []
    );
}

#[test]
fn what_a_crash_left_undone_is_done_at_the_next_start() {
    let mut app = spawn_app();
    let member = app.signed_in(MEMBER);
    let _folder = ingest(
        &app,
        "vault.md",
        "Every member of the vault team has the code word zanzibarquark for the night.\n",
    );
    app.model.will(Script::Say(
        "Every member of the vault team has the code word zanzibarquark.",
    ));
    let (_, answer) = app.ask(&member, QUESTION);
    answered(&member, &answer);
    app.stop();
    // As if the process had died between the catalogue and the answers: another one removes the document alone.
    let data = tempfile::tempdir().unwrap();
    for file in ["suite.db", "catalogue.db"] {
        fs::copy(app.data.path().join(file), data.path().join(file)).unwrap();
    }
    let mut parted = SuiteConfig::new(data.path().join("parted"));
    fs::create_dir(&parted.data_dir).unwrap();
    fs::copy(
        data.path().join("catalogue.db"),
        parted.data_dir.join("catalogue.db"),
    )
    .unwrap();
    parted.new_accounts = true;
    let suite = std::sync::Arc::new(open_suite(parted.clone(), None).unwrap());
    let request = LocalRequest::CollectionDelete {
        name: "vault".into(),
    };
    app.runtime.block_on(async {
        let (sender, mut events) = tokio::sync::mpsc::channel(16);
        web_server::run_local(&suite, request, sender).await;
        while events.recv().await.is_some() {}
    });
    suite.close();
    drop(suite);
    fs::copy(
        parted.data_dir.join("catalogue.db"),
        data.path().join("catalogue.db"),
    )
    .unwrap();
    fs::remove_dir_all(&parted.data_dir).unwrap();

    assert!(!files_with(data.path(), &["zanzibarquark"]).is_empty());
    let suite = open_suite(SuiteConfig::new(data.path()), None).unwrap();
    suite.close();
    assert_eq!(files_with(data.path(), &["zanzibarquark"]), []);
}
