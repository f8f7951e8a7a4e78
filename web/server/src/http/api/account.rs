//! Setup, sign-in, sign-out, who am I.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Extension;
use axum::Json as JsonResponse;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use web_api::{Credentials, Me, ModelStatus, SetupRequest, SignedIn, UserInfo};

use super::super::error::Failure;
use super::super::guard::{SESSION_COOKIE, session_user};
use super::super::json::Json;
use super::collections::collection;
use crate::auth::{CurrentUser, NewSession};
use crate::suite::Suite;

type Peer = Option<Extension<ConnectInfo<SocketAddr>>>;

pub(crate) async fn set_up(
    State(suite): State<Arc<Suite>>,
    Json(request): Json<SetupRequest>,
) -> Result<Response, Failure> {
    let session = suite
        .set_up(&request.token, &request.email, &request.password)
        .await?;
    Ok(signed_in(&suite, session))
}

pub(crate) async fn sign_in(
    State(suite): State<Arc<Suite>>,
    peer: Peer,
    headers: HeaderMap,
    Json(request): Json<Credentials>,
) -> Result<Response, Failure> {
    // The peer as the socket knows it: forwarded-for headers are the client's words.
    let address = peer.map_or(
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        |Extension(ConnectInfo(peer))| peer.ip(),
    );
    let session = suite
        .sign_in(&request.email, &request.password, address)
        .await?;
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
    if let Some(session) = user.session {
        suite.end_session(session.id_hash).await?;
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    set_cookie(&suite, &mut response, "", 0);
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
    }))
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
    set_cookie(
        suite,
        &mut response,
        &session.id,
        suite.config.session_max.as_secs(),
    );
    response
}

fn set_cookie(suite: &Suite, response: &mut Response, value: &str, max_age_s: u64) {
    let secure = if suite.config.secure_cookies {
        "; Secure"
    } else {
        ""
    };
    let cookie = format!(
        "{SESSION_COOKIE}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={max_age_s}{secure}"
    );
    let cookie = HeaderValue::from_str(&cookie).expect("base64 and constants are a header");
    response.headers_mut().insert(header::SET_COOKIE, cookie);
}
