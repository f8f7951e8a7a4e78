//! The quote check and quote-only answers on real questions: XQuAD English, each question with the five paragraphs of
//! its article and no help from retrieval.

use std::{fs, path::Path};

use serde_json::Value;

use super::tests::context;
use super::tracker::AnswerTracker;
use super::types::Answer;
use crate::access::DocumentId;

use crate::answer::context::ContextPassage;
use crate::answer::quote_only::quote_only;
use crate::eval::answer_contains;

struct Question {
    question: String,
    answers: Vec<String>,
    /// The sentence of the gold paragraph that holds the answer, and where the answer is in it (bytes).
    sentence: String,
    answer_at: usize,
    gold: usize,
    paragraphs: Vec<String>,
}

fn questions() -> Vec<Question> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/xquad/xquad.en.json");
    let text = fs::read_to_string(&path).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let string = |value: &Value| value.as_str().unwrap().to_owned();
    let mut questions = Vec::new();
    for article in list(&file["data"]) {
        let paragraphs: Vec<String> = list(&article["paragraphs"])
            .iter()
            .map(|p| string(&p["context"]))
            .collect();
        for (gold, paragraph) in list(&article["paragraphs"]).iter().enumerate() {
            let chars: Vec<char> = paragraphs[gold].chars().collect();
            for qa in list(&paragraph["qas"]) {
                let at = qa["answers"][0]["answer_start"].as_u64().unwrap() as usize;
                let spans = crate::text::sentence::split_sentences(&paragraphs[gold]);
                let Some(span) = spans.iter().find(|s| (s.start..s.end).contains(&at)) else {
                    continue;
                };
                questions.push(Question {
                    question: string(&qa["question"]),
                    answers: list(&qa["answers"])
                        .iter()
                        .map(|a| string(&a["text"]))
                        .collect(),
                    sentence: chars[span.start..span.end].iter().collect(),
                    answer_at: chars[span.start..at].iter().collect::<String>().len(),
                    gold,
                    paragraphs: paragraphs.clone(),
                });
            }
        }
    }
    assert!(questions.len() > 500);
    questions
}

impl Question {
    fn context(&self) -> Vec<ContextPassage> {
        let passages: Vec<(&str, &str)> = self
            .paragraphs
            .iter()
            .map(|p| ("Article", p.as_str()))
            .collect();
        let mut context = context(&passages);
        for passage in &mut context {
            passage.hit.score = 0.5;
        }
        context
    }

    fn track(&self, answer: &str) -> Answer {
        let mut tracker = AnswerTracker::new(&self.question, self.context());
        tracker.push(answer);
        tracker.finish().1
    }

    fn cites_gold(&self, answer: &Answer) -> bool {
        answer
            .citations
            .iter()
            .any(|c| c.document == DocumentId(self.gold as i64 + 1))
    }
}

fn share<T>(items: &[T], holds: impl Fn(&T) -> bool) -> f64 {
    items.iter().filter(|item| holds(item)).count() as f64 / items.len() as f64
}

#[test]
fn sentences_of_the_documents_are_supported_and_changed_numbers_are_not() {
    let questions = questions();
    let supported = |answer: &Answer| {
        answer.unsupported.is_empty() && answer.withheld.is_empty() && !answer.citations.is_empty()
    };

    let kept = share(&questions, |q| {
        let answer = q.track(&q.sentence);
        supported(&answer) && q.cites_gold(&answer)
    });
    assert!(
        kept >= 0.98,
        "{kept:.3} of the sentences are supported by their paragraph"
    );

    let refused = share(&questions, |q| {
        crate::answer::support::QuoteIndex::new(&q.question, &q.context()).misses_entity()
    });
    assert!(
        refused <= 0.05,
        "{refused:.3} of the questions name something that their article does not have"
    );

    let short = share(&questions, |q| {
        let answer = q.track(&format!("{}.", q.answers[0].trim_end_matches('.')));
        supported(&answer) && q.cites_gold(&answer)
    });
    assert!(
        short >= 0.93,
        "{short:.3} of the bare answers are supported by their paragraph"
    );

    // Every digit of the answer becomes another one; numbers that happen to be elsewhere in the article are left out.
    let changed: Vec<(&Question, String)> = questions
        .iter()
        .filter_map(|q| {
            let answer = &q.answers[0];
            let digits = |text: &str| {
                text.chars()
                    .filter(char::is_ascii_digit)
                    .collect::<String>()
            };
            let wrong: String = answer
                .chars()
                .map(|c| {
                    c.to_digit(10)
                        .map_or(c, |d| char::from(b'1' + ((d + 3) % 9) as u8))
                })
                .collect();
            let elsewhere = q.paragraphs.iter().any(|p| p.contains(&digits(&wrong)))
                || q.question.contains(&digits(&wrong));
            let sentence = q.sentence.get(..q.answer_at)?.to_owned()
                + &wrong
                + q.sentence.get(q.answer_at + answer.len()..)?;
            (digits(answer).len() >= 2 && !elsewhere).then_some((q, sentence))
        })
        .collect();
    assert!(changed.len() > 60, "{} numbers", changed.len());
    let fooled = share(&changed, |(q, sentence)| supported(&q.track(sentence)));
    assert!(fooled <= 0.02, "{fooled:.3} of the changed numbers pass");
}

#[test]
fn quotes_alone_answer_most_questions() {
    let questions = questions();
    let answers: Vec<(Answer, &Question)> = questions
        .iter()
        .map(|q| (quote_only(&q.question, &q.context()), q))
        .collect();
    let first = share(&answers, |(a, q)| {
        a.citations
            .first()
            .is_some_and(|c| answer_contains(&c.quote, &q.answers))
    });
    let any = share(&answers, |(a, q)| answer_contains(&a.text, &q.answers));
    let cited = share(&answers, |(a, q)| q.cites_gold(a));
    assert!(
        first >= 0.70 && any >= 0.78 && cited >= 0.90,
        "first {first:.3} any {any:.3} cited {cited:.3}"
    );
}
