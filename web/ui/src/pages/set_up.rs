//! Set-up of the first administrator, by the one-time link that the server prints at its first start.

use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos_meta::Title;
use leptos_router::NavigateOptions;
use leptos_router::components::A;
use leptos_router::hooks::{use_navigate, use_query_map};
use web_api::SetupRequest;

use super::sign_in::{AuthFrame, Field, FormError};
use crate::api;
use crate::state::session::Session;

/// The shortest password the server takes, in chars.
const MIN_PASSWORD_CHARS: usize = 10;

/// The set-up page.
#[component]
pub fn SetUpPage() -> impl IntoView {
    let session = Session::here();
    let email = RwSignal::new(String::new());
    let password = RwSignal::new(String::new());
    let again = RwSignal::new(String::new());
    let busy = RwSignal::new(false);
    let error = RwSignal::new(None::<String>);
    let token = RwSignal::new(None::<String>);
    let query = use_query_map();
    let navigate = use_navigate();
    let done = RwSignal::new(false);
    let read_token = move || {
        token.set(Some(token_of_link(
            query.with_untracked(|query| query.get("token")),
        )));
    };
    // A link pasted over the same page changes only the fragment, and the browser then loads nothing.
    Effect::new(move |_| {
        read_token();
        let listener = window_event_listener(leptos::ev::hashchange, move |_| read_token());
        on_cleanup(move || listener.remove());
    });
    Effect::new(move |_| {
        if done.get() && session.read(|_| ()).is_some() {
            navigate(
                "/",
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
        if let Some(problem) = problem_with(&password.read_untracked(), &again.read_untracked()) {
            error.set(Some(problem));
            return;
        }
        busy.set(true);
        error.set(None);
        let request = SetupRequest {
            token: token.get_untracked().unwrap_or_default(),
            email: email.get_untracked().trim().to_owned(),
            password: password.get_untracked(),
        };
        spawn_local(async move {
            match api::set_up(&request).await {
                Ok(_) => {
                    done.set(true);
                    session.load();
                }
                Err(failure) => error.set(Some(failure.message)),
            }
            busy.set(false);
        });
    };
    let token_missing = move || token.with(|token| token.as_ref().is_some_and(String::is_empty));
    view! {
        <Title text="Set up · Cloister" />
        <AuthFrame title="Set up Cloister" intro="Create the first administrator account. This link works once.">
            <Show when=move || !token_missing() fallback=|| view! {
                <p class="form-error" role="alert">"This address lacks its one-time token. Open the complete link that “cloister serve” printed."</p>
                <p><A href="/sign-in" attr:class="button is-wide">"Go to the sign-in"</A></p>
            }>
                <form class="auth-form" on:submit=move |event| { event.prevent_default(); submit(); }>
                    <Field id="email" label="Email" kind="email" autocomplete="username" value=email />
                    <Field id="password" label="Password" kind="password" autocomplete="new-password" value=password hint="At least 10 characters. A few random words are good." />
                    <Field id="password-again" label="Password again" kind="password" autocomplete="new-password" value=again />
                    <FormError error />
                    <button type="submit" class="button is-primary is-wide" prop:disabled=move || busy.get()>
                        {move || if busy.get() { "Creating the account" } else { "Create the account" }}
                    </button>
                </form>
            </Show>
        </AuthFrame>
    }
    .into_any()
}

/// The token of `/setup?token=...` or `/setup#token=...` (or `/setup#...`); empty when there is none.
///
/// The fragment is preferred for links, because browsers never send it to a server or a proxy's log.
fn token_of_link(from_query: Option<String>) -> String {
    from_query
        .filter(|token| !token.is_empty())
        .unwrap_or_else(|| {
            let hash = window().location().hash().unwrap_or_default();
            let fragment = hash.trim_start_matches('#');
            fragment
                .strip_prefix("token=")
                .unwrap_or(fragment)
                .to_owned()
        })
}

/// What is wrong with a new password that was typed twice, if anything.
pub(super) fn problem_with(password: &str, again: &str) -> Option<String> {
    if password.chars().count() < MIN_PASSWORD_CHARS {
        return Some(format!(
            "The password needs at least {MIN_PASSWORD_CHARS} characters."
        ));
    }
    (password != again).then(|| "The two passwords differ.".to_owned())
}

#[cfg(test)]
mod tests {
    use super::problem_with;

    #[test]
    fn passwords_are_checked_before_they_are_sent() {
        assert!(problem_with("short", "short").is_some_and(|problem| problem.contains("10")));
        assert!(
            problem_with("long enough 1", "long enough 2")
                .is_some_and(|problem| problem.contains("differ"))
        );
        assert_eq!(problem_with("zehn Größe", "zehn Größe"), None);
    }
}
