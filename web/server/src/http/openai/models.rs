//! `GET /v1/models`: the language model, if any, the embedding model, and the other names that the configuration gives them.

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
    let id = id.trim_end_matches('/');
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
    let language_model = suite
        .model
        .as_ref()
        .map(|model| own_name(model.name(), model.created(), model.context_len()));
    let embedder = &suite.embedder;
    let mut models: Vec<Model> = language_model.into_iter().collect();
    models.push(own_name(
        embedder.name(),
        suite.config.embedder_created,
        embedder
            .max_tokens()
            .saturating_sub(embedder.num_frame_tokens()),
    ));
    let aliases = suite.config.model_aliases.iter();
    let aliases = aliases.filter_map(|(alias, name)| {
        let model = models.iter().find(|model| model.id == *name)?;
        Some(Model {
            id: alias.clone(),
            root: Some(name.clone()),
            ..model.clone()
        })
    });
    let aliases: Vec<Model> = aliases.collect();
    models.extend(aliases);
    models
}

fn own_name(name: &str, created: i64, context_length: usize) -> Model {
    Model {
        id: name.to_owned(),
        object: "model".to_owned(),
        created,
        owned_by: "cloister".to_owned(),
        context_length,
        root: None,
    }
}
