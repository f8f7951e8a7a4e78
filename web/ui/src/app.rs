//! The page's routes and the state that all of them share.

use leptos::prelude::*;
use leptos_meta::{Title, provide_meta_context};
use leptos_router::components::{ParentRoute, Route, Router, Routes};
use leptos_router::path;

use crate::components::confirm::Confirm;
use crate::components::notices::Notices;
use crate::pages::account::AccountPage;
use crate::pages::chat::ChatPage;
use crate::pages::documents::DocumentsPage;
use crate::pages::not_found::NotFound;
use crate::pages::set_up::SetUpPage;
use crate::pages::sign_in::SignInPage;
use crate::pages::workspace::Workspace;
use crate::state::chat::Chat;
use crate::state::overlay::Overlay;
use crate::state::session::Session;

/// The page.
#[component]
pub fn App() -> impl IntoView {
    provide_meta_context();
    let session = Session::new();
    let overlay = Overlay::new();
    provide_context(session);
    provide_context(overlay);
    provide_context(Chat::new(session, overlay));
    view! {
        <Title text="Cloister" />
        <Router>
            <Routes fallback=NotFound>
                <Route path=path!("/sign-in") view=SignInPage />
                <Route path=path!("/setup") view=SetUpPage />
                <ParentRoute path=path!("") view=Workspace>
                    <Route path=path!("/") view=ChatPage />
                    <Route path=path!("/c/:id") view=ChatPage />
                    <Route path=path!("/documents") view=DocumentsPage />
                    <Route path=path!("/account") view=AccountPage />
                </ParentRoute>
            </Routes>
        </Router>
        <Confirm />
        <Notices />
    }
}
