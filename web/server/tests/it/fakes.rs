//! Stand-ins for the two models: an embedder that hashes words, a language model that follows a script.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use futures_util::stream;
use inference::{
    Conversation, EngineError, EngineStats, Event, FinishReason, Priority, SamplingParams,
    ScoredToken, Timings, TokenLogprobs, Turn, Usage,
};
use rag::{EmbedError, Embedder};
use web_server::{LanguageModel, ModelError, ModelStream};

/// Texts with common words have similar vectors.
pub struct HashingEmbedder;

const DIM: usize = 128;

impl Embedder for HashingEmbedder {
    fn name(&self) -> &str {
        "hashing-embedder"
    }

    fn dim(&self) -> usize {
        DIM
    }

    fn max_tokens(&self) -> usize {
        256
    }

    /// Words; a zero-width space is nothing to real models, either.
    fn count_tokens(&self, text: &str) -> usize {
        let words = text.split(|c: char| c.is_whitespace() || c == '\u{200b}');
        words.filter(|word| !word.is_empty()).count()
    }

    fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, EmbedError> {
        if texts.iter().any(|text| text == HELD) {
            wait_for_let_go();
        }
        Ok(texts.iter().map(|text| embed(text)).collect())
    }

    fn vocab_size(&self) -> usize {
        1000
    }

    /// The id 7 is the word `7`.
    fn embed_tokens(&self, texts: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, EmbedError> {
        let texts = texts.iter().map(|ids| {
            let words: Vec<String> = ids.iter().map(u32::to_string).collect();
            words.join(" ")
        });
        self.embed(&texts.collect::<Vec<_>>())
    }
}

/// A text whose vector is made only after [`LetGo`] was dropped; for one test alone.
pub const HELD: &str = "held";
/// Requests that have come to the embedder with it.
pub static NUM_HELD: AtomicUsize = AtomicUsize::new(0);
static IS_LET_GO: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

/// Dropped also where a test fails, so that nothing waits for ever.
pub struct LetGo;

impl Drop for LetGo {
    fn drop(&mut self) {
        *IS_LET_GO.0.lock().unwrap() = true;
        IS_LET_GO.1.notify_all();
    }
}

fn wait_for_let_go() {
    NUM_HELD.fetch_add(1, Ordering::SeqCst);
    let is_let_go = IS_LET_GO.0.lock().unwrap();
    let waited = IS_LET_GO.1.wait_while(is_let_go, |is_let_go| !*is_let_go);
    drop(waited.unwrap());
}

fn embed(text: &str) -> Vec<f32> {
    let mut vector = vec![0.0_f32; DIM];
    for word in text
        .to_lowercase()
        .split(|character: char| !character.is_alphanumeric())
    {
        let mut hasher = DefaultHasher::new();
        word.hash(&mut hasher);
        vector[hasher.finish() as usize % DIM] += 1.0;
    }
    let norm = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    vector.iter().map(|value| value / norm.max(1e-6)).collect()
}

/// What the model does with the next request.
pub enum Script {
    /// Says this, word by word.
    Say(&'static str),
    /// Says [`DEFAULT_ANSWER`] until it is cancelled.
    Babble,
    /// Its queue is full.
    Busy,
    /// Says a word and then breaks down.
    Fail,
    /// Panics, as a bug would.
    Panic,
}

/// Follows its script; without one it says [`DEFAULT_ANSWER`].
#[derive(Default)]
pub struct ScriptedModel {
    script: Mutex<VecDeque<Script>>,
    /// Words with the blank after them; a token id is a place in it.
    words: Mutex<Vec<String>>,
    pub requests: Mutex<Vec<(String, SamplingParams, Priority)>>,
    pub cancelled: Arc<AtomicUsize>,
    /// Whether its device has failed.
    pub is_broken: AtomicBool,
}

pub const DEFAULT_ANSWER: &str = "Every employee has 30 days of vacation per year.";
pub const CONTEXT_LEN: usize = 2000;

impl ScriptedModel {
    pub fn will(&self, script: Script) {
        self.script.lock().unwrap().push_back(script);
    }

    fn decode(&self, ids: &[u32]) -> Result<String, ModelError> {
        let words = self.words.lock().unwrap();
        let word = |id: &u32| words.get(*id as usize).map(String::as_str);
        let text: Option<String> = ids.iter().map(word).collect();
        text.ok_or_else(|| ModelError::Invalid {
            reason: "a token of the prompt is not in the vocabulary".to_owned(),
        })
    }

    fn start(
        &self,
        prompt: Vec<u32>,
        sampling: SamplingParams,
        priority: Priority,
    ) -> Result<ModelStream, ModelError> {
        if self.is_broken.load(Ordering::Relaxed) {
            return Err(ModelError::DeviceLost {
                reason: "Xid 79, the GPU has fallen off the bus".to_owned(),
            });
        }
        let prompt_tokens = prompt.len();
        let prompt = self.decode(&prompt)?;
        let max_tokens = sampling.max_tokens;
        let num_top = sampling.logprobs;
        if prompt_tokens + max_tokens > CONTEXT_LEN {
            return Err(ModelError::TooLong {
                prompt_tokens,
                max_tokens,
                limit: CONTEXT_LEN,
            });
        }
        self.requests
            .lock()
            .unwrap()
            .push((prompt, sampling, priority));
        let script = self
            .script
            .lock()
            .unwrap()
            .pop_front()
            .unwrap_or(Script::Say(DEFAULT_ANSWER));
        let fails = matches!(script, Script::Fail);
        let text = match script {
            Script::Busy => {
                return Err(ModelError::Overloaded {
                    capacity: 2,
                    retry_after: Duration::from_secs(7),
                });
            }
            Script::Panic => panic!("a bug in the model"),
            Script::Babble | Script::Fail => None,
            Script::Say(text) => Some(text),
        };
        let words: Option<VecDeque<String>> = text.map(|text| {
            text.split_inclusive(' ')
                .take(max_tokens)
                .map(str::to_owned)
                .collect()
        });
        let reason = match text {
            Some(text) if text.split_inclusive(' ').count() > max_tokens => FinishReason::Length,
            _ => FinishReason::Stop,
        };
        let guard = CountDrop(Arc::clone(&self.cancelled), false);
        Ok(Box::pin(stream::unfold(
            (words, 0, guard),
            move |(mut words, said, mut guard)| async move {
                if guard.1 {
                    return None;
                }
                tokio::time::sleep(Duration::from_millis(3)).await;
                let word = match &mut words {
                    None if fails => Some("word. ".to_owned()),
                    None => Some(format!("{DEFAULT_ANSWER} ")),
                    Some(words) => words.pop_front(),
                };
                let event = match word {
                    Some(_) if fails && said > 0 => {
                        guard.1 = true;
                        Event::Failed(EngineError::InvalidLogits)
                    }
                    Some(text) => Event::Delta {
                        logprobs: num_top
                            .map(|count| logprobs(&text, said, count))
                            .into_iter()
                            .collect(),
                        text,
                        tokens: vec![said],
                    },
                    None => {
                        guard.1 = true;
                        Event::Finished {
                            reason,
                            usage: Usage {
                                prompt_tokens,
                                completion_tokens: said as usize,
                            },
                            timings: Timings {
                                queue_ms: 1.0,
                                prefill_ms: 2.0,
                                decode_ms: 3.0,
                            },
                        }
                    }
                };
                Some((event, (words, said + 1, guard)))
            },
        )))
    }
}

/// Word `n` has the log-probability `-n / 8`, and alternatives called `other`.
fn logprobs(word: &str, said: u32, num_top: usize) -> TokenLogprobs {
    let token = |text: &str, logprob| ScoredToken {
        id: said,
        bytes: text.as_bytes().to_vec(),
        logprob,
    };
    TokenLogprobs {
        chosen: token(word, said as f32 / -8.0),
        top: vec![token("other", -2.0); num_top],
    }
}

/// Counts streams that were dropped before their end.
struct CountDrop(Arc<AtomicUsize>, bool);

impl Drop for CountDrop {
    fn drop(&mut self) {
        if !self.1 {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl LanguageModel for ScriptedModel {
    fn name(&self) -> &str {
        "scripted-model"
    }

    fn context_len(&self) -> usize {
        CONTEXT_LEN
    }

    fn count_tokens(&self, text: &str) -> usize {
        text.split_whitespace().count()
    }

    fn created(&self) -> i64 {
        1_700_000_000
    }

    fn encode_text(&self, text: &str) -> Vec<u32> {
        let mut words = self.words.lock().unwrap();
        let mut id_of = |word: &str| {
            let there = words.iter().position(|there| there == word);
            there.unwrap_or_else(|| {
                words.push(word.to_owned());
                words.len() - 1
            }) as u32
        };
        let mut ids: Vec<u32> = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let word = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let blanks = rest[word..].find(|c: char| !c.is_whitespace());
            let end = blanks.map_or(rest.len(), |blanks| word + blanks);
            ids.push(id_of(&rest[..end]));
            rest = &rest[end..];
        }
        ids
    }

    /// Messages as lines; calls of tools as `name(arguments)`.
    fn encode_conversation(&self, conversation: &Conversation) -> Result<Vec<u32>, ModelError> {
        let lines = conversation.turns.iter().map(|turn| match turn {
            Turn::Message(message) => message.content.clone(),
            Turn::ToolCalls { content, calls } => {
                let calls = calls
                    .iter()
                    .map(|call| format!("{}({})", call.name, call.arguments));
                [content.clone()].into_iter().chain(calls).collect()
            }
            Turn::ToolResult { content, .. } => content.clone(),
        });
        let lines: Vec<String> = lines.collect();
        Ok(self.encode_text(&lines.join("\n")))
    }

    fn generate(
        &self,
        prompt: Vec<u32>,
        sampling: SamplingParams,
        priority: Priority,
    ) -> Result<ModelStream, ModelError> {
        self.start(prompt, sampling, priority)
    }

    fn stats(&self) -> EngineStats {
        EngineStats {
            running: 1,
            num_blocks: 64,
            free_blocks: 32,
            is_broken: self.is_broken.load(Ordering::Relaxed),
            ..EngineStats::default()
        }
    }
}
