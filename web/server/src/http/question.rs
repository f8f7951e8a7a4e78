//! The question of a request and the collections that it is asked of.

use std::sync::Arc;

use rag::{CollectionId, LibraryError};

use super::error::Failure;
use crate::auth::CurrentUser;
use crate::suite::Suite;

/// Longest question, in characters. A question is not a document.
const QUESTION_MAX_CHARS: usize = 4000;

/// The question without surrounding space.
pub(super) fn checked_question(question: &str) -> Result<String, Failure> {
    let question = question.trim();
    let characters = question.chars().count();
    if characters == 0 {
        return Err(Failure::invalid_param(
            "question",
            "The question is empty. Type one and send it again.",
        ));
    }
    if characters > QUESTION_MAX_CHARS {
        return Err(Failure::invalid_param(
            "question",
            format!(
                "The question has {characters} characters; at most {QUESTION_MAX_CHARS} are accepted. Shorten it."
            ),
        ));
    }
    Ok(question.to_owned())
}

/// Ids of collections that the account may ask. Any other id is one that does not exist.
pub(super) async fn checked_collections(
    suite: &Arc<Suite>,
    user: &CurrentUser,
    ids: &[i64],
) -> Result<(), Failure> {
    let (scope, ids) = (suite.scope_of(user), ids.to_vec());
    suite
        .with_library(move |library| {
            let known = library.collections(&scope)?;
            if ids
                .iter()
                .all(|id| known.iter().any(|collection| collection.id.0 == *id))
            {
                Ok(())
            } else {
                Err(Failure::not_found("collection"))
            }
        })
        .await
}

/// Collections by name that the account may ask.
pub(super) async fn named_collections(
    suite: &Arc<Suite>,
    user: &CurrentUser,
    names: Vec<String>,
) -> Result<Vec<CollectionId>, Failure> {
    let scope = suite.scope_of(user);
    suite
        .with_library(move |library| {
            let id = |name: String| match library.collection_by_name(&scope, &name) {
                Ok(collection) => Ok(collection.id),
                Err(LibraryError::UnknownCollection { .. }) => Err(Failure {
                    param: Some("collections"),
                    message: format!("There is no collection `{name}`."),
                    ..Failure::not_found("collection")
                }),
                Err(error) => Err(error.into()),
            };
            names.into_iter().map(id).collect()
        })
        .await
}
