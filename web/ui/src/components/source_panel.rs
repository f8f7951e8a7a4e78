//! The side panel: the document of a citation, opened at the quote, with the quote highlighted.
//!
//! Only a verified quote is highlighted: a wrong highlight is worse than none. On a phone the panel covers the page.
//! Escape closes it, and the keyboard goes back to where it was.

use std::time::Duration;

use leptos::html::{Aside, Button};
use leptos::prelude::*;
use leptos::task::spawn_local;
use web_api::{BlockKind, DocumentView, Span, ViewBlock};
use web_sys::{HtmlElement, KeyboardEvent};

use super::icon::{Icon, Symbol};
use super::placeholder::{Failed, Skeleton};
use crate::highlight::{begins_in, cut, is_heading, merge_blocks, table_rows};
use crate::state::Loadable;
use crate::state::answer::{Target, place};
use crate::state::chat::{Chat, Panel};
use crate::state::session::Session;
use crate::{api, dom};

/// Time for the blocks to be laid out before the quote is scrolled to.
const LAYOUT_TIME: Duration = Duration::from_millis(60);

/// The side panel; nothing while no source is open.
#[component]
pub fn SourcePanel() -> impl IntoView {
    let chat = Chat::here();
    let is_open = Memo::new(move |_| chat.panel.with(Option::is_some));
    let opener = StoredValue::new_local(None::<HtmlElement>);
    Effect::new(move |was_open: Option<bool>| {
        let open = is_open.get();
        match (was_open.unwrap_or(false), open) {
            (false, true) => opener.set_value(dom::focused()),
            (true, false) => give_back(opener.try_update_value(Option::take).flatten()),
            _ => {}
        }
        open
    });
    view! {
        {move || is_open.get().then(|| view! { <OpenPanel /> })}
    }
    .into_any()
}

fn give_back(opener: Option<HtmlElement>) {
    match opener.filter(|element| element.is_connected()) {
        Some(element) => {
            let _ = element.focus();
        }
        None => dom::focus_soon("#question"),
    }
}

#[component]
fn OpenPanel() -> impl IntoView {
    let chat = Chat::here();
    let session = Session::here();
    let panel = NodeRef::<Aside>::new();
    let close_button = NodeRef::<Button>::new();
    let target = Memo::new(move |_| {
        chat.panel.with(|panel| {
            panel
                .as_ref()
                .and_then(|panel| panel.targets.get(panel.at).cloned())
        })
    });
    let document = RwSignal::new(Loadable::<DocumentView>::Loading);
    let load = move || {
        let Some(wanted) = target.get_untracked() else {
            return;
        };
        document.set(Loadable::Loading);
        spawn_local(async move {
            let loaded = api::document_view(wanted.document, wanted.span).await;
            let still_wanted = target.try_get_untracked().flatten() == Some(wanted);
            if still_wanted {
                document.try_set(loaded.map_err(|error| session.check(error)).into());
                set_timeout(scroll_to_quote, LAYOUT_TIME);
            }
        });
    };
    Effect::new(move |_| {
        target.track();
        load();
    });
    Effect::new(move |_| {
        if let Some(button) = close_button.get() {
            let _ = button.focus();
        }
    });
    let on_key = move |event: KeyboardEvent| {
        if event.key() == "Escape" {
            event.stop_propagation();
            chat.panel.set(None);
        }
    };
    // Escape closes it from anywhere, not only while the keyboard is inside.
    let listener = window_event_listener(leptos::ev::keydown, move |event| {
        if event.key() == "Escape" && !event.default_prevented() {
            chat.panel.set(None);
        }
    });
    on_cleanup(move || listener.remove());
    view! {
        <div class="panel-backdrop" on:click=move |_| chat.panel.set(None)></div>
        <aside node_ref=panel class="panel" aria-label="Source" on:keydown=on_key>
            <header class="panel-head">
                {move || target.get().map(|target| view! {
                    <div class="panel-title">
                        <h2>{target.title.clone()}</h2>
                        <p class="fine-print">{target.path.clone()}</p>
                    </div>
                })}
                <button node_ref=close_button type="button" class="icon-button" aria-label="Close the source" title="Close (Esc)" on:click=move |_| chat.panel.set(None)>
                    <Icon symbol=Symbol::Close />
                </button>
            </header>
            <Pager target />
            <div class="panel-body" tabindex="0" role="region" aria-label="Text of the document">
                {move || match document.get() {
                    Loadable::Loading => view! { <Skeleton lines=8 /> }.into_any(),
                    Loadable::Failed(error) => view! { <Failed error on_retry=move |()| load() /> }.into_any(),
                    Loadable::Ready(view) => target.get().map(|target| {
                        view! { <DocumentText document view target /> }
                    }).into_any(),
                }}
            </div>
        </aside>
    }
    .into_any()
}

fn scroll_to_quote() {
    let quote = dom::query(".panel mark").or_else(|| dom::query(".panel .is-start"));
    if let Some(element) = quote {
        dom::scroll_to_middle(&element);
    }
}

/// Which source of how many, and the way to the others.
#[component]
fn Pager(target: Memo<Option<Target>>) -> impl IntoView {
    let chat = Chat::here();
    let position = move || {
        chat.panel.with(|panel| {
            panel
                .as_ref()
                .map_or((0, 0), |panel| (panel.at, panel.targets.len()))
        })
    };
    let go = move |to: fn(&Panel) -> usize| {
        chat.panel.update(|panel| {
            if let Some(panel) = panel {
                panel.at = to(panel);
            }
        });
    };
    let is_last = move || position().0 + 1 >= position().1;
    let where_it_is = move || {
        target.get().map(|target| match target.page {
            Some(page) => format!("Source {}, page {page}", target.n),
            None => format!("Source {}", target.n),
        })
    };
    view! {
        <div class="pager">
            <button
                type="button"
                class="icon-button"
                aria-label="Previous source"
                prop:disabled=move || position().0 == 0
                on:click=move |_| go(|panel| panel.at.saturating_sub(1))
            >
                <Icon symbol=Symbol::Previous />
            </button>
            <p aria-live="polite">
                <strong>{where_it_is}</strong>
                <span class="fine-print">{move || format!("{} of {}", position().0 + 1, position().1)}</span>
            </p>
            <button
                type="button"
                class="icon-button"
                aria-label="Next source"
                prop:disabled=is_last
                on:click=move |_| go(|panel| (panel.at + 1).min(panel.targets.len().saturating_sub(1)))
            >
                <Icon symbol=Symbol::Next />
            </button>
        </div>
    }
    .into_any()
}

/// The blocks around the quote, with the way to what stands before and after.
#[component]
fn DocumentText(
    document: RwSignal<Loadable<DocumentView>>,
    view: DocumentView,
    target: Target,
) -> impl IntoView {
    let more = move |span: Span| {
        spawn_local(async move {
            let id = document.with_untracked(|view| view.ready().map(|view| view.id));
            let Some(id) = id else { return };
            if let Ok(loaded) = api::document_view(id, span).await {
                document.update(|shown| {
                    if let Some(shown) = shown.ready_mut().filter(|shown| shown.id == id) {
                        add_blocks(shown, loaded);
                    }
                });
            }
        });
    };
    let first = view.blocks.first().map_or(0, |block| block.start);
    let last = view
        .blocks
        .last()
        .map_or(0, |block| block.start + block.text.chars().count());
    let quote = target.span;
    let verified = target.verified;
    let mut page = None;
    let blocks = view
        .blocks
        .into_iter()
        .map(|block| {
            let new_page = block.page.filter(|_| block.page != page);
            page = block.page.or(page);
            view! {
                {new_page.map(|page| view! { <p class="page-mark">{format!("Page {page}")}</p> })}
                <DocumentBlock block quote verified />
            }
        })
        .collect_view();
    view! {
        {(!verified).then(|| view! {
            <p class="panel-note">"The answer points to this passage of "{place(&target.title, target.page)}". No exact quote was matched."</p>
        })}
        {view.has_before.then(|| view! {
            <button type="button" class="quiet-button more-text" on:click=move |_| more(Span { start: first.saturating_sub(1), end: first })>
                "Show the text before"
            </button>
        })}
        <div class="document">{blocks}</div>
        {view.has_after.then(|| view! {
            <button type="button" class="quiet-button more-text" on:click=move |_| more(Span { start: last + 2, end: last + 3 })>
                "Show the text after"
            </button>
        })}
    }
    .into_any()
}

/// Extends what is shown by what was loaded.
fn add_blocks(shown: &mut DocumentView, loaded: DocumentView) {
    let start = |blocks: &[ViewBlock]| blocks.first().map_or(usize::MAX, |block| block.start);
    let end = |blocks: &[ViewBlock]| blocks.last().map_or(0, |block| block.start);
    if start(&loaded.blocks) < start(&shown.blocks) {
        shown.has_before = loaded.has_before;
    }
    if end(&loaded.blocks) > end(&shown.blocks) {
        shown.has_after = loaded.has_after;
    }
    shown.blocks = merge_blocks(&shown.blocks, &loaded.blocks);
}

#[component]
fn DocumentBlock(block: ViewBlock, quote: Span, verified: bool) -> impl IntoView {
    let is_start = begins_in(&block, quote);
    let marked = if verified {
        quote
    } else {
        Span { start: 0, end: 0 }
    };
    let text = |text: &str, start: usize| {
        cut(text, start, marked)
            .into_iter()
            .map(|piece| {
                if piece.quoted {
                    view! { <mark>{piece.text}</mark> }.into_any()
                } else {
                    piece.text.into_any()
                }
            })
            .collect_view()
    };
    let content = match block.kind {
        BlockKind::Table => table_rows(&block.text, block.start).into_iter().map(|row| view! {
            <tr>{row.into_iter().map(|cell| view! { <td>{text(&cell.text, cell.start)}</td> }).collect_view()}</tr>
        }).collect_view().into_any(),
        _ => text(&block.text, block.start).into_any(),
    };
    match block.kind {
        kind if is_heading(kind) => view! { <h3 class="document-heading" class:is-start=is_start>{content}</h3> }.into_any(),
        BlockKind::ListItem => view! { <p class="document-item" class:is-start=is_start>{content}</p> }.into_any(),
        BlockKind::Code => view! { <pre class:is-start=is_start><code>{content}</code></pre> }.into_any(),
        BlockKind::Table => view! {
            <div class="table-scroll" class:is-start=is_start><table><tbody>{content}</tbody></table></div>
        }.into_any(),
        _ => view! { <p class:is-start=is_start>{content}</p> }.into_any(),
    }
}
