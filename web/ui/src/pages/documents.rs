//! The documents page: collections, their files, uploads. For administrators; members get a friendly word.

use std::sync::Arc;
use std::time::Duration;

use leptos::html::Input;
use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos_meta::Title;
use leptos_router::components::A;
use web_api::{ApiError, Collection, Document, DocumentState};

use super::workspace::MenuButton;
use crate::components::copy_button::Command;
use crate::components::documents_table::DocumentsTable;
use crate::components::icon::{Icon, Symbol};
use crate::components::placeholder::{Empty, Failed, Skeleton};
use crate::components::upload::UploadArea;
use crate::state::Loadable;
use crate::state::overlay::{Overlay, Question};
use crate::state::session::Session;
use crate::{api, dates};

/// While files are being read, the list is asked for this often.
const POLL_TIME: Duration = Duration::from_millis(1500);

/// What the page shows; created once and handed down.
#[derive(Debug, Clone, Copy)]
struct Shelf {
    session: Session,
    overlay: Overlay,
    collections: RwSignal<Loadable<Vec<Collection>>>,
    open: RwSignal<Option<i64>>,
    documents: RwSignal<Loadable<Vec<Document>>>,
}

impl Shelf {
    fn load_collections(self) {
        spawn_local(async move {
            let loaded = api::collections()
                .await
                .map_err(|error| self.session.check(error));
            if let Ok(collections) = &loaded {
                // The chat's picker shows the same list.
                self.session.me.update(|me| {
                    if let Some(me) = me.ready_mut() {
                        me.collections.clone_from(collections);
                    }
                });
                let open = self.open.try_get_untracked().flatten();
                let exists = collections
                    .iter()
                    .any(|collection| Some(collection.id) == open);
                if !exists {
                    self.open
                        .try_set(collections.first().map(|collection| collection.id));
                }
            }
            self.collections.try_set(loaded.into());
        });
    }

    fn load_documents(self) {
        let Some(Some(collection)) = self.open.try_get_untracked() else {
            return;
        };
        spawn_local(async move {
            let loaded = api::documents(collection)
                .await
                .map_err(|error| self.session.check(error));
            if self.open.try_get_untracked() != Some(Some(collection)) {
                return;
            }
            let pending = loaded.as_ref().is_ok_and(|documents| {
                documents
                    .iter()
                    .any(|document| document.state == DocumentState::Pending)
            });
            let was_pending = self.documents.try_with_untracked(has_pending);
            self.documents.try_set(loaded.into());
            if pending {
                set_timeout(move || self.load_documents(), POLL_TIME);
            } else if was_pending == Some(true) {
                self.load_collections();
            }
        });
    }

    fn reload(self) {
        self.load_collections();
        self.load_documents();
    }
}

fn has_pending(documents: &Loadable<Vec<Document>>) -> bool {
    documents.ready().is_some_and(|documents| {
        documents
            .iter()
            .any(|document| document.state == DocumentState::Pending)
    })
}

/// `/documents`.
#[component]
pub fn DocumentsPage() -> impl IntoView {
    let session = Session::here();
    let known = Memo::new(move |_| session.read(|me| me.user.role));
    view! {
        <Title text="Documents · Cloister" />
        <header class="page-head">
            <MenuButton />
            <h1 class="page-title">"Documents"</h1>
        </header>
        <main class="shelf" id="main">
            {move || match known.get() {
                None => view! { <Skeleton lines=6 /> }.into_any(),
                Some(web_api::Role::Admin) => view! { <ShelfView /> }.into_any(),
                Some(web_api::Role::Member) => view! {
                    <Empty symbol=Symbol::Lock title="Administrators look after the documents">
                        <p>"Your account asks questions; it does not change what can be asked about. If a document is missing, tell an administrator."</p>
                        <A href="/" attr:class="button">"Back to the chat"</A>
                    </Empty>
                }.into_any(),
            }}
        </main>
    }
    .into_any()
}

/// What the page shows. A list that is loaded again does not change it, so that uploads stay in place.
#[derive(Debug, Clone, PartialEq)]
enum Stage {
    Loading,
    Failed(ApiError),
    Empty,
    Collections,
}

#[component]
fn ShelfView() -> impl IntoView {
    let shelf = Shelf {
        session: Session::here(),
        overlay: Overlay::here(),
        collections: RwSignal::new(Loadable::Loading),
        open: RwSignal::new(None),
        documents: RwSignal::new(Loadable::Loading),
    };
    let stage = Memo::new(move |_| {
        shelf.collections.with(|collections| match collections {
            Loadable::Loading => Stage::Loading,
            Loadable::Failed(error) => Stage::Failed(error.clone()),
            Loadable::Ready(collections) if collections.is_empty() => Stage::Empty,
            Loadable::Ready(_) => Stage::Collections,
        })
    });
    Effect::new(move |_| shelf.load_collections());
    Effect::new(move |_| {
        if shelf.open.get().is_some() {
            shelf.documents.set(Loadable::Loading);
            shelf.load_documents();
        }
    });
    view! {
        {move || match stage.get() {
            Stage::Loading => view! { <Skeleton lines=6 /> }.into_any(),
            Stage::Failed(error) => view! { <Failed error on_retry=move |()| shelf.load_collections() /> }.into_any(),
            Stage::Empty => view! {
                <Empty symbol=Symbol::Folder title="No collections yet">
                    <p>"A collection is a set of documents that can be asked about together. Make one from a folder on the server:"</p>
                    <Command text="cloister ingest ./handbook --collection handbook" />
                    <p>"or start an empty one and upload files."</p>
                    <NewCollection shelf />
                </Empty>
            }.into_any(),
            Stage::Collections => view! {
                <div class="shelf-columns">
                    <CollectionList shelf />
                    <OpenCollection shelf />
                </div>
            }.into_any(),
        }}
    }
    .into_any()
}

#[component]
fn CollectionList(shelf: Shelf) -> impl IntoView {
    let collections = move || {
        shelf
            .collections
            .with(|list| list.ready().cloned().unwrap_or_default())
    };
    view! {
        <section class="collection-list" aria-label="Collections">
            <ul>
                {move || collections().into_iter().map(|collection| {
                    let id = collection.id;
                    let is_open = move || shelf.open.get() == Some(id);
                    view! {
                        <li>
                            <button
                                type="button"
                                class="collection-row"
                                aria-current=move || is_open().then_some("true")
                                on:click=move |_| shelf.open.set(Some(id))
                            >
                                <Icon symbol=Symbol::Folder />
                                <span>
                                    <strong>{collection.name}</strong>
                                    <span class="fine-print">
                                        {dates::count(collection.documents, "document", "documents")}
                                        {(collection.failed > 0).then(|| view! {
                                            <span class="is-failure">{format!(", {} failed", collection.failed)}</span>
                                        })}
                                    </span>
                                </span>
                            </button>
                        </li>
                    }
                }).collect_view()}
            </ul>
            <NewCollection shelf />
        </section>
    }
    .into_any()
}

#[component]
fn NewCollection(shelf: Shelf) -> impl IntoView {
    let field = NodeRef::<Input>::new();
    let create = move || {
        let Some(input) = field.get_untracked() else {
            return;
        };
        let name = input.value().trim().to_owned();
        if name.is_empty() {
            return;
        }
        spawn_local(async move {
            match api::create_collection(&shelf.session.csrf(), name).await {
                Ok(collection) => {
                    if let Some(input) = field.try_get_untracked().flatten() {
                        input.set_value("");
                    }
                    shelf.open.try_set(Some(collection.id));
                    shelf.load_collections();
                }
                Err(error) => shelf.overlay.fail(shelf.session.check(error).message),
            }
        });
    };
    view! {
        <form class="new-collection" on:submit=move |event| { event.prevent_default(); create(); }>
            <label class="visually-hidden" for="new-collection">"Name of the new collection"</label>
            <input node_ref=field id="new-collection" placeholder="New collection" maxlength="100" autocomplete="off" required />
            <button type="submit" class="button"><Icon symbol=Symbol::Plus />"Create"</button>
        </form>
    }
    .into_any()
}

#[component]
fn OpenCollection(shelf: Shelf) -> impl IntoView {
    let collection = Memo::new(move |_| {
        let open = shelf.open.get();
        shelf.collections.with(|collections| {
            collections
                .ready()?
                .iter()
                .find(|collection| Some(collection.id) == open)
                .cloned()
        })
    });
    let id = Memo::new(move |_| collection.with(|collection| collection.as_ref().map(|c| c.id)));
    view! {
        <section class="open-collection">
            {move || collection.get().map(|collection| view! { <CollectionHead shelf collection /> })}
            {move || id.get().map(|id| view! {
                <UploadArea collection=id on_sent=move |()| shelf.load_documents() />
            })}
            {move || match shelf.documents.get() {
                Loadable::Loading => view! { <Skeleton lines=6 /> }.into_any(),
                Loadable::Failed(error) => view! { <Failed error on_retry=move |()| shelf.load_documents() /> }.into_any(),
                Loadable::Ready(documents) if documents.is_empty() => view! {
                    <Empty symbol=Symbol::File title="This collection is empty">
                        <p>"Upload files above, or fill it from a folder on the server:"</p>
                        {collection.get().map(|collection| view! {
                            <Command text=format!("cloister ingest FOLDER --collection {}", shell_word(&collection.name)) />
                        })}
                    </Empty>
                }.into_any(),
                Loadable::Ready(documents) => view! {
                    <DocumentsTable documents on_change=move |()| shelf.reload() />
                }.into_any(),
            }}
        </section>
    }
    .into_any()
}

#[component]
fn CollectionHead(shelf: Shelf, collection: Collection) -> impl IntoView {
    let summary = format!(
        "{}, {}",
        dates::count(collection.documents, "document", "documents"),
        dates::count(collection.passages, "passage", "passages")
    );
    let name = collection.name.clone();
    let ask = move |_| {
        shelf.overlay.ask(Question {
            title: format!("Delete the collection “{name}”?"),
            text: "Its documents will not be found any more. The files in their folder stay."
                .into(),
            action: "Delete the collection".into(),
            on_confirm: Arc::new(move || delete_collection(shelf, collection.id)),
        });
    };
    view! {
        <header class="collection-head">
            <div>
                <h2>{collection.name.clone()}</h2>
                <p class="fine-print">{summary}</p>
            </div>
            <button type="button" class="quiet-button" on:click=ask>
                <Icon symbol=Symbol::Trash />
                "Delete collection"
            </button>
        </header>
    }
    .into_any()
}

fn delete_collection(shelf: Shelf, id: i64) {
    spawn_local(async move {
        match api::delete_collection(&shelf.session.csrf(), id).await {
            Ok(()) => {
                shelf.overlay.tell("Collection deleted.");
                shelf.load_collections();
            }
            Err(error) => shelf.overlay.fail(shelf.session.check(error).message),
        }
    });
}

/// A name as one word of a shell command.
fn shell_word(name: &str) -> String {
    let plain = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if plain {
        name.to_owned()
    } else {
        format!("'{}'", name.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::shell_word;

    #[test]
    fn names_are_safe_to_paste_into_a_shell() {
        assert_eq!(shell_word("hr-2026"), "hr-2026");
        assert_eq!(shell_word("HR docs"), "'HR docs'");
        assert_eq!(shell_word("x'; rm -rf /"), r"'x'\''; rm -rf /'");
    }
}
