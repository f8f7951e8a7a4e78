//! Rows of `message_documents`: which answers show, or were made from, which documents.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};
use web_api::Message;

use super::{UserId, messages};

/// Notes the documents of a message, instead of those that were noted before.
pub fn note(connection: &Connection, message: &Message) -> rusqlite::Result<()> {
    connection.execute(
        "DELETE FROM message_documents WHERE message_seq = (SELECT seq FROM messages WHERE id = ?1)",
        [&message.id],
    )?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO message_documents (document_id, message_seq) SELECT ?1, seq FROM messages WHERE id = ?2",
    )?;
    for document in documents_of(message) {
        insert.execute(params![document, message.id])?;
    }
    Ok(())
}

/// The documents that a message quotes or lists.
pub fn documents_of(message: &Message) -> BTreeSet<i64> {
    let quoted = message.citations.iter().map(|citation| citation.document);
    let listed = message.sources.iter().map(|source| source.document);
    quoted.chain(listed).collect()
}

/// All documents that any answer refers to.
pub fn all_documents(connection: &Connection) -> rusqlite::Result<Vec<i64>> {
    connection
        .prepare("SELECT DISTINCT document_id FROM message_documents")?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// The messages of all accounts that refer to a document, with their owners.
pub fn messages_of(
    connection: &Connection,
    document: i64,
) -> rusqlite::Result<Vec<(UserId, Message)>> {
    connection
        .prepare_cached(&format!(
            "SELECT {}, user_id FROM messages WHERE seq IN (SELECT message_seq FROM message_documents WHERE document_id = ?1)",
            messages::COLUMNS
        ))?
        .query_map([document], |row| {
            Ok((UserId(row.get("user_id")?), messages::message(row)?))
        })?
        .collect()
}
