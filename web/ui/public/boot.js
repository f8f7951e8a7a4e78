// Loads the page's WebAssembly module and lets it take over the server's HTML. The module and its glue carry the same
// version as this file, so that a cached old half never meets a new one.
const version = new URL(import.meta.url).search;
const { default: load, hydrate } = await import(`./cloister.js${version}`);
await load({ module_or_path: new URL(`./cloister_bg.wasm${version}`, import.meta.url) });
hydrate();
document.documentElement.dataset.ready = "true";
