//! Collections, uploads, deletions.

use serde_json::{Value, json};

use crate::app::{ADMIN, Client, MEMBER, Options, eventually, spawn, spawn_app};

fn handbook(client: &Client) -> i64 {
    client.get("/api/collections").json[0]["id"]
        .as_i64()
        .unwrap()
}

/// The document's entry once it is no longer pending.
fn settled(client: &Client, collection: i64, path: &str) -> Value {
    eventually("the upload", || {
        let documents = client
            .get(&format!("/api/collections/{collection}/documents"))
            .json;
        let document = documents
            .as_array()
            .unwrap()
            .iter()
            .find(|document| document["path"] == path)?
            .clone();
        (document["state"] != "pending").then_some(document)
    })
}

#[test]
fn an_uploaded_file_can_be_asked_about_and_deleted() {
    let app = spawn_app();
    let admin = app.signed_in(ADMIN);
    let collection = handbook(&admin);
    let path = format!("/api/collections/{collection}/documents");
    let text = b"The canteen opens at noon. Lunch costs seven euros and is paid with the badge.";
    let reply = admin.upload(
        &path,
        &[
            ("canteen.txt", text),
            ("../../sneaky.txt", b"Nothing of interest is written here."),
        ],
    );
    assert_eq!(reply.status, 202, "{}", reply.text);
    let paths: Vec<_> = reply.json["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["path"].clone())
        .collect();
    assert_eq!(paths, ["canteen.txt", "sneaky.txt"]);
    let document = settled(&admin, collection, "canteen.txt");
    assert_eq!(document["state"], "indexed", "{document}");

    let key = app.with_key(MEMBER);
    let ask =
        json!({ "question": "How many euros does lunch in the canteen cost?", "quote_only": true });
    let answer = key.post("/api/ask-docs", ask).json;
    assert!(
        answer["answer"].as_str().unwrap().contains("seven euros"),
        "{answer}"
    );

    let id = document["id"].as_i64().unwrap();
    assert_eq!(
        admin
            .send("DELETE", &format!("/api/documents/{id}"), None)
            .status,
        204
    );
    assert_eq!(admin.get(&format!("/api/documents/{id}/view")).status, 404);
    assert_eq!(
        admin
            .send("DELETE", &format!("/api/documents/{id}"), None)
            .status,
        404
    );
}

#[test]
fn a_file_whose_extension_lies_is_reported_with_its_reason() {
    let app = spawn_app();
    let admin = app.signed_in(ADMIN);
    let collection = handbook(&admin);
    let path = format!("/api/collections/{collection}/documents");
    let reply = admin.upload(
        &path,
        &[
            ("report.pdf", b"PK\x03\x04 this is not a PDF at all"),
            ("empty.txt", b""),
        ],
    );
    assert_eq!(reply.status, 202, "{}", reply.text);
    for name in ["report.pdf", "empty.txt"] {
        let document = settled(&admin, collection, name);
        assert_eq!(document["state"], "failed", "{document}");
        assert!(
            document["reason"].as_str().unwrap().len() > 10,
            "{document}"
        );
    }
    let listed = admin.get("/api/collections").json;
    assert_eq!(listed[0]["failed"], 2, "{listed}");
}

#[test]
fn a_file_over_the_limit_is_refused_and_the_others_are_taken() {
    let app = spawn(Options {
        configure: |config| config.max_upload_bytes = 1024,
        ..Options::default()
    });
    let admin = app.signed_in(ADMIN);
    let collection = handbook(&admin);
    let path = format!("/api/collections/{collection}/documents");
    let reply = admin.upload(
        &path,
        &[
            ("large.txt", &[b'x'; 1500]),
            ("small.txt", b"A small file about the garden party."),
        ],
    );
    assert_eq!(reply.status, 202, "{}", reply.text);
    let accepted: Vec<_> = reply.json["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["accepted"].clone())
        .collect();
    assert_eq!(accepted, [false, true]);
    assert_eq!(
        admin
            .upload(&path, &[("huge.txt", &vec![b'x'; 5000])])
            .status,
        413
    );
    assert_eq!(settled(&admin, collection, "small.txt")["state"], "indexed");
    let left: Vec<_> = walk(&app.data.path().join("incoming"));
    assert_eq!(
        left,
        Vec::<std::path::PathBuf>::new(),
        "parts of refused uploads are left"
    );
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path))
        } else {
            files.push(path)
        }
    }
    files
}

#[test]
fn collections_are_created_and_deleted_by_an_administrator() {
    let app = spawn_app();
    let admin = app.signed_in(ADMIN);
    let created = admin.post("/api/collections", json!({ "name": "Contracts" }));
    assert_eq!(created.status, 201, "{}", created.text);
    assert_eq!(
        admin
            .post("/api/collections", json!({ "name": "Contracts" }))
            .status,
        409
    );
    assert_eq!(
        admin.post("/api/collections", json!({ "name": "" })).status,
        400
    );
    let id = created.json["id"].as_i64().unwrap();
    assert_eq!(
        admin
            .send("DELETE", &format!("/api/collections/{id}"), None)
            .status,
        204
    );
    assert_eq!(
        admin
            .send("DELETE", &format!("/api/collections/{id}"), None)
            .status,
        404
    );
    assert_eq!(
        admin
            .upload(
                &format!("/api/collections/{id}/documents"),
                &[("a.txt", b"x")]
            )
            .status,
        404
    );
    let view = app.signed_in(MEMBER).get("/api/documents/424242/view");
    assert_eq!(view.status, 404);
}
