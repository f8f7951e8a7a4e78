//! Rows of `message_documents`: which answers show, or were made from, which documents.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};
use serde_json::json;
use web_api::Message;

/// Notes the documents of a message, instead of those that were noted before. A document that is noted for the first time
/// has no version: the message was not compared with it yet.
pub fn note(connection: &Connection, message: &Message) -> rusqlite::Result<()> {
    let documents = documents_of(message);
    connection.execute(
        "DELETE FROM message_documents WHERE message_seq = (SELECT seq FROM messages WHERE id = ?1)
         AND document_id NOT IN (SELECT value FROM json_each(?2))",
        params![message.id, json!(documents).to_string()],
    )?;
    let mut insert = connection.prepare_cached(
        "INSERT OR IGNORE INTO message_documents (document_id, message_seq) SELECT ?1, seq FROM messages WHERE id = ?2",
    )?;
    for document in documents {
        insert.execute(params![document, message.id])?;
    }
    Ok(())
}

/// Notes that a message was compared with a version of a document; `None` where the document is gone.
pub fn compared(
    connection: &Connection,
    message: &str,
    document: i64,
    version: Option<&String>,
) -> rusqlite::Result<()> {
    connection.execute(
        "UPDATE message_documents SET version = ?3
         WHERE document_id = ?2 AND message_seq = (SELECT seq FROM messages WHERE id = ?1)",
        params![message, document, version],
    )?;
    Ok(())
}

/// The documents that a message quotes or lists.
pub fn documents_of(message: &Message) -> BTreeSet<i64> {
    let quoted = message.citations.iter().map(|citation| citation.document);
    let listed = message.sources.iter().map(|source| source.document);
    quoted.chain(listed).collect()
}

/// All documents that any answer refers to, with the versions that the answers were last compared with.
pub fn all_versions(connection: &Connection) -> rusqlite::Result<Vec<(i64, String)>> {
    connection
        .prepare("SELECT DISTINCT document_id, coalesce(version, '') FROM message_documents")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}
