//! The chat: a conversation, or the start of a new one.

use leptos::html::Div;
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::components::A;
use leptos_router::hooks::use_params_map;
use web_api::ApiError;

use super::workspace::MenuButton;
use crate::components::answer::Answer;
use crate::components::composer::Composer;
use crate::components::copy_button::Command;
use crate::components::icon::{Icon, Symbol};
use crate::components::model_banner::{ModelBadge, ModelBanner};
use crate::components::placeholder::{Failed, Skeleton};
use crate::components::preview::{Preview, PreviewCard};
use crate::state::Loadable;
use crate::state::chat::{Chat, Turn};
use crate::state::session::Session;
use crate::{dates, dom};

/// So near to the end the page follows the text as it comes.
const NEAR_END_PX: i32 = 90;

/// Both `/` and `/c/:id`.
#[component]
pub fn ChatPage() -> impl IntoView {
    let chat = Chat::here();
    let session = Session::here();
    let params = use_params_map();
    let account = Memo::new(move |_| session.read(|me| me.user.email.clone()));
    Effect::new(move |_| {
        let id = params.read().get("id");
        if account.get().is_some() {
            chat.show(id);
        }
    });
    let title = Memo::new(move |_| {
        chat.open.with(|open| {
            let conversation = open.ready().and_then(|open| open.conversation.as_ref());
            conversation
                .map(|conversation| conversation.title.clone())
                .filter(|title| !title.is_empty())
        })
    });
    view! {
        <Title text=move || title.get().map_or_else(|| "Cloister".into(), |title| format!("{title} · Cloister")) />
        <header class="page-head">
            <MenuButton />
            <h1 class="page-title">{move || title.get().unwrap_or_else(|| "New chat".into())}</h1>
            <ModelBadge />
        </header>
        <main class="chat" id="main">
            <ModelBanner />
            <Conversation />
            <Composer />
        </main>
    }
    .into_any()
}

/// What the chat shows. Changes of an answer do not change it, so that answers stay in place.
#[derive(Debug, Clone, PartialEq)]
enum Stage {
    Loading,
    Failed(ApiError),
    Welcome,
    Turns,
}

/// The questions and answers, scrolled to the end while they grow.
#[component]
fn Conversation() -> impl IntoView {
    let chat = Chat::here();
    let session = Session::here();
    let scroller = NodeRef::<Div>::new();
    let follows = RwSignal::new(true);
    let preview = RwSignal::new(None::<Preview>);
    let last_top = StoredValue::new(0);
    let to_end = move || {
        // Runs a frame later, when the page may be another or the reader has scrolled up.
        if follows.try_get_untracked() == Some(true)
            && let Some(element) = scroller.try_get_untracked().flatten()
        {
            element.set_scroll_top(element.scroll_height());
        }
    };
    let stage = Memo::new(move |_| {
        let signed_in = session.read(|_| ()).is_some();
        chat.open.with(|open| match open {
            Loadable::Failed(error) => Stage::Failed(error.clone()),
            Loadable::Ready(open) if !open.turns.is_empty() => Stage::Turns,
            Loadable::Ready(_) if signed_in => Stage::Welcome,
            _ => Stage::Loading,
        })
    });
    let last = Memo::new(move |_| {
        chat.open.with(|open| {
            open.ready()
                .and_then(|open| open.turns.last())
                .map(|turn| turn.key)
        })
    });
    // A new question is always followed; its answer until the reader scrolls up.
    Effect::new(move |_| {
        last.track();
        follows.set(true);
    });
    Effect::new(move |_| {
        let turn = chat
            .open
            .with(|open| open.ready().and_then(|open| open.turns.last().cloned()));
        if let Some(turn) = turn {
            turn.view.track();
        }
        if last.get_untracked().is_some() {
            request_animation_frame(to_end);
        }
    });
    let on_scroll = move |_| {
        if let Some(element) = scroller.try_get_untracked().flatten() {
            let below = element.scroll_height() - element.scroll_top() - element.client_height();
            let top = element.scroll_top();
            let before = last_top.try_get_value().unwrap_or_default();
            last_top.try_set_value(top);
            // Up lets go at once, however small the step: the next word would scroll down again. Text that gets
            // shorter moves the end up, too, but then there is nothing below.
            if top < before && below > 2 {
                follows.set(false);
            } else if top > before && below < NEAR_END_PX {
                follows.set(true);
            }
            preview.try_maybe_update(|preview| (preview.take().is_some(), ()));
        }
    };
    view! {
        <div class="messages-frame">
            <div class="messages" node_ref=scroller on:scroll=on_scroll>
                {move || match stage.get() {
                    Stage::Loading => view! { <div class="turns"><Skeleton lines=6 /></div> }.into_any(),
                    Stage::Failed(error) => view! {
                        <Failed error on_retry=move |()| chat.reload() />
                    }.into_any(),
                    Stage::Welcome => view! { <Welcome /> }.into_any(),
                    Stage::Turns => view! { <Turns preview /> }.into_any(),
                }}
            </div>
            {move || (!follows.get() && last.get().is_some()).then(|| view! {
                <button type="button" class="jump" on:click=move |_| { follows.set(true); to_end(); }>
                    <Icon symbol=Symbol::Down />
                    "Jump to latest"
                </button>
            })}
        </div>
        <PreviewCard preview />
    }
    .into_any()
}

#[component]
fn Turns(preview: RwSignal<Option<Preview>>) -> impl IntoView {
    let chat = Chat::here();
    let turns = move || -> Vec<Turn> {
        chat.open.with(|open| {
            open.ready()
                .map(|open| open.turns.clone())
                .unwrap_or_default()
        })
    };
    view! {
        <div class="turns">
            <For each=turns key=|turn| turn.key let:turn>
                <Answer turn preview />
            </For>
        </div>
    }
    .into_any()
}

/// The start of a new conversation: what can be asked, or how documents get here.
#[component]
fn Welcome() -> impl IntoView {
    let session = Session::here();
    let totals = move || {
        session.read(|me| {
            let documents: u64 = me
                .collections
                .iter()
                .map(|collection| collection.documents)
                .sum();
            (documents, me.collections.len() as u64)
        })
    };
    let has_documents = move || totals().is_some_and(|(documents, _)| documents > 0);
    view! {
        <div class="welcome">
            <span class="welcome-mark"><Icon symbol=Symbol::Arches /></span>
            {move || if has_documents() {
                let (documents, collections) = totals().unwrap_or_default();
                view! {
                    <h2>"What would you like to know?"</h2>
                    <p>
                        "Answers come from "
                        {dates::count(documents, "document", "documents")}
                        {format!(" in {}", dates::count(collections, "collection", "collections"))}
                        " on this server. Every number in an answer opens the sentence it rests on."
                    </p>
                    <Collections />
                }.into_any()
            } else if session.is_admin() {
                view! {
                    <h2>"Add documents first"</h2>
                    <p>"Point Cloister at a folder. The collection then equals the folder, and running the command again picks up what changed."</p>
                    <Command text="cloister ingest ./handbook --collection handbook" />
                    <p><A href="/documents" attr:class="button">"Upload files instead"</A></p>
                }.into_any()
            } else {
                view! {
                    <h2>"No documents yet"</h2>
                    <p>"There is nothing to ask about so far. An administrator can add documents."</p>
                }.into_any()
            }}
        </div>
    }
    .into_any()
}

/// What there is to ask about, as cards that choose a collection.
#[component]
fn Collections() -> impl IntoView {
    let session = Session::here();
    let chat = Chat::here();
    let collections = session
        .read(|me| me.collections.clone())
        .unwrap_or_default();
    view! {
        <ul class="welcome-collections">
            {collections.into_iter().filter(|collection| collection.documents > 0).map(|collection| {
                let id = collection.id;
                let choose = move |_| {
                    chat.pick_all();
                    chat.toggle_collection(id);
                    dom::focus_soon("#question");
                };
                view! {
                    <li>
                        <button type="button" class="collection-card" aria-pressed=move || chat.picked_existing().contains(&id).to_string() on:click=choose>
                            <Icon symbol=Symbol::Folder />
                            <span>
                                <strong>{collection.name}</strong>
                                <span class="fine-print">{dates::count(collection.documents, "document", "documents")}</span>
                            </span>
                        </button>
                    </li>
                }
            }).collect_view()}
        </ul>
    }
    .into_any()
}
