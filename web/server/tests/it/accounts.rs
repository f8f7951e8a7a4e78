//! Setup, sign-in, sign-out, throttling, CSRF, headers.

use serde_json::json;
use web_server::{LocalRequest, Role, Secret};

use crate::app::{ADMIN, MEMBER, Options, PASSWORD, spawn, spawn_app};

fn empty() -> Options {
    Options {
        with_users: false,
        with_documents: false,
        ..Options::default()
    }
}

#[test]
fn the_setup_link_creates_the_first_administrator_once() {
    let app = spawn(empty());
    let link = app
        .ready
        .setup_link
        .clone()
        .expect("no administrator exists");
    let token = link.split_once("/setup#token=").unwrap().1.to_owned();
    assert_eq!(app.client().get("/").header("location"), Some("/setup"));

    let request =
        |token: &str, email: &str| json!({ "token": token, "email": email, "password": PASSWORD });
    assert_eq!(
        app.client()
            .post("/api/auth/setup", request("guessed", ADMIN))
            .status,
        403
    );
    let weak = json!({ "token": token, "email": ADMIN, "password": "short" });
    assert_eq!(
        app.client().post("/api/auth/setup", weak).json["code"],
        "invalid_request"
    );

    let mut client = app.client();
    let reply = client.post("/api/auth/setup", request(&token, ADMIN));
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(
        reply.json["user"],
        json!({ "email": ADMIN, "role": "admin" })
    );
    client.take_session(&reply);
    assert_eq!(client.get("/api/me").status, 200);

    let again = app
        .client()
        .post("/api/auth/setup", request(&token, "second@example.org"));
    assert_eq!(
        (again.status, again.json["code"].as_str()),
        (403, Some("setup_link"))
    );
    assert_eq!(app.client().get("/").header("location"), Some("/sign-in"));
    assert_eq!(
        app.client().get("/setup").header("location"),
        Some("/sign-in")
    );
    assert_eq!(
        app.runtime.block_on(app.suite.issue_setup_link()).unwrap(),
        None
    );
}

#[test]
fn of_many_simultaneous_uses_of_the_setup_link_one_works() {
    let app = spawn(empty());
    let link = app.ready.setup_link.clone().unwrap();
    let token = link.split_once("#token=").unwrap().1;
    let codes: Vec<u16> = std::thread::scope(|scope| {
        let attempts: Vec<_> = (0..4)
            .map(|n| {
                let client = app.client();
                let body = json!({ "token": token, "email": format!("admin{n}@example.org"), "password": PASSWORD });
                scope.spawn(move || client.post("/api/auth/setup", body).status)
            })
            .collect();
        attempts
            .into_iter()
            .map(|attempt| attempt.join().unwrap())
            .collect()
    });
    assert_eq!(
        codes.iter().filter(|code| **code == 200).count(),
        1,
        "{codes:?}"
    );
}

#[test]
fn every_start_makes_a_new_setup_link_and_the_old_one_useless() {
    let app = spawn(empty());
    let link = app.ready.setup_link.clone().unwrap();
    let old = link.split_once("#token=").unwrap().1;
    let new = app
        .runtime
        .block_on(app.suite.issue_setup_link())
        .unwrap()
        .unwrap();
    let request = |token: &str| json!({ "token": token, "email": ADMIN, "password": PASSWORD });
    assert_eq!(
        app.client().post("/api/auth/setup", request(old)).status,
        403
    );
    assert_eq!(
        app.client().post("/api/auth/setup", request(&new)).status,
        200
    );
}

#[test]
fn a_session_opens_the_suite_until_it_is_signed_out() {
    let app = spawn_app();
    assert_eq!(app.client().get("/api/me").status, 401);
    let mut client = app.client();
    let reply = client.post(
        "/api/auth/sign-in",
        json!({ "email": "Member@Example.ORG", "password": PASSWORD }),
    );
    assert_eq!(reply.status, 200, "{}", reply.text);
    let cookie = reply.header("set-cookie").unwrap().to_owned();
    for flag in ["HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(flag), "{cookie}");
    }
    client.take_session(&reply);
    let me = client.get("/api/me").json;
    assert_eq!(me["user"], json!({ "email": MEMBER, "role": "member" }));
    assert_eq!(
        me["model"],
        json!({ "name": "scripted-model", "quote_only": false, "how_to_add": null })
    );
    assert_eq!(me["collections"][0]["name"], "handbook");
    let formats = me["formats"].as_array().unwrap();
    assert!(
        formats
            .iter()
            .any(|f| f["name"] == "Word" && f["extensions"][1] == "docm"),
        "{me}"
    );
    assert_eq!(me["csrf_token"], reply.json["csrf_token"]);

    assert_eq!(client.post("/api/auth/sign-out", json!({})).status, 204);
    assert_eq!(
        client.get("/api/me").status,
        401,
        "the cookie still works after sign-out"
    );
}

#[test]
fn signing_in_gives_a_new_session_and_ends_the_one_before() {
    let app = spawn_app();
    let first = app.signed_in(MEMBER);
    let reply = first.post(
        "/api/auth/sign-in",
        json!({ "email": MEMBER, "password": PASSWORD }),
    );
    let mut second = first.clone();
    second.take_session(&reply);
    assert_eq!(first.get("/api/me").status, 401);
    assert_eq!(second.get("/api/me").status, 200);
}

#[test]
fn an_idle_or_old_session_ends() {
    let short = |config: &mut web_server::SuiteConfig| {
        config.session_max = std::time::Duration::from_millis(300)
    };
    let app = spawn(Options {
        configure: short,
        with_documents: false,
        ..Options::default()
    });
    let client = app.signed_in(MEMBER);
    std::thread::sleep(std::time::Duration::from_millis(400));
    assert_eq!(client.get("/api/me").status, 401);
}

#[test]
fn a_wrong_password_and_an_unknown_address_get_the_same_answer() {
    let app = spawn_app();
    let wrong = app.client().post(
        "/api/auth/sign-in",
        json!({ "email": MEMBER, "password": "not the password" }),
    );
    let unknown = app.client().post(
        "/api/auth/sign-in",
        json!({ "email": "nobody@example.org", "password": "not the password" }),
    );
    assert_eq!((wrong.status, unknown.status), (401, 401));
    assert_eq!(wrong.json["message"], unknown.json["message"]);
    assert_eq!(wrong.json["code"], "wrong_credentials");
}

#[test]
fn guessing_is_slowed_down_with_a_time_to_come_back() {
    let app = spawn_app();
    let guess = || {
        app.client().post(
            "/api/auth/sign-in",
            json!({ "email": MEMBER, "password": "not the password" }),
        )
    };
    let replies: Vec<_> = (0..6).map(|_| guess()).collect();
    let refused = replies.last().unwrap();
    assert_eq!(
        (refused.status, refused.json["code"].as_str()),
        (429, Some("too_many_attempts")),
        "{}",
        refused.text
    );
    assert!(
        refused
            .header("retry-after")
            .unwrap()
            .parse::<u64>()
            .unwrap()
            >= 1
    );
    // Nobody else is locked out.
    assert_eq!(app.signed_in(ADMIN).get("/api/me").status, 200);
}

#[test]
fn a_request_that_changes_something_needs_the_token_and_our_origin() {
    let app = spawn_app();
    let client = app.signed_in(MEMBER);
    let create = |client: &crate::app::Client| client.post("/api/conversations", json!({}));
    assert_eq!(create(&client).status, 201);

    let refused = create(&client.without("x-csrf-token"));
    assert_eq!(
        (refused.status, refused.json["code"].as_str()),
        (403, Some("csrf"))
    );
    let mut forged = client.clone();
    forged.set("x-csrf-token", "0123456789abcdef0123456789abcdef");
    assert_eq!(create(&forged).status, 403);
    let mut borrowed = client.clone();
    let other = app.signed_in(ADMIN).get("/api/me").json["csrf_token"]
        .as_str()
        .unwrap()
        .to_owned();
    borrowed.set("x-csrf-token", &other);
    assert_eq!(
        create(&borrowed).status,
        403,
        "another session's token is accepted"
    );

    for origin in [
        "http://evil.example",
        "null",
        "https://127.0.0.1.evil.example",
    ] {
        let mut foreign = client.clone();
        foreign.set("origin", origin);
        assert_eq!(create(&foreign).json["code"], "other_origin", "{origin}");
        let mut visitor = app.client();
        visitor.set("origin", origin);
        let sign_in = visitor.post(
            "/api/auth/sign-in",
            json!({ "email": MEMBER, "password": PASSWORD }),
        );
        assert_eq!(sign_in.status, 403, "sign-in from {origin}");
    }
    let mut ours = client.clone();
    ours.set("origin", &app.ready.url);
    assert_eq!(create(&ours).status, 201);
    let mut cross_site = client.clone();
    cross_site.set("sec-fetch-site", "cross-site");
    assert_eq!(create(&cross_site).status, 403);
}

#[test]
fn every_answer_carries_the_security_headers_and_a_request_id() {
    let app = spawn_app();
    for path in [
        "/api/me",
        "/healthz",
        "/v1/models",
        "/sign-in",
        "/nothing/here",
        "/assets/none.js",
    ] {
        let reply = app.client().get(path);
        let expected = [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
        ];
        for (name, value) in expected {
            assert_eq!(reply.header(name), Some(value), "{path} {name}");
        }
        let policy = reply.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{path} {policy}");
        assert!(
            !policy.contains("unsafe-inline") && !policy.contains("'unsafe-eval'"),
            "{path} {policy}"
        );
        assert_eq!(
            reply.header("x-request-id").map(str::len),
            Some(32),
            "{path}"
        );
        assert_eq!(reply.header("access-control-allow-origin"), None, "{path}");
    }
    let failed = app.client().get("/api/me");
    assert_eq!(
        failed.json["request_id"].as_str(),
        failed.header("x-request-id")
    );
}

#[test]
fn pages_have_a_policy_with_a_fresh_nonce() {
    let app = spawn_app();
    let policies: Vec<String> = (0..2)
        .map(|_| {
            let reply = app.client().get("/sign-in");
            if reply.status == 503 {
                // Built without the bundle: a plain page without any script.
                return "script-src 'none'".to_owned();
            }
            assert_eq!(reply.status, 200);
            reply.header("content-security-policy").unwrap().to_owned()
        })
        .collect();
    if policies[0].contains("nonce-") {
        assert_ne!(policies[0], policies[1]);
        assert!(
            policies[0].contains("'wasm-unsafe-eval'"),
            "{}",
            policies[0]
        );
    } else {
        println!("skipped: the page's bundle was not built");
    }
}

#[test]
fn an_account_is_unique_without_regard_to_case() {
    let app = spawn(Options {
        with_documents: false,
        ..Options::default()
    });
    let request = LocalRequest::UserAdd {
        email: " MEMBER@example.org".into(),
        role: Role::Member,
        password: Secret(PASSWORD.into()),
    };
    let events = app.local(request);
    assert!(
        format!("{events:?}").contains("exists already"),
        "{events:?}"
    );
    assert!(!format!("{events:?}").contains(PASSWORD));
}
