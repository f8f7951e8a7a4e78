//! Who may use a route: the levels that the route table names and the guard enforces.

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Anybody. Requests that change something must come from the same origin.
    Public,
    /// A page: without a session the browser is sent to the sign-in page.
    Page,
    /// A session; requests that change something need the CSRF token and the same origin.
    Session,
    /// The same, of an administrator.
    Admin,
    /// An API key; errors in OpenAI's shape.
    ApiKey,
    /// An API key, or a session as above.
    KeyOrSession,
    /// The same, of an administrator.
    AdminKeyOrSession,
}
