//! Rows of `conversations`, and the search over titles, questions and answers.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;
use web_api::{Conversation, ConversationHit};

use super::{UserId, now_ms};

/// Most conversations in a list or a search.
const LIST_LIMIT: usize = 500;
/// Most characters of a title made of a question.
const TITLE_CHARS: usize = 80;

const COLUMNS: &str = "c.id, c.title, c.created_at, c.updated_at, c.collections";

/// Inserts a conversation.
pub fn insert(
    connection: &Connection,
    user: UserId,
    title: &str,
) -> rusqlite::Result<Conversation> {
    let now = now_ms();
    let id = Uuid::new_v4().to_string();
    connection.execute(
        "INSERT INTO conversations (id, user_id, title, collections, created_at, updated_at) VALUES (?1, ?2, ?3, '[]', ?4, ?4)",
        params![id, user.0, title, now],
    )?;
    Ok(Conversation {
        id,
        title: title.to_owned(),
        created_at: now,
        updated_at: now,
        collections: Vec::new(),
    })
}

/// One conversation of the account.
pub fn find(
    connection: &Connection,
    user: UserId,
    id: &str,
) -> rusqlite::Result<Option<Conversation>> {
    connection
        .query_row(
            &format!("SELECT {COLUMNS} FROM conversations c WHERE c.id = ?1 AND c.user_id = ?2"),
            params![id, user.0],
            conversation,
        )
        .optional()
}

/// The account's conversations, latest change first.
pub fn list(connection: &Connection, user: UserId) -> rusqlite::Result<Vec<Conversation>> {
    connection
        .prepare(&format!(
            "SELECT {COLUMNS} FROM conversations c WHERE c.user_id = ?1 ORDER BY c.updated_at DESC, c.seq DESC LIMIT {LIST_LIMIT}"
        ))?
        .query_map([user.0], conversation)?
        .collect()
}

/// The account's conversations that contain all words of `query`: in the title first, then in a question or an answer.
pub fn search(
    connection: &Connection,
    user: UserId,
    query: &str,
) -> rusqlite::Result<Vec<ConversationHit>> {
    let Some(query) = match_expression(query) else {
        return Ok(Vec::new());
    };
    let mut seen = HashSet::new();
    let mut hits = Vec::new();
    let in_titles = format!(
        "SELECT {COLUMNS}, NULL FROM title_search JOIN conversations c ON c.seq = title_search.rowid \
         WHERE title_search MATCH ?1 AND c.user_id = ?2 ORDER BY title_search.rank, c.updated_at DESC LIMIT {LIST_LIMIT}"
    );
    let in_messages = format!(
        "SELECT {COLUMNS}, snippet(message_search, -1, '', '', '…', 16) FROM message_search \
         JOIN messages m ON m.seq = message_search.rowid JOIN conversations c ON c.id = m.conversation_id \
         WHERE message_search MATCH ?1 AND m.user_id = ?2 AND c.user_id = ?2 ORDER BY message_search.rank LIMIT {LIST_LIMIT}"
    );
    for sql in [in_titles, in_messages] {
        let mut statement = connection.prepare(&sql)?;
        let rows = statement.query_map(params![query, user.0], |row| {
            Ok(ConversationHit {
                conversation: conversation(row)?,
                snippet: row.get(5)?,
            })
        })?;
        for hit in rows {
            let hit = hit?;
            if seen.insert(hit.conversation.id.clone()) {
                hits.push(hit);
            }
        }
    }
    Ok(hits)
}

/// Renames; false when the account has no such conversation.
pub fn rename(
    connection: &Connection,
    user: UserId,
    id: &str,
    title: &str,
) -> rusqlite::Result<bool> {
    Ok(connection.execute(
        "UPDATE conversations SET title = ?3, updated_at = ?4 WHERE id = ?1 AND user_id = ?2",
        params![id, user.0, title, now_ms()],
    )? == 1)
}

/// Deletes with all messages; false when the account has no such conversation.
pub fn delete(connection: &Connection, user: UserId, id: &str) -> rusqlite::Result<bool> {
    // Messages go by hand and not by cascade, because a cascade would not run the triggers of the search index.
    connection.execute(
        "DELETE FROM messages WHERE conversation_id = ?1 AND user_id = ?2",
        params![id, user.0],
    )?;
    Ok(connection.execute(
        "DELETE FROM conversations WHERE id = ?1 AND user_id = ?2",
        params![id, user.0],
    )? == 1)
}

/// Notes a question: time, collections, and the title if there was none.
pub fn note_question(
    connection: &Connection,
    user: UserId,
    id: &str,
    question: &str,
    collections: &[i64],
) -> rusqlite::Result<bool> {
    let collections = serde_json::to_string(collections).expect("a list of numbers is JSON");
    Ok(connection.execute(
        "UPDATE conversations SET updated_at = ?3, collections = ?4, title = CASE title WHEN '' THEN ?5 ELSE title END \
         WHERE id = ?1 AND user_id = ?2",
        params![id, user.0, now_ms(), collections, title_of(question)],
    )? == 1)
}

/// Number of conversations of all accounts.
pub fn count(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT count(*) FROM conversations", [], |row| row.get(0))
}

/// A question cut at a word to be a title.
fn title_of(question: &str) -> String {
    let line = question.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= TITLE_CHARS {
        return line;
    }
    let cut: String = line.chars().take(TITLE_CHARS).collect();
    let cut = cut.rsplit_once(' ').map_or(cut.as_str(), |(head, _)| head);
    format!("{cut}…")
}

/// The words of a query as an FTS5 expression: each one quoted, so that nothing in it is syntax; the last one may be
/// the beginning of a word. `None` when there are no words.
fn match_expression(query: &str) -> Option<String> {
    let words: Vec<String> = query
        .split(|character: char| character.is_whitespace() || character == '\0')
        .filter(|word| word.chars().any(char::is_alphanumeric))
        .take(16)
        .map(|word| format!("\"{}\"", word.replace('"', "\"\"")))
        .collect();
    if words.is_empty() {
        None
    } else {
        Some(format!("{} *", words.join(" ")))
    }
}

fn conversation(row: &Row<'_>) -> rusqlite::Result<Conversation> {
    let collections: String = row.get(4)?;
    Ok(Conversation {
        id: row.get(0)?,
        title: row.get(1)?,
        created_at: row.get(2)?,
        updated_at: row.get(3)?,
        collections: serde_json::from_str(&collections).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{Database, users};

    #[test]
    fn search_finds_words_and_takes_syntax_for_text() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("suite.db")).unwrap();
        let user = database
            .write_blocking(|transaction| {
                let user = users::insert(transaction, "a@example.org", web_api::Role::Member, "h")?
                    .unwrap();
                insert(transaction, user.id, "Überstunden in the warehouse")?;
                Ok(user.id)
            })
            .unwrap();
        let count = |query: &str| {
            let query = query.to_owned();
            database
                .read_blocking(move |connection| search(connection, user, &query))
                .unwrap()
                .len()
        };
        assert_eq!(count("uberst"), 1);
        assert_eq!(count("warehouse überstunden"), 1);
        for hostile in [
            "\"", "a\"b", "NEAR(", "title:", "* OR *", "-", "(", "^x", "AND", "col : x", "\0", "'",
            "{a b}",
        ] {
            assert_eq!(count(hostile), 0, "{hostile}");
        }
    }

    #[test]
    fn a_long_question_becomes_a_title_cut_at_a_word() {
        let title = title_of(&"word ".repeat(40));
        assert!(title.ends_with("word…"), "{title}");
        assert!(title.chars().count() <= TITLE_CHARS + 1);
    }
}
