//! Light and dark: the system's choice, or the person's own, remembered in this browser.

use leptos::prelude::*;

use crate::components::icon::{Icon, Symbol};
use crate::dom;

const KEY: &str = "theme";

/// Switches between light and dark. The first click leaves the system's choice.
#[component]
pub fn ThemeToggle() -> impl IntoView {
    let toggle = move |_| {
        let next = if is_dark() { "light" } else { "dark" };
        if let Some(root) = document().document_element() {
            // Only this attribute decides; `theme.js` sets it again at the next visit.
            let _ = root.set_attribute("data-theme", next);
        }
        dom::remember(KEY, Some(next));
    };
    view! {
        <button type="button" class="icon-button theme-toggle" aria-label="Switch between light and dark" title="Light or dark" on:click=toggle>
            <Icon symbol=Symbol::Moon />
            <Icon symbol=Symbol::Sun />
        </button>
    }
    .into_any()
}

fn is_dark() -> bool {
    let chosen = document()
        .document_element()
        .and_then(|root| root.get_attribute("data-theme"));
    match chosen.as_deref() {
        Some("dark") => true,
        Some("light") => false,
        _ => dom::matches("(prefers-color-scheme: dark)"),
    }
}
