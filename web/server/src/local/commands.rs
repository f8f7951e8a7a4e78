//! The commands of the owner of the machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt;
use rag::{
    AccessScope, CollectionId, IngestProgress, IngestRequest, IngestStage, LibraryError,
    SearchRequest,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use web_api::AnswerEvent;

use super::error::LocalError;
use super::evaluate;
use super::protocol::{LocalErrorKind, LocalEvent, LocalRequest};
use crate::db::users::User;
use crate::db::{conversations, keys, users};
use crate::security::{self, Actor};
use crate::suite::Suite;
use crate::suite::ask::{Ask, Ending};
use crate::suite::ask_stream::{Item, ask_stream};

/// Does one command. The last event is [`LocalEvent::Output`] or [`LocalEvent::Error`]. Dropping the future, or the
/// receiver of the events, cancels the command.
pub async fn run_local(
    suite: &Arc<Suite>,
    request: LocalRequest,
    events: mpsc::Sender<LocalEvent>,
) {
    let work = run(suite, request, &events);
    let result = tokio::select! {
        result = work => result,
        () = events.closed() => return,
    };
    let last = match result {
        Ok(value) => LocalEvent::Output { value },
        Err(error) => {
            if error.kind == LocalErrorKind::Internal {
                tracing::error!(cause = error.message, "a local command failed");
            }
            LocalEvent::Error {
                kind: error.kind,
                message: error.message,
                hint: error.hint,
            }
        }
    };
    // A receiver that is gone does not want it.
    let _ = events.send(last).await;
}

async fn run(
    suite: &Arc<Suite>,
    request: LocalRequest,
    events: &mpsc::Sender<LocalEvent>,
) -> Result<Value, LocalError> {
    match request {
        LocalRequest::Ingest {
            paths,
            collection,
            full,
        } => {
            let request = IngestRequest {
                collection,
                paths,
                full,
            };
            ingest(suite, request, events).await
        }
        LocalRequest::Ask {
            question,
            collections,
            quote_only,
        } => {
            let ask = Ask {
                collections: suite.owner_collections(collections).await?,
                quote_only,
                ..Ask::new(question, AccessScope::all())
            };
            answer(suite, ask, events).await
        }
        LocalRequest::Search {
            query,
            collections,
            k,
        } => search(suite, query, collections, k).await,
        LocalRequest::Eval {
            questions,
            collection,
            retrieval_only,
        } => evaluate::evaluate(suite, questions, &collection, retrieval_only, events).await,
        LocalRequest::UserAdd {
            email,
            role,
            password,
        } => {
            let user = suite.add_user(&email, role, &password.0).await?;
            Ok(json!({ "id": user.id.0, "email": user.email, "role": user.role }))
        }
        LocalRequest::UserList => {
            let users = suite.database.read(users::list).await?;
            Ok(json!({ "users": users.iter().map(user_json).collect::<Vec<_>>() }))
        }
        LocalRequest::UserSuspend { email } => Ok(user_json(&suite.suspend_user(&email).await?)),
        LocalRequest::UserResume { email } => Ok(user_json(&suite.resume_user(&email).await?)),
        LocalRequest::UserRemove { email } => {
            let (user, conversations) = suite.remove_user(&email).await?;
            Ok(json!({ "email": user.email, "removed": true, "conversations": conversations }))
        }
        LocalRequest::UserPassword { email, password } => {
            let (user, ended, keys) = suite.set_password(&email, &password.0).await?;
            Ok(json!({
                "email": user.email, "password_set": true, "sessions_ended": ended, "keys_valid": keys,
            }))
        }
        LocalRequest::KeyCreate { user_email, name } => {
            let created = suite.add_key(&user_email, &name).await?;
            Ok(json!({ "id": created.id, "key": created.key, "name": name, "email": user_email }))
        }
        LocalRequest::KeyList => Ok(json!({ "keys": suite.database.read(keys::list).await? })),
        LocalRequest::KeyRevoke { id } => {
            revoke_key(suite, id).await?;
            Ok(json!({ "id": id, "revoked": true }))
        }
        LocalRequest::Status => status(suite).await,
        LocalRequest::Collections => {
            let collections = suite
                .with_library(|library| library.collections(&AccessScope::all()))
                .await?;
            Ok(json!({ "collections": collections }))
        }
        LocalRequest::CollectionDelete { name } => {
            delete_collection(suite, &name).await?;
            Ok(json!({ "name": name, "deleted": true }))
        }
        LocalRequest::Documents { collection } => {
            let id = suite.owner_collection(&collection).await?;
            let documents = suite
                .with_library(move |library| library.documents(&AccessScope::all(), id))
                .await?;
            Ok(json!({ "collection": collection, "documents": documents }))
        }
    }
}

async fn revoke_key(suite: &Suite, id: i64) -> Result<(), LocalError> {
    let owner = suite
        .database
        .write(move |transaction| keys::revoke(transaction, id))
        .await?;
    let owner = owner.ok_or_else(|| {
        LocalError::user(
            format!("there is no API key {id}"),
            Some("cloister key list"),
        )
    })?;
    suite.revocations.announce();
    security::key_revoked(&owner, id);
    Ok(())
}

async fn delete_collection(suite: &Arc<Suite>, name: &str) -> Result<(), LocalError> {
    let id = suite.owner_collection(name).await?;
    suite
        .with_library(move |library| library.delete_collection(id))
        .await?;
    security::collection_deleted(&Actor::owner(), id.0);
    suite.forget_removed_words().await?;
    Ok(())
}

fn user_json(user: &User) -> Value {
    json!({ "id": user.id.0, "email": user.email, "role": user.role, "suspended": user.suspended })
}

impl Suite {
    async fn owner_collection(&self, name: &str) -> Result<CollectionId, LocalError> {
        let wanted = name.to_owned();
        let found = self
            .with_library(move |library| library.collection_by_name(&AccessScope::all(), &wanted))
            .await;
        match found {
            Err(LibraryError::UnknownCollection { .. }) => {
                Err(self.unknown_collection(name).await?)
            }
            found => Ok(found?.id),
        }
    }

    /// Names the collections there are: the wanted one is often among them, spelled differently.
    async fn unknown_collection(&self, name: &str) -> Result<LocalError, LocalError> {
        let collections = self
            .with_library(|library| library.collections(&AccessScope::all()))
            .await?;
        let names: Vec<String> = collections.into_iter().map(|found| found.name).collect();
        Ok(match names.is_empty() {
            true => LocalError::user(
                format!("there is no collection `{name}`, and no other either"),
                Some("cloister ingest FOLDER --collection NAME"),
            ),
            false => LocalError::user(
                format!(
                    "there is no collection `{name}`; there are: {}",
                    names.join(", ")
                ),
                Some("cloister collection list"),
            ),
        })
    }

    pub(super) async fn owner_collections(
        &self,
        names: Vec<String>,
    ) -> Result<Vec<CollectionId>, LocalError> {
        let mut ids = Vec::with_capacity(names.len());
        for name in names {
            ids.push(self.owner_collection(&name).await?);
        }
        Ok(ids)
    }
}

/// Sets the flag when it is dropped, which is how blocking work learns that its future was.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn ingest(
    suite: &Arc<Suite>,
    request: IngestRequest,
    events: &mpsc::Sender<LocalEvent>,
) -> Result<Value, LocalError> {
    let cancel = Arc::new(AtomicBool::new(false));
    let _guard = CancelOnDrop(Arc::clone(&cancel));
    let events = events.clone();
    let report = suite
        .with_library(move |library| {
            let mut progress = |progress: IngestProgress| {
                // Progress may be skipped when the reader is slow; a reader that is gone cancels through the guard.
                let _ = events.try_send(LocalEvent::Progress {
                    stage: stage_name(progress.stage).to_owned(),
                    done: progress.done as u64,
                    total: progress.total as u64,
                    message: progress.current.unwrap_or_default(),
                });
            };
            library.ingest(&request, &mut progress, &cancel)
        })
        .await?;
    suite.forget_removed_words().await?;
    serde_json::to_value(report).map_err(|error| LocalError::internal(&error))
}

fn stage_name(stage: IngestStage) -> &'static str {
    match stage {
        IngestStage::Scan => "scan",
        IngestStage::Extract => "extract",
        IngestStage::Embed => "embed",
        IngestStage::Store => "store",
    }
}

async fn answer(
    suite: &Arc<Suite>,
    ask: Ask,
    events: &mpsc::Sender<LocalEvent>,
) -> Result<Value, LocalError> {
    if ask.question.trim().is_empty() {
        return Err(LocalError::user("the question is empty", None));
    }
    let mut items = Box::pin(ask_stream(Arc::clone(suite), ask));
    while let Some(item) = items.next().await {
        let event = match item {
            Item::Event(AnswerEvent::Status { text }) => LocalEvent::Progress {
                stage: "ask".to_owned(),
                done: 0,
                total: 0,
                message: text,
            },
            Item::Event(AnswerEvent::Delta { text }) => LocalEvent::Delta { text },
            Item::Event(_) => continue,
            Item::End(result) => {
                let outcome = *result?;
                if let Ending::Broken { reason } = &outcome.ending {
                    return Err(LocalError::internal(reason));
                }
                return Ok(answer_json(&outcome));
            }
        };
        // A reader that is gone is noticed by `run_local`.
        let _ = events.send(event).await;
    }
    Err(LocalError::internal(&"the answer was interrupted"))
}

/// The JSON of the command contract. `document` is the path, as in `search` and in evaluation files.
pub(super) fn answer_json(outcome: &crate::suite::ask::Outcome) -> Value {
    let citations: Vec<Value> = outcome
        .citations()
        .into_iter()
        .map(|found| {
            json!({
                "n": found.n, "document": found.path, "document_id": found.document, "title": found.title,
                "page": found.page, "quote": found.quote, "start": found.start, "end": found.end,
            })
        })
        .collect();
    json!({
        "answer": outcome.answer.text,
        "refused": outcome.answer.refused,
        "citations": citations,
        "unsupported": outcome.answer.unsupported,
        "mode": outcome.mode,
        "notice": outcome.notice,
        "model": outcome.model,
        "prompt_version": rag::PROMPT_VERSION,
        "support": outcome.support,
        "sources": outcome.sources,
        "usage": outcome.usage,
        "timings": outcome.timings,
    })
}

async fn search(
    suite: &Arc<Suite>,
    query: String,
    collections: Vec<String>,
    k: usize,
) -> Result<Value, LocalError> {
    let collections = suite.owner_collections(collections).await?;
    let request = SearchRequest {
        query,
        collections,
        k,
        ..SearchRequest::default()
    };
    let hits = suite
        .with_library(move |library| library.search(&AccessScope::all(), &request))
        .await?;
    let hits: Vec<Value> = hits
        .into_iter()
        .map(|hit| {
            json!({
                "document": hit.path, "document_id": hit.document, "collection_id": hit.collection, "title": hit.title,
                "page": hit.page, "heading": hit.heading, "start": hit.start, "end": hit.end, "text": hit.text,
                "score": hit.score, "dense": hit.dense, "bm25": hit.bm25,
            })
        })
        .collect();
    Ok(json!({ "hits": hits }))
}

async fn status(suite: &Arc<Suite>) -> Result<Value, LocalError> {
    let (users, conversations) = suite
        .database
        .read(|connection| Ok((users::list(connection)?, conversations::count(connection)?)))
        .await?;
    let collections = suite
        .with_library(|library| library.collections(&AccessScope::all()))
        .await?;
    let engine = suite.model.as_ref().map(|model| {
        let stats = model.stats();
        json!({
            "running": stats.running, "waiting": stats.waiting, "free_blocks": stats.free_blocks,
            "num_blocks": stats.num_blocks, "generated_tokens_total": stats.generated_tokens_total,
        })
    });
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "data_dir": suite.config.data_dir,
        "model": suite.model.as_ref().map(|model| model.name()),
        "embedder": suite.embedder.name(),
        "users": users.len(),
        "admins": users.iter().filter(|user| user.role == web_api::Role::Admin).count(),
        "conversations": conversations,
        "collections": collections,
        "answers_running": suite.answers.running(),
        "engine": engine,
    }))
}
