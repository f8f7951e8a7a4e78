//! Asking in a conversation, following the answer, stopping it.

use std::sync::Arc;

use axum::Extension;
use axum::Json as JsonResponse;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::Event as SseEvent;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use web_api::{AnswerEvent, AskRequest, AskStarted};

use super::super::error::{Failure, stopping};
use super::super::json::{Json, Query, number};
use super::super::question::{checked_collections, checked_question};
use super::super::sse;
use crate::auth::CurrentUser;
use crate::db::messages;
use crate::suite::Suite;

pub(crate) async fn ask(
    State(suite): State<Arc<Suite>>,
    Extension(user): Extension<CurrentUser>,
    Path(conversation_id): Path<String>,
    Json(request): Json<AskRequest>,
) -> Result<(StatusCode, JsonResponse<AskStarted>), Failure> {
    let question = checked_question(&request.question)?;
    checked_collections(&suite, &user, &request.collections).await?;
    let request = AskRequest {
        question,
        ..request
    };
    let (answer_id, conversation) = suite.start_answer(&user, &conversation_id, request).await?;
    Ok((
        StatusCode::ACCEPTED,
        JsonResponse(AskStarted {
            answer_id,
            conversation,
        }),
    ))
}

#[derive(Debug, Deserialize)]
pub(crate) struct EventsQuery {
    after: Option<String>,
}

pub(crate) async fn events(
    State(suite): State<Arc<Suite>>,
    Extension(user): Extension<CurrentUser>,
    Path(id): Path<String>,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    // A browser that reconnects by itself sends the header along with the query of the first connection.
    let last_seen = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok())
        .and_then(|id| id.parse().ok());
    let asked = number("after", query.after.as_deref())?;
    let after = last_seen.or(asked).unwrap_or(0);
    if let Some(running) = suite.answers.find(user.id, &id) {
        if running.is_over_after(after) {
            // To a browser's EventSource this status means: do not connect again.
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        let events = running
            .follow(after)
            .map(|(number, event)| numbered(number, &event));
        return Ok(sse::respond(&suite, events, vec![interrupted()]));
    }
    let message = suite
        .database
        .read(move |connection| messages::find(connection, user.id, &id))
        .await?
        .ok_or_else(|| Failure::not_found("answer"))?;
    let done = AnswerEvent::Done {
        message: Box::new(message),
    };
    let done = stream::iter([sse::json(&done).event(done.name())]);
    Ok(sse::respond(&suite, done, Vec::new()))
}

pub(crate) async fn stop(
    State(suite): State<Arc<Suite>>,
    Extension(user): Extension<CurrentUser>,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    if let Some(running) = suite.answers.find(user.id, &id) {
        running.stop();
        return Ok(StatusCode::NO_CONTENT);
    }
    let message = suite
        .database
        .read(move |connection| messages::find(connection, user.id, &id))
        .await?;
    // Stopping what has ended is no mistake: the two crossed on their way.
    message
        .map(|_| StatusCode::NO_CONTENT)
        .ok_or_else(|| Failure::not_found("answer"))
}

/// The last event of an answer that the server's stop cut off.
pub(super) fn interrupted() -> SseEvent {
    sse::last_word(stopping())
}

fn numbered(number: usize, event: &AnswerEvent) -> SseEvent {
    sse::json(event).event(event.name()).id(number.to_string())
}
