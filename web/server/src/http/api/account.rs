//! Setup, sign-in, sign-out, another password, who am I.

use std::sync::Arc;

use axum::Extension;
use axum::Json as JsonResponse;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use web_api::{
    ChangePassword, Credentials, DocumentFormat, Me, ModelStatus, PasswordChanged, SetupRequest,
    SignedIn, UserInfo,
};

use super::super::cookies::{Cookie, device_tokens, device_value};
use super::super::error::Failure;
use super::super::guard::session_user;
use super::super::json::Json;
use super::collections::collection;
use crate::auth::{AccountError, CurrentUser, DEVICE_LIFETIME_S, NewSession, Visit};
use crate::client_address::Client;
use crate::security::{self, Actor};
use crate::suite::Suite;

pub(crate) async fn set_up(
    State(suite): State<Arc<Suite>>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
    Json(request): Json<SetupRequest>,
) -> Result<Response, Failure> {
    let actor = Actor::remote(&request.email, Some(client.address));
    let tokens = device_tokens(&headers, suite.config.secure_cookies);
    let result = suite
        .set_up(&request.token, &request.email, &request.password, &tokens)
        .await;
    match &result {
        Ok(_) => security::first_administrator(&actor),
        Err(AccountError::SetupLink) => security::setup_refused(&actor),
        Err(_) => {}
    }
    Ok(signed_in(&suite, result?))
}

pub(crate) async fn sign_in(
    State(suite): State<Arc<Suite>>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
    Json(request): Json<Credentials>,
) -> Result<Response, Failure> {
    let visit = Visit {
        client: client.key,
        device_tokens: device_tokens(&headers, suite.config.secure_cookies),
    };
    let result = suite
        .sign_in(&request.email, &request.password, &visit)
        .await;
    log_sign_in(
        &Actor::remote(&request.email, Some(client.address)),
        &result,
    );
    let session = result?;
    // A browser has one session: whatever it had before ends, so that a planted cookie is worth nothing.
    if let Some(earlier) = session_user(&suite, &headers)
        .await?
        .and_then(|user| user.session)
    {
        suite.end_session(earlier.id_hash).await?;
    }
    Ok(signed_in(&suite, session))
}

pub(crate) async fn sign_out(
    State(suite): State<Arc<Suite>>,
    Extension(user): Extension<CurrentUser>,
) -> Result<Response, Failure> {
    security::signed_out(&user.actor());
    if let Some(session) = user.session {
        suite.end_session(session.id_hash).await?;
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    // The browser stays known: whoever uses it next still has to know the password.
    Cookie::Session.set(&mut response, "", 0, suite.config.secure_cookies);
    Ok(response)
}

pub(crate) async fn change_password(
    State(suite): State<Arc<Suite>>,
    Extension(user): Extension<CurrentUser>,
    headers: HeaderMap,
    Json(request): Json<ChangePassword>,
) -> Result<Response, Failure> {
    let tokens = device_tokens(&headers, suite.config.secure_cookies);
    let (sessions_ended, tokens) = suite
        .change_own_password(&user, &request.current, &request.new, &tokens)
        .await?;
    let mut response = JsonResponse(PasswordChanged { sessions_ended }).into_response();
    set_devices(&suite, &mut response, &tokens);
    Ok(response)
}

pub(crate) async fn me(
    State(suite): State<Arc<Suite>>,
    Extension(user): Extension<CurrentUser>,
) -> Result<JsonResponse<Me>, Failure> {
    let scope = suite.scope_of(&user);
    let collections = suite
        .with_library(move |library| library.collections(&scope))
        .await?;
    Ok(JsonResponse(Me {
        csrf_token: user
            .session
            .map(|session| session.csrf_token)
            .unwrap_or_default(),
        user: UserInfo {
            email: user.email,
            role: user.role,
        },
        model: model_status(&suite),
        collections: collections.into_iter().map(collection).collect(),
        formats: rag::document_formats().map(document_format).collect(),
    }))
}

fn document_format((name, extensions): (&str, &[&str])) -> DocumentFormat {
    DocumentFormat {
        name: name.to_owned(),
        extensions: extensions.iter().map(|e| (*e).to_owned()).collect(),
    }
}

fn log_sign_in(actor: &Actor, result: &Result<NewSession, AccountError>) {
    match result {
        Ok(_) => security::signed_in(actor),
        Err(AccountError::Throttled { retry_after } | AccountError::Crowded { retry_after }) => {
            security::sign_in_throttled(actor, *retry_after);
        }
        Err(AccountError::WrongCredentials) => {
            security::sign_in_failed(actor, "unknown account or wrong password");
        }
        Err(AccountError::Suspended) => security::sign_in_failed(actor, "suspended"),
        // A fault of ours says nothing about who asked.
        Err(_) => {}
    }
}

fn model_status(suite: &Suite) -> ModelStatus {
    let name = suite.model.as_ref().map(|model| model.name().to_owned());
    ModelStatus {
        quote_only: name.is_none(),
        how_to_add: name
            .is_none()
            .then(|| suite.config.how_to_add_model.clone()),
        name,
    }
}

fn signed_in(suite: &Suite, session: NewSession) -> Response {
    let body = SignedIn {
        user: UserInfo {
            email: session.user.email,
            role: session.user.role,
        },
        csrf_token: session.csrf_token,
    };
    let mut response = JsonResponse(body).into_response();
    let is_secure = suite.config.secure_cookies;
    let max_age_s = i64::try_from(suite.config.session_max.as_secs()).unwrap_or(i64::MAX);
    Cookie::Session.set(&mut response, &session.id, max_age_s, is_secure);
    set_devices(suite, &mut response, &session.device_tokens);
    response
}

/// Makes the browser known to the accounts of these tokens.
fn set_devices(suite: &Suite, response: &mut Response, tokens: &[String]) {
    let (devices, is_secure) = (device_value(tokens), suite.config.secure_cookies);
    Cookie::Device.set(response, &devices, DEVICE_LIFETIME_S, is_secure);
}
