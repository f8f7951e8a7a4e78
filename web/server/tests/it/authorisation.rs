//! Who may use which route, generated from the route table; and other people's ids.

use serde_json::{Value, json};
use web_server::LocalRequest;
use web_server::http::{Access, RouteInfo, route_table};

use crate::app::{ADMIN, MEMBER, OTHER, spawn_app};

/// A path of a route with ids that do not exist.
fn concrete(route: &RouteInfo) -> String {
    route
        .path
        .replace("{*path}", "nothing")
        .replace("{*id}", "nothing")
        .replace("{id}", "999999")
}

#[test]
fn every_route_turns_away_who_may_not_use_it() {
    let app = spawn_app();
    let table = route_table(&app.suite);
    assert!(table.len() > 25, "{}", table.len());
    let anonymous = app.client();
    let member = app.signed_in(MEMBER);
    let admin = app.signed_in(ADMIN);
    let key = app.with_key(MEMBER);
    let mut bad_key = app.client();
    bad_key.set(
        "authorization",
        "Bearer clk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    );

    for route in &table {
        if route.path == "/api/auth/sign-out" {
            continue; // would end the sessions used here; has a test of its own
        }
        let path = concrete(route);
        let method = route.method.as_str();
        let body = || (method == "POST" || method == "PATCH").then(|| json!({}));
        let status = |client: &crate::app::Client| client.send(method, &path, body()).status;
        let what = format!("{method} {path} ({:?})", route.access);
        let refused = [401, 403];
        match route.access {
            Access::Public => {}
            Access::Page => assert_eq!(status(&anonymous), 303, "{what}"),
            Access::Session => {
                assert_eq!(status(&anonymous), 401, "{what}");
                assert_eq!(status(&key), 401, "{what}: an API key is not a session");
                assert!(!refused.contains(&status(&member)), "{what}");
            }
            Access::Admin => {
                assert_eq!(status(&anonymous), 401, "{what}");
                assert_eq!(status(&key), 401, "{what}: an API key is not a session");
                assert_eq!(status(&member), 403, "{what}");
                assert!(!refused.contains(&status(&admin)), "{what}");
                assert_eq!(
                    status(&admin.without("x-csrf-token")),
                    403,
                    "{what} without the CSRF token"
                );
            }
            Access::ApiKey => {
                for client in [&anonymous, &member, &bad_key] {
                    let reply = client.send(method, &path, body());
                    assert_eq!(reply.status, 401, "{what}");
                    assert_eq!(
                        reply.json["error"]["type"], "authentication_error",
                        "{what}"
                    );
                }
                assert!(!refused.contains(&status(&key)), "{what}");
            }
            Access::AdminKeyOrSession => {
                let admin_key = app.with_key(ADMIN);
                assert_eq!(status(&anonymous), 401, "{what}");
                assert_eq!(status(&bad_key), 401, "{what}");
                assert_eq!(status(&member), 403, "{what}");
                assert_eq!(status(&key), 403, "{what}: the key of a member");
                assert!(!refused.contains(&status(&admin)), "{what}");
                assert!(!refused.contains(&status(&admin_key)), "{what}");
            }
            Access::KeyOrSession => {
                assert_eq!(status(&anonymous), 401, "{what}");
                assert_eq!(status(&bad_key), 401, "{what}");
                assert_eq!(status(&member.without("x-csrf-token")), 403, "{what}");
                assert!(!refused.contains(&status(&member)), "{what}");
                assert!(!refused.contains(&status(&key)), "{what}");
            }
        }
    }
}

#[test]
fn another_persons_conversations_and_answers_do_not_exist() {
    let app = spawn_app();
    let owner = app.signed_in(MEMBER);
    let stranger = app.signed_in(OTHER);
    let (conversation, answer) = app.ask(
        &owner,
        "How many days of vacation does every employee have?",
    );
    let events: Vec<_> = owner
        .events("GET", &format!("/api/answers/{answer}/events"), None)
        .collect();
    assert_eq!(events.last().unwrap().name, "done");

    let attempts: [(&str, String, Option<Value>); 7] = [
        ("GET", format!("/api/conversations/{conversation}"), None),
        (
            "PATCH",
            format!("/api/conversations/{conversation}"),
            Some(json!({ "title": "mine" })),
        ),
        ("DELETE", format!("/api/conversations/{conversation}"), None),
        (
            "POST",
            format!("/api/conversations/{conversation}/messages"),
            Some(json!({ "question": "What?" })),
        ),
        ("GET", format!("/api/answers/{answer}/events"), None),
        (
            "POST",
            format!("/api/answers/{answer}/stop"),
            Some(json!({})),
        ),
        ("GET", format!("/api/answers/{answer}/events?after=3"), None),
    ];
    for (method, path, body) in attempts {
        let theirs = stranger.send(method, &path, body.clone());
        assert_eq!(theirs.status, 404, "{method} {path}");
        let missing = path
            .replace(&conversation, "no-such-id")
            .replace(&answer, "no-such-id");
        let nobodys = stranger.send(method, &missing, body);
        assert_eq!(
            theirs.json["message"], nobodys.json["message"],
            "{method} {path} tells that it exists"
        );
        assert!(!theirs.text.contains("vacation"), "{method} {path}");
    }
    assert_eq!(stranger.get("/api/conversations").json, json!([]));
    assert_eq!(
        stranger.get("/api/conversations?query=vacation").json,
        json!([])
    );
    assert_eq!(
        owner
            .get("/api/conversations?query=vacation")
            .json
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let admin = app.signed_in(ADMIN);
    assert_eq!(
        admin
            .get(&format!("/api/conversations/{conversation}"))
            .status,
        404,
        "an administrator reads along"
    );
}

#[test]
fn a_running_answer_of_another_person_cannot_be_followed_or_stopped() {
    let app = spawn_app();
    app.model.will(crate::fakes::Script::Babble);
    let owner = app.signed_in(MEMBER);
    let stranger = app.signed_in(OTHER);
    let (_, answer) = app.ask(
        &owner,
        "How many days of vacation does every employee have?",
    );
    assert_eq!(
        stranger
            .get(&format!("/api/answers/{answer}/events"))
            .status,
        404
    );
    assert_eq!(
        stranger
            .post(&format!("/api/answers/{answer}/stop"), json!({}))
            .status,
        404
    );
    assert_eq!(
        owner
            .post(&format!("/api/answers/{answer}/stop"), json!({}))
            .status,
        204
    );
}

#[test]
fn a_revoked_key_opens_nothing_from_the_next_request_on() {
    let app = spawn_app();
    let client = app.with_key(MEMBER);
    assert_eq!(client.get("/v1/models").status, 200);
    let keys = app.output(LocalRequest::KeyList);
    let id = keys["keys"][0]["id"].as_i64().unwrap();
    assert!(!keys.to_string().contains("key_hash"));
    app.output(LocalRequest::KeyRevoke { id });
    assert_eq!(client.get("/v1/models").status, 401);
}

#[test]
fn one_kind_of_secret_does_not_open_what_another_does() {
    let app = spawn_app();
    let session = app.signed_in(MEMBER);
    let key = app.output(LocalRequest::KeyCreate {
        user_email: MEMBER.into(),
        name: "n".into(),
    });
    let mut key_as_cookie = app.client();
    key_as_cookie.set(
        "cookie",
        &format!("cloister_session={}", key["key"].as_str().unwrap()),
    );
    assert_eq!(key_as_cookie.get("/api/me").status, 401);
    let reply = app.client().post(
        "/api/auth/sign-in",
        json!({ "email": MEMBER, "password": crate::app::PASSWORD }),
    );
    let cookie = reply
        .header("set-cookie")
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .replace("cloister_session=", "");
    let mut session_as_key = app.client();
    session_as_key.set("authorization", &format!("Bearer {cookie}"));
    assert_eq!(session_as_key.get("/v1/models").status, 401);
    assert_eq!(session.get("/api/me").status, 200);
}
