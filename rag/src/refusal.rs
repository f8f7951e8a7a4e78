//! Refusal before the model: whether what was found can answer the question at all.
//!
//! A logistic model over a few features of the retrieval gives the probability that the documents hold the answer.

use crate::{
    Hit,
    answer::Answer,
    terms::{match_strength, term_keys, terms},
};

/// What retrieval says about a question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Assessment {
    /// Probability that the documents answer the question, 0..=1.
    pub score: f32,
    /// Whether to say so instead of asking the model.
    pub refuse: bool,
}

// Coefficients of the logistic model.
const INTERCEPT: f32 = -5.0;
const DENSE: f32 = 6.0;
const DENSE_GAP: f32 = 4.0;
const AGREEMENT: f32 = 0.8;
const COVERAGE: f32 = 2.0;
const BEST_COVERAGE: f32 = 2.0;

/// Below this probability the suite refuses without asking the model.
const REFUSE_BELOW: f32 = 0.3;

/// What the logistic model sees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Features {
    /// Highest cosine of question and passage.
    pub dense: f32,
    /// How far the best cosine is above the mean of the others.
    pub dense_gap: f32,
    /// 1 where the best passage of both searches is the same.
    pub agreement: f32,
    /// Share of the question's terms in the best passage with its title and headings.
    pub coverage: f32,
    /// The highest such share among all passages.
    pub best_coverage: f32,
}

impl Features {
    /// Measures the hits of a question, best first.
    pub fn of(question: &str, hits: &[Hit]) -> Self {
        let best = |score: fn(&Hit) -> Option<f32>| {
            let scored = hits
                .iter()
                .enumerate()
                .filter_map(|(i, h)| score(h).map(|s| (i, s)));
            scored.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))
        };
        let (dense_best, bm25_best) = (best(|h| h.dense), best(|h| h.bm25));
        let dense = dense_best.map_or(0.0, |(_, s)| s);
        let others: Vec<f32> = hits
            .iter()
            .enumerate()
            .filter(|(i, _)| dense_best.is_none_or(|(b, _)| b != *i))
            .filter_map(|(_, h)| h.dense)
            .collect();
        let mean = if others.is_empty() {
            dense
        } else {
            others.iter().sum::<f32>() / others.len() as f32
        };
        let agreement = matches!((dense_best, bm25_best), (Some((a, _)), Some((b, _))) if a == b);
        let question = terms(question);
        let coverages: Vec<f32> = hits
            .iter()
            .map(|hit| {
                let keys = term_keys(&format!(
                    "{} {} {}",
                    hit.title,
                    hit.heading.join(" "),
                    hit.text
                ));
                let held: f32 = question
                    .iter()
                    .map(|term| match_strength(term, &keys))
                    .sum();
                if question.is_empty() {
                    0.0
                } else {
                    held / question.len() as f32
                }
            })
            .collect();
        Self {
            dense,
            dense_gap: dense - mean,
            agreement: f32::from(u8::from(agreement)),
            coverage: coverages.first().copied().unwrap_or(0.0),
            best_coverage: coverages.iter().copied().fold(0.0, f32::max),
        }
    }
}

/// Returns the probability that the documents answer `question`, from its hits (best first).
pub fn assess(question: &str, hits: &[Hit]) -> Assessment {
    let f = Features::of(question, hits);
    let logit = INTERCEPT
        + DENSE * f.dense
        + DENSE_GAP * f.dense_gap
        + AGREEMENT * f.agreement
        + COVERAGE * f.coverage
        + BEST_COVERAGE * f.best_coverage;
    let score = if hits.is_empty() {
        0.0
    } else {
        1.0 / (1.0 + (-logit).exp())
    };
    Assessment {
        score,
        refuse: score < REFUSE_BELOW,
    }
}

/// The answer that says that the documents do not answer, naming the closest ones.
pub fn refusal(hits: &[Hit]) -> Answer {
    let mut text = String::from("The documents do not seem to answer this question.");
    let mut titles: Vec<&str> = Vec::new();
    for hit in hits {
        if !titles.contains(&hit.title.as_str()) && titles.len() < 3 {
            titles.push(&hit.title);
        }
    }
    if !titles.is_empty() {
        text.push_str(&format!(
            " The closest passages are in: {}.",
            titles.join("; ")
        ));
    }
    Answer {
        text,
        refused: true,
        ..Answer::default()
    }
}
