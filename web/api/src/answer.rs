//! Answers: the stored message, the events of a running one, and `/api/ask-docs`.

use serde::{Deserialize, Serialize};

use crate::{AskRequest, UnixMs};

/// Characters `start..end` of some text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Span {
    /// First character.
    pub start: usize,
    /// One past the last character.
    pub end: usize,
}

/// A verified quote: characters `start..end` of the document's text are exactly `quote`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Citation {
    /// Number as shown in the answer, in order of appearance: the text contains `[n]`.
    pub n: usize,
    /// The document.
    pub document: i64,
    /// Path relative to the ingested folder.
    pub path: String,
    /// Title of the document.
    pub title: String,
    /// Page of the quote, where the format has pages.
    pub page: Option<u32>,
    /// The quoted text, verbatim.
    pub quote: String,
    /// First character of the quote in the document text.
    pub start: usize,
    /// One past the last character of the quote in the document text.
    pub end: usize,
    /// The header row of the table that the quote is a row of, as `| a | b |`; absent for other quotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_head: Option<String>,
}

/// A passage that was found and given to the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Rank, from 1. Not the number of a citation: those count quotes in the order in which the answer shows them.
    pub n: usize,
    /// Collection it lies in.
    pub collection: i64,
    /// The document.
    pub document: i64,
    /// Path relative to the ingested folder.
    pub path: String,
    /// Title of the document.
    pub title: String,
    /// Page, where the format has pages.
    pub page: Option<u32>,
    /// Headings above the passage, outermost first.
    pub heading: Vec<String>,
    /// First character in the document text.
    pub start: usize,
    /// One past the last character in the document text.
    pub end: usize,
    /// Relevance, 0 to 1; comparable within one answer only.
    pub score: f32,
    /// Beginning of the passage, plain text.
    pub snippet: String,
}

/// How the text of an answer comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerMode {
    /// Written by the language model.
    Generated,
    /// Verbatim sentences of the documents.
    QuoteOnly,
}

/// Where an answer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnswerStatus {
    /// Being produced; follow its events.
    Running,
    /// Complete.
    Done,
    /// The user stopped it; the text so far is kept.
    Stopped,
    /// It broke off; [`Message::error`] says why, the text so far is kept.
    Failed,
}

/// Tokens that an answer took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens written.
    pub completion_tokens: usize,
}

/// Where the time of an answer went, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// Search and packing of passages.
    pub search_ms: f64,
    /// Waiting for the model.
    pub queue_ms: f64,
    /// Reading of the prompt by the model.
    pub prefill_ms: f64,
    /// Writing of the answer.
    pub decode_ms: f64,
    /// From the question to the first words; `None` when there were none.
    pub first_delta_ms: Option<f64>,
    /// From the question to the end.
    pub total_ms: f64,
}

/// One question with its answer, as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Random UUID, the same as the answer id.
    pub id: String,
    /// The conversation it belongs to.
    pub conversation_id: String,
    /// As asked.
    pub question: String,
    /// Text of the answer so far, with `[n]` markers.
    pub answer: String,
    /// Where it stands.
    pub status: AnswerStatus,
    /// Whether it says that the documents do not answer the question.
    pub refused: bool,
    /// How the text comes about.
    pub mode: AnswerMode,
    /// A remark to show with it, e.g. that the model was busy and quotes are shown instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
    /// Why it failed, when it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Verified quotes, in order of appearance.
    pub citations: Vec<Citation>,
    /// Sentences of `answer` that no passage supports.
    pub unsupported: Vec<Span>,
    /// Passages that were found.
    pub sources: Vec<Source>,
    /// Collections that were searched; empty means all.
    pub collections: Vec<i64>,
    /// The model that answered; `None` for quotes.
    pub model: Option<String>,
    /// Version of the prompt's wording.
    pub prompt_version: Option<String>,
    /// Tokens it took; zeros for quotes.
    pub usage: Usage,
    /// Where the time went.
    pub timings: Timings,
    /// When it was asked.
    pub created_at: UnixMs,
}

impl Message {
    /// A question of which nothing is answered yet. `id` and `conversation_id` are empty where nothing is stored.
    pub fn running(
        id: String,
        conversation_id: String,
        request: &AskRequest,
        created_at: UnixMs,
    ) -> Self {
        Self {
            id,
            conversation_id,
            question: request.question.clone(),
            answer: String::new(),
            status: AnswerStatus::Running,
            refused: false,
            mode: if request.quote_only {
                AnswerMode::QuoteOnly
            } else {
                AnswerMode::Generated
            },
            notice: None,
            error: None,
            citations: Vec::new(),
            unsupported: Vec::new(),
            sources: Vec::new(),
            collections: request.collections.clone(),
            model: None,
            prompt_version: None,
            usage: Usage::default(),
            timings: Timings::default(),
            created_at,
        }
    }

    /// The event that ends the stream of this answer.
    pub fn into_last_event(self) -> AnswerEvent {
        match self.error {
            Some(message) => AnswerEvent::Error { message },
            None => AnswerEvent::Done {
                message: Box::new(self),
            },
        }
    }
}

/// Events of `GET /api/answers/{id}/events`: SSE whose `event` is the name below, whose `data` is this JSON and whose `id` counts from 1.
///
/// After a break, `Last-Event-ID` (or `?after=`) names the last one seen and the stream goes on behind it. `done` and
/// `error` end the stream, and so does the end of the session. `204` when nothing comes behind the number. For an answer that has long been finished, a single `done` with the stored message is sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum AnswerEvent {
    /// What is going on, e.g. `Searching 2 collections`; replaces the previous status.
    Status {
        /// Plain text.
        text: String,
    },
    /// What was found.
    Sources {
        /// Best first.
        passages: Vec<Source>,
    },
    /// Text to append to the answer.
    Delta {
        /// May contain `[n]` markers, never half of one.
        text: String,
    },
    /// A quote; comes before the delta that shows its marker.
    Citation {
        /// The quote.
        citation: Citation,
    },
    /// No passage supports these characters of the answer.
    Unsupported {
        /// First character.
        start: usize,
        /// One past the last character.
        end: usize,
    },
    /// The answer is complete (or was stopped) and stored.
    Done {
        /// As stored.
        message: Box<Message>,
    },
    /// The answer broke off; what there was is stored.
    Error {
        /// One clear sentence with the way out.
        message: String,
    },
}

impl AnswerEvent {
    /// Name of the event on the wire, equal to the JSON's `type`.
    pub fn name(&self) -> &'static str {
        match self {
            AnswerEvent::Status { .. } => "status",
            AnswerEvent::Sources { .. } => "sources",
            AnswerEvent::Delta { .. } => "delta",
            AnswerEvent::Citation { .. } => "citation",
            AnswerEvent::Unsupported { .. } => "unsupported",
            AnswerEvent::Done { .. } => "done",
            AnswerEvent::Error { .. } => "error",
        }
    }

    /// Whether nothing follows it.
    pub fn is_last(&self) -> bool {
        matches!(self, AnswerEvent::Done { .. } | AnswerEvent::Error { .. })
    }
}

/// `POST /api/ask-docs`, with an API key or a session: one question, one answer, nothing stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskDocsRequest {
    /// 1 to 4000 characters.
    pub question: String,
    /// Names of collections; empty means all that the account may ask.
    #[serde(default)]
    pub collections: Vec<String>,
    /// Verbatim quotes instead of a written answer.
    #[serde(default)]
    pub quote_only: bool,
    /// Server-sent [`AnswerEvent`]s instead of one JSON document.
    #[serde(default)]
    pub stream: bool,
}

/// Answer of `POST /api/ask-docs` without `stream`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AskDocsResponse {
    /// Text with `[n]` markers.
    pub answer: String,
    /// Whether it says that the documents do not answer the question.
    pub refused: bool,
    /// How the text came about.
    pub mode: AnswerMode,
    /// A remark, e.g. that the model was busy and quotes are given instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
    /// Verified quotes.
    pub citations: Vec<Citation>,
    /// Sentences that no passage supports.
    pub unsupported: Vec<Span>,
    /// Passages that were found.
    pub sources: Vec<Source>,
    /// The model that answered; `None` for quotes.
    pub model: Option<String>,
    /// Tokens it took.
    pub usage: Usage,
    /// Where the time went.
    pub timings: Timings,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_carries_its_name_as_type() {
        let event = AnswerEvent::Delta {
            text: "Hello".into(),
        };
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(json, serde_json::json!({"type": "delta", "text": "Hello"}));
        assert_eq!(json["type"], event.name());
        assert_eq!(serde_json::from_value::<AnswerEvent>(json).unwrap(), event);
    }
}
