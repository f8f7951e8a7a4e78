//! Conversations: the list, the search, and asking a question in one.

use serde::{Deserialize, Serialize};

use crate::{Message, UnixMs};

/// One conversation of the signed-in account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// Random UUID.
    pub id: String,
    /// Taken from the first question until it is renamed; empty before that.
    pub title: String,
    /// When it was started.
    pub created_at: UnixMs,
    /// Last question or change of title.
    pub updated_at: UnixMs,
    /// Collections of the last question; empty means all.
    pub collections: Vec<i64>,
}

/// `GET /api/conversations?query=` returns a list of these, the latest change first (with a query: best match first).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversationHit {
    /// The conversation.
    #[serde(flatten)]
    pub conversation: Conversation,
    /// With a query: a piece of the matching question or answer around the match, plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snippet: Option<String>,
}

/// `GET /api/conversations/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConversationDetail {
    /// The conversation.
    pub conversation: Conversation,
    /// Its questions with their answers, oldest first. The last one may still be running:
    /// follow it with `GET /api/answers/{message.id}/events`.
    pub messages: Vec<Message>,
}

/// `POST /api/conversations`: answers `201` with the [`Conversation`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateConversation {
    /// Without a title the first question becomes the title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

/// `PATCH /api/conversations/{id}`: answers with the [`Conversation`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenameConversation {
    /// 1 to 200 characters.
    pub title: String,
}

/// `POST /api/conversations/{id}/messages`: asks. Answers `202` with [`AskStarted`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskRequest {
    /// 1 to 4000 characters.
    pub question: String,
    /// Collections to search; empty means all that the account may ask.
    #[serde(default)]
    pub collections: Vec<i64>,
    /// Verbatim quotes instead of a written answer.
    #[serde(default)]
    pub quote_only: bool,
}

/// An answer is under way; it goes on whether or not anybody listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskStarted {
    /// For `GET /api/answers/{answer_id}/events` and `POST /api/answers/{answer_id}/stop`; also the id of the [`Message`].
    pub answer_id: String,
    /// The conversation, with its title as it is now.
    pub conversation: Conversation,
}
