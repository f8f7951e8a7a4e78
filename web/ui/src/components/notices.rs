//! Short notices in the corner, read out by screen readers.

use leptos::prelude::*;

use super::icon::{Icon, Symbol};
use crate::state::overlay::Overlay;

/// All notices on screen.
#[component]
pub fn Notices() -> impl IntoView {
    let overlay = Overlay::here();
    view! {
        <div class="notices" role="status" aria-live="polite">
            <For each=move || overlay.notices.get() key=|notice| notice.id let:notice>
                <div class="notice" class:is-failure=notice.failure>
                    <Icon symbol=if notice.failure { Symbol::Warning } else { Symbol::Check } />
                    <p>{notice.text.clone()}</p>
                    <button type="button" class="icon-button" aria-label="Dismiss" on:click=move |_| overlay.dismiss(notice.id)>
                        <Icon symbol=Symbol::Close />
                    </button>
                </div>
            </For>
        </div>
    }
    .into_any()
}
