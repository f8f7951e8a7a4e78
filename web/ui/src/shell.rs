//! The HTML document around the page: head, style sheets and the scripts that start the browser's side.
//!
//! Everything is served by this server under `/assets/`, nothing is inline: the strict content security policy
//! (`script-src 'self'`, `style-src 'self'`) needs no exception for this file. Assets are named with `?v=` when the
//! server provides a [`BootData`] with a version, so that they may be cached for ever.

use leptos::config::LeptosOptions;
use leptos::prelude::*;
use leptos_meta::MetaTags;

use crate::App;

/// What the server knows when it renders the document. Optional: provide it as a context before [`shell`] runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootData {
    /// Changes whenever any asset changes, e.g. a hash of the bundle; becomes `?v=` of every asset's address.
    pub asset_version: Option<String>,
}

impl BootData {
    /// Address of an asset: `/assets/{file}`, with the version if there is one.
    fn asset(&self, file: &str) -> String {
        match &self.asset_version {
            Some(version) => format!("/assets/{file}?v={version}"),
            None => format!("/assets/{file}"),
        }
    }
}

/// The whole HTML document with [`App`] in its body.
///
/// `boot.js` loads the WebAssembly module and hydrates; `theme.js` runs before the first paint, so that a chosen dark
/// theme does not flash light. `options` are not needed yet: the assets' names are fixed by `scripts/build-web`.
pub fn shell(_options: LeptosOptions) -> impl IntoView {
    let boot = use_context::<BootData>().unwrap_or_default();
    view! {
        <!DOCTYPE html>
        <html lang="en">
            <head>
                <meta charset="utf-8" />
                <meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover" />
                <meta name="color-scheme" content="light dark" />
                <meta name="referrer" content="same-origin" />
                <script src=boot.asset("theme.js")></script>
                <link rel="stylesheet" href=boot.asset("cloister.css") />
                <link rel="icon" type="image/svg+xml" href=boot.asset("icon.svg") />
                <link rel="modulepreload" href=boot.asset("cloister.js") />
                <script type="module" src=boot.asset("boot.js")></script>
                <MetaTags />
            </head>
            <body>
                <App />
            </body>
        </html>
    }
}
