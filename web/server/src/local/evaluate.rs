//! `cloister eval`: retrieval metrics, and with the model answers, citations and refusals.
//!
//! Unanswerable questions come for free: each question is searched again as if its document were not there.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use inference::Priority;
use rag::eval::{
    EvalQuestion, RetrievalMetrics, answer_contains, evaluate_retrieval, refusal_metrics,
};
use rag::{AccessScope, CollectionId, DocumentId, LibraryError, SearchRequest};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::error::LocalError;
use super::protocol::LocalEvent;
use crate::model::ModelError;
use crate::suite::Suite;
use crate::suite::ask::{Ask, AskError, Ending, Outcome, WhenBusy};

/// Questions answered at once: the engine computes them as one batch.
const ANSWERS_AT_ONCE: usize = 4;

pub(super) async fn evaluate(
    suite: &Arc<Suite>,
    questions: Vec<EvalQuestion>,
    collection: &str,
    retrieval_only: bool,
    events: &mpsc::Sender<LocalEvent>,
) -> Result<Value, LocalError> {
    if questions.is_empty() {
        return Err(LocalError::user("the file has no questions", None));
    }
    let collection = suite.owner_collections(vec![collection.to_owned()]).await?[0];
    let questions = Arc::new(questions);
    let documents = documents_of(suite, collection, &questions).await?;
    let retrieval = retrieval(suite, collection, &questions, events).await?;
    let mut report = serde_json::to_value(&retrieval).unwrap_or_default();
    let Some(fields) = report.as_object_mut() else {
        return Ok(report);
    };
    if retrieval_only {
        for name in ["answer_contains", "citation_precision", "refusal"] {
            fields.insert(name.to_owned(), Value::Null);
        }
        return Ok(report);
    }

    let answered = answer_all(suite, collection, &questions, events).await?;
    let without_gold = judge_without_gold(suite, collection, &questions, documents, events).await?;
    let with_gold: Vec<(f32, bool)> = answered
        .iter()
        .map(|outcome| (outcome.support, outcome.answer.refused))
        .collect();
    let refusal = refusal_metrics(&with_gold, &without_gold);
    for (name, value) in answer_metrics(&questions, &answered) {
        fields.insert(name.to_owned(), value);
    }
    fields.insert("refusal".to_owned(), json!(refusal));
    fields.insert("details".to_owned(), details(&questions, &answered));
    fields.insert(
        "model".to_owned(),
        json!(suite.model.as_ref().map(|model| model.name())),
    );
    fields.insert("prompt_version".to_owned(), json!(rag::PROMPT_VERSION));
    Ok(report)
}

/// Ids of the golden documents. A path that the collection does not have is the user's mistake, and a costly one.
async fn documents_of(
    suite: &Suite,
    collection: CollectionId,
    questions: &[EvalQuestion],
) -> Result<HashMap<String, DocumentId>, LocalError> {
    let documents = suite
        .with_library(move |library| library.documents(&AccessScope::all(), collection))
        .await?;
    let documents: HashMap<String, DocumentId> = documents
        .into_iter()
        .map(|document| (document.path, document.id))
        .collect();
    match questions
        .iter()
        .find(|question| !documents.contains_key(&question.document))
    {
        None => Ok(documents),
        Some(question) => Err(LocalError::user(
            format!(
                "the collection has no document `{}`; paths are relative to the ingested folder",
                question.document
            ),
            Some("cloister ingest FOLDER --collection NAME"),
        )),
    }
}

async fn retrieval(
    suite: &Suite,
    collection: CollectionId,
    questions: &Arc<Vec<EvalQuestion>>,
    events: &mpsc::Sender<LocalEvent>,
) -> Result<RetrievalMetrics, LocalError> {
    let (questions, events) = (Arc::clone(questions), events.clone());
    let metrics = suite
        .with_library(move |library| {
            let mut on_question =
                |index| report_progress(&events, "retrieval", index + 1, questions.len());
            evaluate_retrieval(
                library,
                &AccessScope::all(),
                collection,
                &questions,
                &mut on_question,
            )
        })
        .await?;
    Ok(metrics)
}

async fn answer_all(
    suite: &Arc<Suite>,
    collection: CollectionId,
    questions: &[EvalQuestion],
    events: &mpsc::Sender<LocalEvent>,
) -> Result<Vec<Outcome>, LocalError> {
    let asks: Vec<Ask> = questions
        .iter()
        .map(|question| Ask {
            collections: vec![collection],
            priority: Priority::Batch,
            when_busy: WhenBusy::Fail,
            ..Ask::new(question.question.clone(), AccessScope::all())
        })
        .collect();
    let answers = stream::iter(asks)
        .map(|ask| answer_patiently(Arc::clone(suite), ask))
        .buffered(ANSWERS_AT_ONCE);
    let mut answers = Box::pin(answers);
    let mut outcomes = Vec::with_capacity(questions.len());
    while let Some(outcome) = answers.next().await {
        outcomes.push(outcome?);
        report_progress(events, "answers", outcomes.len(), questions.len());
    }
    Ok(outcomes)
}

/// Employees come first: when the queue is full, an evaluation waits and tries again.
async fn answer_patiently(suite: Arc<Suite>, ask: Ask) -> Result<Outcome, AskError> {
    loop {
        let (_never, stop) = watch::channel(false);
        match suite.ask(ask.clone(), stop, &mut |_| {}).await {
            Err(AskError::Model(ModelError::Overloaded { retry_after, .. })) => {
                tokio::time::sleep(retry_after.max(Duration::from_millis(200))).await;
            }
            other => return other,
        }
    }
}

/// `(support, refused)` of every question with its document left out, as the search and its judgement see it.
async fn judge_without_gold(
    suite: &Suite,
    collection: CollectionId,
    questions: &Arc<Vec<EvalQuestion>>,
    documents: HashMap<String, DocumentId>,
    events: &mpsc::Sender<LocalEvent>,
) -> Result<Vec<(f32, bool)>, LocalError> {
    let (questions, events, k) = (Arc::clone(questions), events.clone(), suite.config.search_k);
    let judged = suite
        .with_library(move |library| {
            let mut judged = Vec::with_capacity(questions.len());
            for question in questions.iter() {
                let request = SearchRequest {
                    query: question.question.clone(),
                    collections: vec![collection],
                    k,
                    exclude: documents
                        .get(&question.document)
                        .copied()
                        .into_iter()
                        .collect(),
                };
                let assessment = rag::assess(
                    &question.question,
                    &library.search(&AccessScope::all(), &request)?,
                );
                judged.push((assessment.score, assessment.refuse));
                report_progress(&events, "refusal", judged.len(), questions.len());
            }
            Ok::<_, LibraryError>(judged)
        })
        .await?;
    Ok(judged)
}

fn answer_metrics(questions: &[EvalQuestion], outcomes: &[Outcome]) -> Vec<(&'static str, Value)> {
    let pairs = || questions.iter().zip(outcomes);
    let cites_gold = |question: &EvalQuestion, outcome: &Outcome| {
        outcome
            .answer
            .citations
            .iter()
            .any(|citation| citation.path == question.document)
    };
    let with_answer: Vec<f64> = pairs()
        .filter(|(question, _)| !question.answer.is_empty())
        .map(|(question, outcome)| {
            share_of(answer_contains(&outcome.answer.text, &question.answer))
        })
        .collect();
    let precision: Vec<f64> = pairs()
        .filter_map(|(question, outcome)| {
            let cited = outcome
                .answer
                .citations
                .iter()
                .map(|citation| citation.path.as_str());
            rag::eval::citation_precision(cited, &question.document)
        })
        .collect();
    let cited: Vec<f64> = pairs()
        .map(|(question, outcome)| share_of(cites_gold(question, outcome)))
        .collect();
    let cited_page: Vec<f64> = pairs()
        .filter(|(question, _)| !question.pages.is_empty())
        .map(|(question, outcome)| share_of(cites_page(question, outcome)))
        .collect();
    let broken: Vec<f64> = outcomes
        .iter()
        .map(|outcome| share_of(matches!(outcome.ending, Ending::Broken { .. })))
        .collect();
    let seconds: Vec<f64> = outcomes
        .iter()
        .map(|outcome| outcome.timings.total_ms / 1000.0)
        .collect();
    vec![
        ("answer_contains", json!(mean(&with_answer))),
        ("citation_precision", json!(mean(&precision))),
        ("cites_document", json!(mean(&cited))),
        ("cites_page", json!(mean(&cited_page))),
        ("broken_off", json!(mean(&broken))),
        ("answer_seconds", json!(mean(&seconds))),
    ]
}

/// Whether a citation is to one of the pages of the document that answer the question.
fn cites_page(question: &EvalQuestion, outcome: &Outcome) -> bool {
    outcome.answer.citations.iter().any(|citation| {
        citation.path == question.document
            && citation
                .page
                .is_some_and(|page| question.pages.contains(&page))
    })
}

/// What happened to each question, for a closer look at the mistakes.
fn details(questions: &[EvalQuestion], outcomes: &[Outcome]) -> Value {
    let details = questions.iter().zip(outcomes).map(|(question, outcome)| {
        let cited: Vec<&str> = outcome
            .answer
            .citations
            .iter()
            .map(|citation| citation.path.as_str())
            .collect();
        json!({
            "question": question.question,
            "document": question.document,
            "answer": outcome.answer.text,
            "contains": answer_contains(&outcome.answer.text, &question.answer),
            "refused": outcome.answer.refused,
            "cited": cited,
            "pages": outcome.answer.citations.iter().map(|citation| citation.page).collect::<Vec<_>>(),
            "accepted": question.answer,
            "found": outcome.sources.iter().map(|source| source.path.as_str()).collect::<Vec<_>>(),
            "support": outcome.support,
            "seconds": outcome.timings.total_ms / 1000.0,
        })
    });
    details.collect()
}

fn share_of(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

/// `None` of nothing, which JSON shows as null and not as a perfect or a failed score.
fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn report_progress(events: &mpsc::Sender<LocalEvent>, stage: &str, done: usize, total: usize) {
    // A slow reader misses steps of the bar and nothing else.
    let _ = events.try_send(LocalEvent::Progress {
        stage: stage.to_owned(),
        done: done as u64,
        total: total as u64,
        message: String::new(),
    });
}
