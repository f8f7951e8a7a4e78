//! Text on both sides of the engine: token ids from text, text from token ids, prompts from chats.
//!
//! - [`Tokenizer`]: byte-level BPE and SentencePiece read from GGUF metadata, id for id what llama.cpp produces;
//! - [`Detokenizer`]: one token at a time to valid UTF-8;
//! - [`StopMatcher`]: stop strings that may span tokens;
//! - [`ReasoningReader`]: what a model thinks, apart from what it answers;
//! - [`ChatTemplate`]: the model's own Jinja template, in which only the template, never a message,
//!   can produce control tokens.
//!
//! Absent on purpose: tensors, sampling, other kinds of vocabulary (a clear error names them).

mod bpe;
mod byte_level;
mod char_class;
mod chat_template;
mod conversation;
mod detokenize;
mod pre_tokenizer;
mod python;
mod reasoning;
mod special;
mod spm;
mod stop;
mod tokenizer;
mod vocabulary;

pub use chat_template::{ChatTemplate, ChatTemplateError};
pub use conversation::{ChatMessage, Conversation, PromptEnd, Role, ToolCall, Turn};
pub use detokenize::Detokenizer;
pub use pre_tokenizer::PreTokenizer;
pub use reasoning::{AnswerParts, ReasoningReader, ends_within_reasoning};
pub use stop::{StopMatcher, StopOutcome};
pub use tokenizer::{AddSpecial, Tokenizer, TokenizerError, TokenizerSource};
pub use vocabulary::TokenKind;
