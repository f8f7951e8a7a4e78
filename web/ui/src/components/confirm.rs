//! The question before something irreversible. A native dialog: it keeps the keyboard inside and closes by Escape.

use leptos::html::Dialog;
use leptos::prelude::*;

use crate::state::overlay::Overlay;

/// Shows the overlay's open question.
#[component]
pub fn Confirm() -> impl IntoView {
    let overlay = Overlay::here();
    let dialog = NodeRef::<Dialog>::new();
    Effect::new(move |_| {
        let Some(element) = dialog.get() else {
            return;
        };
        if overlay.question.with(Option::is_some) {
            // Fails only when it is open already.
            let _ = element.show_modal();
        } else if element.open() {
            element.close();
        }
    });
    let close = move || overlay.question.set(None);
    let confirm = move |_| {
        if let Some(question) = overlay.question.get_untracked() {
            (question.on_confirm)();
        }
        close();
    };
    let read = move |of: fn(&crate::state::overlay::Question) -> &str| {
        overlay.question.with(|question| {
            question
                .as_ref()
                .map(|q| of(q).to_owned())
                .unwrap_or_default()
        })
    };
    view! {
        <dialog node_ref=dialog class="confirm" aria-labelledby="confirm-title" aria-describedby="confirm-text" on:close=move |_| close()>
            <h2 id="confirm-title">{move || read(|question| &question.title)}</h2>
            <p id="confirm-text">{move || read(|question| &question.text)}</p>
            <div class="confirm-actions">
                <button type="button" class="button" autofocus on:click=move |_| close()>"Cancel"</button>
                <button type="button" class="button is-danger" on:click=confirm>
                    {move || read(|question| &question.action)}
                </button>
            </div>
        </dialog>
    }
    .into_any()
}
