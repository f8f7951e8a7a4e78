//! Uploading files into a collection: by button or by dropping them, one after another, with progress.

use std::rc::Rc;

use leptos::html::Input;
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use wasm_bindgen::closure::Closure;
use web_api::{CSRF_HEADER, DocumentFormat, UploadResponse};
use web_sys::{DragEvent, File, FileList, FormData, ProgressEvent, XmlHttpRequest};

use super::icon::{Icon, Symbol};
use crate::api;
use crate::dates;
use crate::state::session::Session;

/// A file on its way.
#[derive(Debug, Clone, PartialEq)]
struct Upload {
    id: usize,
    name: String,
    bytes: u64,
    state: UploadState,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum UploadState {
    Waiting,
    /// Per cent.
    Sending(u8),
    Sent,
    Failed(String),
}

/// The area that takes files for one collection.
#[component]
pub fn UploadArea(
    /// Id of the collection.
    collection: i64,
    /// Runs after each file that the server has taken.
    #[prop(into)]
    on_sent: Callback<()>,
) -> impl IntoView {
    let session = Session::here();
    let uploads = RwSignal::new(Vec::<Upload>::new());
    let dragging = RwSignal::new(false);
    let field = NodeRef::<Input>::new();
    let take = move |files: Option<FileList>| {
        let files = files.map(|list| list_files(&list)).unwrap_or_default();
        let first = uploads.with_untracked(Vec::len);
        uploads.update(|uploads| {
            uploads.extend(files.iter().enumerate().map(|(at, file)| Upload {
                id: first + at,
                name: file.name(),
                bytes: file.size() as u64,
                state: UploadState::Waiting,
            }));
        });
        let queue = files
            .into_iter()
            .enumerate()
            .map(|(at, file)| (first + at, file))
            .collect();
        send_next(
            Rc::new(Sender {
                collection,
                csrf: session.csrf(),
                uploads,
                on_sent,
            }),
            queue,
        );
    };
    let on_drop = move |event: DragEvent| {
        event.prevent_default();
        dragging.set(false);
        take(event.data_transfer().and_then(|data| data.files()));
    };
    let on_pick = move |_| {
        if let Some(field) = field.get_untracked() {
            take(field.files());
            // So that the same file can be chosen again.
            field.set_value("");
        }
    };
    view! {
        <div
            class="upload"
            class:is-dragging=dragging
            on:dragover=move |event| { event.prevent_default(); dragging.set(true); }
            on:dragleave=move |_| dragging.set(false)
            on:drop=on_drop
        >
            <Icon symbol=Symbol::Upload />
            <p>"Drop files here, or " <label class="upload-label" for="upload">"choose files"</label></p>
            <p class="fine-print">{move || format_names(&session.formats())}</p>
            <input
                node_ref=field
                id="upload"
                class="visually-hidden"
                type="file"
                multiple
                accept=move || accepted(&session.formats())
                on:change=on_pick
            />
        </div>
        <ul class="uploads" aria-live="polite">
            <For each=move || uploads.get() key=|upload| (upload.id, upload.state.clone()) let:upload>
                <UploadRow upload />
            </For>
        </ul>
    }
    .into_any()
}

/// What the file dialog offers: the extensions of all formats. Without any, every file; the server decides what it can read.
fn accepted(formats: &[DocumentFormat]) -> String {
    let extensions = formats.iter().flat_map(|format| &format.extensions);
    let dotted: Vec<String> = extensions
        .map(|extension| format!(".{extension}"))
        .collect();
    dotted.join(",")
}

/// "Plain text, Markdown, HTML, PDF and Word".
fn format_names(formats: &[DocumentFormat]) -> String {
    let names: Vec<&str> = formats.iter().map(|format| format.name.as_str()).collect();
    let list = match names.as_slice() {
        [] => return String::new(),
        [only] => (*only).to_owned(),
        [before @ .., last] => format!("{} and {last}", before.join(", ")),
    };
    let mut chars = list.chars();
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    first.chain(chars).collect()
}

#[component]
fn UploadRow(upload: Upload) -> impl IntoView {
    let state = match &upload.state {
        UploadState::Waiting => view! { <span class="fine-print">"Waiting"</span> }.into_any(),
        UploadState::Sending(percent) => view! {
            <progress max="100" value=percent.to_string() aria-label=format!("{} uploaded", upload.name)></progress>
        }.into_any(),
        UploadState::Sent => view! { <span class="fine-print">"Uploaded, being read"</span> }.into_any(),
        UploadState::Failed(reason) => view! { <span class="is-failure">{reason.clone()}</span> }.into_any(),
    };
    view! {
        <li class="upload-row">
            <Icon symbol=Symbol::File />
            <span class="upload-name">{upload.name.clone()}</span>
            <span class="fine-print">{dates::bytes(upload.bytes)}</span>
            {state}
        </li>
    }
    .into_any()
}

fn list_files(list: &FileList) -> Vec<File> {
    (0..list.length()).filter_map(|at| list.get(at)).collect()
}

/// What all files of one drop share.
struct Sender {
    collection: i64,
    csrf: String,
    uploads: RwSignal<Vec<Upload>>,
    on_sent: Callback<()>,
}

impl Sender {
    fn set(&self, id: usize, state: UploadState) {
        // The page may be gone by now; the upload goes on.
        let _ = self.uploads.try_update(|uploads| {
            if let Some(upload) = uploads.iter_mut().find(|upload| upload.id == id) {
                upload.state = state;
            }
        });
    }
}

/// Sends the first file and, when that is over, the others. `fetch` reports no upload progress, hence the older interface.
fn send_next(sender: Rc<Sender>, mut queue: Vec<(usize, File)>) {
    if queue.is_empty() {
        return;
    }
    let (id, file) = queue.remove(0);
    if let Err(reason) = send(&sender, id, &file, queue) {
        sender.set(id, UploadState::Failed(reason));
    }
}

fn send(
    sender: &Rc<Sender>,
    id: usize,
    file: &File,
    queue: Vec<(usize, File)>,
) -> Result<(), String> {
    let broken = |_| "This browser could not send the file.".to_owned();
    let form = FormData::new().map_err(broken)?;
    form.append_with_blob_and_filename("file", file, &file.name())
        .map_err(broken)?;
    let request = XmlHttpRequest::new().map_err(broken)?;
    request
        .open_with_async("POST", &api::documents_path(sender.collection), true)
        .map_err(broken)?;
    request
        .set_request_header(CSRF_HEADER, &sender.csrf)
        .map_err(broken)?;

    let upload = request.upload().map_err(broken)?;
    let progress = {
        let sender = sender.clone();
        Closure::<dyn FnMut(ProgressEvent)>::new(move |event: ProgressEvent| {
            if event.total() > 0.0 {
                let percent = (100.0 * event.loaded() / event.total()) as u8;
                sender.set(id, UploadState::Sending(percent));
            }
        })
    };
    upload.set_onprogress(Some(progress.as_ref().unchecked_ref()));
    let end = {
        let sender = sender.clone();
        let request = request.clone();
        Closure::once_into_js(move || {
            drop(progress);
            sender.set(id, outcome(&request));
            sender.on_sent.try_run(());
            send_next(sender, queue);
        })
    };
    request.set_onloadend(Some(end.unchecked_ref()));
    sender.set(id, UploadState::Sending(0));
    request.send_with_opt_form_data(Some(&form)).map_err(broken)
}

fn outcome(request: &XmlHttpRequest) -> UploadState {
    let status = request.status().unwrap_or(api::NO_CONNECTION);
    let body = request.response_text().ok().flatten().unwrap_or_default();
    if !(200..300).contains(&status) {
        return UploadState::Failed(api::error_from(status, &body).message);
    }
    let refused = serde_json::from_str::<UploadResponse>(&body)
        .ok()
        .and_then(|answer| answer.files.into_iter().find(|file| !file.accepted));
    match refused {
        Some(file) => UploadState::Failed(
            file.reason
                .unwrap_or_else(|| "The server did not take this file.".into()),
        ),
        None => UploadState::Sent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_dialog_offers_what_the_server_reads() {
        let format = |name: &str, extensions: &[&str]| DocumentFormat {
            name: name.to_owned(),
            extensions: extensions.iter().map(|e| (*e).to_owned()).collect(),
        };
        let formats = [
            format("plain text", &["txt", "log"]),
            format("PDF", &["pdf"]),
            format("Word", &["docx"]),
        ];
        assert_eq!(accepted(&formats), ".txt,.log,.pdf,.docx");
        assert_eq!(format_names(&formats), "Plain text, PDF and Word");
        assert_eq!(format_names(&formats[1..2]), "PDF");
        assert_eq!((accepted(&[]), format_names(&[])), Default::default());
    }
}
