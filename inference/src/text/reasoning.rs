//! Reasoning in answers: what a model writes between `<think>` and `</think>` before its answer (Qwen3, DeepSeek R1 and
//! models made of them), told apart while the answer arrives. Nobody asked for it, and no citation belongs to it.
//!
//! Only the start of an answer is looked at: an answer about `<think>` keeps its text. White space around the reasoning
//! belongs to neither part. Knows no template, no HTTP.

use super::Tokenizer;

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// What became certain with a piece of text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnswerParts {
    pub reasoning: String,
    pub answer: String,
}

/// Divides an answer that arrives in pieces; the pieces may be cut anywhere.
#[derive(Debug, Clone)]
pub struct ReasoningReader {
    state: State,
    /// Text whose part is not certain yet: the beginning of a mark, or white space that may stand before one.
    held: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing but white space or the beginning of `<think>` so far.
    Start,
    BeforeReasoning,
    Reasoning,
    BeforeAnswer,
    Answer,
}

impl ReasoningReader {
    /// `opened`: the prompt ends within the reasoning, because the chat template has written `<think>` itself.
    pub fn new(opened: bool) -> Self {
        Self {
            state: if opened {
                State::BeforeReasoning
            } else {
                State::Start
            },
            held: String::new(),
        }
    }

    /// Whether the answer has not begun and reasoning has.
    pub fn is_reasoning(&self) -> bool {
        matches!(self.state, State::BeforeReasoning | State::Reasoning)
    }

    /// Takes the next piece.
    pub fn push(&mut self, text: &str) -> AnswerParts {
        let mut parts = AnswerParts::default();
        self.held.push_str(text);
        while self.advance(&mut parts) {}
        parts
    }

    /// Gives what was held back, once nothing more comes.
    pub fn finish(mut self) -> AnswerParts {
        let mut parts = AnswerParts::default();
        match self.state {
            State::Start | State::Answer => parts.answer = std::mem::take(&mut self.held),
            State::Reasoning => parts.reasoning = self.held.trim_end().to_owned(),
            State::BeforeReasoning | State::BeforeAnswer => {}
        }
        parts
    }

    /// Does what the held text decides; returns whether there may be more to do.
    fn advance(&mut self, parts: &mut AnswerParts) -> bool {
        match self.state {
            State::Start => self.start(),
            State::BeforeReasoning => self.skip_blanks(State::Reasoning),
            State::BeforeAnswer => self.skip_blanks(State::Answer),
            State::Reasoning => self.reason(&mut parts.reasoning),
            State::Answer => {
                parts.answer.push_str(&self.held);
                self.held.clear();
                false
            }
        }
    }

    fn start(&mut self) -> bool {
        let text = self.held.trim_start();
        if let Some(rest) = text.strip_prefix(OPEN) {
            self.held = rest.to_owned();
            self.state = State::BeforeReasoning;
            return true;
        }
        if OPEN.starts_with(text) {
            return false;
        }
        self.state = State::Answer;
        true
    }

    fn skip_blanks(&mut self, next: State) -> bool {
        self.held = self.held.trim_start().to_owned();
        if self.held.is_empty() {
            return false;
        }
        self.state = next;
        true
    }

    fn reason(&mut self, reasoning: &mut String) -> bool {
        if let Some((before, after)) = self.held.split_once(CLOSE) {
            reasoning.push_str(before.trim_end());
            self.held = after.to_owned();
            self.state = State::BeforeAnswer;
            return true;
        }
        // The end may be the beginning of the mark, and white space before the mark belongs to nothing.
        let begun = (1..CLOSE.len())
            .rev()
            .find(|&len| self.held.ends_with(&CLOSE[..len]))
            .unwrap_or(0);
        let certain = self.held[..self.held.len() - begun].trim_end().len();
        reasoning.push_str(&self.held[..certain]);
        self.held.drain(..certain);
        false
    }
}

/// Whether a prompt ends within reasoning, because its template has written `<think>`.
pub fn ends_within_reasoning(tokenizer: &Tokenizer, prompt: &[u32]) -> bool {
    // The mark may be a token of its own, also one that decoding leaves out, or be spelled by several.
    const TAIL: usize = 16;
    let tail = &prompt[prompt.len().saturating_sub(TAIL)..];
    let is_blank = |id: &&u32| {
        tokenizer.token_text(**id) != Some(OPEN) && tokenizer.decode(&[**id]).trim().is_empty()
    };
    let last = tail.iter().rev().find(|id| !is_blank(id));
    last.is_some_and(|id| tokenizer.token_text(*id) == Some(OPEN))
        || tokenizer.decode(tail).trim_end().ends_with(OPEN)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(opened: bool, pieces: &[&str]) -> AnswerParts {
        let mut reader = ReasoningReader::new(opened);
        let mut all = AnswerParts::default();
        for piece in pieces {
            let parts = reader.push(piece);
            all.reasoning += &parts.reasoning;
            all.answer += &parts.answer;
        }
        let parts = reader.finish();
        all.reasoning += &parts.reasoning;
        all.answer += &parts.answer;
        all
    }

    #[test]
    fn reasoning_and_answer_are_told_apart() {
        // (template has opened, text, reasoning, answer)
        let cases = [
            (
                false,
                "<think>\nFirst, a < b.\n</think>\n\nYes.\n",
                "First, a < b.",
                "Yes.\n",
            ),
            (false, "\n <think></think>Yes.", "", "Yes."),
            (false, "<think>\n\n</think>\n\nYes.", "", "Yes."),
            (
                false,
                "Yes. <think>no</think>",
                "",
                "Yes. <think>no</think>",
            ),
            (false, "  Yes.", "", "  Yes."),
            (false, "<thin air", "", "<thin air"),
            (false, "<thi", "", "<thi"),
            (false, "<think>So it ends here \n", "So it ends here", ""),
            (false, "<think>a </thin b</think>c", "a </thin b", "c"),
            (
                true,
                "\nIt says 29.\n</think>\n\n29 days.",
                "It says 29.",
                "29 days.",
            ),
            (true, "It never closes", "It never closes", ""),
            (false, "", "", ""),
        ];
        for (opened, text, reasoning, answer) in cases {
            let want = AnswerParts {
                reasoning: reasoning.into(),
                answer: answer.into(),
            };
            assert_eq!(read(opened, &[text]), want, "{text}");
        }
    }

    #[test]
    fn what_is_certain_is_not_held_back() {
        let mut reader = ReasoningReader::new(false);
        assert_eq!(
            reader.push("<think>So, "),
            AnswerParts {
                reasoning: "So,".into(),
                answer: String::new()
            }
        );
        assert!(reader.is_reasoning());
        assert_eq!(
            reader.push("yes"),
            AnswerParts {
                reasoning: " yes".into(),
                answer: String::new()
            }
        );
        assert_eq!(
            reader.push("</think>A"),
            AnswerParts {
                reasoning: String::new(),
                answer: "A".into()
            }
        );
        assert!(!reader.is_reasoning());
        assert_eq!(
            reader.push(" </think>"),
            AnswerParts {
                reasoning: String::new(),
                answer: " </think>".into()
            }
        );
    }

    proptest! {
        #[test]
        fn where_the_pieces_are_cut_does_not_matter(
            opened: bool,
            text in r"( |\n){0,2}(<think>|<thi)?[ab<>/\n é]{0,12}(</think>|</thin)?[ab<\n ]{0,12}(</think>)?",
            cuts in proptest::collection::vec(0usize..60, 0..8),
        ) {
            let mut ends: Vec<usize> = cuts.into_iter().filter(|&at| text.is_char_boundary(at)).collect();
            ends.extend([0, text.len()]);
            ends.sort_unstable();
            let pieces: Vec<&str> = ends.windows(2).map(|ends| &text[ends[0]..ends[1]]).collect();
            prop_assert_eq!(read(opened, &pieces), read(opened, &[&text]));
        }

        #[test]
        fn an_answer_without_the_mark_at_its_start_is_untouched(text in r"[a-z<>/ \n]{0,40}") {
            prop_assume!(!text.trim_start().starts_with(OPEN));
            prop_assert_eq!(read(false, &[&text]), AnswerParts { reasoning: String::new(), answer: text });
        }
    }
}
