//! A stopped suite is whole in its files; documents without their accounts are no new installation.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use web_server::{LocalRequest, Suite, SuiteConfig, SuiteError};

use crate::app::{ADMIN, App, MEMBER, Options, open_suite, spawn, spawn_app};

/// A copy of the data directory without the files that `but` names.
fn copy(app: &App, but: &[&str]) -> TempDir {
    let target = tempfile::tempdir().unwrap();
    copy_folder(app.data.path(), target.path(), but);
    target
}

fn copy_folder(from: &Path, to: &Path, but: &[&str]) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if but.contains(&entry.file_name().to_str().unwrap()) {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_folder(&source, &target, but);
        } else {
            fs::copy(&source, &target).unwrap();
        }
    }
}

fn open(data: &TempDir, new_accounts: bool) -> Result<Suite, SuiteError> {
    let mut config = SuiteConfig::new(data.path());
    config.new_accounts = new_accounts;
    open_suite(config, None)
}

fn link_of(suite: &Suite) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    runtime.block_on(suite.issue_setup_link()).unwrap()
}

#[test]
fn a_stopped_suite_is_whole_without_its_logs() {
    let mut app = spawn_app();
    app.ask(
        &app.signed_in(MEMBER),
        "How many days of vacation are there?",
    );
    app.stop();
    for log in ["suite.db-wal", "catalogue.db-wal"] {
        let path = app.data.path().join(log);
        assert!(
            fs::metadata(&path).map_or(true, |file| file.len() == 0),
            "{log} has {:?}",
            fs::metadata(&path)
        );
    }
    let data = copy(
        &app,
        &[
            "suite.db-wal",
            "suite.db-shm",
            "catalogue.db-wal",
            "catalogue.db-shm",
        ],
    );
    let suite = open(&data, false).unwrap();
    assert_eq!(
        link_of(&suite),
        None,
        "the administrator is in the file itself"
    );
}

#[test]
fn documents_without_their_accounts_are_no_new_installation() {
    let mut app = spawn_app();
    app.stop();
    let missing = copy(&app, &["suite.db"]);
    let empty = copy(&app, &["suite.db"]);
    fs::write(empty.path().join("suite.db"), "").unwrap();
    for data in [&missing, &empty] {
        let error = open(data, false).err().unwrap();
        assert!(matches!(error, SuiteError::AccountsLost { .. }), "{error}");
        // Refusing makes nothing, so that the next start refuses, too.
        let error = open(data, false).err().unwrap();
        assert!(matches!(error, SuiteError::AccountsLost { .. }), "{error}");
    }
    // The accounts come back.
    fs::copy(
        app.data.path().join("suite.db"),
        empty.path().join("suite.db"),
    )
    .unwrap();
    assert_eq!(link_of(&open(&empty, false).unwrap()), None);

    // Or they are given up, which is then how it is.
    assert!(link_of(&open(&missing, true).unwrap()).is_some());
    assert!(link_of(&open(&missing, false).unwrap()).is_some());
}

#[test]
fn accounts_that_were_there_are_missed_even_where_the_tables_are() {
    let mut app = spawn_app();
    app.stop();
    let data = copy(&app, &["suite.db"]);
    let mut other = spawn(Options {
        with_users: false,
        with_documents: false,
        ..Options::default()
    });
    other.stop();
    fs::copy(
        other.data.path().join("suite.db"),
        data.path().join("suite.db"),
    )
    .unwrap();
    let error = open(&data, false).err().unwrap();
    assert!(matches!(error, SuiteError::AccountsLost { .. }), "{error}");
}

#[test]
fn accounts_that_are_lost_after_the_last_document_was_deleted_are_not_missed() {
    let mut app = spawn_app();
    let admin = app.signed_in(ADMIN);
    let collection = admin.get("/api/collections").json[0]["id"].clone();
    let documents = admin.get(&format!("/api/collections/{collection}/documents"));
    for document in documents.json.as_array().unwrap() {
        let path = format!("/api/documents/{}", document["id"]);
        assert_eq!(admin.send("DELETE", &path, None).status, 204);
    }
    app.stop();
    let data = copy(&app, &["suite.db"]);
    let suite = open(&data, false);
    assert!(link_of(&suite.unwrap()).is_some());
}

#[test]
fn documents_that_came_before_the_first_account_are_in_nobodys_way() {
    let mut app = spawn(Options {
        with_users: false,
        ..Options::default()
    });
    app.output(LocalRequest::Status);
    app.stop();
    let data = copy(&app, &[]);
    assert!(link_of(&open(&data, false).unwrap()).is_some());
}
