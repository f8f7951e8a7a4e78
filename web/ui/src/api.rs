//! Calls of the server's `/api`. Browser only: on the server nothing calls them.
//!
//! Every failure is an [`ApiError`]; a request that never arrived has status 0, so that pages can say "no connection"
//! and offer to try again.

use gloo_net::http::{Method, Request, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use web_api::{
    ApiError, AskRequest, AskStarted, CSRF_HEADER, ChangePassword, Collection, Conversation,
    ConversationDetail, ConversationHit, CreateCollection, CreateConversation, Credentials,
    Document, DocumentView, Me, PasswordChanged, RenameConversation, SetupRequest, SignedIn, Span,
};

/// Status of an error that is not an answer of the server.
pub const NO_CONNECTION: u16 = 0;

/// Result of a call.
pub type ApiResult<T> = Result<T, ApiError>;

/// `GET /api/me`.
pub async fn me() -> ApiResult<Me> {
    get("/api/me").await
}

/// `POST /api/auth/sign-in`.
pub async fn sign_in(credentials: &Credentials) -> ApiResult<SignedIn> {
    json(Method::POST, "/api/auth/sign-in", "", credentials).await
}

/// `POST /api/auth/setup`.
pub async fn set_up(request: &SetupRequest) -> ApiResult<SignedIn> {
    json(Method::POST, "/api/auth/setup", "", request).await
}

/// `POST /api/auth/sign-out`.
pub async fn sign_out(csrf: &str) -> ApiResult<()> {
    no_content(Method::POST, "/api/auth/sign-out", csrf).await
}

/// `POST /api/auth/password`.
pub async fn change_password(csrf: &str, request: &ChangePassword) -> ApiResult<PasswordChanged> {
    json(Method::POST, "/api/auth/password", csrf, request).await
}

/// `GET /api/conversations`, with a search when `query` is not empty.
pub async fn conversations(query: &str) -> ApiResult<Vec<ConversationHit>> {
    let query = query.trim();
    if query.is_empty() {
        return get("/api/conversations").await;
    }
    let encoded = String::from(js_sys::encode_uri_component(query));
    get(&format!("/api/conversations?query={encoded}")).await
}

/// `POST /api/conversations`.
pub async fn create_conversation(csrf: &str) -> ApiResult<Conversation> {
    let body = CreateConversation::default();
    json(Method::POST, "/api/conversations", csrf, &body).await
}

/// `GET /api/conversations/{id}`.
pub async fn conversation(id: &str) -> ApiResult<ConversationDetail> {
    get(&conversation_path(id)).await
}

/// `PATCH /api/conversations/{id}`.
pub async fn rename_conversation(csrf: &str, id: &str, title: String) -> ApiResult<Conversation> {
    let body = RenameConversation { title };
    json(Method::PATCH, &conversation_path(id), csrf, &body).await
}

/// `DELETE /api/conversations/{id}`.
pub async fn delete_conversation(csrf: &str, id: &str) -> ApiResult<()> {
    no_content(Method::DELETE, &conversation_path(id), csrf).await
}

/// `POST /api/conversations/{id}/messages`.
pub async fn ask(csrf: &str, id: &str, request: &AskRequest) -> ApiResult<AskStarted> {
    let path = format!("{}/messages", conversation_path(id));
    json(Method::POST, &path, csrf, request).await
}

/// `POST /api/answers/{id}/stop`.
pub async fn stop_answer(csrf: &str, id: &str) -> ApiResult<()> {
    let id = String::from(js_sys::encode_uri_component(id));
    no_content(Method::POST, &format!("/api/answers/{id}/stop"), csrf).await
}

/// `GET /api/collections`.
pub async fn collections() -> ApiResult<Vec<Collection>> {
    get("/api/collections").await
}

/// `POST /api/collections`.
pub async fn create_collection(csrf: &str, name: String) -> ApiResult<Collection> {
    json(
        Method::POST,
        "/api/collections",
        csrf,
        &CreateCollection { name },
    )
    .await
}

/// `DELETE /api/collections/{id}`.
pub async fn delete_collection(csrf: &str, id: i64) -> ApiResult<()> {
    no_content(Method::DELETE, &format!("/api/collections/{id}"), csrf).await
}

/// `GET /api/collections/{id}/documents`.
pub async fn documents(collection: i64) -> ApiResult<Vec<Document>> {
    get(&documents_path(collection)).await
}

/// `DELETE /api/documents/{id}`.
pub async fn delete_document(csrf: &str, id: i64) -> ApiResult<()> {
    no_content(Method::DELETE, &format!("/api/documents/{id}"), csrf).await
}

/// `GET /api/documents/{id}/view` around a range of chars.
pub async fn document_view(id: i64, span: Span) -> ApiResult<DocumentView> {
    let Span { start, end } = span;
    get(&format!("/api/documents/{id}/view?start={start}&end={end}")).await
}

/// Address of a collection's documents, where uploads go too.
pub fn documents_path(collection: i64) -> String {
    format!("/api/collections/{collection}/documents")
}

/// Address of an answer's events.
pub fn events_path(answer: &str) -> String {
    format!("/api/answers/{answer}/events")
}

/// The error that an answer's body holds, or one made from its status alone.
pub fn error_from(status: u16, body: &str) -> ApiError {
    if let Ok(error) = serde_json::from_str::<ApiError>(body) {
        return error;
    }
    let message = match status {
        NO_CONNECTION => "The server cannot be reached. Check the connection and try again.",
        401 => "Please sign in again.",
        403 => "This account may not do that.",
        404 => "This does not exist, or not any more.",
        413 => "The file is larger than the server accepts.",
        429 => "Too many requests at once. Wait a moment and try again.",
        502..=504 => "The server is not ready. Wait a moment and try again.",
        _ => "The server could not do this. Try again; if it stays so, tell an administrator.",
    };
    ApiError {
        status,
        code: "unexpected".into(),
        message: message.into(),
        request_id: None,
        retry_after_s: None,
    }
}

fn conversation_path(id: &str) -> String {
    let id = String::from(js_sys::encode_uri_component(id));
    format!("/api/conversations/{id}")
}

async fn get<T: DeserializeOwned>(path: &str) -> ApiResult<T> {
    let request = Request::get(path).build().map_err(broken)?;
    read(request.send().await).await
}

async fn json<T: DeserializeOwned>(
    method: Method,
    path: &str,
    csrf: &str,
    body: &impl Serialize,
) -> ApiResult<T> {
    let request = builder(method, path, csrf).json(body).map_err(broken)?;
    read(request.send().await).await
}

async fn no_content(method: Method, path: &str, csrf: &str) -> ApiResult<()> {
    let request = builder(method, path, csrf).build().map_err(broken)?;
    accept(request.send().await).await.map(|_| ())
}

fn builder(method: Method, path: &str, csrf: &str) -> RequestBuilder {
    let builder = RequestBuilder::new(path).method(method);
    if csrf.is_empty() {
        builder
    } else {
        builder.header(CSRF_HEADER, csrf)
    }
}

async fn read<T: DeserializeOwned>(answer: Result<Response, gloo_net::Error>) -> ApiResult<T> {
    let response = accept(answer).await?;
    response.json().await.map_err(broken)
}

async fn accept(answer: Result<Response, gloo_net::Error>) -> ApiResult<Response> {
    let response = answer.map_err(|_| error_from(NO_CONNECTION, ""))?;
    if response.ok() {
        return Ok(response);
    }
    let body = response.text().await.unwrap_or_default();
    Err(error_from(response.status(), &body))
}

/// An answer that is not what the API promises: a proxy's page, or another version of the server.
fn broken(error: gloo_net::Error) -> ApiError {
    ApiError {
        status: 500,
        code: "unexpected".into(),
        message: format!("The server's answer was not understood ({error}). Reload the page."),
        request_id: None,
        retry_after_s: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_own_words_are_shown() {
        let body = r#"{"status":429,"code":"overloaded","message":"8 answers are running.","retry_after_s":5}"#;
        let error = error_from(429, body);
        assert_eq!(error.message, "8 answers are running.");
        assert_eq!(error.retry_after_s, Some(5));
    }

    #[test]
    fn a_proxys_page_is_never_shown() {
        let error = error_from(502, "<html><script>alert(1)</script>");
        assert!(!error.message.contains('<'));
        assert_eq!(error.status, 502);
    }
}
