//! Rows of `messages`: questions with their answers.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::{Deserialize, Serialize};
use web_api::{AnswerMode, AnswerStatus, Citation, Message, Source, Span, Timings, Usage};

use super::{UserId, sources};

const COLUMNS: &str = "id, conversation_id, question, answer, status, refused, mode, notice, error, model, prompt_version, details, created_at";

/// What has no column of its own.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Details {
    citations: Vec<Citation>,
    unsupported: Vec<Span>,
    sources: Vec<Source>,
    collections: Vec<i64>,
    usage: Usage,
    timings: Timings,
}

/// Inserts a message of the account.
pub fn insert(connection: &Connection, user: UserId, message: &Message) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT INTO messages (id, conversation_id, user_id, question, answer, status, refused, mode, notice, error, model, \
         prompt_version, details, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        params![
            message.id,
            message.conversation_id,
            user.0,
            message.question,
            message.answer,
            status_name(message.status),
            message.refused,
            mode_name(message.mode),
            message.notice,
            message.error,
            message.model,
            message.prompt_version,
            details_of(message),
            message.created_at,
        ],
    )?;
    sources::note(connection, message)
}

/// Stores what became of a message; false when it was deleted meanwhile.
pub fn update(connection: &Connection, user: UserId, message: &Message) -> rusqlite::Result<bool> {
    let changed = connection.execute(
        "UPDATE messages SET answer = ?3, status = ?4, refused = ?5, mode = ?6, notice = ?7, error = ?8, model = ?9, \
         prompt_version = ?10, details = ?11 WHERE id = ?1 AND user_id = ?2",
        params![
            message.id,
            user.0,
            message.answer,
            status_name(message.status),
            message.refused,
            mode_name(message.mode),
            message.notice,
            message.error,
            message.model,
            message.prompt_version,
            details_of(message),
        ],
    )?;
    if changed == 1 {
        sources::note(connection, message)?;
    }
    Ok(changed == 1)
}

/// One message of the account.
pub fn find(connection: &Connection, user: UserId, id: &str) -> rusqlite::Result<Option<Message>> {
    connection
        .query_row(
            &format!("SELECT {COLUMNS} FROM messages WHERE id = ?1 AND user_id = ?2"),
            params![id, user.0],
            message,
        )
        .optional()
}

/// The messages of one of the account's conversations, oldest first.
pub fn list(
    connection: &Connection,
    user: UserId,
    conversation_id: &str,
) -> rusqlite::Result<Vec<Message>> {
    connection
        .prepare(&format!("SELECT {COLUMNS} FROM messages WHERE conversation_id = ?1 AND user_id = ?2 ORDER BY seq"))?
        .query_map(params![conversation_id, user.0], message)?
        .collect()
}

/// The messages of all accounts that refer to a document and were not compared with this version of it, with their owners.
pub fn of_document(
    connection: &Connection,
    document: i64,
    version: Option<&String>,
) -> rusqlite::Result<Vec<(UserId, Message)>> {
    connection
        .prepare_cached(&format!(
            "SELECT {}, user_id FROM messages WHERE seq IN (SELECT message_seq FROM message_documents
             WHERE document_id = ?1 AND (version IS NULL OR version IS NOT ?2))",
            COLUMNS
        ))?
        .query_map(params![document, version], |row| {
            Ok((UserId(row.get("user_id")?), message(row)?))
        })?
        .collect()
}

/// Marks answers that a previous process left running as failed, and returns how many there were.
pub fn fail_interrupted(transaction: &Transaction<'_>) -> rusqlite::Result<usize> {
    transaction.execute(
        "UPDATE messages SET status = 'failed', error = 'The server was restarted while this answer was being written. Ask again.' \
         WHERE status = 'running'",
        [],
    )
}

fn details_of(message: &Message) -> String {
    let details = Details {
        citations: message.citations.clone(),
        unsupported: message.unsupported.clone(),
        sources: message.sources.clone(),
        collections: message.collections.clone(),
        usage: message.usage,
        timings: message.timings,
    };
    serde_json::to_string(&details).expect("plain data is JSON")
}

fn message(row: &Row<'_>) -> rusqlite::Result<Message> {
    let status: String = row.get(4)?;
    let mode: String = row.get(6)?;
    let details: String = row.get(11)?;
    let details: Details = serde_json::from_str(&details).unwrap_or_default();
    Ok(Message {
        id: row.get(0)?,
        conversation_id: row.get(1)?,
        question: row.get(2)?,
        answer: row.get(3)?,
        status: match status.as_str() {
            "running" => AnswerStatus::Running,
            "done" => AnswerStatus::Done,
            "stopped" => AnswerStatus::Stopped,
            _ => AnswerStatus::Failed,
        },
        refused: row.get(5)?,
        mode: if mode == "generated" {
            AnswerMode::Generated
        } else {
            AnswerMode::QuoteOnly
        },
        notice: row.get(7)?,
        error: row.get(8)?,
        model: row.get(9)?,
        prompt_version: row.get(10)?,
        created_at: row.get(12)?,
        citations: details.citations,
        unsupported: details.unsupported,
        sources: details.sources,
        collections: details.collections,
        usage: details.usage,
        timings: details.timings,
    })
}

fn status_name(status: AnswerStatus) -> &'static str {
    match status {
        AnswerStatus::Running => "running",
        AnswerStatus::Done => "done",
        AnswerStatus::Stopped => "stopped",
        AnswerStatus::Failed => "failed",
    }
}

fn mode_name(mode: AnswerMode) -> &'static str {
    match mode {
        AnswerMode::Generated => "generated",
        AnswerMode::QuoteOnly => "quote_only",
    }
}
