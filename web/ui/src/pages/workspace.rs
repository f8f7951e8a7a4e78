//! The frame of the signed-in pages: sidebar, content, side panel.

use leptos::prelude::*;
use leptos_router::NavigateOptions;
use leptos_router::components::Outlet;
use leptos_router::hooks::{use_location, use_navigate};

use crate::components::icon::{Icon, Symbol};
use crate::components::placeholder::Failed;
use crate::components::sidebar::Sidebar;
use crate::components::source_panel::SourcePanel;
use crate::dom;
use crate::state::Loadable;
use crate::state::chat::Chat;
use crate::state::session::Session;

/// Whether the phone's drawer is open; a context of the frame.
#[derive(Debug, Clone, Copy)]
pub struct Drawer(pub RwSignal<bool>);

/// The frame. Leads to the sign-in when nobody is signed in.
#[component]
pub fn Workspace() -> impl IntoView {
    let session = Session::here();
    let chat = Chat::here();
    let drawer = RwSignal::new(false);
    provide_context(Drawer(drawer));
    // Effects run in the browser only, after hydration.
    Effect::new(move |_| {
        if session
            .me
            .with_untracked(|me| matches!(me, Loadable::Loading))
        {
            session.load();
        }
    });
    let navigate = use_navigate();
    let path = use_location().pathname;
    Effect::new({
        let navigate = navigate.clone();
        move |_| {
            if session.is_signed_out() {
                let path = path.get_untracked();
                let target = match path.as_str() {
                    "/" => "/sign-in".to_owned(),
                    path => format!("/sign-in?next={}", js_sys::encode_uri_component(path)),
                };
                navigate(
                    &target,
                    NavigateOptions {
                        replace: true,
                        ..Default::default()
                    },
                );
            }
        }
    });
    Effect::new(move |_| {
        if let Some(path) = chat.go_to.get() {
            chat.go_to.set(None);
            navigate(
                &path,
                NavigateOptions {
                    scroll: false,
                    ..Default::default()
                },
            );
        }
    });
    let account = Memo::new(move |_| session.read(|me| me.user.email.clone()));
    Effect::new(move |_| {
        if account.get().is_some() {
            chat.recall();
            chat.load_list();
        }
    });
    let failure = move || {
        session.me.with(|me| match me {
            Loadable::Failed(error) if error.status != 401 => Some(error.clone()),
            _ => None,
        })
    };
    let panel_open = move || chat.panel.with(Option::is_some);
    view! {
        <a class="skip-link" href="#main">"Skip to content"</a>
        <div class="workspace" class:has-panel=panel_open class:has-drawer=drawer>
            <Sidebar drawer />
            <div class="drawer-backdrop" on:click=move |_| drawer.set(false)></div>
            <div class="content">
                <Show when=move || failure().is_none() fallback=move || failure().map(|error| view! {
                    <main id="main" class="failed-page"><Failed error on_retry=move |()| session.load() /></main>
                })>
                    <Outlet />
                </Show>
            </div>
            <SourcePanel />
        </div>
    }
    .into_any()
}

/// Opens the drawer; only on a phone.
#[component]
pub fn MenuButton() -> impl IntoView {
    let Drawer(drawer) = expect_context();
    view! {
        <button
            type="button"
            class="icon-button menu-button"
            aria-label="Open the menu"
            aria-controls="sidebar"
            aria-expanded=move || drawer.get().to_string()
            on:click=move |_| { drawer.set(true); dom::focus_soon(".drawer-close"); }
        >
            <Icon symbol=Symbol::Menu />
        </button>
    }
    .into_any()
}
