//! `POST /api/ask-docs`: one question, one answer, nothing stored.

use std::sync::Arc;

use axum::Extension;
use axum::Json as JsonResponse;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use inference::Priority;
use web_api::{AnswerEvent, AskDocsRequest, AskDocsResponse, AskRequest, Message};

use super::super::error::{Failure, sentence};
use super::super::json::Json;
use super::super::question::{checked_question, named_collections};
use super::super::sse;
use crate::auth::CurrentUser;
use crate::db::{UserId, now_ms};
use crate::suite::Suite;
use crate::suite::ask::{Ask, Ending, Outcome, WhenBusy};
use crate::suite::ask_stream::{Item, ask_stream};
use crate::suite::places::Places;

pub(crate) async fn ask_docs(
    State(suite): State<Arc<Suite>>,
    Extension(user): Extension<CurrentUser>,
    Json(request): Json<AskDocsRequest>,
) -> Result<Response, Failure> {
    let question = checked_question(&request.question)?;
    let places = suite.places(&user, 1)?;
    let ask = Ask {
        collections: named_collections(&suite, &user, request.collections).await?,
        quote_only: request.quote_only,
        priority: Priority::Api,
        // A stream says that the model is busy by quoting; a plain request gets 429 and can come back.
        when_busy: if request.stream {
            WhenBusy::Quote
        } else {
            WhenBusy::Fail
        },
        ..Ask::new(question.clone(), suite.scope_of(&user))
    };
    if request.stream {
        return Ok(stream_answer(suite, ask, question, places));
    }
    let mut items = Box::pin(places.hold(ask_stream(suite, ask)));
    while let Some(item) = items.next().await {
        if let Item::End(result) = item {
            return Ok(JsonResponse(response(*result?)?).into_response());
        }
    }
    Err(interrupted())
}

fn stream_answer(
    suite: Arc<Suite>,
    ask: Ask,
    question: String,
    places: Places<UserId>,
) -> Response {
    let request = AskRequest {
        question,
        collections: Vec::new(),
        quote_only: ask.quote_only,
    };
    let message = Message::running(String::new(), String::new(), &request, now_ms());
    let items = places
        .hold(ask_stream(Arc::clone(&suite), ask))
        .enumerate()
        .map(move |(index, item)| {
            let event = match item {
                Item::Event(event) => event,
                // In the form of the page's messages, for clients that follow the same events. It is not stored.
                Item::End(Ok(outcome)) => outcome.into_message(message.clone()).into_last_event(),
                Item::End(Err(error)) => AnswerEvent::Error {
                    message: sentence(&error.to_string()),
                },
            };
            sse::json(&event)
                .event(event.name())
                .id((index + 1).to_string())
        });
    sse::respond(&suite, items, vec![super::answers::interrupted()])
}

fn response(outcome: Outcome) -> Result<AskDocsResponse, Failure> {
    if let Ending::Broken { reason } = outcome.ending {
        return Err(Failure::new(
            axum::http::StatusCode::GATEWAY_TIMEOUT,
            "broken_off",
            reason,
        ));
    }
    Ok(AskDocsResponse {
        citations: outcome.citations(),
        unsupported: outcome.unsupported(),
        refused: outcome.answer.refused,
        answer: outcome.answer.text,
        mode: outcome.mode,
        notice: outcome.notice,
        sources: outcome.sources,
        model: outcome.model,
        usage: outcome.usage,
        timings: outcome.timings,
    })
}

fn interrupted() -> Failure {
    Failure::new(
        axum::http::StatusCode::SERVICE_UNAVAILABLE,
        "interrupted",
        "The server stopped while the answer was being written. Ask again.",
    )
}
