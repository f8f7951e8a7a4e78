//! Messages of a chat as clients send them: texts, parts, tool calls and their results.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Content of a chat message: text, or parts of which only those with text are accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// Plain text.
    Text(String),
    /// `[{"type": "text", "text": ...}]`
    Parts(Vec<ContentPart>),
}

/// One part of a message's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentPart {
    /// `text` (also `input_text`, `output_text`) and `refusal` are understood.
    #[serde(rename = "type")]
    pub kind: String,
    /// The text of a `text` part.
    #[serde(
        default,
        deserialize_with = "if_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub text: Option<String>,
    /// The text of a `refusal` part.
    #[serde(
        default,
        deserialize_with = "if_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub refusal: Option<String>,
}

/// Parts of other types have fields of the same names with other values.
fn if_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => Some(text),
        _ => None,
    })
}

/// One message of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// `system` (or `developer`), `user`, `assistant`, `tool` (or, older, `function`).
    pub role: String,
    /// What is said. An assistant that calls tools or refuses may say nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// What an assistant said instead of an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// Tools that the assistant asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<MessageToolCall>>,
    /// Older form of one tool call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function_call: Option<CalledFunction>,
    /// Which call a message of role `tool` answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// The tool that a message of role `tool` or `function` is from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A tool that an assistant asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageToolCall {
    /// Named again by the message with the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `function` or `custom`
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The function that is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<CalledFunction>,
    /// A tool that takes a text instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<CalledCustom>,
}

/// Name and input of a call of a tool that takes a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CalledCustom {
    /// The tool.
    pub name: String,
    /// A text.
    #[serde(default)]
    pub input: Value,
}

/// Name and arguments of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CalledFunction {
    /// The tool.
    pub name: String,
    /// JSON in a string, as OpenAI's API has it, or the object itself. Absent: none.
    #[serde(default)]
    pub arguments: Value,
}
