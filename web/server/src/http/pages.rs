//! The page: Leptos, rendered here and taken over in the browser.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use leptos::config::LeptosOptions;
use leptos::context::{provide_context, use_context};
use leptos::nonce::use_nonce;
use leptos_axum::ResponseOptions;

use super::error::Failure;
use super::guard::session_user;
use crate::assets::{ASSETS, BUNDLE_VERSION};
use crate::suite::Suite;

/// The address and the site folder are not used: this crate binds and serves assets itself.
///
/// Leptos renders on Tokio from here on. Its own route list would say so, but the routes are declared in `routes.rs`.
pub(super) fn leptos_options() -> LeptosOptions {
    // Fails only when it was said before.
    let _ = any_spawner::Executor::init_tokio();
    LeptosOptions::builder().output_name("cloister").build()
}

/// A page of the application. Which one, its router decides.
pub(super) async fn page(State(options): State<LeptosOptions>, request: Request) -> Response {
    render(options, StatusCode::OK, request).await
}

/// The sign-in page; whoever is signed in goes to the chat.
pub(super) async fn sign_in(
    State(suite): State<Arc<Suite>>,
    State(options): State<LeptosOptions>,
    request: Request,
) -> Result<Response, Failure> {
    if session_user(&suite, request.headers()).await?.is_some() {
        return Ok(Redirect::to("/").into_response());
    }
    Ok(render(options, StatusCode::OK, request).await)
}

/// The page of the setup link; once there is an administrator, sign-in is the way.
pub(super) async fn setup(
    State(suite): State<Arc<Suite>>,
    State(options): State<LeptosOptions>,
    request: Request,
) -> Result<Response, Failure> {
    if suite.has_admin().await? {
        return Ok(Redirect::to("/sign-in").into_response());
    }
    Ok(render(options, StatusCode::OK, request).await)
}

/// Any other address: the application's own page for it, to a browser, and a sentence to a program.
pub(super) async fn not_found(State(options): State<LeptosOptions>, request: Request) -> Response {
    if accepts_html(request.headers()) {
        render(options, StatusCode::NOT_FOUND, request).await
    } else {
        Failure::not_found("address").into_response()
    }
}

fn accepts_html(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"))
}

async fn render(options: LeptosOptions, status: StatusCode, request: Request) -> Response {
    if ASSETS.is_empty() {
        return bundle_missing();
    }
    let context = move || {
        provide_context(web_ui::BootData {
            asset_version: Some(BUNDLE_VERSION.to_owned()),
        });
        let Some(response) = use_context::<ResponseOptions>() else {
            return;
        };
        let nonce = use_nonce()
            .map(|nonce| nonce.to_string())
            .unwrap_or_default();
        if let Ok(policy) = HeaderValue::from_str(&content_security_policy(&nonce)) {
            response.insert_header(header::CONTENT_SECURITY_POLICY, policy);
        }
        if status != StatusCode::OK {
            response.set_status(status);
        }
    };
    leptos_axum::render_app_to_stream_with_context(context, move || web_ui::shell(options.clone()))(
        request,
    )
    .await
}

/// Scripts of ours and the ones that Leptos puts into this very page; nothing from elsewhere, not even a picture.
fn content_security_policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self' 'nonce-{nonce}' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data:; \
         connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
}

/// The server was built without the page. `/api` and `/v1` work all the same.
fn bundle_missing() -> Response {
    let page = "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Cloister</title></head><body>\
                <h1>The page is missing</h1><p>This server was built without its web page. Run <code>scripts/build-web</code>, \
                build the server again and restart it.</p></body></html>";
    (StatusCode::SERVICE_UNAVAILABLE, Html(page)).into_response()
}
