//! A disk that is nearly full: what is refused, what goes on, and who is told. The disk only claims it: see
//! `rag/tests/it/full_disk.rs` for a real one.

use std::sync::atomic::{AtomicI64, Ordering};

use rag::DiskSpace;
use web_server::{LocalErrorKind, LocalEvent, LocalRequest};

use crate::app::{ADMIN, Options, eventually, spawn};

/// Lets so many questions for room be answered with plenty, then with next to nothing.
struct Room(AtomicI64);

impl Room {
    const PLENTY: i64 = i64::MAX;

    fn disk(&'static self) -> DiskSpace {
        DiskSpace::measured_by("/data", move |_| {
            let left = self.0.fetch_sub(1, Ordering::SeqCst);
            Ok(if left > 0 { u64::MAX } else { 700 << 10 })
        })
    }

    fn set(&self, answers: i64) {
        self.0.store(answers, Ordering::SeqCst);
    }
}

#[test]
fn a_full_disk_is_507_for_uploads_and_a_degraded_health_and_questions_go_on() {
    static ROOM: Room = Room(AtomicI64::new(Room::PLENTY));
    let app = spawn(Options {
        adjust_library: |library| library.measure_disk_by(ROOM.disk()),
        ..Options::default()
    });
    let admin = app.signed_in(ADMIN);
    let health = app.client().get("/healthz");
    assert_eq!((health.status, &health.json["status"]), (200, &"ok".into()));
    assert_eq!(health.json["reasons"], serde_json::json!([]));

    ROOM.set(0);
    let health = app.client().get("/healthz");
    assert_eq!(health.status, 200, "a restart would not help");
    assert_eq!(health.json["status"], "degraded");
    let reason = health.json["reasons"][0].as_str().unwrap();
    assert!(
        reason.contains("disk") && !reason.contains("/data"),
        "{reason}"
    );

    let collection = admin.get("/api/collections").json[0]["id"].clone();
    let path = format!("/api/collections/{collection}/documents");
    let reply = admin.upload(&path, &[("new.txt", b"A new rule.")]);
    assert_eq!(
        (reply.status, &reply.json["code"]),
        (507, &"disk_full".into())
    );
    let (_, answer) = app.ask(&admin, "How many days of vacation are there?");
    assert!(!answer.is_empty());

    let folder = app.data.path().join("handbook");
    std::fs::write(folder.join("new.txt"), "A new rule.").unwrap();
    let ingest = LocalRequest::Ingest {
        paths: vec![folder],
        collection: "handbook".into(),
        full: false,
    };
    match app.local(ingest.clone()).pop() {
        Some(LocalEvent::Error {
            kind,
            message,
            hint,
        }) => {
            assert_eq!(kind, LocalErrorKind::Config);
            for part in ["/data", "0.7 MiB are free", "are needed"] {
                assert!(message.contains(part), "{message}");
            }
            assert!(hint.unwrap().contains("make room"));
        }
        other => panic!("no error but {other:?}"),
    }
    ROOM.set(Room::PLENTY);
    assert_eq!(app.output(ingest)["added"], 1);
    assert_eq!(app.client().get("/healthz").json["status"], "ok");
}

#[test]
fn an_upload_that_was_taken_waits_for_room_and_is_not_lost() {
    static ROOM: Room = Room(AtomicI64::new(Room::PLENTY));
    let app = spawn(Options {
        adjust_library: |library| library.measure_disk_by(ROOM.disk()),
        ..Options::default()
    });
    let admin = app.signed_in(ADMIN);
    let collection = admin.get("/api/collections").json[0]["id"].clone();
    let path = format!("/api/collections/{collection}/documents");
    // Enough to be received, too little to be read.
    ROOM.set(1);
    let reply = admin.upload(&path, &[("new.txt", b"The new rule is about umbrellas.")]);
    assert_eq!(reply.status, 202, "{}", reply.text);
    let document = |wanted: fn(&serde_json::Value) -> bool| {
        eventually("the upload", || {
            let documents = admin.get(&path).json;
            let mut documents = documents.as_array().unwrap().iter();
            documents
                .find(|document| document["path"] == "new.txt" && wanted(document))
                .cloned()
        })
    };
    let waiting = document(|document| !document["reason"].is_null());
    assert_eq!(waiting["state"], "pending");
    assert!(waiting["reason"].as_str().unwrap().contains("disk is full"));
    ROOM.set(Room::PLENTY);
    document(|document| document["state"] == "indexed");
}
