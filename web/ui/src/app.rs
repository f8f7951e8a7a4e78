//! The page's routes and the state that all of them share.

use leptos::prelude::*;
use leptos_meta::{Title, provide_meta_context};
use leptos_router::components::{Route, Router, Routes};
use leptos_router::path;

/// The page.
#[component]
pub fn App() -> impl IntoView {
    provide_meta_context();
    view! {
        <Title text="Cloister" />
        <Router>
            <Routes fallback=|| "This page does not exist.">
                <Route path=path!("/") view=|| view! { <main>"Cloister"</main> } />
                <Route path=path!("/c/:id") view=|| view! { <main>"Cloister"</main> } />
                <Route path=path!("/documents") view=|| view! { <main>"Documents"</main> } />
                <Route path=path!("/sign-in") view=|| view! { <main>"Sign in"</main> } />
                <Route path=path!("/setup") view=|| view! { <main>"Set up"</main> } />
            </Routes>
        </Router>
    }
}
