//! A question and its answer: text as it comes, numbers that open sources, what is uncertain said plainly.

use leptos::prelude::*;
use web_api::{AnswerMode, AnswerStatus, Message};
use web_sys::Event;

use super::copy_button::CopyButton;
use super::icon::{Icon, Symbol};
use super::preview::Preview;
use super::sources::Sources;
use crate::state::answer::{AnswerView, place};
use crate::state::chat::{Chat, Panel, Turn};
use crate::{dates, dom, markdown};

/// One question with its answer.
#[component]
pub fn Answer(
    /// What is shown.
    turn: Turn,
    /// The preview that floats over all answers.
    preview: RwSignal<Option<Preview>>,
) -> impl IntoView {
    let view = RwSignal::from(turn.view);
    let question = view.with_untracked(|view| view.message.question.clone());
    let running = Memo::new(move |_| view.with(AnswerView::is_running));
    let refused = move || view.with(|view| view.message.refused);
    view! {
        <article class="turn">
            <div class="question">
                <h2 class="visually-hidden">"Question"</h2>
                <p>{question}</p>
            </div>
            <div class="answer" class:is-refusal=refused class:is-running=running>
                <h2 class="visually-hidden">"Answer"</h2>
                {move || refused().then(|| view! {
                    <p class="answer-flag"><Icon symbol=Symbol::Search />"Not in your documents"</p>
                })}
                {move || view.with(|view| view.message.notice.clone()).map(|notice| view! {
                    <p class="answer-notice"><Icon symbol=Symbol::Quote />{notice}</p>
                })}
                <AnswerText view preview />
                <Activity view />
                {move || view.with(|view| view.message.error.clone()).map(|error| view! {
                    <p class="answer-error" role="alert"><Icon symbol=Symbol::Warning />{error}</p>
                })}
                {move || view.with(|view| view.message.status == AnswerStatus::Stopped).then(|| view! {
                    <p class="answer-notice"><Icon symbol=Symbol::Stop />"You stopped this answer."</p>
                })}
                <Sources view />
                {move || (!running.get() && view.with(|view| !view.message.answer.is_empty()))
                    .then(|| view! { <Footer view /> })}
            </div>
        </article>
    }
    .into_any()
}

/// The text, block by block: while it streams, only blocks that changed are replaced.
#[component]
fn AnswerText(view: RwSignal<AnswerView>, preview: RwSignal<Option<Preview>>) -> impl IntoView {
    let chat = Chat::here();
    let blocks =
        Memo::new(move |_| view.with(|view| markdown::render(&view.message.answer, &view.marks())));
    let number_of_blocks = Memo::new(move |_| blocks.with(Vec::len));
    let busy = move || view.with(AnswerView::is_running).to_string();
    let open = move |event: Event| {
        if let Some(mark) = mark_of(&event) {
            preview.set(None);
            open_mark(chat, view, mark);
        }
    };
    let show_preview = move |event: Event| {
        let found = dom::closest(&event, ".cite").and_then(|chip| {
            let mark = mark_of(&event)?;
            let target = view.with_untracked(|view| view.target_of_mark(mark))?;
            Some(Preview::beside(&chip, target))
        });
        preview.try_maybe_update(|preview| {
            let changed = *preview != found;
            *preview = found;
            (changed, ())
        });
    };
    view! {
        <div
            class="answer-text"
            aria-live="polite"
            aria-busy=busy
            on:click=move |event| open(event.into())
            on:mouseover=move |event| show_preview(event.into())
            on:mouseleave=move |_| preview.set(None)
            on:focusin=move |event| show_preview(event.into())
            on:focusout=move |_| preview.set(None)
        >
            <For each=move || 0..number_of_blocks.get() key=|at| *at let:at>
                <AnswerBlock html=Memo::new(move |_| {
                    blocks.with(|blocks| blocks.get(at).cloned().unwrap_or_default())
                }) />
            </For>
        </div>
    }
    .into_any()
}

/// `html` comes from [`markdown::render`], which lets no markup of the answer through.
#[component]
fn AnswerBlock(html: Memo<String>) -> impl IntoView {
    view! { <div class="answer-block" inner_html=move || html.get()></div> }
}

fn mark_of(event: &Event) -> Option<usize> {
    dom::closest(event, ".cite")?
        .get_attribute("data-mark")?
        .parse()
        .ok()
}

fn open_mark(chat: Chat, view: RwSignal<AnswerView>, mark: usize) {
    let (targets, target) = view.with_untracked(|view| (view.targets(), view.target_of_mark(mark)));
    if let Some(at) = targets
        .iter()
        .position(|other| Some(other) == target.as_ref())
    {
        chat.panel.set(Some(Panel { targets, at }));
    }
}

/// What is going on before and while the text comes.
#[component]
fn Activity(view: RwSignal<AnswerView>) -> impl IntoView {
    let line = Memo::new(move |_| {
        view.with(|view| match (view.is_running(), view.reconnecting) {
            (false, _) => None,
            (true, true) => Some("Reconnecting".to_owned()),
            (true, false) if view.activity.is_empty() => Some("Working".to_owned()),
            (true, false) => Some(view.activity.clone()),
        })
    });
    view! {
        <div role="status" aria-live="polite">
            {move || line.get().map(|line| view! {
                <p class="activity">
                    <span class="activity-dots" aria-hidden="true"><i></i><i></i><i></i></span>
                    {line}
                </p>
            })}
        </div>
    }
    .into_any()
}

/// Who answered, what it took, and copying.
#[component]
fn Footer(view: RwSignal<AnswerView>) -> impl IntoView {
    let by = view.with_untracked(|view| answered_by(&view.message));
    let cost = view.with_untracked(|view| cost(&view.message));
    let text = Signal::derive(move || view.with(clipboard_text));
    view! {
        <footer class="answer-foot">
            <span class="answered-by">{by}</span>
            {cost.map(|cost| view! { <span class="answer-cost">{cost}</span> })}
            <CopyButton text label="Copy answer" />
        </footer>
    }
    .into_any()
}

fn answered_by(message: &Message) -> String {
    match (&message.model, message.mode) {
        (_, AnswerMode::QuoteOnly) => "Quoted from the documents".into(),
        (Some(model), AnswerMode::Generated) => format!("Answered by {model}"),
        (None, AnswerMode::Generated) => "Answered from the documents".into(),
    }
}

/// `4.2 s, 120 tokens`; nothing when the server did not measure.
fn cost(message: &Message) -> Option<String> {
    let total = message.timings.total_ms;
    if total <= 0.0 {
        return None;
    }
    let time = dates::duration(total);
    Some(match message.usage.completion_tokens as u64 {
        0 => time,
        tokens => format!("{time}, {}", dates::count(tokens, "token", "tokens")),
    })
}

fn clipboard_text(view: &AnswerView) -> String {
    let mut lines: Vec<String> = Vec::new();
    for target in view.targets() {
        let line = format!("[{}] {}", target.n, place(&target.title, target.page));
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    markdown::to_clipboard(&view.message.answer, &lines)
}
