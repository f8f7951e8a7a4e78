//! Who is signed in, and what that account may use.

use leptos::prelude::*;
use leptos::task::spawn_local;
use web_api::{ApiError, DocumentFormat, Me, Role};

use super::Loadable;
use crate::api;

/// The signed-in account; shared by all pages as a context.
#[derive(Debug, Clone, Copy)]
pub struct Session {
    /// `GET /api/me`. Without a session: failed with status 401.
    pub me: RwSignal<Loadable<Me>>,
}

impl Session {
    /// Nothing known yet.
    pub fn new() -> Self {
        Session {
            me: RwSignal::new(Loadable::Loading),
        }
    }

    /// The session of the page around.
    pub fn here() -> Self {
        expect_context()
    }

    /// Asks the server who is signed in. What is on screen stays until the answer is there.
    pub fn load(self) {
        spawn_local(async move {
            let me = api::me().await;
            self.me.set(me.into());
        });
    }

    /// Forgets the account, after which every page leads to the sign-in.
    pub fn clear(self) {
        self.me.set(Loadable::Failed(api::error_from(401, "")));
    }

    /// Looks at a failed call: a session that ended leads to the sign-in. Returns the error for showing.
    pub fn check(self, error: ApiError) -> ApiError {
        if error.status == 401 {
            self.clear();
        }
        error
    }

    /// The token for requests that change something; empty when nobody is signed in.
    pub fn csrf(self) -> String {
        self.me.with_untracked(|me| {
            me.ready()
                .map(|me| me.csrf_token.clone())
                .unwrap_or_default()
        })
    }

    /// What documents may be; none while that is not known.
    pub fn formats(self) -> Vec<DocumentFormat> {
        self.me
            .with(|me| me.ready().map(|me| me.formats.clone()).unwrap_or_default())
    }

    /// Whether it is known that nobody is signed in.
    pub fn is_signed_out(self) -> bool {
        self.me
            .with(|me| matches!(me, Loadable::Failed(error) if error.status == 401))
    }

    /// Whether an administrator is signed in.
    pub fn is_admin(self) -> bool {
        self.me
            .with(|me| me.ready().is_some_and(|me| me.user.role == Role::Admin))
    }

    /// Reads something of the account; `None` until it is known.
    pub fn read<T>(self, of: impl FnOnce(&Me) -> T) -> Option<T> {
        self.me.with(|me| me.ready().map(of))
    }
}
