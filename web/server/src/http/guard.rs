//! The guard of a route: finds out who asks, and turns away who may not.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use web_api::{CSRF_HEADER, Role};

use super::error::Failure;
use super::routes::Access;
use crate::auth::{CurrentUser, equal_in_constant_time};
use crate::suite::Suite;

/// Name of the session cookie.
pub(super) const SESSION_COOKIE: &str = "cloister_session";

/// State of one route's guard.
#[derive(Clone)]
pub(super) struct Guard {
    pub suite: Arc<Suite>,
    pub access: Access,
}

/// A request without its body, which other threads may look at.
struct Incoming<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
}

impl<'a> Incoming<'a> {
    fn of(request: &'a Request) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
        }
    }
}

/// Lets a request through with its [`CurrentUser`] as an extension, or answers it.
pub(super) async fn guard(
    State(guard): State<Guard>,
    mut request: Request,
    next: Next,
) -> Response {
    let admitted = match guard.access {
        Access::Public => check_origin(&Incoming::of(&request)).map(|()| None),
        Access::Page => match session_user(&guard.suite, request.headers()).await {
            Ok(Some(user)) => Ok(Some(user)),
            Ok(None) => return to_the_entrance(&guard.suite).await,
            Err(failure) => Err(failure),
        },
        Access::Session => session(&guard.suite, &Incoming::of(&request))
            .await
            .map(Some),
        Access::Admin => match session(&guard.suite, &Incoming::of(&request)).await {
            Ok(user) if user.role == Role::Admin => Ok(Some(user)),
            Ok(_) => Err(Failure::new(
                StatusCode::FORBIDDEN,
                "admin_only",
                "Only an administrator may do this. Ask one of yours.",
            )),
            Err(failure) => Err(failure),
        },
        Access::ApiKey => match api_key(&guard.suite, request.headers()).await {
            Ok(user) => Ok(Some(user)),
            Err(failure) => return failure.into_openai_response(),
        },
        Access::KeyOrSession if request.headers().contains_key(header::AUTHORIZATION) => {
            api_key(&guard.suite, request.headers()).await.map(Some)
        }
        Access::KeyOrSession => session(&guard.suite, &Incoming::of(&request))
            .await
            .map(Some),
    };
    match admitted {
        Ok(user) => {
            if let Some(user) = user {
                request.extensions_mut().insert(user);
            }
            next.run(request).await
        }
        Err(failure) => failure.into_response(),
    }
}

/// The signed-in account of a request that, if it changes something, carries the CSRF token and our origin.
async fn session(suite: &Suite, request: &Incoming<'_>) -> Result<CurrentUser, Failure> {
    let unauthorized = || {
        Failure::new(
            StatusCode::UNAUTHORIZED,
            "signed_out",
            "You are signed out. Sign in and try again.",
        )
    };
    let user = session_user(suite, request.headers)
        .await?
        .ok_or_else(unauthorized)?;
    if changes_something(request.method) {
        check_origin(request)?;
        let expected = user
            .session
            .as_ref()
            .map_or("", |session| session.csrf_token.as_str());
        let sent = request
            .headers
            .get(CSRF_HEADER)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        if expected.is_empty() || !equal_in_constant_time(sent, expected) {
            return Err(Failure::new(
                StatusCode::FORBIDDEN,
                "csrf",
                "This page is out of date or the request came from another site. Reload the page and try again.",
            ));
        }
    }
    Ok(user)
}

/// The account of the session cookie, if it is alive.
pub(super) async fn session_user(
    suite: &Suite,
    headers: &HeaderMap,
) -> Result<Option<CurrentUser>, Failure> {
    match session_cookie(headers) {
        Some(id) => Ok(suite.session_user(id).await?),
        None => Ok(None),
    }
}

async fn api_key(suite: &Suite, headers: &HeaderMap) -> Result<CurrentUser, Failure> {
    let key = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, key)| key.trim());
    let user = match key {
        Some(key) => suite.key_user(key).await?,
        None => None,
    };
    user.ok_or_else(|| {
        Failure::new(
            StatusCode::UNAUTHORIZED,
            "invalid_api_key",
            "This needs a valid API key in the header `Authorization: Bearer KEY`. An administrator makes one with \
             `cloister key create --user EMAIL`.",
        )
    })
}

/// Where a browser without a session goes.
async fn to_the_entrance(suite: &Suite) -> Response {
    match suite.has_admin().await {
        Ok(true) => Redirect::to("/sign-in").into_response(),
        Ok(false) => Redirect::to("/setup").into_response(),
        Err(error) => Failure::from(error).into_response(),
    }
}

/// A request that changes something must not come from another site's page.
///
/// Browsers send `Origin` with every such request; a program that sends none has no cookies of a browser to abuse.
fn check_origin(request: &Incoming<'_>) -> Result<(), Failure> {
    if !changes_something(request.method) {
        return Ok(());
    }
    let header = |name| {
        request
            .headers
            .get(name)
            .map(|value| value.to_str().unwrap_or("?"))
    };
    let host = header(header::HOST)
        .or_else(|| request.uri.authority().map(|authority| authority.as_str()));
    let same = match (header(header::ORIGIN), host) {
        (Some(origin), Some(host)) => origin
            .split_once("://")
            .is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host)),
        (Some(_), None) => false,
        (None, _) => request
            .headers
            .get("sec-fetch-site")
            .is_none_or(|site| site == "same-origin" || site == "none"),
    };
    if same {
        return Ok(());
    }
    Err(Failure::new(
        StatusCode::FORBIDDEN,
        "other_origin",
        "The request came from another site and was refused. Behind a reverse proxy, let it pass the Host header on.",
    ))
}

fn changes_something(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn session_cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == SESSION_COOKIE)
        .map(|(_, value)| value)
}
