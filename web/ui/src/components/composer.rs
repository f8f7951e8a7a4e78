//! Where a question is written: grows with it, Enter asks, Shift+Enter breaks the line, Escape stops the answer.

use leptos::html::Textarea;
use leptos::prelude::*;
use web_sys::KeyboardEvent;

use super::collection_picker::CollectionPicker;
use super::icon::{Icon, Symbol};
use crate::dom;
use crate::state::chat::Chat;
use crate::state::session::Session;

/// The longest question the server takes, in chars.
const MAX_QUESTION_CHARS: usize = 4000;

/// The composer at the foot of the chat.
#[component]
pub fn Composer() -> impl IntoView {
    let session = Session::here();
    let chat = Chat::here();
    let text = RwSignal::new(String::new());
    let field = NodeRef::<Textarea>::new();
    let running = Memo::new(move |_| chat.running().is_some());
    let is_ready = move || chat.open.with(|open| open.ready().is_some());
    let too_long = move || text.with(|text| text.chars().count() > MAX_QUESTION_CHARS);
    let can_ask = move || {
        !running.get() && is_ready() && !too_long() && text.with(|text| !text.trim().is_empty())
    };
    let fit = move || {
        // Runs a frame later too, when the composer may be gone.
        if let Some(field) = field.try_get_untracked().flatten() {
            dom::fit_height(&field);
        }
    };
    let ask = move || {
        if untrack(can_ask) {
            chat.ask(text.get_untracked().trim().to_owned());
            text.set(String::new());
            request_animation_frame(fit);
        }
    };
    Effect::new(move |_| {
        if let Some(question) = chat.returned.get() {
            text.set(question);
            chat.returned.set(None);
            request_animation_frame(fit);
        }
    });
    Effect::new(move |_| {
        // On a phone the keyboard would cover the page.
        if let Some(field) = field.get()
            && dom::matches("(min-width: 700px)")
        {
            let _ = field.focus();
        }
    });
    let on_key = move |event: KeyboardEvent| {
        // While a word is being composed (Japanese, Chinese), Enter belongs to the input method.
        if event.key() == "Enter" && !event.shift_key() && !event.is_composing() {
            event.prevent_default();
            ask();
        } else if event.key() == "Escape" && running.get_untracked() {
            chat.stop();
        }
    };
    let no_model = move || session.read(|me| me.model.name.is_none()).unwrap_or(false);
    view! {
        <form class="composer" on:submit=move |event| { event.prevent_default(); ask(); }>
            <CollectionPicker />
            <div class="composer-box">
                <label class="visually-hidden" for="question">"Your question"</label>
                <textarea
                    id="question"
                    node_ref=field
                    rows="1"
                    placeholder="Ask your documents"
                    autocomplete="off"
                    prop:value=move || text.get()
                    on:input:target=move |event| { text.set(event.target().value()); fit(); }
                    on:keydown=on_key
                ></textarea>
                <div class="composer-actions">
                    <button
                        type="button"
                        class="quiet-button quote-toggle"
                        title="Show verbatim sentences instead of a written answer"
                        aria-pressed=move || (chat.quote_only.get() || no_model()).to_string()
                        prop:disabled=no_model
                        on:click=move |_| chat.toggle_quotes()
                    >
                        <Icon symbol=Symbol::Quote />
                        "Quotes only"
                    </button>
                    <AskOrStop running can_ask=Signal::derive(can_ask) />
                </div>
            </div>
            <p class="composer-hint" class:is-failure=too_long>
                {move || if too_long() {
                    format!("Questions may have up to {MAX_QUESTION_CHARS} characters.")
                } else {
                    "Check answers against their sources.".to_owned()
                }}
            </p>
        </form>
    }
    .into_any()
}

/// The round button of the composer: asks, or stops the answer that is being written.
#[component]
fn AskOrStop(
    /// Whether an answer is being written.
    running: Memo<bool>,
    /// Whether the question can be asked now.
    can_ask: Signal<bool>,
) -> impl IntoView {
    let chat = Chat::here();
    move || {
        if running.get() {
            view! {
                <button type="button" class="round-button is-stop" aria-label="Stop the answer" title="Stop (Esc)" on:click=move |_| chat.stop()>
                    <Icon symbol=Symbol::Stop />
                </button>
            }
            .into_any()
        } else {
            view! {
                <button type="submit" class="round-button" aria-label="Ask" title="Ask (Enter)" prop:disabled=move || !can_ask.get()>
                    <Icon symbol=Symbol::Send />
                </button>
            }
            .into_any()
        }
    }
}
