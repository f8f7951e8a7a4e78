//! What `/v1/chat/completions` tells about an answer from the documents beside its text: the same as the page.

use web_api::openai::{AssistantMessage, ChatDelta, Statement};
use web_api::{AnswerMode, Citation};

use crate::suite::ask::Outcome;

/// Citations, doubts and remarks of an answer from the documents.
pub(super) struct FromDocuments {
    citations: Vec<Citation>,
    refused: bool,
    unsupported: Vec<Statement>,
    mode: AnswerMode,
    notice: Option<String>,
}

impl FromDocuments {
    pub(super) fn of(outcome: &Outcome) -> Self {
        let text: Vec<char> = outcome.answer.text.chars().collect();
        let statement = |&(start, end): &(usize, usize)| Statement {
            start,
            end,
            text: text[start.min(text.len())..end.min(text.len())]
                .iter()
                .collect(),
        };
        Self {
            citations: outcome.citations(),
            refused: outcome.answer.refused,
            unsupported: outcome.answer.unsupported.iter().map(statement).collect(),
            mode: outcome.mode,
            notice: outcome.notice.clone(),
        }
    }

    /// Completes the message of a whole answer.
    pub(super) fn complete_message(self, message: AssistantMessage) -> AssistantMessage {
        AssistantMessage {
            citations: Some(self.citations),
            refused: Some(self.refused),
            unsupported: Some(self.unsupported),
            mode: Some(self.mode),
            notice: self.notice,
            ..message
        }
    }

    /// The last delta of a streamed answer.
    pub(super) fn into_delta(self) -> ChatDelta {
        ChatDelta {
            citations: Some(self.citations),
            refused: Some(self.refused),
            unsupported: Some(self.unsupported),
            mode: Some(self.mode),
            notice: self.notice,
            ..ChatDelta::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::ask::Ending;

    #[test]
    fn statements_are_cut_from_the_text_by_characters() {
        let outcome = Outcome {
            answer: rag::Answer {
                text: "Größe ist 5. Preis ist 7.".to_owned(),
                unsupported: vec![(13, 25)],
                ..rag::Answer::default()
            },
            mode: AnswerMode::QuoteOnly,
            notice: Some("busy".to_owned()),
            model: None,
            sources: Vec::new(),
            hits: Vec::new(),
            support: 0.5,
            usage: web_api::Usage::default(),
            timings: web_api::Timings::default(),
            ending: Ending::Complete,
        };
        let delta = FromDocuments::of(&outcome).into_delta();
        let statements = delta.unsupported.unwrap();
        assert_eq!(statements[0].text, "Preis ist 7.");
        assert_eq!((statements[0].start, statements[0].end), (13, 25));
        assert_eq!(delta.mode, Some(AnswerMode::QuoteOnly));
        assert_eq!(delta.notice.as_deref(), Some("busy"));
        assert_eq!(
            (delta.refused, delta.citations),
            (Some(false), Some(Vec::new()))
        );
    }
}
