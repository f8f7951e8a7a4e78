//! What stands where content is not: loading, failed, empty, forbidden.

use leptos::prelude::*;
use web_api::ApiError;

use super::icon::{Icon, Symbol};

/// Grey lines in place of text that is on its way.
#[component]
pub fn Skeleton(
    /// Number of lines.
    #[prop(default = 3)]
    lines: usize,
) -> impl IntoView {
    view! {
        <div class="skeleton" role="status">
            <span class="visually-hidden">"Loading"</span>
            {(0..lines).map(|_| view! { <span class="skeleton-line" aria-hidden="true"></span> }).collect_view()}
        </div>
    }
    .into_any()
}

/// Plain words about what went wrong, and the way to try again.
#[component]
pub fn Failed(
    /// What went wrong.
    error: ApiError,
    /// Tries again.
    #[prop(into)]
    on_retry: Callback<()>,
) -> impl IntoView {
    let forbidden = error.status == 403;
    let symbol = if forbidden {
        Symbol::Lock
    } else {
        Symbol::Warning
    };
    let title = match error.status {
        403 => "Not for this account",
        404 => "Nothing here",
        0 => "No connection",
        _ => "That did not work",
    };
    view! {
        <div class="placeholder is-failure" role="alert">
            <span class="placeholder-icon"><Icon symbol /></span>
            <h2>{title}</h2>
            <p>{error.message}</p>
            <button type="button" class="button" on:click=move |_| on_retry.run(())>
                <Icon symbol=Symbol::Retry />
                "Try again"
            </button>
            {error.request_id.map(|id| view! { <p class="fine-print">"Request " <code>{id}</code></p> })}
        </div>
    }
    .into_any()
}

/// What could be here, and how it gets here.
#[component]
pub fn Empty(
    /// Decoration.
    symbol: Symbol,
    /// A few words.
    #[prop(into)]
    title: String,
    /// How it gets here.
    children: Children,
) -> impl IntoView {
    view! {
        <div class="placeholder">
            <span class="placeholder-icon"><Icon symbol /></span>
            <h2>{title}</h2>
            {children()}
        </div>
    }
    .into_any()
}
