//! The conversations, the way to a new one, and the account.

use std::time::Duration;

use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos_router::components::A;
use leptos_router::hooks::{use_location, use_navigate};

use super::conversation_row::ConversationRow;
use super::icon::{Icon, Symbol};
use super::placeholder::Skeleton;
use crate::state::Loadable;
use crate::state::chat::Chat;
use crate::state::overlay::Overlay;
use crate::state::session::Session;
use crate::theme::ThemeToggle;
use crate::{api, dates, dom};

/// How long typing rests before the search is sent.
const SEARCH_DELAY: Duration = Duration::from_millis(250);

/// The sidebar; on a phone a drawer.
#[component]
pub fn Sidebar(
    /// Whether the drawer is open.
    drawer: RwSignal<bool>,
) -> impl IntoView {
    let session = Session::here();
    let path = use_location().pathname;
    let close = move || drawer.set(false);
    let on_key = move |event: web_sys::KeyboardEvent| {
        if event.key() == "Escape" {
            close();
        }
    };
    let on_documents = move || path.with(|path| path.starts_with("/documents"));
    view! {
        <nav on:keydown=on_key class="sidebar" id="sidebar" aria-label="Conversations" class:is-open=drawer>
            <div class="sidebar-head">
                <A href="/" attr:class="brand" on:click=move |_| close()>
                    <Icon symbol=Symbol::Arches />
                    <span>"Cloister"</span>
                </A>
                <button type="button" class="icon-button drawer-close" aria-label="Close the menu" on:click=move |_| close()>
                    <Icon symbol=Symbol::Close />
                </button>
            </div>
            <A href="/" attr:class="button is-primary new-chat" on:click=move |_| { close(); dom::focus_soon("#question"); }>
                <Icon symbol=Symbol::Plus />
                "New chat"
            </A>
            <SearchField />
            <ConversationList on_open=move |()| close() />
            <div class="sidebar-foot">
                {move || session.is_admin().then(|| view! {
                    <A href="/documents" attr:class="sidebar-link" on:click=move |_| close()>
                        <span class="sidebar-link-inner" class:is-current=on_documents>
                            <Icon symbol=Symbol::Folder />
                            "Documents"
                        </span>
                    </A>
                })}
                <Account on_open=move |()| close() />
            </div>
        </nav>
    }
    .into_any()
}

#[component]
fn SearchField() -> impl IntoView {
    let chat = Chat::here();
    let search = debounce(SEARCH_DELAY, move |query: String| {
        chat.query.set(query);
        chat.load_list();
    });
    view! {
        <div class="search" role="search">
            <Icon symbol=Symbol::Search />
            <label class="visually-hidden" for="search">"Search conversations"</label>
            <input
                id="search"
                type="search"
                placeholder="Search conversations"
                autocomplete="off"
                on:input:target={
                    let mut search = search;
                    move |event| search(event.target().value())
                }
            />
        </div>
    }
    .into_any()
}

#[component]
fn ConversationList(#[prop(into)] on_open: Callback<()>) -> impl IntoView {
    let chat = Chat::here();
    view! {
        <div class="conversations">
            {move || match chat.list.get() {
                Loadable::Loading => view! { <Skeleton lines=5 /> }.into_any(),
                Loadable::Failed(error) => view! {
                    <div class="conversations-note" role="alert">
                        <p>{error.message}</p>
                        <button type="button" class="quiet-button" on:click=move |_| chat.load_list()>
                            <Icon symbol=Symbol::Retry />
                            "Try again"
                        </button>
                    </div>
                }.into_any(),
                Loadable::Ready(hits) if hits.is_empty() => view! {
                    <p class="conversations-note">
                        {if chat.query.with(|query| query.trim().is_empty()) {
                            "Your conversations will be kept here."
                        } else {
                            "No conversation contains these words."
                        }}
                    </p>
                }.into_any(),
                Loadable::Ready(hits) => {
                    let searching = chat.query.with(|query| !query.trim().is_empty());
                    if searching {
                        view! { <Group title="Found" hits on_open /> }.into_any()
                    } else {
                        dates::group_by_age(hits, dom::clock(), |hit| hit.conversation.updated_at)
                            .into_iter()
                            .map(|(age, hits)| view! { <Group title=age.title() hits on_open /> })
                            .collect_view()
                            .into_any()
                    }
                }
            }}
        </div>
    }
    .into_any()
}

#[component]
fn Group(
    title: &'static str,
    hits: Vec<web_api::ConversationHit>,
    on_open: Callback<()>,
) -> impl IntoView {
    view! {
        <section>
            <h2 class="conversations-group">{title}</h2>
            <ul>
                {hits.into_iter().map(|hit| view! { <ConversationRow hit on_open /> }).collect_view()}
            </ul>
        </section>
    }
    .into_any()
}

#[component]
fn Account(#[prop(into)] on_open: Callback<()>) -> impl IntoView {
    let session = Session::here();
    let overlay = Overlay::here();
    let navigate = use_navigate();
    let sign_out = move |_| {
        let navigate = navigate.clone();
        spawn_local(async move {
            match api::sign_out(&session.csrf()).await {
                Err(error) if error.status != 401 => overlay.fail(error.message),
                _ => {
                    session.clear();
                    navigate("/sign-in", Default::default());
                }
            }
        });
    };
    let email = move || session.read(|me| me.user.email.clone()).unwrap_or_default();
    let role = move || {
        if session.is_admin() {
            "Administrator"
        } else {
            "Member"
        }
    };
    view! {
        <div class="account">
            <A href="/account" attr:class="account-who" attr:title="Account and password" on:click=move |_| on_open.run(())>
                <span class="account-email" title=email>{email}</span>
                <span class="fine-print">{move || session.read(|_| ()).map(|()| role())}</span>
            </A>
            <ThemeToggle />
            <button type="button" class="icon-button sign-out" aria-label="Sign out" title="Sign out" on:click=sign_out>
                <Icon symbol=Symbol::SignOut />
            </button>
        </div>
    }
    .into_any()
}
