//! What is left in the file of what was deleted, and what becomes of a file of an earlier version.

use rusqlite::{Connection, params};

use super::*;

fn has_word(folder: &Path, word: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        bytes
            .windows(word.len())
            .any(|window| window == word.as_bytes())
    })
}

/// A file as version 1 left it: an account, a conversation with an answer, and a deleted one.
fn old_file(path: &Path) {
    let connection = Connection::open(path).unwrap();
    prepare(&connection).unwrap();
    connection
        .pragma_update(None, "journal_mode", "wal")
        .unwrap();
    connection.execute_batch(MIGRATIONS[0]).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    connection
        .execute_batch(
            "INSERT INTO users (email, role, password_hash, created_at) VALUES ('a@example.org', 'admin', 'h', 1);
             INSERT INTO conversations (id, user_id, title, collections, created_at, updated_at)
                 VALUES ('c', 1, 'kept', '[]', 1, 1), ('d', 1, 'deletedtitle', '[]', 1, 1);",
        )
        .unwrap();
    let details = r#"{"citations": [{"n": 1, "document": 7}], "sources": [{"n": 1, "document": 7}, {"n": 2, "document": 9}]}"#;
    for (id, conversation, question, details) in [
        ("m1", "c", "keptquestion", details),
        ("m2", "c", "keptquestion", "not json"),
        ("m3", "d", "deletedquestion", "{}"),
    ] {
        connection
            .execute(
                "INSERT INTO messages (id, conversation_id, user_id, question, answer, status, refused, mode, details, created_at)
                 VALUES (?1, ?2, 1, ?3, 'answer', 'done', 0, 'generated', ?4, 1)",
                params![id, conversation, question, details],
            )
            .unwrap();
    }
    connection
        .execute_batch(
            "DELETE FROM messages WHERE conversation_id = 'd'; DELETE FROM conversations WHERE id = 'd';",
        )
        .unwrap();
}

#[test]
fn a_file_of_the_first_version_is_taken_over_and_forgets_what_was_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("suite.db");
    old_file(&path);
    assert!(has_word(folder.path(), "deletedquestion"));

    let database = Database::open(&path).unwrap();
    let listed = database.read_blocking(users::list).unwrap();
    assert_eq!(
        listed
            .iter()
            .map(|user| (user.email.as_str(), user.suspended))
            .collect::<Vec<_>>(),
        [("a@example.org", false)]
    );
    let mut documents = database.read_blocking(sources::all_versions).unwrap();
    documents.sort_unstable();
    // Not compared yet.
    assert_eq!(documents, [7, 9].map(|id| (id, String::new())));
    let found = |query: &'static str| {
        database
            .read_blocking(|connection| conversations::search(connection, UserId(1), query))
            .unwrap()
            .len()
    };
    assert_eq!((found("keptquestion"), found("deletedquestion")), (1, 0));
    // As the first deletion would.
    database.forget_blocking().unwrap();
    database.close().unwrap();
    for word in ["deletedquestion", "deletedtitle"] {
        assert!(!has_word(folder.path(), word), "{word}");
    }
    assert!(has_word(folder.path(), "keptquestion"));
}

#[test]
fn after_forgetting_no_file_has_the_words_and_after_closing_there_is_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("suite.db");
    assert!(Database::is_new(&path));
    let database = Database::open(&path).unwrap();
    assert!(!Database::is_new(&path));
    let write = |sql: &'static str| {
        database
            .write_blocking(|transaction| transaction.execute_batch(sql))
            .unwrap();
    };
    write(
        "INSERT INTO users (email, role, password_hash, created_at) VALUES ('a@example.org', 'admin', 'h', 1);
         INSERT INTO conversations (id, user_id, title, collections, created_at, updated_at)
             VALUES ('c', 1, 'plantedtitle', '[]', 1, 1);",
    );
    // Enough words for several pages and segments of the index.
    database
        .write_blocking(|transaction| {
            for n in 0..400 {
                transaction.execute(
                    "INSERT INTO messages (id, conversation_id, user_id, question, answer, status, refused, mode, details, created_at)
                     VALUES (?1, 'c', 1, ?2, ?3, 'done', 0, 'generated', '{}', 1)",
                    params![format!("m{n}"), format!("planted{n} question"), "long text ".repeat(200)],
                )?;
            }
            Ok(())
        })
        .unwrap();
    assert!(has_word(folder.path(), "planted399"));
    let user = database.read_blocking(users::list).unwrap().remove(0);
    database
        .write_blocking(|transaction| users::delete(transaction, user.id))
        .unwrap();
    database.forget_blocking().unwrap();
    database.tidy().unwrap();
    assert!(!has_word(folder.path(), "planted"));

    database.close().unwrap();
    database.close().unwrap();
    let files: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(files, ["suite.db"]);
    let error = database.read_blocking(users::list).unwrap_err();
    assert!(matches!(error, DatabaseError::Closed), "{error}");
    assert!(Database::open(&path).is_ok());
}
