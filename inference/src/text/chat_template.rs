//! Prompts from chat messages, by the Jinja template that the model file carries.
//!
//! Control tokens are recognised only in what the template itself writes. A message may contain
//! `<|im_end|>` and still cannot end its turn: before rendering, a *marker* (a character that occurs in
//! no message, template or special token) is put inside each look-alike; after rendering, control
//! tokens are cut out, the markers are removed, and what is left is encoded as plain text. For messages
//! without look-alikes the ids are those of the whole rendered text.
//!
//! Templates are untrusted input: they run on bounded fuel, nesting and output.
//!
//! Semantics follow transformers' `apply_chat_template`: `trim_blocks`, `lstrip_blocks`, Python's string
//! methods, `raise_exception`, `strftime_now`, and `tojson` spelled as Python spells JSON.

use std::io;

use minijinja::value::Kwargs;
use minijinja::{Environment, ErrorKind, Value, context};
use serde::Serialize;

use crate::gguf::GgufFile;

use super::special::{ControlTokens, Fragment};
use super::tokenizer::{AddSpecial, Tokenizer};

/// Template of models that bring none: ChatML.
const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}{% endfor %}\
     {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Instructions a rendering may take: a message costs about a hundred, so this is a conversation of
/// ten thousand, and well under a second.
const FUEL: u64 = 2_000_000;

/// Nested calls and includes. Real templates nest macros three deep.
const RECURSION_LIMIT: usize = 64;

/// Rendered text beyond the messages themselves: default system prompts and tool descriptions.
const OUTPUT_SLACK_BYTES: usize = 1 << 20;

/// Candidates for the marker: a plane of private-use characters, which no text uses by convention.
const MARKERS: std::ops::RangeInclusive<char> = '\u{F0000}'..='\u{FFFFD}';

/// Who wrote a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    User,
    Assistant,
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

/// Why a conversation cannot be turned into a prompt.
#[derive(Debug, thiserror::Error)]
pub enum ChatTemplateError {
    /// The template in the model file is not valid Jinja.
    #[error("the model's chat template is not valid: {reason}")]
    Syntax { reason: String },
    /// The template refused the conversation by `raise_exception`.
    #[error("the model's chat template refuses this conversation: {message}")]
    Refused { message: String },
    /// The template failed while running.
    #[error("the model's chat template failed: {reason}")]
    Render { reason: String },
    /// The template took more than its allowance of steps.
    #[error("the model's chat template did not finish within {fuel} steps")]
    OutOfFuel { fuel: u64 },
    /// The template wrote far more than the messages contain.
    #[error("the model's chat template wrote more than {limit_bytes} bytes")]
    OutputTooLarge { limit_bytes: usize },
    /// There is nothing to render.
    #[error("a conversation needs at least one message")]
    NoMessages,
    /// The messages use every private-use character, so that none is left to mark look-alikes.
    #[error("the messages contain too many different private-use characters")]
    NoMarker,
}

/// A compiled chat template. Immutable; `Send + Sync`.
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplate")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl ChatTemplate {
    /// Compiles the template of a GGUF file (`tokenizer.chat_template`), or ChatML if it has none.
    ///
    /// # Errors
    /// As [`ChatTemplate::new`].
    pub fn from_gguf(file: &GgufFile) -> Result<Self, ChatTemplateError> {
        Self::new(file.get_str("tokenizer.chat_template"))
    }

    /// Compiles `source`, or ChatML where a model brings no template.
    ///
    /// # Errors
    /// [`ChatTemplateError::Syntax`] with the line.
    pub fn new(source: Option<&str>) -> Result<Self, ChatTemplateError> {
        Self::with_clock(source, jiff::Zoned::now)
    }

    fn with_clock(
        source: Option<&str>,
        now: fn() -> jiff::Zoned,
    ) -> Result<Self, ChatTemplateError> {
        let source = source.unwrap_or(CHATML).to_owned();
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(RECURSION_LIMIT);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", move |format: String| {
            strftime(&now(), &format)
        });
        environment.add_filter("tojson", python_json);
        environment
            .add_template_owned("chat", source.clone())
            .map_err(|error| ChatTemplateError::Syntax {
                reason: error.to_string(),
            })?;
        Ok(Self {
            environment,
            source,
        })
    }

    /// The Jinja source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Returns the prompt of `messages` as text, for display; use [`ChatTemplate::render_tokens`] for a
    /// model, because in this text a message's look-alikes cannot be told from control tokens.
    ///
    /// # Errors
    /// As [`ChatTemplate::render_tokens`].
    pub fn render(
        &self,
        tokenizer: &Tokenizer,
        messages: &[ChatMessage],
        add_generation_prompt: bool,
    ) -> Result<String, ChatTemplateError> {
        if messages.is_empty() {
            return Err(ChatTemplateError::NoMessages);
        }
        match self.render_once(tokenizer, messages, add_generation_prompt) {
            // Templates of Gemma and Mistral have no system role; the text then leads the first question.
            Err(ChatTemplateError::Refused { message }) => {
                let refused = ChatTemplateError::Refused { message };
                let merged = merge_system_message(messages).ok_or(refused)?;
                self.render_once(tokenizer, &merged, add_generation_prompt)
            }
            result => result,
        }
    }

    /// Returns the prompt of `messages`, with the opening of the assistant's turn if
    /// `add_generation_prompt`. Starts with BOS exactly once if the model's prompts do.
    ///
    /// # Errors
    /// A conversation that the template refuses, a template that fails or exceeds its bounds.
    pub fn render_tokens(
        &self,
        tokenizer: &Tokenizer,
        messages: &[ChatMessage],
        add_generation_prompt: bool,
    ) -> Result<Vec<u32>, ChatTemplateError> {
        let marker = self.unused_marker(tokenizer, messages)?;
        let neutral: Vec<ChatMessage> = messages
            .iter()
            .map(|message| {
                ChatMessage::new(
                    message.role,
                    neutralise(&message.content, tokenizer, marker),
                )
            })
            .collect();
        let rendered = self.render(tokenizer, &neutral, add_generation_prompt)?;
        let mut ids = Vec::with_capacity(rendered.len() / 3);
        for fragment in tokenizer.fragments(&rendered, ControlTokens::AreParsed) {
            match fragment {
                Fragment::Token(id) => ids.push(id),
                Fragment::Text(range) => {
                    let text = rendered[range].replace(marker, "");
                    ids.extend(tokenizer.encode(&text, AddSpecial::No));
                }
            }
        }
        if let Some(bos) = tokenizer
            .bos_id()
            .filter(|&bos| tokenizer.adds_bos() && ids.first() != Some(&bos))
        {
            ids.insert(0, bos);
        }
        Ok(ids)
    }

    fn render_once(
        &self,
        tokenizer: &Tokenizer,
        messages: &[ChatMessage],
        add_generation_prompt: bool,
    ) -> Result<String, ChatTemplateError> {
        let content_bytes: usize = messages.iter().map(|message| message.content.len()).sum();
        let mut output = BoundedOutput {
            bytes: Vec::new(),
            limit: 2 * content_bytes + OUTPUT_SLACK_BYTES,
            exceeded: false,
        };
        let text_of = |id: Option<u32>| {
            id.and_then(|id| tokenizer.token_text(id))
                .unwrap_or_default()
        };
        let variables = context! {
            messages => messages,
            add_generation_prompt => add_generation_prompt,
            bos_token => text_of(tokenizer.bos_id()),
            eos_token => text_of(tokenizer.eos_id()),
            tools => Value::from(()),
            documents => Value::from(()),
        };
        let template = self
            .environment
            .get_template("chat")
            .expect("the template was added when this was built");
        match template.render_captured_to(variables, &mut output) {
            Ok(_) => Ok(String::from_utf8(output.bytes).expect("a template writes whole strings")),
            Err(_) if output.exceeded => Err(ChatTemplateError::OutputTooLarge {
                limit_bytes: output.limit,
            }),
            Err(error) => Err(render_error(&error)),
        }
    }

    fn unused_marker(
        &self,
        tokenizer: &Tokenizer,
        messages: &[ChatMessage],
    ) -> Result<char, ChatTemplateError> {
        let is_marker = |c: &char| MARKERS.contains(c);
        let texts = messages
            .iter()
            .map(|message| message.content.as_str())
            .chain(tokenizer.special_texts())
            .chain([self.source()]);
        let used: std::collections::HashSet<char> =
            texts.flat_map(str::chars).filter(is_marker).collect();
        MARKERS
            .into_iter()
            .find(|marker| !used.contains(marker))
            .ok_or(ChatTemplateError::NoMarker)
    }
}

/// Returns `content` with `marker` inside everything that is, or together with the template's text
/// might become, the spelling of a control token.
///
/// At the edges the marker stands next to the first or last character that is not blank, so that
/// templates that trim messages still trim them.
fn neutralise(content: &str, tokenizer: &Tokenizer, marker: char) -> String {
    let core_start = content.len() - content.trim_start().len();
    let core_end = core_start + content.trim().len();
    let core = &content[core_start..core_end];
    let mut positions = Vec::new();
    for token in tokenizer.hidden_texts() {
        // Overlapping occurrences too: each search starts one character after the last occurrence.
        let first_len = token.chars().next().map_or(0, char::len_utf8);
        let mut from = 0;
        while let Some(offset) = content[from..].find(token) {
            from += offset + first_len;
            positions.push(from);
        }
        if !core.is_empty() {
            let boundaries = || token.char_indices().map(|(index, _)| index).skip(1);
            if token.contains(core) || boundaries().any(|index| core.starts_with(&token[index..])) {
                positions.push(core_start);
            }
            if boundaries().any(|index| core.ends_with(&token[..index])) {
                positions.push(core_end);
            }
        }
    }
    positions.sort_unstable();
    positions.dedup();
    let mut neutral = String::with_capacity(content.len() + positions.len() * marker.len_utf8());
    let mut start = 0;
    for position in positions {
        neutral.push_str(&content[start..position]);
        neutral.push(marker);
        start = position;
    }
    neutral.push_str(&content[start..]);
    neutral
}

/// Returns the messages with a leading system message put before the first user message.
fn merge_system_message(messages: &[ChatMessage]) -> Option<Vec<ChatMessage>> {
    let (system, rest) = messages
        .split_first()
        .filter(|(first, _)| first.role == Role::System)?;
    let mut merged = rest.to_vec();
    let first = merged
        .first_mut()
        .filter(|message| message.role == Role::User)?;
    first.content = format!("{}\n\n{}", system.content, first.content);
    Some(merged)
}

/// Text that a template wrote, refused beyond a limit.
struct BoundedOutput {
    bytes: Vec<u8>,
    limit: usize,
    exceeded: bool,
}

impl io::Write for BoundedOutput {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + buffer.len() > self.limit {
            self.exceeded = true;
            return Err(io::Error::other("output limit"));
        }
        self.bytes.extend_from_slice(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The cause of an error that `raise_exception` raised.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    Err(
        minijinja::Error::new(ErrorKind::InvalidOperation, message.clone())
            .with_source(Raised(message)),
    )
}

fn strftime(now: &jiff::Zoned, format: &str) -> Result<String, minijinja::Error> {
    jiff::fmt::strtime::format(format, now).map_err(|error| {
        minijinja::Error::new(
            ErrorKind::InvalidOperation,
            format!("strftime_now({format:?}): {error}"),
        )
    })
}

fn render_error(error: &minijinja::Error) -> ChatTemplateError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(Raised(message)) = current.downcast_ref::<Raised>() {
            return ChatTemplateError::Refused {
                message: message.clone(),
            };
        }
        if current
            .downcast_ref::<minijinja::Error>()
            .is_some_and(|error| error.kind() == ErrorKind::OutOfFuel)
        {
            return ChatTemplateError::OutOfFuel { fuel: FUEL };
        }
        cause = current.source();
    }
    ChatTemplateError::Render {
        reason: error.to_string(),
    }
}

/// `tojson` as transformers defines it: `json.dumps(value, ensure_ascii=False, indent=indent)`. The
/// filter that minijinja brings escapes for HTML, which changes the prompt.
fn python_json(value: Value, kwargs: Kwargs) -> Result<Value, minijinja::Error> {
    let indent: Option<usize> = kwargs.get("indent")?;
    let failed = |error: serde_json::Error| {
        minijinja::Error::new(ErrorKind::BadSerialization, error.to_string())
    };
    let mut json = Vec::new();
    match indent {
        Some(width) => {
            let spaces = " ".repeat(width.min(16));
            let formatter = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
            value
                .serialize(&mut serde_json::Serializer::with_formatter(
                    &mut json, formatter,
                ))
                .map_err(failed)?;
        }
        None => {
            value
                .serialize(&mut serde_json::Serializer::with_formatter(
                    &mut json,
                    PythonFormatter,
                ))
                .map_err(failed)?;
        }
    }
    Ok(Value::from_safe_string(
        String::from_utf8(json).expect("JSON is UTF-8"),
    ))
}

/// `{"a": 1, "b": [2, 3]}`: Python puts a space after commas and colons.
struct PythonFormatter;

impl serde_json::ser::Formatter for PythonFormatter {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first {
            Ok(())
        } else {
            writer.write_all(b", ")
        }
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first {
            Ok(())
        } else {
            writer.write_all(b", ")
        }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
#[path = "chat_template_tests.rs"]
mod tests;
