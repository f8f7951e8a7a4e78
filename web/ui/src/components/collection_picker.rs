//! Which collections the next question searches: chips, all of them when none is chosen.

use leptos::prelude::*;
use web_api::Collection;

use super::icon::{Icon, Symbol};
use crate::dates;
use crate::state::chat::Chat;
use crate::state::session::Session;

/// Chips of all collections that the account may ask.
#[component]
pub fn CollectionPicker() -> impl IntoView {
    let session = Session::here();
    let chat = Chat::here();
    let collections = move || {
        session
            .read(|me| me.collections.clone())
            .unwrap_or_default()
    };
    let all = move || chat.picked_existing().is_empty();
    view! {
        <div class="picker" role="group" aria-label="Collections to search">
            {move || (!collections().is_empty()).then(|| view! {
                <button type="button" class="chip" aria-pressed=move || all().to_string() on:click=move |_| chat.pick_all()>
                    "All documents"
                </button>
            })}
            <For each=collections key=|collection| collection.id let:collection>
                <Chip collection />
            </For>
        </div>
    }
    .into_any()
}

#[component]
fn Chip(collection: Collection) -> impl IntoView {
    let chat = Chat::here();
    let id = collection.id;
    let pressed = move || chat.picked_existing().contains(&id);
    let title = dates::count(collection.documents, "document", "documents");
    view! {
        <button type="button" class="chip" title=title aria-pressed=move || pressed().to_string() on:click=move |_| chat.toggle_collection(id)>
            <Icon symbol=Symbol::Folder />
            {collection.name}
        </button>
    }
    .into_any()
}
