//! Accounts that are suspended, resumed, removed, or get another password.

use serde_json::{Value, json};
use web_server::{LocalErrorKind, LocalEvent, LocalRequest, Role, Secret};

use crate::app::{ADMIN, App, Client, MEMBER, OTHER, PASSWORD, spawn_app};

const NEW_PASSWORD: &str = "another long enough password";

fn sign_in(app: &App, email: &str, password: &str) -> (u16, Value) {
    let reply = app.client().post(
        "/api/auth/sign-in",
        json!({ "email": email, "password": password }),
    );
    (reply.status, reply.json)
}

fn refused(app: &App, request: LocalRequest) -> String {
    match app.local(request).pop() {
        Some(LocalEvent::Error {
            kind: LocalErrorKind::User,
            message,
            ..
        }) => message,
        other => panic!("not refused but {other:?}"),
    }
}

fn suspend(email: &str) -> LocalRequest {
    LocalRequest::UserSuspend {
        email: email.into(),
    }
}

fn remove(email: &str) -> LocalRequest {
    LocalRequest::UserRemove {
        email: email.into(),
    }
}

fn change_password(client: &Client, current: &str, new: &str) -> crate::app::Reply {
    client.post(
        "/api/auth/password",
        json!({ "current": current, "new": new }),
    )
}

#[test]
fn a_suspended_account_opens_nothing_until_it_is_resumed() {
    let app = spawn_app();
    let session = app.signed_in(MEMBER);
    let key = app.with_key(MEMBER);
    let (conversation, _) = app.ask(&session, "How many days of vacation are there?");
    // Case and space do not matter, as at the sign-in.
    let output = app.output(suspend(" Member@Example.ORG"));
    assert_eq!(
        (&output["email"], &output["suspended"]),
        (&json!(MEMBER), &json!(true))
    );

    assert_eq!(session.get("/api/me").status, 401);
    assert_eq!(key.get("/v1/models").status, 401);
    let (status, body) = sign_in(&app, MEMBER, PASSWORD);
    assert_eq!((status, &body["code"]), (403, &json!("suspended")));
    // Only who knows the password learns that it is suspended.
    assert_eq!(sign_in(&app, MEMBER, "not the password").0, 401);
    assert_eq!(app.signed_in(OTHER).get("/api/me").status, 200);
    let listed = app.output(LocalRequest::UserList);
    let state = |email: &str| {
        let users = listed["users"].as_array().unwrap();
        users.iter().find(|user| user["email"] == email).unwrap()["suspended"].clone()
    };
    assert_eq!((state(MEMBER), state(OTHER)), (json!(true), json!(false)));

    let resumed = app.output(LocalRequest::UserResume {
        email: MEMBER.into(),
    });
    assert_eq!(resumed["suspended"], false);
    assert_eq!(key.get("/v1/models").status, 200);
    assert_eq!(
        session.get("/api/me").status,
        401,
        "a session that ended stays so"
    );
    let again = app.signed_in(MEMBER);
    let kept = again.get(&format!("/api/conversations/{conversation}"));
    assert_eq!(kept.status, 200);
}

#[test]
fn the_last_administrator_who_can_sign_in_stays_one() {
    let app = spawn_app();
    for request in [suspend(ADMIN), remove(ADMIN)] {
        let message = refused(&app, request);
        assert!(message.contains("last administrator"), "{message}");
    }
    app.output(LocalRequest::UserAdd {
        email: "second@example.org".into(),
        role: Role::Admin,
        password: Secret(PASSWORD.into()),
    });
    app.output(suspend("second@example.org"));
    // A suspended administrator does not count, and may go.
    assert!(refused(&app, remove(ADMIN)).contains("last administrator"));
    app.output(remove("second@example.org"));
    assert_eq!(sign_in(&app, ADMIN, PASSWORD).0, 200);
    assert!(refused(&app, suspend("nobody@example.org")).contains("no account"));
}

#[test]
fn a_removed_account_takes_its_conversations_sessions_and_keys_along() {
    let app = spawn_app();
    let session = app.signed_in(MEMBER);
    let key = app.with_key(MEMBER);
    let (_, answer) = app.ask(&session, "How many days of vacation are there?");
    app.ask(&app.signed_in(OTHER), "Who approves vacation?");
    let events = format!("/api/answers/{answer}/events");
    assert_eq!(
        session.events("GET", &events, None).last().unwrap().name,
        "done"
    );

    let output = app.output(remove(MEMBER));
    assert_eq!(
        output,
        json!({ "email": MEMBER, "removed": true, "conversations": 1 })
    );
    assert_eq!(session.get("/api/me").status, 401);
    assert_eq!(key.get("/v1/models").status, 401);
    assert_eq!(sign_in(&app, MEMBER, PASSWORD).0, 401);
    assert_eq!(app.output(LocalRequest::Status)["conversations"], 1);
    assert_eq!(app.output(LocalRequest::KeyList)["keys"], json!([]));

    // The address is free for somebody else, who finds nothing of it.
    app.output(LocalRequest::UserAdd {
        email: MEMBER.into(),
        role: Role::Member,
        password: Secret(PASSWORD.into()),
    });
    let newcomer = app.signed_in(MEMBER);
    assert_eq!(newcomer.get("/api/conversations").json, json!([]));
    assert_eq!(
        newcomer.get("/api/conversations?query=vacation").json,
        json!([])
    );
}

#[test]
fn a_password_that_an_administrator_gives_ends_all_sessions() {
    let app = spawn_app();
    let sessions = [app.signed_in(MEMBER), app.signed_in(MEMBER)];
    let other = app.signed_in(OTHER);
    let keys = [
        app.with_key(MEMBER),
        app.with_key(MEMBER),
        app.with_key(OTHER),
    ];
    app.output(LocalRequest::KeyRevoke { id: 1 });
    let set = |password: &str| LocalRequest::UserPassword {
        email: MEMBER.into(),
        password: Secret(password.into()),
    };
    refused(&app, set("short"));
    let output = app.output(set(NEW_PASSWORD));
    assert_eq!(
        output,
        json!({ "email": MEMBER, "password_set": true, "sessions_ended": 2, "keys_valid": 1 })
    );
    assert_eq!(keys[1].get("/v1/models").status, 200);
    for session in sessions {
        assert_eq!(session.get("/api/me").status, 401);
    }
    assert_eq!(other.get("/api/me").status, 200);
    assert_eq!(sign_in(&app, MEMBER, PASSWORD).0, 401);
    assert_eq!(sign_in(&app, MEMBER, NEW_PASSWORD).0, 200);
}

#[test]
fn an_account_changes_its_own_password_knowing_the_current_one() {
    let app = spawn_app();
    let here = app.signed_in(MEMBER);
    let elsewhere = app.signed_in(MEMBER);
    let other = app.signed_in(OTHER);

    let wrong = change_password(&here, "not the password", NEW_PASSWORD);
    assert_eq!(
        (wrong.status, &wrong.json["code"]),
        (403, &json!("wrong_password"))
    );
    assert_eq!(change_password(&here, PASSWORD, "short").status, 400);
    let without_csrf = here.without("x-csrf-token");
    assert_eq!(
        change_password(&without_csrf, PASSWORD, NEW_PASSWORD).status,
        403
    );
    assert_eq!(elsewhere.get("/api/me").status, 200);

    let changed = change_password(&here, PASSWORD, NEW_PASSWORD);
    assert_eq!(changed.status, 200, "{}", changed.text);
    assert_eq!(changed.json, json!({ "sessions_ended": 1 }));
    assert_eq!(here.get("/api/me").status, 200);
    assert_eq!(elsewhere.get("/api/me").status, 401);
    assert_eq!(other.get("/api/me").status, 200);
    assert_eq!(sign_in(&app, MEMBER, PASSWORD).0, 401);
    assert_eq!(sign_in(&app, MEMBER, NEW_PASSWORD).0, 200);
}

#[test]
fn a_browser_that_changed_the_password_stays_known() {
    let app = spawn_app();
    let credentials = json!({ "email": MEMBER, "password": PASSWORD });
    let first = app.client().post("/api/auth/sign-in", credentials);
    let mut here = app.client();
    here.take_session(&first);
    here.set("cookie", &first.cookies().join("; "));
    let changed = change_password(&here, PASSWORD, NEW_PASSWORD);
    assert_eq!(changed.status, 200, "{}", changed.text);
    let device = changed.cookies().swap_remove(0);
    assert!(device.starts_with("cloister_device="), "{device}");
    // One token, because the earlier one is of no use any more.
    assert!(!device.contains('~'), "{device}");

    // Guesses of others at this account make strangers wait, and not this browser.
    let guess = |password: &str| sign_in(&app, MEMBER, password).0;
    assert!((0..20).any(|n| guess(&format!("guess number {n}")) == 429));
    let mut known = app.client();
    known.set("cookie", &device);
    let credentials = json!({ "email": MEMBER, "password": NEW_PASSWORD });
    let reply = known.post("/api/auth/sign-in", credentials);
    assert_eq!(reply.status, 200, "{}", reply.text);
}

#[test]
fn the_current_password_cannot_be_guessed_from_a_signed_in_machine() {
    let app = spawn_app();
    let here = app.signed_in(MEMBER);
    let statuses: Vec<u16> = (0..8)
        .map(|n| change_password(&here, &format!("guess number {n}"), NEW_PASSWORD).status)
        .collect();
    assert!(statuses.contains(&429), "{statuses:?}");
    assert!(!statuses.contains(&200), "{statuses:?}");
}
