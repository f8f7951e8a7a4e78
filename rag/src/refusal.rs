//! Refusal before the model: whether what was found can answer the question at all.
//!
//! A logistic model over [`Features`] of the hits gives the probability that the documents hold the answer. It refuses
//! below [`REFUSE_BELOW`], which keeps wrong refusals rare: what slips through meets the quote check of
//! [`crate::answer`], whereas a refused question gets nothing.
//!
//! Calibration: the 612 XQuAD English questions over their 120 paragraphs, MiniLM and BM25 fused by min-max. Positives
//! are the questions as they are (weight .7) and with halved word overlap (`coverage` and `sentence` times .4, every
//! second `agreement` gone; weight .3), because those questions were written with the paragraph in view and share more
//! words with it than an employee's do. Negatives leave the gold paragraph out, or its whole article, half each.
//! Five folds by article:
//!
//! | refuse below | wrong refusals | the same, overlap halved | refused, paragraph out | refused, article out |
//! |---|---|---|---|---|
//! | .20 | .021 | .057 | .472 | .913 |
//! | **.30** | **.033** | **.106** | **.538** | **.948** |
//! | .40 | .049 | .165 | .636 | .975 |
//!
//! AUROC .924 (paragraph out: four paragraphs about the same subject remain) and .992 (article out). Without the second
//! kind of positives .937 and .990, but 35 % of the questions with other words would be refused.
//! `scripts/calibrate-refusal.py` repeats it on any collection with questions.

use serde::Serialize;

use crate::{
    Hit,
    answer::{Answer, support::QuoteIndex},
    context::ContextPassage,
};

/// What retrieval says about a question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Assessment {
    /// Probability that the documents answer the question, 0..=1.
    pub score: f32,
    /// Whether to say so instead of asking the model.
    pub refuse: bool,
}

// Coefficients of the logistic model, fitted as told above.
const INTERCEPT: f32 = -4.936;
const DENSE: f32 = 5.709;
const DENSE_GAP: f32 = 5.242;
const AGREEMENT: f32 = 0.524;
const COVERAGE: f32 = 3.231;
const SENTENCE: f32 = 0.704;
const MISSING_FACTS: f32 = -3.634;

/// How many hits are looked at; the calibration used as many.
const NUM_HITS: usize = 5;

/// Below this probability the suite refuses without asking the model.
const REFUSE_BELOW: f32 = 0.3;

/// What the logistic model sees; all from the first [`NUM_HITS`] hits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Features {
    /// Highest cosine of question and passage.
    pub dense: f32,
    /// How far the best cosine is above the mean of the others.
    pub dense_gap: f32,
    /// 1 where both searches have the same best passage.
    pub agreement: f32,
    /// Share of the weight of the question's terms in the best passage, title and headings included.
    pub coverage: f32,
    /// Highest share of that weight in one sentence.
    pub sentence: f32,
    /// Share of the names and numbers of the question that no passage has; 0 for a question without any.
    pub missing_facts: f32,
}

impl Features {
    /// Measures the hits of a question, best first.
    pub fn of(question: &str, hits: &[Hit]) -> Self {
        let hits = &hits[..hits.len().min(NUM_HITS)];
        let best = |score: fn(&Hit) -> Option<f32>| {
            let scored = hits
                .iter()
                .enumerate()
                .filter_map(|(i, hit)| score(hit).map(|s| (i, s)));
            scored.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))
        };
        let (dense_best, bm25_best) = (best(|h| h.dense), best(|h| h.bm25));
        let (dense_idx, dense) = dense_best.unwrap_or((usize::MAX, 0.0));
        let others: Vec<f32> = hits
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != dense_idx)
            .filter_map(|(_, h)| h.dense)
            .collect();
        let mean = if others.is_empty() {
            dense
        } else {
            others.iter().sum::<f32>() / others.len() as f32
        };
        let agreement = matches!((dense_best, bm25_best), (Some((a, _)), Some((b, _))) if a == b);
        let context: Vec<ContextPassage> = hits
            .iter()
            .enumerate()
            .map(|(i, hit)| whole_hit(i + 1, hit))
            .collect();
        let index = QuoteIndex::new(question, &context);
        Self {
            dense,
            dense_gap: dense - mean,
            agreement: if agreement { 1.0 } else { 0.0 },
            coverage: if hits.is_empty() {
                0.0
            } else {
                index.question_coverage(0)
            },
            sentence: index
                .rank_for_question()
                .map(|s| s.inside)
                .fold(0.0, f32::max),
            missing_facts: index.missing_question_facts(),
        }
    }
}

/// A hit as a context passage of its own.
fn whole_hit(n: usize, hit: &Hit) -> ContextPassage {
    ContextPassage {
        n,
        hit: hit.clone(),
        text: hit.text.clone(),
        start: hit.start,
        end: hit.end,
        pages: Vec::new(),
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
        + SENTENCE * f.sentence
        + MISSING_FACTS * f.missing_facts;
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
