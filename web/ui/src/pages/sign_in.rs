//! Sign-in with a local account.

use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos_meta::Title;
use leptos_router::NavigateOptions;
use leptos_router::hooks::{use_navigate, use_query_map};
use web_api::Credentials;

use crate::api;
use crate::components::icon::{Icon, Symbol};
use crate::state::session::Session;
use crate::theme::ThemeToggle;

/// The sign-in page.
#[component]
pub fn SignInPage() -> impl IntoView {
    let session = Session::here();
    let email = RwSignal::new(String::new());
    let password = RwSignal::new(String::new());
    let busy = RwSignal::new(false);
    let error = RwSignal::new(None::<String>);
    let query = use_query_map();
    let navigate = use_navigate();
    Effect::new(move |_| {
        if session.read(|_| ()).is_some() {
            let next = query
                .with_untracked(|query| query.get("next"))
                .unwrap_or_default();
            navigate(
                local_path(&next),
                NavigateOptions {
                    replace: true,
                    ..Default::default()
                },
            );
        }
    });
    let submit = move || {
        if busy.get_untracked() {
            return;
        }
        busy.set(true);
        error.set(None);
        let credentials = Credentials {
            email: email.get_untracked().trim().to_owned(),
            password: password.get_untracked(),
        };
        spawn_local(async move {
            match api::sign_in(&credentials).await {
                Ok(_) => session.load(),
                Err(failure) => error.set(Some(failure.message)),
            }
            busy.set(false);
        });
    };
    view! {
        <Title text="Sign in · Cloister" />
        <AuthFrame title="Sign in" intro="Ask questions about your company's documents. Everything stays on this server.">
            <form class="auth-form" on:submit=move |event| { event.prevent_default(); submit(); }>
                <Field id="email" label="Email" kind="email" autocomplete="username" value=email />
                <Field id="password" label="Password" kind="password" autocomplete="current-password" value=password />
                <FormError error />
                <button type="submit" class="button is-primary is-wide" prop:disabled=move || busy.get()>
                    {move || if busy.get() { "Signing in" } else { "Sign in" }}
                </button>
            </form>
            <p class="fine-print auth-help">"Forgotten your password? An administrator can give you a new one."</p>
        </AuthFrame>
    }
    .into_any()
}

/// The address to go to after the sign-in: only paths of this page, never another site.
fn local_path(next: &str) -> &str {
    let is_local = next.starts_with('/')
        && !next.starts_with("//")
        && !next.contains('\\')
        && !next.chars().any(char::is_control);
    if is_local { next } else { "/" }
}

/// The frame of sign-in and set-up: name, a few words, the form.
#[component]
pub fn AuthFrame(
    /// Heading.
    title: &'static str,
    /// One or two sentences.
    intro: &'static str,
    /// The form.
    children: Children,
) -> impl IntoView {
    // The browser knows whether what is typed here can be read on the way; the server's HTML is the same for everybody.
    let is_unencrypted = RwSignal::new(false);
    Effect::new(move |_| is_unencrypted.set(!window().is_secure_context()));
    view! {
        <div class="auth">
            <div class="auth-theme"><ThemeToggle /></div>
            <main class="auth-card" id="main">
                <p class="brand"><Icon symbol=Symbol::Arches /><span>"Cloister"</span></p>
                <h1>{title}</h1>
                <p class="auth-intro">{intro}</p>
                {move || is_unencrypted.get().then(|| view! {
                    <p class="form-error" role="status">
                        <Icon symbol=Symbol::Warning />
                        "This connection is not encrypted: others on the network can read your password. Ask an administrator to set up TLS."
                    </p>
                })}
                {children()}
            </main>
        </div>
    }
    .into_any()
}

/// A labelled text field.
#[component]
pub fn Field(
    /// Id of the field.
    id: &'static str,
    /// What to fill in.
    label: &'static str,
    /// `email` or `password`.
    kind: &'static str,
    /// What the browser may fill in.
    autocomplete: &'static str,
    /// The text.
    value: RwSignal<String>,
    /// What is expected, under the field.
    #[prop(optional)]
    hint: Option<&'static str>,
) -> impl IntoView {
    let hint_id = format!("{id}-hint");
    view! {
        <div class="field">
            <label for=id>{label}</label>
            <input
                id=id
                name=id
                type=kind
                autocomplete=autocomplete
                required
                aria-describedby=hint.map(|_| hint_id.clone())
                prop:value=move || value.get()
                on:input:target=move |event| value.set(event.target().value())
            />
            {hint.map(|hint| view! { <p class="fine-print" id=hint_id>{hint}</p> })}
        </div>
    }
    .into_any()
}

/// Why the form was not accepted.
#[component]
pub fn FormError(
    /// One sentence.
    error: RwSignal<Option<String>>,
) -> impl IntoView {
    view! {
        <div role="alert">
            {move || error.get().map(|error| view! {
                <p class="form-error"><Icon symbol=Symbol::Warning />{error}</p>
            })}
        </div>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    use super::local_path;

    #[test]
    fn the_way_on_never_leaves_this_site() {
        let table = [
            ("/c/abc", "/c/abc"),
            ("/documents", "/documents"),
            ("", "/"),
            ("https://evil.example", "/"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("/\t/evil.example", "/"),
            ("javascript:alert(1)", "/"),
        ];
        for (next, path) in table {
            assert_eq!(local_path(next), path, "{next}");
        }
    }
}
