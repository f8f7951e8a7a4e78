//! The route table: every route once, with who may use it. The declaration enforces itself: [`Routes::add`] puts the
//! guard of its [`Access`] around the handler.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, on};

use super::access::Access;
use super::guard::{Guard, guard};
use super::{AppState, api, openai, ops, pages};

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteInfo {
    /// Method.
    pub method: Method,
    /// Path with `{parameters}`.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
}

/// All routes, for tests and documentation. The same declaration that [`super::router`] serves.
pub fn route_table(suite: &std::sync::Arc<crate::suite::Suite>) -> Vec<RouteInfo> {
    let state = AppState {
        leptos: pages::leptos_options(),
        suite: std::sync::Arc::clone(suite),
    };
    declare(&state).table
}

pub(super) struct Routes {
    router: Router<AppState>,
    state: AppState,
    table: Vec<RouteInfo>,
}

impl Routes {
    fn add<H, T>(mut self, method: Method, path: &'static str, access: Access, handler: H) -> Self
    where
        H: Handler<T, AppState>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone())
            .expect("a method that is declared here has a filter");
        let layer = from_fn_with_state(
            Guard {
                suite: self.state.suite.clone(),
                access,
            },
            guard,
        );
        self.router = self.router.route(path, on(filter, handler).layer(layer));
        self.table.push(RouteInfo {
            method,
            path,
            access,
        });
        self
    }

    pub(super) fn into_router(self) -> Router<AppState> {
        self.router
    }
}

/// Declares every route.
pub(super) fn declare(state: &AppState) -> Routes {
    let router = Router::new().fallback(pages::not_found);
    let routes = Routes {
        router,
        state: state.clone(),
        table: Vec::new(),
    };
    let routes = declare_pages(routes);
    let routes = declare_api(routes);
    declare_openai(routes)
}

fn declare_pages(routes: Routes) -> Routes {
    use Access::{AdminKeyOrSession, Page, Public};
    routes
        .add(Method::GET, "/", Page, pages::page)
        .add(Method::GET, "/account", Page, pages::page)
        .add(Method::GET, "/c/{id}", Page, pages::page)
        .add(Method::GET, "/documents", Page, pages::page)
        .add(Method::GET, "/sign-in", Public, pages::sign_in)
        .add(Method::GET, "/setup", Public, pages::setup)
        .add(Method::GET, "/assets/{*path}", Public, crate::assets::asset)
        .add(Method::GET, "/favicon.ico", Public, crate::assets::favicon)
        .add(Method::GET, "/healthz", Public, ops::healthz)
        .add(Method::GET, "/healthz/", Public, ops::healthz)
        // The name that supervisors of other model servers ask for.
        .add(Method::GET, "/health", Public, ops::healthz)
        .add(Method::GET, "/health/", Public, ops::healthz)
        .add(Method::GET, "/metrics", AdminKeyOrSession, ops::metrics)
}

fn declare_api(routes: Routes) -> Routes {
    let mut routes = declare_conversations(declare_documents(declare_accounts(routes)));
    routes.router = routes
        .router
        .route("/api/{*rest}", axum::routing::any(api::not_found));
    routes
}

fn declare_accounts(routes: Routes) -> Routes {
    use Access::{Public, Session};
    use api::account;
    routes
        .add(Method::POST, "/api/auth/setup", Public, account::set_up)
        .add(Method::POST, "/api/auth/sign-in", Public, account::sign_in)
        .add(
            Method::POST,
            "/api/auth/sign-out",
            Session,
            account::sign_out,
        )
        .add(
            Method::POST,
            "/api/auth/password",
            Session,
            account::change_password,
        )
        .add(Method::GET, "/api/me", Session, account::me)
}

fn declare_documents(routes: Routes) -> Routes {
    use Access::{Admin, Session};
    use api::{collections, documents};
    let upload = documents::upload.layer(unlimited_body());
    routes
        .add(Method::GET, "/api/collections", Session, collections::list)
        .add(Method::POST, "/api/collections", Admin, collections::create)
        .add(
            Method::DELETE,
            "/api/collections/{id}",
            Admin,
            collections::delete,
        )
        .add(
            Method::GET,
            "/api/collections/{id}/documents",
            Session,
            documents::list,
        )
        .add(
            Method::POST,
            "/api/collections/{id}/documents",
            Admin,
            upload,
        )
        .add(
            Method::DELETE,
            "/api/documents/{id}",
            Admin,
            documents::delete,
        )
        .add(
            Method::GET,
            "/api/documents/{id}/view",
            Session,
            documents::view,
        )
}

fn declare_conversations(routes: Routes) -> Routes {
    use Access::{KeyOrSession, Session};
    use api::{answers, ask_docs, conversations};
    routes
        .add(
            Method::GET,
            "/api/conversations",
            Session,
            conversations::list,
        )
        .add(
            Method::POST,
            "/api/conversations",
            Session,
            conversations::create,
        )
        .add(
            Method::GET,
            "/api/conversations/{id}",
            Session,
            conversations::detail,
        )
        .add(
            Method::PATCH,
            "/api/conversations/{id}",
            Session,
            conversations::rename,
        )
        .add(
            Method::DELETE,
            "/api/conversations/{id}",
            Session,
            conversations::delete,
        )
        .add(
            Method::POST,
            "/api/conversations/{id}/messages",
            Session,
            answers::ask,
        )
        .add(
            Method::GET,
            "/api/answers/{id}/events",
            Session,
            answers::events,
        )
        .add(
            Method::POST,
            "/api/answers/{id}/stop",
            Session,
            answers::stop,
        )
        .add(
            Method::POST,
            "/api/ask-docs",
            KeyOrSession,
            ask_docs::ask_docs,
        )
}

/// Each address also with a slash at its end, as some clients join it to their base address.
fn declare_openai(routes: Routes) -> Routes {
    use Access::ApiKey;
    use openai::{
        chat::chat_completions, completions::completions, embeddings::embeddings, models,
    };
    let (get, post) = (Method::GET, Method::POST);
    let mut routes = routes
        .add(
            post.clone(),
            "/v1/chat/completions",
            ApiKey,
            chat_completions,
        )
        .add(
            post.clone(),
            "/v1/chat/completions/",
            ApiKey,
            chat_completions,
        )
        .add(post.clone(), "/v1/completions", ApiKey, completions)
        .add(post.clone(), "/v1/completions/", ApiKey, completions)
        .add(post.clone(), "/v1/embeddings", ApiKey, embeddings)
        .add(post, "/v1/embeddings/", ApiKey, embeddings)
        .add(get.clone(), "/v1/models", ApiKey, models::list)
        .add(get.clone(), "/v1/models/", ApiKey, models::list)
        .add(get, "/v1/models/{*id}", ApiKey, models::one);
    for path in ["/v1", "/v1/", "/v1/{*rest}"] {
        let not_found = axum::routing::any(openai::not_found);
        routes.router = routes.router.route(path, not_found);
    }
    routes
}

/// Uploads are limited by the handler, per file and while they stream to disk, and not by the body limit of JSON.
fn unlimited_body() -> DefaultBodyLimit {
    DefaultBodyLimit::disable()
}
