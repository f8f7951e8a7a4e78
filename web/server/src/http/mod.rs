//! The public HTTP service.

mod access;
mod api;
mod body;
mod cookies;
mod error;
mod guard;
mod in_flight;
mod json;
mod kind;
mod middleware;
mod openai;
mod ops;
mod pages;
mod question;
mod request_id;
mod routes;
mod sse;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRef};
use leptos::config::LeptosOptions;
use tower_http::compression::CompressionLayer;

pub use access::Access;
pub use openai::parameters::{Endpoint, ParameterInfo, ParameterUse, parameter_table};
pub(crate) use ops::metrics_router;
pub use routes::{RouteInfo, route_table};

use crate::suite::Suite;

/// What handlers get.
#[derive(Clone)]
pub(crate) struct AppState {
    pub suite: Arc<Suite>,
    pub leptos: LeptosOptions,
}

impl FromRef<AppState> for Arc<Suite> {
    fn from_ref(state: &AppState) -> Self {
        Arc::clone(&state.suite)
    }
}

impl FromRef<AppState> for LeptosOptions {
    fn from_ref(state: &AppState) -> Self {
        state.leptos.clone()
    }
}

/// The service: every route of [`route_table`], guarded as it says there.
///
/// Limits per client need the peer's address: serve it with `into_make_service_with_connect_info::<SocketAddr>()`.
pub fn router(suite: Arc<Suite>) -> Router {
    let state = AppState {
        leptos: pages::leptos_options(),
        suite: Arc::clone(&suite),
    };
    routes::declare(&state)
        .into_router()
        .layer(DefaultBodyLimit::max(suite.config.max_body_bytes))
        .layer(CompressionLayer::new())
        .layer(axum::middleware::from_fn_with_state(
            suite,
            middleware::around_every_request,
        ))
        .with_state(state)
}
