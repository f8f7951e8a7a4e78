//! Evaluation: how well retrieval and answers do on questions whose answers are known.

mod answer;
mod retrieval;

use serde::{Deserialize, Serialize};

pub use answer::{
    RefusalMetrics, answer_contains, citation_precision, normalize_answer, refusal_metrics,
};
pub use retrieval::{RetrievalMetrics, evaluate_retrieval, ndcg_at, recall_at};

/// A question with its known answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvalQuestion {
    /// The question.
    pub question: String,
    /// Path of the document that answers it, relative to the ingested folder.
    pub document: String,
    /// Accepted answers; a single string in the file is a list of one.
    #[serde(default, alias = "answers", deserialize_with = "one_or_many")]
    pub answer: Vec<String>,
    /// Pages of the document that say it, from 1; a single number in the file is a list of one, none leaves pages out.
    #[serde(default, alias = "page", deserialize_with = "one_or_many")]
    pub pages: Vec<u32>,
}

fn one_or_many<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany<T> {
        One(T),
        Many(Vec<T>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(answer) => vec![answer],
        OneOrMany::Many(answers) => answers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_pages_of_a_question_are_single_or_lists() {
        let one: EvalQuestion =
            serde_json::from_str(r#"{"question":"q","document":"a.txt","answer":"x"}"#).unwrap();
        assert_eq!(one.answer, ["x"]);
        let many: EvalQuestion =
            serde_json::from_str(r#"{"question":"q","document":"a.txt","answer":["x","y"]}"#)
                .unwrap();
        assert_eq!(many.answer, ["x", "y"]);
        let none: EvalQuestion =
            serde_json::from_str(r#"{"question":"q","document":"a.txt"}"#).unwrap();
        assert!(none.answer.is_empty() && none.pages.is_empty());
        let page: EvalQuestion =
            serde_json::from_str(r#"{"question":"q","document":"a.pdf","page":3}"#).unwrap();
        let pages: EvalQuestion =
            serde_json::from_str(r#"{"question":"q","document":"a.pdf","pages":[3,4]}"#).unwrap();
        assert_eq!((page.pages, pages.pages), (vec![3], vec![3, 4]));
    }
}
