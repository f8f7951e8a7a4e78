//! An address that leads nowhere.

use leptos::prelude::*;
use leptos_router::components::A;

use crate::components::icon::{Icon, Symbol};

/// Says so, and leads back.
#[component]
pub fn NotFound() -> impl IntoView {
    view! {
        <main class="placeholder is-page" id="main">
            <span class="placeholder-icon"><Icon symbol=Symbol::Search /></span>
            <h1>"This page does not exist"</h1>
            <p>"The address may be old or mistyped."</p>
            <A href="/" attr:class="button">"Go to the chat"</A>
        </main>
    }
    .into_any()
}
