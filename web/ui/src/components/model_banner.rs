//! Which model answers; and, when none is there, how to get one.

use leptos::prelude::*;

use super::copy_button::Command;
use super::icon::{Icon, Symbol};
use crate::state::session::Session;

/// The command that fetches the default language model.
const PULL_COMMAND: &str = "cloister models pull qwen2.5-coder-1.5b-instruct";

/// Name of the model that answers.
#[component]
pub fn ModelBadge() -> impl IntoView {
    let session = Session::here();
    let name = move || {
        session.read(|me| {
            me.model
                .name
                .clone()
                .unwrap_or_else(|| "Quotes only, no language model".into())
        })
    };
    view! {
        {move || name().map(|name| view! {
            <span class="model-badge" title="The language model that answers, on this server">
                <span class="model-dot" aria-hidden="true"></span>
                <span class="visually-hidden">"Model: "</span>
                <span class="model-name">{name}</span>
            </span>
        })}
    }
    .into_any()
}

/// Says that there is no language model and how an administrator adds one.
#[component]
pub fn ModelBanner() -> impl IntoView {
    let session = Session::here();
    let missing = move || {
        session
            .read(|me| me.model.name.is_none())
            .unwrap_or_default()
    };
    view! {
        {move || missing().then(|| view! {
            <aside class="banner" aria-label="No language model">
                <Icon symbol=Symbol::Quote />
                <div>
                    <p>
                        <strong>"No language model is installed. "</strong>
                        "Answers are verbatim quotes from the documents."
                    </p>
                    {session.is_admin().then(|| view! {
                        <p class="fine-print">"Fetch one on the server, then restart it:"</p>
                        <Command text=PULL_COMMAND />
                    })}
                </div>
            </aside>
        })}
    }
    .into_any()
}
