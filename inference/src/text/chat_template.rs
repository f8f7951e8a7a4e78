//! Prompts from conversations, by the Jinja template that the model file carries.
//!
//! Control tokens are recognised only in what the template itself writes. A message may contain
//! `<|im_end|>` and still cannot end its turn: before rendering, a *marker* (a character that occurs in
//! no message, template or special token) is put inside each look-alike; after rendering, control
//! tokens are cut out, the markers are removed, and what is left is encoded as plain text. For messages
//! without look-alikes the ids are those of the whole rendered text. The same holds for tools, their
//! arguments and their results.
//!
//! Templates are untrusted input: they run on bounded fuel, nesting, output and memory ([`crate::metered`]). One that wants
//! more memory than is its due is not run again, because what it held until then stays taken.
//!
//! Semantics follow transformers' `apply_chat_template` (`trim_blocks`, `lstrip_blocks`, loop controls,
//! `raise_exception`, `strftime_now`, `{% generation %}`, and Python's ways in [`python`]), with two differences:
//! a system message is never lost: where a template refuses one, or leaves it out, it is put before the
//! first question. Nor are calls and results of tools: a template without tools gets them as messages.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use minijinja::{Environment, ErrorKind, Value};
use serde_json::json;

use crate::gguf::GgufFile;
use crate::metered::{self, Limits, Unfinished};

use super::conversation::{ChatMessage, Conversation, PromptEnd, Turn, json_depth};
use super::python;
use super::special::{ControlTokens, Fragment};
use super::tokenizer::{AddSpecial, Tokenizer};

/// Template of models that bring none: ChatML.
const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}{% endfor %}\
     {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Instructions a rendering may take: a message costs about a hundred, so this is a conversation of
/// ten thousand, and well under a second.
const FUEL: u64 = 2_000_000;

/// Stack of a rendering. A template can nest a list in a list with every few instructions, and dropping or
/// printing the value recurses once a level: all the fuel that there is makes 300,000 levels, which take 1 KiB
/// each. The memory is reserved, and used only by such a template.
const STACK_BYTES: usize = 1 << 29;

/// Memory of compiling or rendering a template, beside [`MEMORY_FACTOR`] times what goes in. A value takes some ten times
/// the bytes of its text, and real templates hold a copy or two of a message.
const MEMORY_SLACK_BYTES: usize = 1 << 26;
const MEMORY_FACTOR: usize = 64;

/// Nested calls and includes. Real templates nest macros three deep.
const RECURSION_LIMIT: usize = 64;

/// Rendered text beyond the messages themselves: default system prompts and tool descriptions.
const OUTPUT_SLACK_BYTES: usize = 1 << 20;

/// Nesting of tools and of arguments; real ones nest less than ten deep.
const MAX_JSON_DEPTH: usize = 64;

/// Candidates for the marker: a plane of private-use characters, which no text uses by convention.
const MARKERS: std::ops::RangeInclusive<char> = '\u{F0000}'..='\u{FFFFD}';

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
    /// The system gave no thread to render on.
    #[error("no thread for the chat template")]
    Thread(#[source] io::Error),
    /// The template took more than its allowance of steps.
    #[error("the model's chat template did not finish within {fuel} steps")]
    OutOfFuel { fuel: u64 },
    /// The template wrote far more than the messages contain.
    #[error("the model's chat template wrote more than {limit_bytes} bytes")]
    OutputTooLarge { limit_bytes: usize },
    /// The template held far more memory than the messages take.
    #[error(
        "the model's chat template took more than {limit_bytes} bytes of memory and is not used again; \
         a model file with another template works"
    )]
    TooMuchMemory { limit_bytes: usize },
    /// There is nothing to render.
    #[error("a conversation needs at least one message")]
    NoMessages,
    /// The assistant cannot go on writing a last turn that the template does not write.
    #[error(
        "the model's chat template does not end in the last message, so it cannot be continued"
    )]
    NotContinued,
    /// A tool or its arguments are nested absurdly.
    #[error("tools and their arguments may be nested {limit} deep")]
    TooDeep { limit: usize },
    /// The messages use every private-use character, so that none is left to mark look-alikes.
    #[error("the messages contain too many different private-use characters")]
    NoMarker,
}

impl ChatTemplateError {
    /// Whether another conversation might be rendered.
    fn is_of_conversation(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Render { .. })
    }
}

/// A compiled chat template. Immutable; `Send + Sync`.
pub struct ChatTemplate {
    environment: Arc<Environment<'static>>,
    source: String,
    /// Part of the memory limit that does not depend on the conversation.
    memory_slack_bytes: usize,
    /// Takes the place of this one in conversations with tools.
    tool_use: Option<Box<ChatTemplate>>,
    /// Whether it once wanted more memory than its limit.
    is_greedy: AtomicBool,
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplate")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl ChatTemplate {
    /// Compiles the template of a GGUF file (`tokenizer.chat_template`), or ChatML if it has none, and the one for
    /// conversations with tools (`tokenizer.chat_template.tool_use`), if it has one.
    ///
    /// # Errors
    /// As [`ChatTemplate::new`].
    pub fn from_gguf(file: &GgufFile) -> Result<Self, ChatTemplateError> {
        let template = Self::new(file.get_str("tokenizer.chat_template"))?;
        match file.get_str("tokenizer.chat_template.tool_use") {
            Some(source) => template.with_tool_use(source),
            None => Ok(template),
        }
    }

    /// Compiles `source` to render conversations with tools in this template's place, as transformers does with the
    /// template of that name.
    ///
    /// # Errors
    /// As [`ChatTemplate::new`].
    pub fn with_tool_use(self, source: &str) -> Result<Self, ChatTemplateError> {
        let tool_use = Some(Box::new(Self::new(Some(source))?));
        Ok(Self { tool_use, ..self })
    }

    /// Returns the template that renders `conversation`.
    fn of(&self, conversation: &Conversation) -> &Self {
        match &self.tool_use {
            Some(tool_use) if !conversation.tools.is_empty() => tool_use,
            _ => self,
        }
    }

    /// Compiles `source`, or ChatML where a model brings no template.
    ///
    /// # Errors
    /// [`ChatTemplateError::Syntax`] with the line.
    pub fn new(source: Option<&str>) -> Result<Self, ChatTemplateError> {
        Self::with_clock(source, jiff::Zoned::now)
    }

    /// As [`ChatTemplate::new`], with another clock than the machine's behind `strftime_now`.
    ///
    /// # Errors
    /// As [`ChatTemplate::new`].
    pub fn with_clock(
        source: Option<&str>,
        now: fn() -> jiff::Zoned,
    ) -> Result<Self, ChatTemplateError> {
        let source = source.unwrap_or(CHATML).to_owned();
        let memory_bytes = MEMORY_SLACK_BYTES + MEMORY_FACTOR * source.len();
        let compiled = {
            let source = source.clone();
            // Compiling computes what is constant, which can be large too.
            bounded(memory_bytes, move || compile(&source, now))?
        };
        Ok(Self {
            environment: Arc::new(compiled?),
            source,
            memory_slack_bytes: MEMORY_SLACK_BYTES,
            tool_use: None,
            is_greedy: AtomicBool::new(false),
        })
    }

    /// The Jinja source, for conversations without tools.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Returns the prompt of `conversation` as text, for display; use [`ChatTemplate::tokens`] for a
    /// model, because in this text a message's look-alikes cannot be told from control tokens.
    ///
    /// # Errors
    /// As [`ChatTemplate::tokens`].
    pub fn text(
        &self,
        tokenizer: &Tokenizer,
        conversation: &Conversation,
    ) -> Result<String, ChatTemplateError> {
        check_depth(conversation)?;
        let template = self.of(conversation);
        let [tag, _] = template.unused_characters(tokenizer, conversation)?;
        template.render_whole(tokenizer, conversation, tag, None)
    }

    /// Returns the prompt of `conversation`. Starts with BOS exactly once if the model's prompts do.
    ///
    /// # Errors
    /// A conversation that the template refuses, a template that fails or exceeds its bounds.
    pub fn tokens(
        &self,
        tokenizer: &Tokenizer,
        conversation: &Conversation,
    ) -> Result<Vec<u32>, ChatTemplateError> {
        check_depth(conversation)?;
        let template = self.of(conversation);
        let [tag, marker] = template.unused_characters(tokenizer, conversation)?;
        let neutral = conversation.map_texts(&|text| neutralise(text, tokenizer, marker));
        let rendered = template.render_whole(tokenizer, &neutral, tag, Some(marker))?;
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

    /// [`ChatTemplate::text`] of plain messages, with the opening of the assistant's turn if
    /// `add_generation_prompt`.
    ///
    /// # Errors
    /// As [`ChatTemplate::tokens`].
    pub fn render(
        &self,
        tokenizer: &Tokenizer,
        messages: &[ChatMessage],
        add_generation_prompt: bool,
    ) -> Result<String, ChatTemplateError> {
        self.text(tokenizer, &plain(messages, add_generation_prompt))
    }

    /// [`ChatTemplate::tokens`] of plain messages, with the opening of the assistant's turn if
    /// `add_generation_prompt`.
    ///
    /// # Errors
    /// As [`ChatTemplate::tokens`].
    pub fn render_tokens(
        &self,
        tokenizer: &Tokenizer,
        messages: &[ChatMessage],
        add_generation_prompt: bool,
    ) -> Result<Vec<u32>, ChatTemplateError> {
        self.tokens(tokenizer, &plain(messages, add_generation_prompt))
    }

    /// Renders the conversation, with calls and results of tools told in messages where the template has no place for them.
    fn render_whole(
        &self,
        tokenizer: &Tokenizer,
        conversation: &Conversation,
        tag: char,
        marker: Option<char>,
    ) -> Result<String, ChatTemplateError> {
        let result = self.render_messages(tokenizer, conversation, tag, marker);
        let is_lost = conversation.has_tool_turns()
            && match &result {
                Err(error) => error.is_of_conversation(),
                Ok(_) => !self.writes_tool_turns(tokenizer, conversation, tag),
            };
        if !is_lost {
            return result;
        }
        let told = conversation.with_tool_turns_told();
        match self.render_messages(tokenizer, &told, tag, marker) {
            // The template refuses something else, and says it best of the conversation as it is.
            Err(error) if error.is_of_conversation() => result,
            told => told,
        }
    }

    /// Whether the template writes which tools were called and what they answered.
    fn writes_tool_turns(
        &self,
        tokenizer: &Tokenizer,
        conversation: &Conversation,
        tag: char,
    ) -> bool {
        let (called, answered) = (format!("{tag}c"), format!("{tag}a"));
        let probe = conversation.with_tool_texts(&called, &answered);
        let is_there = |turn: &Turn, rendered: &str| match turn {
            Turn::Message(_) => true,
            Turn::ToolCalls { .. } => rendered.contains(&called),
            Turn::ToolResult { .. } => rendered.contains(&answered),
        };
        let rendered = self.render_once(tokenizer, &probe, None);
        rendered.is_ok_and(|text| probe.turns.iter().all(|turn| is_there(turn, &text)))
    }

    /// Renders the conversation, with its system message merged where the template has no place for it.
    fn render_messages(
        &self,
        tokenizer: &Tokenizer,
        conversation: &Conversation,
        tag: char,
        marker: Option<char>,
    ) -> Result<String, ChatTemplateError> {
        if conversation.turns.is_empty() {
            return Err(ChatTemplateError::NoMessages);
        }
        let render = |conversation: &Conversation| match conversation.end {
            PromptEnd::InsideLastTurn => self.render_open(tokenizer, conversation, tag, marker),
            PromptEnd::AssistantTurn | PromptEnd::LastTurn => {
                self.render_once(tokenizer, conversation, marker)
            }
        };
        let result = render(conversation);
        let is_lost = match (&result, conversation.system()) {
            (Err(ChatTemplateError::Refused { .. }), Some(_)) => true,
            (Ok(text), Some(system)) => {
                !text.contains(system.trim()) && !self.writes_system(tokenizer, conversation, tag)
            }
            _ => false,
        };
        match conversation.with_system_merged().filter(|_| is_lost) {
            Some(merged) => match render(&merged) {
                // The template refuses something else, and says it best of the conversation as it is.
                Err(ChatTemplateError::Refused { .. }) => result,
                merged => merged,
            },
            None => result,
        }
    }

    /// Whether the template writes the system message in some form, such as escaped.
    fn writes_system(&self, tokenizer: &Tokenizer, conversation: &Conversation, tag: char) -> bool {
        let mut probe = conversation.clone();
        if let Some(Turn::Message(system)) = probe.turns.first_mut() {
            system.content = tag.to_string();
        }
        let rendered = self.render_once(tokenizer, &probe, None);
        rendered.is_ok_and(|text| text.contains(tag))
    }

    /// Renders the conversation up to the end of its last text.
    fn render_open(
        &self,
        tokenizer: &Tokenizer,
        conversation: &Conversation,
        tag: char,
        marker: Option<char>,
    ) -> Result<String, ChatTemplateError> {
        let mut open = conversation.clone();
        let content = open
            .last_content_mut()
            .ok_or(ChatTemplateError::NoMessages)?;
        // A blank after the tag tells whether the template trims its messages.
        content.extend([tag, ' ']);
        let mut text = self.render_once(tokenizer, &open, marker)?;
        let end = text.rfind(tag).ok_or(ChatTemplateError::NotContinued)?;
        let is_trimmed = !text[end + tag.len_utf8()..].starts_with(' ');
        text.truncate(end);
        if is_trimmed {
            text.truncate(text.trim_end_matches(python::is_blank).len());
        }
        Ok(text)
    }

    fn render_once(
        &self,
        tokenizer: &Tokenizer,
        conversation: &Conversation,
        marker: Option<char>,
    ) -> Result<String, ChatTemplateError> {
        let variables = template_variables(tokenizer, conversation, marker);
        let mut input_bytes = 0;
        conversation.visit_texts(&mut |text| input_bytes += text.len());
        // Control characters take six bytes in JSON, and a template may write a message twice.
        let limit_bytes = 12 * input_bytes + OUTPUT_SLACK_BYTES;
        let memory_bytes = self.memory_slack_bytes + MEMORY_FACTOR * input_bytes;
        if self.is_greedy.load(Ordering::Relaxed) {
            return Err(ChatTemplateError::TooMuchMemory {
                limit_bytes: memory_bytes,
            });
        }
        let environment = self.environment.clone();
        let result = bounded(memory_bytes, move || {
            run(&environment, &variables, limit_bytes)
        });
        if matches!(result, Err(ChatTemplateError::TooMuchMemory { .. })) {
            self.is_greedy.store(true, Ordering::Relaxed);
        }
        result?
    }

    /// Returns two characters that occur nowhere.
    fn unused_characters(
        &self,
        tokenizer: &Tokenizer,
        conversation: &Conversation,
    ) -> Result<[char; 2], ChatTemplateError> {
        let mut used = HashSet::new();
        let mut visit = |text: &str| used.extend(text.chars().filter(|c| MARKERS.contains(c)));
        conversation.visit_texts(&mut visit);
        tokenizer.special_texts().for_each(&mut visit);
        visit(self.source());
        let mut unused = MARKERS.filter(|marker| !used.contains(marker));
        match (unused.next(), unused.next()) {
            (Some(tag), Some(marker)) => Ok([tag, marker]),
            _ => Err(ChatTemplateError::NoMarker),
        }
    }
}

/// Compiles a template into an environment that has what templates expect.
fn compile(
    source: &str,
    now: fn() -> jiff::Zoned,
) -> Result<Environment<'static>, ChatTemplateError> {
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION_LIMIT);
    environment.set_formatter(python::print);
    environment.set_unknown_method_callback(python::call_method);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", move |format: String| {
        strftime(&now(), &format)
    });
    environment.add_filter("tojson", python::tojson);
    environment.add_filter("trim", python::trim_filter);
    environment.add_filter("string", python::string_filter);
    environment
        .add_template_owned("chat", without_generation_tags(source))
        .map_err(|error| ChatTemplateError::Syntax {
            reason: error.to_string(),
        })?;
    Ok(environment)
}

/// Does what a template makes the engine do, on a thread with a large stack and little memory.
fn bounded<T: Send + 'static>(
    memory_bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ChatTemplateError> {
    let limits = Limits {
        memory_bytes,
        stack_bytes: STACK_BYTES,
    };
    metered::run("chat-template", limits, work).map_err(|unfinished| match unfinished {
        Unfinished::TooMuchMemory => ChatTemplateError::TooMuchMemory {
            limit_bytes: memory_bytes,
        },
        Unfinished::Panicked => ChatTemplateError::Render {
            reason: "it panicked".to_owned(),
        },
        Unfinished::NoThread(error) => ChatTemplateError::Thread(error),
    })
}

/// Runs the template. Values that it makes are dropped before this returns.
fn run(
    environment: &Environment<'static>,
    variables: &serde_json::Map<String, serde_json::Value>,
    limit_bytes: usize,
) -> Result<String, ChatTemplateError> {
    let mut output = BoundedOutput {
        bytes: Vec::new(),
        limit: limit_bytes,
        exceeded: false,
    };
    let template = environment
        .get_template("chat")
        .expect("the template was added when this was built");
    match template.render_captured_to(Value::from_serialize(variables), &mut output) {
        Ok(_) => Ok(String::from_utf8(output.bytes).expect("a template writes whole strings")),
        Err(_) if output.exceeded => Err(ChatTemplateError::OutputTooLarge { limit_bytes }),
        Err(error) => Err(render_error(&error)),
    }
}

/// Returns what a template may look up, as transformers provides it.
fn template_variables(
    tokenizer: &Tokenizer,
    conversation: &Conversation,
    marker: Option<char>,
) -> serde_json::Map<String, serde_json::Value> {
    let text_of = |id: Option<u32>| {
        id.and_then(|id| tokenizer.token_text(id))
            .unwrap_or_default()
    };
    let mut variables = conversation.variables.clone();
    let tools = (!conversation.tools.is_empty()).then_some(&conversation.tools);
    let is_generating = conversation.end == PromptEnd::AssistantTurn;
    for (name, value) in [
        ("messages", conversation.messages()),
        ("add_generation_prompt", json!(is_generating)),
        ("bos_token", json!(text_of(tokenizer.bos_id()))),
        ("eos_token", json!(text_of(tokenizer.eos_id()))),
        ("tools", json!(tools)),
        ("documents", serde_json::Value::Null),
        (python::MARKER_VARIABLE, json!(marker)),
    ] {
        variables.insert(name.to_owned(), value);
    }
    variables
}

fn plain(messages: &[ChatMessage], add_generation_prompt: bool) -> Conversation {
    let end = if add_generation_prompt {
        PromptEnd::AssistantTurn
    } else {
        PromptEnd::LastTurn
    };
    Conversation {
        end,
        ..Conversation::new(messages)
    }
}

fn check_depth(conversation: &Conversation) -> Result<(), ChatTemplateError> {
    let calls = conversation.turns.iter().flat_map(|turn| match turn {
        Turn::ToolCalls { calls, .. } => calls.as_slice(),
        Turn::Message(_) | Turn::ToolResult { .. } => &[],
    });
    let values = calls
        .map(|call| &call.arguments)
        .chain(&conversation.tools)
        .chain(conversation.variables.values());
    if values
        .into_iter()
        .any(|value| json_depth(value) > MAX_JSON_DEPTH)
    {
        return Err(ChatTemplateError::TooDeep {
            limit: MAX_JSON_DEPTH,
        });
    }
    Ok(())
}

/// Replaces `{% generation %}`, with which transformers marks what an assistant wrote, by a block that does
/// nothing but open a scope.
fn without_generation_tags(source: &str) -> String {
    let mut rest = source;
    let mut plain = String::with_capacity(source.len());
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start + 2);
        plain.push_str(before);
        let signed = tag.strip_prefix(['-', '+']).unwrap_or(tag);
        plain.push_str(&tag[..tag.len() - signed.len()]);
        let name = signed.trim_start();
        rest = signed;
        for (tag_name, replacement) in [("generation", " with "), ("endgeneration", " endwith ")] {
            if let Some(after) = name.strip_prefix(tag_name)
                && after
                    .trim_start()
                    .trim_start_matches(['-', '+'])
                    .starts_with("%}")
            {
                plain.push_str(replacement);
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
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

#[cfg(test)]
#[path = "chat_template_tests.rs"]
mod tests;
