//! The sources under an answer: each a button that opens the document at the quote.

use leptos::prelude::*;

use crate::state::answer::{AnswerView, Target, place};
use crate::state::chat::{Chat, Panel};

/// So many sources are shown at once; the others after a click.
const SHOWN: usize = 4;

/// Sources of a complete answer, or the closest passages of a refusal.
#[component]
pub fn Sources(
    /// The answer.
    view: RwSignal<AnswerView>,
) -> impl IntoView {
    let targets = Memo::new(move |_| {
        view.with(|view| {
            if view.is_running() {
                Vec::new()
            } else {
                view.targets()
            }
        })
    });
    let all = RwSignal::new(false);
    let shown = move || {
        let limit = if all.get() { usize::MAX } else { SHOWN };
        targets
            .get()
            .into_iter()
            .take(limit)
            .enumerate()
            .collect::<Vec<_>>()
    };
    let hidden = move || targets.with(Vec::len).saturating_sub(SHOWN);
    let title = move || {
        if view.with(|view| view.message.refused) {
            "Closest passages"
        } else {
            "Sources"
        }
    };
    view! {
        {move || targets.with(|targets| !targets.is_empty()).then(|| view! {
            <section class="sources">
                <h3>{title}</h3>
                <ol>
                    {move || shown().into_iter().map(|(at, target)| view! {
                        <li><SourceButton targets at target /></li>
                    }).collect_view()}
                </ol>
                {move || (hidden() > 0 && !all.get()).then(|| view! {
                    <button type="button" class="quiet-button" on:click=move |_| all.set(true)>
                        {format!("Show {} more", hidden())}
                    </button>
                })}
            </section>
        })}
    }
    .into_any()
}

#[component]
fn SourceButton(targets: Memo<Vec<Target>>, at: usize, target: Target) -> impl IntoView {
    let chat = Chat::here();
    let open = move |_| {
        chat.panel.set(Some(Panel {
            targets: targets.get_untracked(),
            at,
        }));
    };
    let text = if target.verified {
        format!("“{}”", target.text.trim())
    } else {
        target.text.clone()
    };
    view! {
        <button type="button" class="source" on:click=open>
            <span class="source-number" aria-label=format!("Source {}", target.n)>{target.n}</span>
            <span class="source-body">
                <span class="source-title">{place(&target.title, target.page)}</span>
                <span class="source-text">{text}</span>
            </span>
        </button>
    }
    .into_any()
}
