//! Conversations of the signed-in account.

use std::sync::Arc;

use axum::Extension;
use axum::Json as JsonResponse;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use web_api::{
    Conversation, ConversationDetail, ConversationHit, CreateConversation, RenameConversation,
};

use super::super::error::Failure;
use super::super::json::{Json, Query};
use crate::auth::CurrentUser;
use crate::db::{conversations, messages};
use crate::security;
use crate::suite::Suite;

const TITLE_MAX_CHARS: usize = 200;

#[derive(Debug, Deserialize)]
pub(crate) struct ListQuery {
    #[serde(default)]
    query: String,
}

pub(crate) async fn list(
    State(suite): State<Arc<Suite>>,
    Extension(user): Extension<CurrentUser>,
    Query(ListQuery { query }): Query<ListQuery>,
) -> Result<JsonResponse<Vec<ConversationHit>>, Failure> {
    let hits = suite
        .database
        .read(move |connection| {
            if !query.trim().is_empty() {
                return conversations::search(connection, user.id, &query);
            }
            let all = conversations::list(connection, user.id)?;
            Ok(all
                .into_iter()
                .map(|conversation| ConversationHit {
                    conversation,
                    snippet: None,
                })
                .collect())
        })
        .await?;
    Ok(JsonResponse(hits))
}

pub(crate) async fn create(
    State(suite): State<Arc<Suite>>,
    Extension(user): Extension<CurrentUser>,
    Json(request): Json<CreateConversation>,
) -> Result<(StatusCode, JsonResponse<Conversation>), Failure> {
    let title = match request.title {
        Some(title) => checked_title(&title)?,
        None => String::new(),
    };
    let created = suite
        .database
        .write(move |transaction| conversations::insert(transaction, user.id, &title))
        .await?;
    Ok((StatusCode::CREATED, JsonResponse(created)))
}

pub(crate) async fn detail(
    State(suite): State<Arc<Suite>>,
    Extension(user): Extension<CurrentUser>,
    Path(id): Path<String>,
) -> Result<JsonResponse<ConversationDetail>, Failure> {
    let found = suite
        .database
        .read(move |connection| {
            let Some(conversation) = conversations::find(connection, user.id, &id)? else {
                return Ok(None);
            };
            let messages = messages::list(connection, user.id, &id)?;
            Ok(Some(ConversationDetail {
                conversation,
                messages,
            }))
        })
        .await?;
    found
        .map(JsonResponse)
        .ok_or_else(|| Failure::not_found("conversation"))
}

pub(crate) async fn rename(
    State(suite): State<Arc<Suite>>,
    Extension(user): Extension<CurrentUser>,
    Path(id): Path<String>,
    Json(request): Json<RenameConversation>,
) -> Result<JsonResponse<Conversation>, Failure> {
    let title = checked_title(&request.title)?;
    let renamed = suite
        .database
        .write(move |transaction| {
            if !conversations::rename(transaction, user.id, &id, &title)? {
                return Ok(None);
            }
            conversations::find(transaction, user.id, &id)
        })
        .await?;
    renamed
        .map(JsonResponse)
        .ok_or_else(|| Failure::not_found("conversation"))
}

pub(crate) async fn delete(
    State(suite): State<Arc<Suite>>,
    Extension(user): Extension<CurrentUser>,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    let (owner, lookup) = (user.id, id.clone());
    let running = suite
        .database
        .write(move |transaction| {
            let messages = messages::list(transaction, owner, &lookup)?;
            Ok(conversations::delete(transaction, owner, &lookup)?.then_some(messages))
        })
        .await?
        .ok_or_else(|| Failure::not_found("conversation"))?;
    for message in running {
        if let Some(running) = suite.answers.find(user.id, &message.id) {
            running.stop();
        }
    }
    suite.answers.forget_events();
    suite.database.forget().await?;
    security::conversation_deleted(&user.actor(), &id);
    Ok(StatusCode::NO_CONTENT)
}

fn checked_title(title: &str) -> Result<String, Failure> {
    let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
    let characters = title.chars().count();
    if (1..=TITLE_MAX_CHARS).contains(&characters) {
        return Ok(title);
    }
    Err(Failure::invalid_param(
        "title",
        format!("A title has 1 to {TITLE_MAX_CHARS} characters; this one has {characters}."),
    ))
}
