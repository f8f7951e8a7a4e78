//! Collections: list, create, delete.

use std::sync::Arc;

use axum::Extension;
use axum::Json as JsonResponse;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use rag::{CollectionId, CollectionInfo};
use web_api::{Collection, CreateCollection};

use super::super::error::Failure;
use super::super::json::Json;
use super::numeric_id;
use crate::auth::CurrentUser;
use crate::security;
use crate::suite::Suite;

pub(crate) async fn list(
    State(suite): State<Arc<Suite>>,
    Extension(user): Extension<CurrentUser>,
) -> Result<JsonResponse<Vec<Collection>>, Failure> {
    let scope = suite.scope_of(&user);
    let collections = suite
        .with_library(move |library| library.collections(&scope))
        .await?;
    Ok(JsonResponse(
        collections.into_iter().map(collection).collect(),
    ))
}

pub(crate) async fn create(
    State(suite): State<Arc<Suite>>,
    Json(request): Json<CreateCollection>,
) -> Result<(StatusCode, JsonResponse<Collection>), Failure> {
    let name = request.name.trim().to_owned();
    let created = suite
        .with_library(move |library| library.create_collection(&name))
        .await?;
    Ok((StatusCode::CREATED, JsonResponse(collection(created))))
}

pub(crate) async fn delete(
    State(suite): State<Arc<Suite>>,
    Extension(user): Extension<CurrentUser>,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    let id = CollectionId(numeric_id(&id, "collection")?);
    suite
        .with_library(move |library| library.delete_collection(id))
        .await?;
    security::collection_deleted(&user.actor(), id.0);
    suite.forget_removed_words().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A collection as it is sent.
pub(super) fn collection(info: CollectionInfo) -> Collection {
    Collection {
        id: info.id.0,
        name: info.name,
        documents: info.documents.saturating_sub(info.failed) as u64,
        passages: info.passages as u64,
        failed: info.failed as u64,
        updated_at: Some(info.updated_at.saturating_mul(1000)),
    }
}
