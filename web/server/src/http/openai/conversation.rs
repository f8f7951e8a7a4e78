//! A chat's messages, checked, as the conversation that the model's template renders.
//!
//! Messages may come from a conversation that was held elsewhere: with tool calls and their results, with refusals, with
//! an assistant that said nothing. All of that is text to the model. What an assistant thought is not shown to it again, as with
//! models that reason here. What is not text is refused by its own name.

use inference::{ChatMessage, Conversation, Role, ToolCall, Turn};
use serde_json::{Map, Value};
use web_api::openai::{
    CalledFunction, ChatMessage as Message, Content, ContentPart, MessageToolCall,
};

use super::super::error::Failure;
use super::super::kind::shown;

/// Messages of a request; a longer history does not fit any model here and only costs tokenizing.
const MOST_MESSAGES: usize = 1000;

/// Returns the conversation of a request's messages.
///
/// # Errors
/// 400 naming the message and what is wrong with it.
pub(super) fn conversation(messages: Vec<Message>) -> Result<Conversation, Failure> {
    let there = messages.len();
    if !(1..=MOST_MESSAGES).contains(&there) {
        return Err(Failure::invalid_param(
            "messages",
            format!("messages has {there} entries; 1 to {MOST_MESSAGES} are accepted."),
        ));
    }
    let turns = messages.into_iter().enumerate();
    let turns = turns.map(|(index, message)| {
        turn(message).map_err(|reason| {
            Failure::invalid_param("messages", format!("messages[{index}]{reason}."))
        })
    });
    Ok(Conversation {
        turns: turns.collect::<Result<_, _>>()?,
        ..Conversation::default()
    })
}

/// One message; an error is the rest of a sentence that begins with its place.
fn turn(message: Message) -> Result<Turn, String> {
    match message.role.as_str() {
        "system" | "developer" => said(Role::System, message),
        "user" => said(Role::User, message),
        "assistant" => assistant(message),
        "tool" | "function" => Ok(Turn::ToolResult {
            call_id: message.tool_call_id,
            name: message.name,
            content: message.content.map_or(Ok(String::new()), text)?,
        }),
        other => Err(format!(
            ".role is `{}`; it must be system, developer, user, assistant or tool",
            shown(other)
        )),
    }
}

fn said(role: Role, message: Message) -> Result<Turn, String> {
    let content = message.content.ok_or(".content is missing")?;
    Ok(ChatMessage::new(role, text(content)?).into())
}

/// What an assistant said, or refused to say, and the tools that it asked for.
fn assistant(message: Message) -> Result<Turn, String> {
    let content = match (message.content, message.refusal) {
        (Some(content), _) => text(without_reasoning(content))?,
        (None, refusal) => refusal.unwrap_or_default(),
    };
    let calls = message.tool_calls.unwrap_or_default().into_iter();
    let calls = calls.filter_map(tool_call);
    let older = message.function_call.map(|called| function(None, called));
    let calls: Vec<ToolCall> = calls.chain(older).collect();
    Ok(match calls.is_empty() {
        true => ChatMessage::new(Role::Assistant, content).into(),
        false => Turn::ToolCalls { content, calls },
    })
}

/// A custom tool takes a text, which templates write as it is.
fn tool_call(call: MessageToolCall) -> Option<ToolCall> {
    match (call.function, call.custom) {
        (Some(called), _) => Some(function(call.id, called)),
        (None, Some(custom)) => Some(ToolCall {
            id: call.id,
            name: custom.name,
            arguments: custom.input,
        }),
        (None, None) => None,
    }
}

/// A model may have written arguments that are no JSON; templates write such a text as it is.
fn function(id: Option<String>, function: CalledFunction) -> ToolCall {
    let arguments = match function.arguments {
        Value::Null => Value::Object(Map::new()),
        Value::String(text) if text.trim().is_empty() => Value::Object(Map::new()),
        Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        arguments => arguments,
    };
    ToolCall {
        id,
        name: function.name,
        arguments,
    }
}

fn text(content: Content) -> Result<String, String> {
    match content {
        Content::Text(text) => Ok(text),
        Content::Parts(parts) => parts.into_iter().enumerate().map(part).collect(),
    }
}

fn part((index, part): (usize, ContentPart)) -> Result<String, String> {
    let Some(field) = text_field(&part.kind) else {
        return Err(format!(
            ".content[{index}] is of type `{}`; the model reads text only",
            shown(&part.kind)
        ));
    };
    let text = match field {
        "refusal" => part.refusal,
        _ => part.text,
    };
    text.ok_or_else(|| format!(".content[{index}] has no {field}"))
}

/// The field that holds the text of a part of this type; `None` of a part that is no text.
pub(super) fn text_field(kind: &str) -> Option<&'static str> {
    match kind {
        "text" | "input_text" | "output_text" => Some("text"),
        "refusal" => Some("refusal"),
        _ => None,
    }
}

/// What an assistant said, without the parts of which it was thinking.
fn without_reasoning(content: Content) -> Content {
    let is_reasoning = |part: &ContentPart| {
        matches!(
            part.kind.as_str(),
            "reasoning" | "thinking" | "redacted_thinking"
        )
    };
    match content {
        Content::Parts(mut parts) => {
            parts.retain(|part| !is_reasoning(part));
            Content::Parts(parts)
        }
        text => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(messages: Value) -> Result<Conversation, Failure> {
        conversation(serde_json::from_value(messages).unwrap())
    }

    #[test]
    fn a_history_with_tools_refusals_and_silence_is_a_conversation() {
        let call = |id: Option<&str>, arguments: Value| ToolCall {
            id: id.map(str::to_owned),
            name: "weather".to_owned(),
            arguments,
        };
        let says = |role, text: &str| Turn::from(ChatMessage::new(role, text));
        let result = |call_id: Option<&str>, name: Option<&str>, content: &str| Turn::ToolResult {
            call_id: call_id.map(str::to_owned),
            name: name.map(str::to_owned),
            content: content.to_owned(),
        };
        let sent = json!([
            { "role": "developer", "content": "Be brief." },
            { "role": "user", "content": [{ "type": "text", "text": "Rain " }, { "type": "text", "text": "in Oslo?" }] },
            { "role": "assistant", "content": null, "tool_calls": [
                { "id": "c1", "type": "function", "function": { "name": "weather", "arguments": "{\"city\": \"Oslo\"}" } },
                { "id": "c2", "function": { "name": "weather", "arguments": { "city": "Bergen" } } },
                { "function": { "name": "weather", "arguments": "" } },
                { "function": { "name": "weather", "arguments": "{oops" } },
                { "id": "c5", "type": "custom", "custom": { "name": "weather", "input": "Rome, please" } },
            ] },
            { "role": "tool", "tool_call_id": "c1", "content": "rain" },
            { "role": "tool", "tool_call_id": "c2", "content": [{ "type": "text", "text": "sun" }] },
            { "role": "tool", "tool_call_id": "c3", "content": null },
            { "role": "assistant", "content": "Let me see.", "function_call": { "name": "weather" } },
            { "role": "function", "name": "weather", "content": "snow" },
            { "role": "assistant", "content": null },
            { "role": "assistant", "content": null, "refusal": "No.", "tool_calls": [] },
            { "role": "assistant", "content": [{ "type": "refusal", "refusal": "Never." }] },
            { "role": "assistant", "content": [
                { "type": "thinking", "thinking": "Hm." }, { "type": "reasoning", "text": ["Hm."] }, { "type": "text", "text": "Yes." },
            ] },
            { "role": "user", "content": "" },
        ]);
        let calls = vec![
            call(Some("c1"), json!({ "city": "Oslo" })),
            call(Some("c2"), json!({ "city": "Bergen" })),
            call(None, json!({})),
            call(None, json!("{oops")),
            call(Some("c5"), json!("Rome, please")),
        ];
        let want = vec![
            says(Role::System, "Be brief."),
            says(Role::User, "Rain in Oslo?"),
            Turn::ToolCalls {
                content: String::new(),
                calls,
            },
            result(Some("c1"), None, "rain"),
            result(Some("c2"), None, "sun"),
            result(Some("c3"), None, ""),
            Turn::ToolCalls {
                content: "Let me see.".to_owned(),
                calls: vec![call(None, json!({}))],
            },
            result(None, Some("weather"), "snow"),
            says(Role::Assistant, ""),
            says(Role::Assistant, "No."),
            says(Role::Assistant, "Never."),
            says(Role::Assistant, "Yes."),
            says(Role::User, ""),
        ];
        assert_eq!(read(sent).unwrap().turns, want);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place_and_nothing_else_is() {
        let image = json!([{ "type": "text", "text": "See" }, { "type": "image_url", "image_url": { "url": "x" } }]);
        let cases = [
            (json!([]), "0 entries"),
            (
                json!([{ "role": "user", "content": "a" }, { "role": "user" }]),
                "messages[1].content is missing",
            ),
            (
                json!([{ "role": "robot", "content": "a" }]),
                "messages[0].role is `robot`",
            ),
            (
                json!([{ "role": "user", "content": image }]),
                "messages[0].content[1] is of type `image_url`",
            ),
            (
                json!([{ "role": "user", "content": [{ "type": "thinking", "thinking": "Hm." }] }]),
                "messages[0].content[0] is of type `thinking`",
            ),
            (
                json!([{ "role": "tool", "content": [{ "type": "text" }] }]),
                "messages[0].content[0] has no text",
            ),
        ];
        for (messages, want) in cases {
            let names_image = messages.to_string().contains("image");
            let failure = read(messages).unwrap_err();
            assert_eq!(failure.param, Some("messages"));
            assert!(failure.message.contains(want), "{}", failure.message);
            assert_eq!(
                failure.message.contains("image"),
                names_image,
                "{}",
                failure.message
            );
        }
    }
}
