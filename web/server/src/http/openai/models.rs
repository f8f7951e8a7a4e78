//! `GET /v1/models`: the language model, if any, and the embedding model.

use std::sync::Arc;

use axum::Json as JsonResponse;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use web_api::openai::{Model, ModelList};

use super::super::error::{Failure, OpenAiFailure};
use crate::suite::Suite;

pub(crate) async fn list(State(suite): State<Arc<Suite>>) -> JsonResponse<ModelList> {
    JsonResponse(ModelList {
        object: "list".to_owned(),
        data: models(&suite),
    })
}

pub(crate) async fn one(
    State(suite): State<Arc<Suite>>,
    Path(id): Path<String>,
) -> Result<JsonResponse<Model>, OpenAiFailure> {
    models(&suite)
        .into_iter()
        .find(|model| model.id == id)
        .map(JsonResponse)
        .ok_or_else(|| {
            OpenAiFailure(Failure::new(
                StatusCode::NOT_FOUND,
                "model_not_found",
                "There is no such model (see GET /v1/models).",
            ))
        })
}

fn models(suite: &Suite) -> Vec<Model> {
    let language_model = suite.model.as_ref().map(|model| model.name().to_owned());
    language_model
        .into_iter()
        .chain([suite.embedder.name().to_owned()])
        .map(|id| Model {
            id,
            object: "model".to_owned(),
            created: 0,
            owned_by: "cloister".to_owned(),
        })
        .collect()
}
