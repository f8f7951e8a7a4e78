//! Measures of answers: does it contain the known answer, are its citations right, does it refuse
//! when it should.

use serde::{Deserialize, Serialize};

/// Text as SQuAD compares it: lower case, no punctuation, no articles, single spaces
/// (Rajpurkar et al. 2016, the official evaluation script).
pub fn normalize_answer(text: &str) -> String {
    let plain: String = text
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || c.is_whitespace())
        .collect();
    let words = plain
        .split_whitespace()
        .filter(|word| !matches!(*word, "a" | "an" | "the"));
    words.collect::<Vec<_>>().join(" ")
}

/// Whether the answer contains one of the accepted answers, whole words, after [`normalize_answer`].
pub fn answer_contains(answer: &str, accepted: &[String]) -> bool {
    let answer = format!(" {} ", normalize_answer(answer));
    accepted
        .iter()
        .map(|accepted| normalize_answer(accepted))
        .any(|accepted| !accepted.is_empty() && answer.contains(&format!(" {accepted} ")))
}

/// Share of citations that name the right document; `None` without citations.
pub fn citation_precision<'a>(
    cited: impl IntoIterator<Item = &'a str>,
    document: &str,
) -> Option<f64> {
    let (mut right, mut all) = (0.0, 0.0);
    for path in cited {
        all += 1.0;
        if path == document {
            right += 1.0;
        }
    }
    (all > 0.0).then(|| right / all)
}

/// How well a score separates questions the documents answer from those they do not.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RefusalMetrics {
    /// Probability that an answerable question scores higher than an unanswerable one; ties count half.
    pub auroc: f64,
    /// Share of answerable questions that were refused.
    pub false_refusal: f64,
    /// Share of unanswerable questions that were answered.
    pub false_answer: f64,
}

/// Measures refusal over `(score that it is answerable, refused)` of answerable and unanswerable
/// questions; `None` where either list is empty. `O(n log n)`.
pub fn refusal_metrics(
    answerable: &[(f32, bool)],
    unanswerable: &[(f32, bool)],
) -> Option<RefusalMetrics> {
    if answerable.is_empty() || unanswerable.is_empty() {
        return None;
    }
    let mut negatives: Vec<f32> = unanswerable.iter().map(|(score, _)| *score).collect();
    negatives.sort_by(f32::total_cmp);
    let wins: f64 = answerable
        .iter()
        .map(|(score, _)| {
            let below = negatives.partition_point(|negative| negative < score);
            let not_above = negatives.partition_point(|negative| negative <= score);
            (below + not_above) as f64 / 2.0
        })
        .sum();
    let share = |list: &[(f32, bool)], refused: bool| {
        list.iter().filter(|(_, r)| *r == refused).count() as f64 / list.len() as f64
    };
    Some(RefusalMetrics {
        auroc: wins / (answerable.len() * unanswerable.len()) as f64,
        false_refusal: share(answerable, true),
        false_answer: share(unanswerable, false),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_found_as_whole_words_whatever_the_case_and_punctuation() {
        let accepted = ["The 1,200 euros".to_owned(), "Denver Broncos".to_owned()];
        assert!(answer_contains("It is 1,200 Euros a year [1].", &accepted));
        assert!(answer_contains("the denver broncos won", &accepted));
        assert!(!answer_contains("11,200 euros", &accepted));
        assert!(!answer_contains("anything", &["the".to_owned()]));
    }

    #[test]
    fn auroc_counts_pairs_in_the_right_order() {
        let metrics =
            refusal_metrics(&[(0.9, false), (0.5, true)], &[(0.5, true), (0.1, false)]).unwrap();
        assert_eq!(
            metrics,
            RefusalMetrics {
                auroc: 0.875,
                false_refusal: 0.5,
                false_answer: 0.5
            }
        );
        assert_eq!(refusal_metrics(&[], &[(0.1, true)]), None);
    }

    #[test]
    fn citation_precision_is_the_share_of_right_documents() {
        assert_eq!(citation_precision(["a.txt", "b.txt"], "a.txt"), Some(0.5));
        assert_eq!(citation_precision([], "a.txt"), None);
    }
}
