//! The shape of a chat's messages, checked before they are read: each is named with its place and what stands there.
//!
//! What the values mean is checked in [`super::conversation`].

use serde_json::{Map, Value};

use super::super::error::Failure;
use super::super::kind::in_words;
use super::conversation::text_field;

/// Checks the messages of a request, if they are there.
///
/// # Errors
/// 400 naming the message, the field, and what it should be.
pub(super) fn check(messages: Option<&Vec<Value>>) -> Result<(), Failure> {
    for (index, value) in messages.into_iter().flatten().enumerate() {
        message(value).map_err(|reason| {
            Failure::invalid_param("messages", format!("messages[{index}]{reason}."))
        })?;
    }
    Ok(())
}

/// One message; an error, as those below, is the rest of a sentence that begins with its place.
fn message(value: &Value) -> Result<(), String> {
    let message = object("", value)?;
    match message.get("role") {
        None => return Err(".role is missing".to_owned()),
        Some(role) => text(".role", role)?,
    }
    for (name, place) in [
        ("refusal", ".refusal"),
        ("tool_call_id", ".tool_call_id"),
        ("name", ".name"),
    ] {
        there(message, name).map_or(Ok(()), |value| text(place, value))?;
    }
    match there(message, "content") {
        None | Some(Value::String(_)) => {}
        Some(Value::Array(parts)) => each(".content", parts, part)?,
        Some(other) => return Err(must_be(".content", "a text or a list of parts", other)),
    }
    match there(message, "tool_calls") {
        None => {}
        Some(Value::Array(calls)) => each(".tool_calls", calls, tool_call)?,
        Some(other) => return Err(must_be(".tool_calls", "a list", other)),
    }
    there(message, "function_call").map_or(Ok(()), |value| called(".function_call", value))
}

fn part(place: &str, value: &Value) -> Result<(), String> {
    let part = object(place, value)?;
    let kind = match part.get("type") {
        None => return Err(format!("{place}.type is missing")),
        Some(Value::String(kind)) => kind,
        Some(other) => return Err(must_be(&format!("{place}.type"), "a text", other)),
    };
    match text_field(kind) {
        Some(field) => {
            there(part, field).map_or(Ok(()), |value| text(&format!("{place}.{field}"), value))
        }
        None => Ok(()),
    }
}

fn tool_call(place: &str, value: &Value) -> Result<(), String> {
    let call = object(place, value)?;
    for name in ["id", "type"] {
        there(call, name).map_or(Ok(()), |value| text(&format!("{place}.{name}"), value))?;
    }
    match (there(call, "function"), there(call, "custom")) {
        (Some(function), _) => called(&format!("{place}.function"), function),
        (None, Some(custom)) => called(&format!("{place}.custom"), custom),
        (None, None) => Err(format!("{place} has neither a function nor a custom tool")),
    }
}

/// A function or another tool, which has a name; what it is called with may be anything.
fn called(place: &str, value: &Value) -> Result<(), String> {
    let tool = object(place, value)?;
    match tool.get("name") {
        None => Err(format!("{place}.name is missing")),
        Some(name) => text(&format!("{place}.name"), name),
    }
}

/// The field's value; `null` is absent.
fn there<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

fn each(
    place: &str,
    list: &[Value],
    check: fn(&str, &Value) -> Result<(), String>,
) -> Result<(), String> {
    let mut values = list.iter().enumerate();
    values.try_for_each(|(index, value)| check(&format!("{place}[{index}]"), value))
}

fn object<'a>(place: &str, value: &'a Value) -> Result<&'a Map<String, Value>, String> {
    value
        .as_object()
        .ok_or_else(|| must_be(place, "an object", value))
}

fn text(place: &str, value: &Value) -> Result<(), String> {
    match value {
        Value::String(_) => Ok(()),
        other => Err(must_be(place, "a text", other)),
    }
}

fn must_be(place: &str, what: &str, there: &Value) -> String {
    format!("{place} must be {what}; it is {}", in_words(there))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use web_api::openai::ChatMessage;

    use super::*;

    #[rustfmt::skip]
    #[test]
    fn every_mistake_is_named_with_its_place() {
        let user = |content: Value| json!({ "role": "user", "content": content });
        let call = |call: Value| json!({ "role": "assistant", "content": null, "tool_calls": [call] });
        let cases = [
            (json!(5), " must be an object; it is 5"),
            (json!({ "content": "Hi" }), ".role is missing"),
            (json!({ "role": null, "content": "Hi" }), ".role must be a text; it is null"),
            (user(json!(5)), ".content must be a text or a list of parts; it is 5"),
            (user(json!({ "text": "Hi" })), ".content must be a text or a list of parts; it is an object"),
            (user(json!(["Hi"])), ".content[0] must be an object; it is a text"),
            (user(json!([{ "text": "Hi" }])), ".content[0].type is missing"),
            (user(json!([{ "type": 1 }])), ".content[0].type must be a text; it is 1"),
            (user(json!([{ "type": "text", "text": ["Hi"] }])), ".content[0].text must be a text; it is a list"),
            (json!({ "role": "tool", "tool_call_id": 7 }), ".tool_call_id must be a text; it is 7"),
            (json!({ "role": "user", "content": "Hi", "name": {} }), ".name must be a text; it is an object"),
            (json!({ "role": "assistant", "tool_calls": {} }), ".tool_calls must be a list; it is an object"),
            (call(json!("f")), ".tool_calls[0] must be an object; it is a text"),
            (call(json!({ "id": 1, "function": { "name": "f" } })), ".tool_calls[0].id must be a text; it is 1"),
            (call(json!({ "id": "1" })), ".tool_calls[0] has neither a function nor a custom tool"),
            (call(json!({ "function": {} })), ".tool_calls[0].function.name is missing"),
            (call(json!({ "custom": { "name": 5 } })), ".tool_calls[0].custom.name must be a text; it is 5"),
            (json!({ "role": "assistant", "function_call": "f" }), ".function_call must be an object; it is a text"),
        ];
        for (message, want) in cases {
            let failure = check(Some(&vec![user(json!("Hi")), message])).unwrap_err();
            assert_eq!(failure.message, format!("messages[1]{want}."));
            assert_eq!(failure.param, Some("messages"));
        }
    }

    #[test]
    fn what_passes_can_be_read() {
        let messages = json!([
            { "role": "system", "content": "Be brief.", "name": null, "refusal": null },
            { "role": "user", "content": [{ "type": "text", "text": "Hi" }, { "type": "image_url", "text": 5 }] },
            { "role": "assistant", "content": [{ "type": "reasoning", "text": ["so"], "refusal": 1 }, { "type": "refusal", "refusal": "No" }] },
            { "role": "assistant", "content": null, "function_call": { "name": "f", "arguments": { "a": 1 } }, "tool_calls": [
                { "id": null, "type": "function", "function": { "name": "f", "arguments": "{}" } },
                { "type": "custom", "custom": { "name": "f", "input": "text" } },
            ] },
            { "role": "tool", "tool_call_id": "1", "content": "5" },
        ]);
        check(messages.as_array()).unwrap();
        serde_json::from_value::<Vec<ChatMessage>>(messages).unwrap();
    }
}
