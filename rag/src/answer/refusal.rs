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
//! | **.15** | **.020** | **.046** | **.400** | **.874** |
//! | .20 | .021 | .057 | .472 | .913 |
//! | .30 | .033 | .106 | .538 | .948 |
//! | .40 | .049 | .165 | .636 | .975 |
//!
//! AUROC .924 (paragraph out: four paragraphs about the same subject remain) and .992 (article out). Without the second
//! kind of positives .937 and .990, but .17 of the questions with other words would be refused below .15. Employees ask
//! with other words ("sick" for "illness" scores .22 on the sample documents), hence the low threshold.
//! `scripts/calibrate-refusal.py` repeats it on any collection with questions.

use serde::Serialize;

use crate::answer::context::ContextPassage;
use crate::answer::notices::Notices;
use crate::answer::support::QuoteIndex;
use crate::answer::types::Answer;
use crate::library::search::Hit;

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

/// How many titles a refusal names.
const MAX_TITLES: usize = 3;

/// Below this probability the suite refuses without asking the model.
const REFUSE_BELOW: f32 = 0.15;

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
        table_head: None,
        pages: Vec::new(),
        sections: Vec::new(),
        title_is_heading: false,
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

/// The answer that says that the documents do not answer, in the language of the question, naming the closest ones.
pub fn refusal(question: &str, hits: &[Hit]) -> Answer {
    let mut titles: Vec<&str> = Vec::new();
    for hit in hits {
        if !titles.contains(&hit.title.as_str()) && titles.len() < MAX_TITLES {
            titles.push(&hit.title);
        }
    }
    let notices = Notices::for_question(question, hits.iter().map(|hit| hit.text.as_str()));
    Answer {
        text: notices.refusal_with_titles(&titles),
        refused: true,
        ..Answer::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::tests::context;

    /// The hits of a search, with a cosine and a BM25 score each.
    fn hits(passages: &[(&str, &str, f32, Option<f32>)]) -> Vec<Hit> {
        let texts: Vec<(&str, &str)> = passages
            .iter()
            .map(|(title, text, ..)| (*title, *text))
            .collect();
        let found = context(&texts).into_iter().zip(passages);
        found
            .map(|(p, &(.., dense, bm25))| Hit {
                dense: Some(dense),
                bm25,
                ..p.hit
            })
            .collect()
    }

    const LEAVE: &str = "Every employee has 29 days of paid leave per calendar year.";
    const ILLNESS: &str =
        "Employees who are ill inform their team lead before 9:00 on the first day.";
    const TRAVEL: &str = "Trips below 500 km are made by train.";

    #[test]
    fn questions_with_an_answer_pass_and_others_are_refused() {
        let table = [
            (
                "How many days of paid leave does an employee have?",
                [0.72, 0.35, 0.1],
                true,
            ),
            ("What do I do when I am sick?", [0.2, 0.42, 0.05], true),
            ("Who is the CEO of Microsoft?", [0.08, 0.1, 0.02], false),
            ("What is the capital of France?", [0.02, 0.03, 0.12], false),
        ];
        for (question, dense, answered) in table {
            let bm25 = answered.then_some(3.0);
            let hits = hits(&[
                ("Leave", LEAVE, dense[0], bm25),
                ("Illness", ILLNESS, dense[1], None),
                ("Travel", TRAVEL, dense[2], None),
            ]);
            let assessment = assess(question, &hits);
            assert!((0.0..=1.0).contains(&assessment.score));
            assert_eq!(
                !assessment.refuse,
                answered,
                "{question}: {assessment:?} {:?}",
                Features::of(question, &hits)
            );
        }
        assert!(assess("Anything?", &[]).refuse);
    }

    #[test]
    fn a_name_or_number_that_no_passage_has_lowers_the_score() {
        let hits = hits(&[(
            "Travel",
            "The Fernhill office in Leiden opened in 2019.",
            0.5,
            Some(2.0),
        )]);
        let score = |question: &str| assess(question, &hits).score;
        assert!(
            score("When did the Leiden office open?") > score("When did the Boston office open?")
        );
        assert!(score("Which office opened in 2019?") > score("Which office opened in 2018?"));
    }

    #[test]
    fn a_refusal_names_the_closest_documents_once() {
        let hits = hits(&[
            ("A", "x", 0.1, None),
            ("A", "y", 0.1, None),
            ("B", "z", 0.1, None),
            ("C", "z", 0.1, None),
            ("D", "z", 0.1, None),
        ]);
        let answer = refusal("Who won?", &hits);
        assert!(answer.refused && answer.citations.is_empty());
        assert_eq!(
            answer.text,
            "The documents do not seem to answer this question. The closest passages are in: A; B; C."
        );
    }
}
