//! The web page: chat, documents, sign-in. Rendered on the server (`ssr`) and taken over in the browser (`hydrate`).
//!
//! - [`App`] is the page, [`shell`] the HTML document around it; `web-server` mounts both.
//! - `state` holds what the page knows and how answers fold together from events; `components` and `pages` draw it.
//! - `markdown`, `highlight`, `dates` are pure text functions with the tests that matter for safety.
//!
//! The server renders everything that does not need data: frame, forms, skeletons. Data is fetched from `/api` after
//! hydration, so the HTML is the same for everybody and the first render in the browser equals the server's.
//!
//! Offsets of citations and unsupported sentences are in chars, never in bytes or UTF-16 units.

// A view's type nests as deep as its elements.
#![recursion_limit = "256"]

mod api;
mod app;
mod components;
#[cfg(test)]
mod contrast_tests;
mod dates;
mod dom;
mod highlight;
mod markdown;
mod pages;
mod shell;
mod state;
mod theme;

pub use app::App;
pub use shell::{BootData, shell};

/// Entry point of the browser bundle: takes over the server's HTML.
#[cfg(feature = "hydrate")]
#[wasm_bindgen::prelude::wasm_bindgen]
pub fn hydrate() {
    console_error_panic_hook::set_once();
    leptos::mount::hydrate_body(App);
}
