//! The guard of a route: finds out who asks, turns away who may not, and ends what is open when a session or key ends.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use tokio::sync::watch;
use web_api::{CSRF_HEADER, Role};

use super::access::Access;
use super::cookies::Cookie;
use super::error::{Failure, INVALID_API_KEY};
use super::sse;
use crate::auth::{CurrentUser, equal_in_constant_time};
use crate::client_address::Client;
use crate::public_url::PublicUrl;
use crate::security;
use crate::suite::Suite;

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
    address: Option<IpAddr>,
    public_url: Option<&'a PublicUrl>,
}

impl<'a> Incoming<'a> {
    fn of(request: &'a Request, suite: &'a Suite) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            address: request
                .extensions()
                .get::<Client>()
                .map(|client| client.address),
            public_url: suite.config.public_url.as_ref(),
        }
    }
}

/// Lets a request through with its [`CurrentUser`] as an extension, or answers it.
pub(super) async fn guard(
    State(guard): State<Guard>,
    mut request: Request,
    next: Next,
) -> Response {
    // Taken before anything is checked: see `Revocations::subscribe`.
    let revocations = guard.suite.revocations.subscribe();
    let incoming = Incoming::of(&request, &guard.suite);
    let admitted = match guard.access {
        Access::Public => check_origin(&incoming).map(|()| None),
        Access::Page => match session_user(&guard.suite, request.headers()).await {
            Ok(Some(user)) => Ok(Some(user)),
            Ok(None) => return to_the_entrance(&guard.suite).await,
            Err(failure) => Err(failure),
        },
        Access::Session => session(&guard.suite, &incoming).await.map(Some),
        Access::Admin => session(&guard.suite, &incoming)
            .await
            .and_then(only_admin)
            .map(Some),
        Access::ApiKey => match api_key(&guard.suite, &incoming).await {
            Ok(user) => Ok(Some(user)),
            Err(failure) => return failure.into_openai_response(),
        },
        Access::KeyOrSession => key_or_session(&guard.suite, &incoming).await.map(Some),
        Access::AdminKeyOrSession => key_or_session(&guard.suite, &incoming)
            .await
            .and_then(only_admin)
            .map(Some),
    };
    let user = match admitted {
        Ok(user) => user,
        Err(failure) => return failure.into_response(),
    };
    let Some(user) = user else {
        return next.run(request).await;
    };
    request.extensions_mut().insert(user.clone());
    let open = Open {
        user,
        access: guard.access,
        revocations,
    };
    open.run(guard.suite, request, next).await
}

/// A request that was let through, for as long as its session or key is alive.
struct Open {
    user: CurrentUser,
    access: Access,
    revocations: watch::Receiver<u64>,
}

impl Open {
    async fn run(self, suite: Arc<Suite>, request: Request, next: Next) -> Response {
        let actor = self.user.actor();
        let failure = match self.user.key {
            Some(_) => revoked_key(),
            None => signed_out(),
        };
        let mut revoked = Box::pin(suite.until_revoked(self.user, self.revocations));
        let response = match self.access {
            // What a program waits for ends with its key. A page's requests are short, and one of them ends the session.
            Access::ApiKey | Access::KeyOrSession => tokio::select! {
                biased;
                response = next.run(request) => response,
                () = &mut revoked => {
                    security::stream_ended(&actor);
                    return match self.access {
                        Access::ApiKey => failure.into_openai_response(),
                        _ => failure.into_response(),
                    };
                }
            },
            _ => next.run(request).await,
        };
        if !is_event_stream(&response) {
            return response;
        }
        let ended = async move {
            revoked.await;
            security::stream_ended(&actor);
        };
        // Without a last word a client takes what it has for the whole answer.
        let last = match self.access {
            Access::ApiKey => sse::last_words_openai(&failure),
            _ => vec![sse::last_word(failure)],
        };
        response.map(|body| sse::end_with(body, ended, last))
    }
}

fn is_event_stream(response: &Response) -> bool {
    response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.starts_with("text/event-stream"))
}

fn only_admin(user: CurrentUser) -> Result<CurrentUser, Failure> {
    if user.role == Role::Admin {
        return Ok(user);
    }
    Err(Failure::new(
        StatusCode::FORBIDDEN,
        "admin_only",
        "Only an administrator may do this. Ask one of yours.",
    ))
}

async fn key_or_session(suite: &Suite, request: &Incoming<'_>) -> Result<CurrentUser, Failure> {
    let has_cookie = || {
        Cookie::Session
            .read(request.headers, suite.config.secure_cookies)
            .is_some()
    };
    // Whoever sends neither is a program that was not told of keys: a page has at least a cookie that has ended.
    if request.headers.contains_key(header::AUTHORIZATION) || !has_cookie() {
        api_key(suite, request).await
    } else {
        session(suite, request).await
    }
}

fn signed_out() -> Failure {
    Failure::new(
        StatusCode::UNAUTHORIZED,
        "signed_out",
        "You are signed out. Sign in and try again.",
    )
}

fn invalid_key() -> Failure {
    Failure::new(
        StatusCode::UNAUTHORIZED,
        INVALID_API_KEY,
        "This needs a valid API key in the header `Authorization: Bearer KEY`. An administrator makes one with \
         `cloister key create --user EMAIL`.",
    )
}

/// What ends a request whose key ends before it.
fn revoked_key() -> Failure {
    Failure::new(
        StatusCode::UNAUTHORIZED,
        INVALID_API_KEY,
        "The API key of this request was revoked, or its account suspended or removed, before the answer was complete.",
    )
}

/// The signed-in account of a request that, if it changes something, carries the CSRF token and our origin.
async fn session(suite: &Suite, request: &Incoming<'_>) -> Result<CurrentUser, Failure> {
    let mut user = session_user(suite, request.headers)
        .await?
        .ok_or_else(signed_out)?;
    user.address = request.address;
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
    match Cookie::Session.read(headers, suite.config.secure_cookies) {
        Some(id) => Ok(suite.session_user(id).await?),
        None => Ok(None),
    }
}

async fn api_key(suite: &Suite, request: &Incoming<'_>) -> Result<CurrentUser, Failure> {
    let key = request
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, key)| key.trim());
    let Some(key) = key else {
        return Err(invalid_key());
    };
    let user = suite.key_user(key, request.address).await?;
    user.ok_or_else(|| {
        security::key_refused(request.address);
        invalid_key()
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
    let is_public = |origin: &str| {
        let url = request.public_url.map(ToString::to_string);
        url.is_some_and(|url| url.eq_ignore_ascii_case(origin))
    };
    let same = match (header(header::ORIGIN), host) {
        (Some(origin), _) if is_public(origin) => true,
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
        "The request came from another site and was refused. Behind a reverse proxy, set `public_url` under [server] to the \
         address in the browser, or let the proxy pass the Host header on.",
    ))
}

fn changes_something(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}
