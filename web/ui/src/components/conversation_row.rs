//! One conversation of the sidebar: open, rename in place, delete.

use leptos::html::Input;
use leptos::prelude::*;
use leptos_router::components::A;
use leptos_router::hooks::use_location;
use std::sync::Arc;
use web_api::ConversationHit;
use web_sys::KeyboardEvent;

use super::icon::{Icon, Symbol};
use crate::state::chat::Chat;
use crate::state::overlay::{Overlay, Question};

/// The longest title the server takes, in chars.
const MAX_TITLE_CHARS: &str = "200";

/// A conversation in the list.
#[component]
pub fn ConversationRow(
    /// The conversation, with what a search found in it.
    hit: ConversationHit,
    /// Runs when the conversation is opened.
    #[prop(into)]
    on_open: Callback<()>,
) -> impl IntoView {
    let chat = Chat::here();
    let overlay = Overlay::here();
    let renaming = RwSignal::new(false);
    let hit = StoredValue::new(hit);
    let id = move || hit.with_value(|hit| hit.conversation.id.clone());
    let path = use_location().pathname;
    let is_open = move || path.with(|path| path.strip_prefix("/c/") == Some(id().as_str()));
    view! {
        <li class="conversation" class:is-open=is_open>
            {move || if renaming.get() {
                view! { <RenameField id=id() title=title_of(hit) on_done=move |()| renaming.set(false) /> }.into_any()
            } else {
                view! {
                    <A href=format!("/c/{}", id()) attr:class="conversation-link" on:click=move |_| on_open.run(())>
                        <span class="conversation-title">{title_of(hit)}</span>
                        {hit.with_value(|hit| hit.snippet.clone()).map(|snippet| view! {
                            <span class="conversation-snippet">{snippet}</span>
                        })}
                    </A>
                    <div class="conversation-actions">
                        <button type="button" class="icon-button" aria-label=format!("Rename {}", title_of(hit)) title="Rename" on:click=move |_| renaming.set(true)>
                            <Icon symbol=Symbol::Pencil />
                        </button>
                        <button type="button" class="icon-button" aria-label=format!("Delete {}", title_of(hit)) title="Delete" on:click=move |_| ask_to_delete(chat, overlay, id(), title_of(hit))>
                            <Icon symbol=Symbol::Trash />
                        </button>
                    </div>
                }.into_any()
            }}
        </li>
    }
    .into_any()
}

fn title_of(hit: StoredValue<ConversationHit>) -> String {
    let title = hit.with_value(|hit| hit.conversation.title.clone());
    if title.is_empty() {
        "New conversation".into()
    } else {
        title
    }
}

fn ask_to_delete(chat: Chat, overlay: Overlay, id: String, title: String) {
    overlay.ask(Question {
        title: "Delete this conversation?".into(),
        text: format!("“{title}” and its answers will be gone for good."),
        action: "Delete".into(),
        on_confirm: Arc::new(move || chat.delete(id.clone())),
    });
}

#[component]
fn RenameField(id: String, title: String, #[prop(into)] on_done: Callback<()>) -> impl IntoView {
    let chat = Chat::here();
    let field = NodeRef::<Input>::new();
    Effect::new(move |_| {
        if let Some(field) = field.get() {
            let _ = field.focus();
            field.select();
        }
    });
    let before = title.clone();
    let save = move || {
        // Leaving the page takes the field away and ends here too, by `blur`.
        let after = field
            .try_get_untracked()
            .flatten()
            .map(|field| field.value().trim().to_owned());
        if let Some(after) = after.filter(|after| !after.is_empty() && *after != before) {
            chat.rename(id.clone(), after);
        }
        on_done.try_run(());
    };
    let on_key = {
        let save = save.clone();
        move |event: KeyboardEvent| match event.key().as_str() {
            "Enter" => {
                event.prevent_default();
                save();
            }
            "Escape" => on_done.run(()),
            _ => {}
        }
    };
    view! {
        <input
            node_ref=field
            class="rename-field"
            aria-label="New title"
            maxlength=MAX_TITLE_CHARS
            value=title
            on:keydown=on_key
            on:blur=move |_| save()
        />
    }
    .into_any()
}
