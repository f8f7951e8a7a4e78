//! The files of one collection: state, reasons of failure, size, and removal.

use std::sync::Arc;

use leptos::prelude::*;
use leptos::task::spawn_local;
use web_api::{Document, DocumentState};

use super::icon::{Icon, Symbol};
use crate::state::overlay::{Overlay, Question};
use crate::state::session::Session;
use crate::{api, dates, dom};

/// A table of documents; on a phone a list of cards.
#[component]
pub fn DocumentsTable(
    /// Files, by path.
    documents: Vec<Document>,
    /// Runs after a document was removed.
    #[prop(into)]
    on_change: Callback<()>,
) -> impl IntoView {
    view! {
        <table class="documents">
            <caption class="visually-hidden">"Files of this collection"</caption>
            <thead>
                <tr>
                    <th scope="col">"File"</th>
                    <th scope="col">"State"</th>
                    <th scope="col" class="number">"Pages"</th>
                    <th scope="col" class="number">"Passages"</th>
                    <th scope="col" class="number">"Size"</th>
                    <th scope="col">"Changed"</th>
                    <th scope="col"><span class="visually-hidden">"Actions"</span></th>
                </tr>
            </thead>
            <tbody>
                {documents.into_iter().map(|document| view! { <Row document on_change /> }).collect_view()}
            </tbody>
        </table>
    }
    .into_any()
}

#[component]
fn Row(document: Document, on_change: Callback<()>) -> impl IntoView {
    let session = Session::here();
    let overlay = Overlay::here();
    let path = document.path.clone();
    let has_title = !document.title.is_empty() && document.title != document.path;
    let number =
        |value: Option<u32>| value.map_or_else(|| "–".to_owned(), |value| value.to_string());
    let changed = document
        .updated_at
        .map(|time| dom::clock().date_time(time))
        .unwrap_or_default();
    let remove = document.id.map(|id| {
        let path = path.clone();
        let label = format!("Remove {path}");
        let ask = move |_| {
            overlay.ask(Question {
                title: "Remove this document?".into(),
                text: format!("“{path}” will not be found any more. The file in its folder stays; ingesting the folder again brings it back."),
                action: "Remove".into(),
                on_confirm: Arc::new(move || remove_document(session, overlay, id, on_change)),
            });
        };
        view! {
            <button type="button" class="icon-button" aria-label=label title="Remove" on:click=ask>
                <Icon symbol=Symbol::Trash />
            </button>
        }
    });
    view! {
        <tr>
            <td class="file">
                <span class="file-path">{path}</span>
                {has_title.then(|| view! { <span class="fine-print">{document.title.clone()}</span> })}
                {document.reason.clone().map(|reason| view! { <span class="file-reason">{reason}</span> })}
            </td>
            <td data-label="State"><State state=document.state /></td>
            <td data-label="Pages" class="number">{number(document.pages)}</td>
            <td data-label="Passages" class="number">{document.passages.to_string()}</td>
            <td data-label="Size" class="number">{dates::bytes(document.bytes)}</td>
            <td data-label="Changed" class="date">{changed}</td>
            <td class="actions">{remove}</td>
        </tr>
    }
    .into_any()
}

#[component]
fn State(state: DocumentState) -> impl IntoView {
    let (class, text) = match state {
        DocumentState::Indexed => ("state is-indexed", "Ready"),
        DocumentState::Pending => ("state is-pending", "Being read"),
        DocumentState::Failed => ("state is-failed", "Failed"),
    };
    view! { <span class=class>{text}</span> }
}

fn remove_document(session: Session, overlay: Overlay, id: i64, on_change: Callback<()>) {
    spawn_local(async move {
        match api::delete_document(&session.csrf(), id).await {
            Ok(()) => {
                overlay.tell("Document removed.");
                on_change.try_run(());
            }
            Err(error) => overlay.fail(session.check(error).message),
        }
    });
}
