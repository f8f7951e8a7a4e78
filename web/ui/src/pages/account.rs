//! The signed-in account: another password.

use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos_meta::Title;
use web_api::ChangePassword;

use super::set_up::problem_with;
use super::sign_in::{Field, FormError};
use super::workspace::MenuButton;
use crate::components::icon::{Icon, Symbol};
use crate::state::session::Session;
use crate::{api, dates};

/// `/account`.
#[component]
pub fn AccountPage() -> impl IntoView {
    let session = Session::here();
    let email = move || session.read(|me| me.user.email.clone()).unwrap_or_default();
    view! {
        <Title text="Account · Cloister" />
        <header class="page-head">
            <MenuButton />
            <h1 class="page-title">"Account"</h1>
        </header>
        <main class="account-page" id="main">
            <p class="fine-print">{email}</p>
            <h2>"Change the password"</h2>
            <PasswordForm session />
        </main>
    }
    .into_any()
}

#[component]
fn PasswordForm(session: Session) -> impl IntoView {
    let current = RwSignal::new(String::new());
    let new = RwSignal::new(String::new());
    let again = RwSignal::new(String::new());
    let busy = RwSignal::new(false);
    let error = RwSignal::new(None::<String>);
    let done = RwSignal::new(None::<String>);
    let submit = move || {
        if busy.get_untracked() {
            return;
        }
        done.set(None);
        error.set(problem_with(&new.read_untracked(), &again.read_untracked()));
        if error.with_untracked(Option::is_some) {
            return;
        }
        busy.set(true);
        let request = ChangePassword {
            current: current.get_untracked(),
            new: new.get_untracked(),
        };
        spawn_local(async move {
            match api::change_password(&session.csrf(), &request).await {
                Ok(changed) => {
                    for field in [current, new, again] {
                        field.set(String::new());
                    }
                    done.set(Some(confirmation(changed.sessions_ended)));
                }
                Err(failure) => error.set(Some(session.check(failure).message)),
            }
            busy.set(false);
        });
    };
    view! {
        <form class="auth-form" on:submit=move |event| { event.prevent_default(); submit(); }>
            <Field id="current-password" label="Current password" kind="password" autocomplete="current-password" value=current />
            <Field id="new-password" label="New password" kind="password" autocomplete="new-password" value=new hint="At least 10 characters. A few random words are good." />
            <Field id="new-password-again" label="New password again" kind="password" autocomplete="new-password" value=again />
            <FormError error />
            <div role="status" aria-live="polite">
                {move || done.get().map(|text| view! {
                    <p class="form-done"><Icon symbol=Symbol::Check />{text}</p>
                })}
            </div>
            <button type="submit" class="button is-primary" prop:disabled=move || busy.get()>
                {move || if busy.get() { "Changing the password" } else { "Change the password" }}
            </button>
        </form>
    }
    .into_any()
}

/// What happened, other machines included.
fn confirmation(sessions_ended: usize) -> String {
    match sessions_ended {
        0 => "Your password is changed. You were signed in here only.".to_owned(),
        count => format!(
            "Your password is changed. {} elsewhere ended; sign in there with the new one.",
            dates::count(count as u64, "session", "sessions")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::confirmation;

    #[test]
    fn the_confirmation_tells_what_became_of_other_machines() {
        assert!(confirmation(0).contains("here only"));
        assert!(confirmation(1).contains("1 session elsewhere ended"));
        assert!(confirmation(3).contains("3 sessions elsewhere ended"));
    }
}
