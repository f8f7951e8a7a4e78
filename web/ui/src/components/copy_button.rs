//! Copies a text and says so; a command line that can be copied.

use std::time::Duration;

use leptos::prelude::*;
use leptos::task::spawn_local;

use super::icon::{Icon, Symbol};
use crate::dom;

/// How long the button says that it has copied.
const SAY_TIME: Duration = Duration::from_secs(2);

/// A button that puts a text on the clipboard.
#[component]
pub fn CopyButton(
    /// What is copied, read at the time of the click.
    #[prop(into)]
    text: Signal<String>,
    /// Name of the button.
    #[prop(default = "Copy")]
    label: &'static str,
) -> impl IntoView {
    let copied = RwSignal::new(false);
    let on_click = move |_| {
        let text = text.get_untracked();
        spawn_local(async move {
            if dom::copy(&text).await {
                copied.try_set(true);
                set_timeout(
                    move || {
                        copied.try_set(false);
                    },
                    SAY_TIME,
                );
            }
        });
    };
    view! {
        <button type="button" class="quiet-button" on:click=on_click>
            {move || view! { <Icon symbol=if copied.get() { Symbol::Check } else { Symbol::Copy } /> }}
            <span aria-live="polite">{move || if copied.get() { "Copied" } else { label }}</span>
        </button>
    }
    .into_any()
}

/// A command for the terminal.
#[component]
pub fn Command(
    /// The command.
    #[prop(into)]
    text: String,
) -> impl IntoView {
    let copied = text.clone();
    view! {
        <div class="command">
            <code>{text}</code>
            <CopyButton text=Signal::derive(move || copied.clone()) />
        </div>
    }
    .into_any()
}
