//! 40 conversations x 25 published chat templates against transformers' `apply_chat_template`, byte for byte;
//! `scripts/goldens/chats.py` made the goldens.

use std::collections::BTreeMap;

use inference::{
    ChatMessage, ChatTemplate, ChatTemplateError, Conversation, PromptEnd, Role, Tokenizer,
    TokenizerSource, ToolCall, Turn,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::golden::{fnv1a, golden, golden_text};

#[derive(Deserialize)]
struct Golden {
    templates: BTreeMap<String, Vec<Rendering>>,
}

/// What transformers made of a conversation; texts as hashes of their characters.
#[derive(Deserialize)]
struct Rendering {
    text: Option<String>,
    /// The rendering with the system message put before the first question.
    merged: Option<String>,
    refused: Option<String>,
    failed: Option<String>,
    /// The whole text, of a few.
    full: Option<String>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    messages: Vec<Value>,
    #[serde(default)]
    tools: Vec<Value>,
    add_generation_prompt: Option<bool>,
    #[serde(default)]
    continue_final_message: bool,
    #[serde(default)]
    variables: Map<String, Value>,
}

impl Case {
    fn conversation(&self) -> Conversation {
        let end = match (self.continue_final_message, self.add_generation_prompt) {
            (true, _) => PromptEnd::InsideLastTurn,
            (false, Some(false)) => PromptEnd::LastTurn,
            (false, _) => PromptEnd::AssistantTurn,
        };
        Conversation {
            turns: self.messages.iter().map(turn).collect(),
            tools: self.tools.clone(),
            end,
            variables: self.variables.clone(),
        }
    }
}

fn turn(message: &Value) -> Turn {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let content = text(&message["content"]).unwrap();
    let role = match message["role"].as_str().unwrap() {
        "tool" => {
            return Turn::ToolResult {
                call_id: text(&message["tool_call_id"]),
                name: text(&message["name"]),
                content,
            };
        }
        "system" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        other => panic!("{other}"),
    };
    match message["tool_calls"].as_array() {
        None => ChatMessage::new(role, content).into(),
        Some(calls) => Turn::ToolCalls {
            content,
            calls: calls
                .iter()
                .map(|call| ToolCall {
                    id: text(&call["id"]),
                    name: text(&call["function"]["name"]).unwrap(),
                    arguments: call["function"]["arguments"].clone(),
                })
                .collect(),
        },
    }
}

/// A vocabulary of bytes whose BOS and EOS are those that the script renders with.
fn tokenizer() -> Tokenizer {
    let bytes = (0..=u8::MAX).map(|byte| format!("<0x{byte:02X}>"));
    let tokens: Vec<String> = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "▁"]
        .map(String::from)
        .into_iter()
        .chain(bytes)
        .collect();
    let token_types = (0..tokens.len()).map(|id| [2, 3, 3, 3, 3, 1].get(id).copied().unwrap_or(6));
    Tokenizer::new(TokenizerSource {
        model: "llama".into(),
        token_types: Some(token_types.collect()),
        scores: Some(vec![0.0; tokens.len()]),
        tokens,
        add_space_prefix: Some(false),
        add_bos_token: Some(false),
        ..TokenizerSource::default()
    })
    .unwrap()
}

/// Whether calls and results of tools are told in messages, none of them lost: where a template drops or refuses them, which
/// is what transformers does then.
fn is_told(conversation: &Conversation, rendered: Option<&str>) -> bool {
    let Some(text) = rendered else { return false };
    let has_tools = conversation
        .turns
        .iter()
        .any(|turn| !matches!(turn, Turn::Message(_)));
    has_tools
        && conversation.turns.iter().all(|turn| match turn {
            Turn::Message(_) => true,
            Turn::ToolCalls { calls, .. } => {
                text.contains("<tool_call>") && calls.iter().all(|call| text.contains(&call.name))
            }
            Turn::ToolResult { content, .. } => {
                text.contains("<tool_response>") && text.contains(content.trim())
            }
        })
}

#[test]
fn conversations_render_as_transformers_renders_them() {
    let golden_file: Golden = golden("text/chats.json");
    let cases: Vec<Case> = golden("text/conversations.json");
    assert_eq!(cases.len(), 40);
    let tokenizer = tokenizer();
    let mut different = Vec::new();
    let mut num_told = 0;
    for (name, expected) in &golden_file.templates {
        let source = golden_text(&format!("text/templates/{name}.jinja"));
        let template = ChatTemplate::with_clock(Some(&source), clock).unwrap();
        for (case, expected) in cases.iter().zip(expected) {
            let rendered = template.text(&tokenizer, &case.conversation());
            if let Some(difference) = difference(&rendered, expected) {
                if is_told(&case.conversation(), rendered.as_deref().ok()) {
                    num_told += 1;
                    continue;
                }
                different.push(format!("{name}, {}: {difference}", case.name));
            }
            check_tokens(
                &tokenizer,
                &template,
                &case.conversation(),
                rendered.as_deref().ok(),
            );
        }
    }
    let shown = different
        .iter()
        .take(12)
        .cloned()
        .collect::<Vec<_>>()
        .join("\n");
    assert!(different.is_empty(), "{} differ:\n{shown}", different.len());
    // Where a template has a way to write tools, that is the one that transformers writes.
    assert_eq!(num_told, 110);
    println!(
        "{} templates x {} conversations",
        golden_file.templates.len(),
        cases.len()
    );
}

fn clock() -> jiff::Zoned {
    "2024-07-26T10:00:00+00:00[UTC]".parse().unwrap()
}

/// Says how a rendering differs. Where transformers fails (Hermes' template loops over tools that are not there), ours may
/// do as it likes.
fn difference(
    rendered: &Result<String, ChatTemplateError>,
    expected: &Rendering,
) -> Option<String> {
    if expected.failed.is_some() {
        return None;
    }
    let got = match rendered {
        Ok(text) => {
            let wanted = expected.text.as_ref().or(expected.merged.as_ref());
            if wanted == Some(&hash(text)) {
                return None;
            }
            if let Some(full) = &expected.full {
                return Some(format!("{text:?}\n  not {full:?}"));
            }
            text.clone()
        }
        Err(ChatTemplateError::Refused { message }) => {
            if expected.refused.as_ref() == Some(message) {
                return None;
            }
            format!("refused: {message}")
        }
        Err(error) => error.to_string(),
    };
    let Rendering {
        text,
        merged,
        refused,
        ..
    } = expected;
    Some(format!(
        "{got:?} where text {text:?}, merged {merged:?}, refused {refused:?} was expected"
    ))
}

/// The prompt in tokens is the text, and its control tokens are the template's own: as many as without look-alikes.
fn check_tokens(
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    conversation: &Conversation,
    text: Option<&str>,
) {
    let Ok(ids) = template.tokens(tokenizer, conversation) else {
        // A refusal may come from the length of an id, which the marker changes.
        return;
    };
    let Some(text) = text else {
        return;
    };
    let spelled: String = ids
        .iter()
        .filter(|&&id| tokenizer.is_control(id))
        .filter_map(|&id| tokenizer.token_text(id))
        .collect();
    let plain: Vec<u8> = ids
        .iter()
        .flat_map(|&id| tokenizer.token_bytes(id))
        .copied()
        .collect();
    assert_eq!(spelled.len() + plain.len(), text.len(), "{text:?}");
}

fn hash(text: &str) -> String {
    fnv1a(&text.chars().map(u32::from).collect::<Vec<_>>())
}
