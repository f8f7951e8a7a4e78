//! What a chat template renders: messages, tool calls and their results, tools.

use serde::Serialize;
use serde_json::{Map, Value, json};

/// Who wrote a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    User,
    Assistant,
}

impl Role {
    /// The name that templates know.
    fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChatMessage {
    pub role: Role,
    /// Plain text; what looks like a control token in it stays text.
    pub content: String,
}

impl ChatMessage {
    /// Returns a message by `role`.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
        }
    }
}

/// A tool that the assistant asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// Some templates refuse a call without an id, or one of another length than nine.
    pub id: Option<String>,
    pub name: String,
    /// An object; templates write it as JSON.
    pub arguments: Value,
}

/// A step of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub enum Turn {
    Message(ChatMessage),
    /// The assistant asks for tools, with what it says besides.
    ToolCalls {
        content: String,
        calls: Vec<ToolCall>,
    },
    /// What a tool answered.
    ToolResult {
        call_id: Option<String>,
        name: Option<String>,
        content: String,
    },
}

impl From<ChatMessage> for Turn {
    fn from(message: ChatMessage) -> Self {
        Self::Message(message)
    }
}

/// Where a prompt stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PromptEnd {
    /// With the opening of the assistant's turn.
    #[default]
    AssistantTurn,
    /// After the last turn.
    LastTurn,
    /// Inside the last turn, which the assistant goes on writing.
    InsideLastTurn,
}

/// A conversation to render.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Conversation {
    pub turns: Vec<Turn>,
    /// Tools on offer, each as the JSON schema `{"type": "function", "function": {...}}`. Templates without tools
    /// ignore them.
    pub tools: Vec<Value>,
    pub end: PromptEnd,
    /// Variables of the template besides the usual ones, such as Qwen3's `enable_thinking`.
    pub variables: Map<String, Value>,
}

impl Conversation {
    /// Returns a conversation of `messages` without tools, ready for the assistant's turn.
    pub fn new(messages: &[ChatMessage]) -> Self {
        Self {
            turns: messages.iter().cloned().map(Turn::Message).collect(),
            ..Self::default()
        }
    }

    /// Calls `visit` with every text that a person, a document or a tool wrote.
    pub(super) fn visit_texts<'c>(&'c self, visit: &mut impl FnMut(&'c str)) {
        for turn in &self.turns {
            match turn {
                Turn::Message(message) => visit(&message.content),
                Turn::ToolCalls { content, calls } => {
                    visit(content);
                    for call in calls {
                        visit(&call.name);
                        call.id.iter().for_each(|id| visit(id));
                        visit_json(&call.arguments, visit);
                    }
                }
                Turn::ToolResult {
                    call_id,
                    name,
                    content,
                } => {
                    visit(content);
                    call_id.iter().chain(name).for_each(|text| visit(text));
                }
            }
        }
        self.tools.iter().for_each(|tool| visit_json(tool, visit));
        for (name, value) in &self.variables {
            visit(name);
            visit_json(value, visit);
        }
    }

    /// Returns the conversation with `change` applied to every such text, names of variables excepted.
    pub(super) fn map_texts(&self, change: &impl Fn(&str) -> String) -> Self {
        let turn = |turn: &Turn| match turn {
            Turn::Message(message) => {
                Turn::Message(ChatMessage::new(message.role, change(&message.content)))
            }
            Turn::ToolCalls { content, calls } => Turn::ToolCalls {
                content: change(content),
                calls: calls
                    .iter()
                    .map(|call| ToolCall {
                        id: call.id.as_deref().map(change),
                        name: change(&call.name),
                        arguments: map_json(&call.arguments, change),
                    })
                    .collect(),
            },
            Turn::ToolResult {
                call_id,
                name,
                content,
            } => Turn::ToolResult {
                call_id: call_id.as_deref().map(change),
                name: name.as_deref().map(change),
                content: change(content),
            },
        };
        let variables = self.variables.iter();
        Self {
            turns: self.turns.iter().map(turn).collect(),
            tools: self
                .tools
                .iter()
                .map(|tool| map_json(tool, change))
                .collect(),
            end: self.end,
            variables: variables
                .map(|(name, value)| (name.clone(), map_json(value, change)))
                .collect(),
        }
    }

    /// The leading system message, if there is one.
    pub(super) fn system(&self) -> Option<&str> {
        match self.turns.first() {
            Some(Turn::Message(message)) if message.role == Role::System => Some(&message.content),
            _ => None,
        }
    }

    /// Returns the conversation with the leading system message put before the first question; `None` where
    /// it has none or no question follows.
    pub(super) fn with_system_merged(&self) -> Option<Self> {
        let system = self.system()?;
        let mut merged = self.clone();
        merged.turns.remove(0);
        match merged.turns.first_mut() {
            Some(Turn::Message(first)) if first.role == Role::User => {
                first.content = format!("{system}\n\n{}", first.content);
                Some(merged)
            }
            _ => None,
        }
    }

    /// Whether a tool was asked for or answered.
    pub(super) fn has_tool_turns(&self) -> bool {
        let is_message = |turn: &Turn| matches!(turn, Turn::Message(_));
        !self.turns.iter().all(is_message)
    }

    /// Returns the conversation with calls as what the assistant said and results as what the user said, in the tags that
    /// most models with tools were trained on, and with neighbouring messages of one side joined, since templates without
    /// tools mostly want the sides to alternate.
    pub(super) fn with_tool_turns_told(&self) -> Self {
        let mut turns: Vec<Turn> = Vec::with_capacity(self.turns.len());
        let mut was_told = false;
        for turn in &self.turns {
            let (message, is_told) = match turn {
                Turn::Message(message) => (message.clone(), false),
                Turn::ToolCalls { content, calls } => {
                    let calls = calls.iter().map(|call| {
                        let call = json!({"name": call.name, "arguments": call.arguments});
                        format!("<tool_call>\n{call}\n</tool_call>")
                    });
                    let said = (!content.is_empty()).then(|| content.clone());
                    let lines: Vec<String> = said.into_iter().chain(calls).collect();
                    (ChatMessage::new(Role::Assistant, lines.join("\n")), true)
                }
                Turn::ToolResult { content, .. } => {
                    let told = format!("<tool_response>\n{content}\n</tool_response>");
                    (ChatMessage::new(Role::User, told), true)
                }
            };
            match turns.last_mut() {
                Some(Turn::Message(last)) if last.role == message.role && (is_told || was_told) => {
                    last.content = format!("{}\n{}", last.content, message.content);
                }
                _ => turns.push(message.into()),
            }
            was_told = is_told;
        }
        Self {
            turns,
            ..self.clone()
        }
    }

    /// Returns the conversation with the names of called tools and what tools answered replaced.
    pub(super) fn with_tool_texts(&self, called: &str, answered: &str) -> Self {
        let mut probe = self.clone();
        for turn in &mut probe.turns {
            match turn {
                Turn::Message(_) => {}
                Turn::ToolCalls { calls, .. } => {
                    calls
                        .iter_mut()
                        .for_each(|call| called.clone_into(&mut call.name));
                }
                Turn::ToolResult { content, .. } => answered.clone_into(content),
            }
        }
        probe
    }

    /// The text of the last turn.
    pub(super) fn last_content_mut(&mut self) -> Option<&mut String> {
        match self.turns.last_mut()? {
            Turn::Message(message) => Some(&mut message.content),
            Turn::ToolCalls { content, .. } | Turn::ToolResult { content, .. } => Some(content),
        }
    }

    /// The messages as templates know them: as in OpenAI's interface, with arguments as objects.
    pub(super) fn messages(&self) -> Value {
        self.turns.iter().map(message).collect()
    }
}

fn message(turn: &Turn) -> Value {
    match turn {
        Turn::Message(message) => json!({"role": message.role.name(), "content": message.content}),
        Turn::ToolCalls { content, calls } => {
            let calls: Vec<Value> = calls.iter().map(tool_call).collect();
            json!({"role": "assistant", "content": content, "tool_calls": calls})
        }
        Turn::ToolResult {
            call_id,
            name,
            content,
        } => {
            let mut message = json!({"role": "tool", "content": content});
            for (key, value) in [("tool_call_id", call_id), ("name", name)] {
                if let Some(value) = value {
                    message[key] = json!(value);
                }
            }
            message
        }
    }
}

fn tool_call(call: &ToolCall) -> Value {
    let function = json!({"name": call.name, "arguments": call.arguments});
    match &call.id {
        Some(id) => json!({"id": id, "type": "function", "function": function}),
        None => json!({"type": "function", "function": function}),
    }
}

fn visit_json<'c>(value: &'c Value, visit: &mut impl FnMut(&'c str)) {
    match value {
        Value::String(text) => visit(text),
        Value::Array(items) => items.iter().for_each(|item| visit_json(item, visit)),
        Value::Object(entries) => {
            for (key, value) in entries {
                visit(key);
                visit_json(value, visit);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn map_json(value: &Value, change: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(change(text)),
        Value::Array(items) => items.iter().map(|item| map_json(item, change)).collect(),
        Value::Object(entries) => entries
            .iter()
            .map(|(key, value)| (change(key), map_json(value, change)))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// Returns the deepest nesting of `value`, 0 for a plain one; for values that come from strangers.
pub(super) fn json_depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(json_depth).max().unwrap_or(0),
        Value::Object(entries) => 1 + entries.values().map(json_depth).max().unwrap_or(0),
        _ => 0,
    }
}
