//! Behind a proxy: limits count the client, strangers hinder strangers only, and one account is not guessed from everywhere.

use serde_json::json;

use crate::app::{ADMIN, App, Client, MEMBER, Options, PASSWORD, Reply, spawn};

fn behind_a_proxy() -> App {
    spawn(Options {
        configure: |config| config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()],
        with_documents: false,
        ..Options::default()
    })
}

fn from(app: &App, address: &str) -> Client {
    let mut client = app.client();
    client.set("x-forwarded-for", address);
    client
}

fn sign_in(client: &Client, email: &str, password: &str) -> Reply {
    client.post(
        "/api/auth/sign-in",
        json!({ "email": email, "password": password }),
    )
}

/// A browser that has signed in before, and is signed out.
fn known_browser(app: &App, address: &str, email: &str) -> Client {
    let mut client = from(app, address);
    let reply = sign_in(&client, email, PASSWORD);
    assert_eq!(reply.status, 200, "{}", reply.text);
    let cookies = reply.cookies();
    assert!(cookies[1].starts_with("cloister_device="), "{cookies:?}");
    client.set("cookie", &cookies[1]);
    client
}

#[test]
fn one_client_behind_the_proxy_does_not_lock_the_others_out() {
    let app = behind_a_proxy();
    let statuses: Vec<u16> = (0..62)
        .map(|n| sign_in(&from(&app, "198.51.100.1"), &format!("u{n}@x.org"), "wrong").status)
        .collect();
    assert_eq!(statuses[..60], [401; 60]);
    assert_eq!(statuses[60..], [429; 2]);
    // What the client itself wrote further left changes nothing.
    let liar = from(&app, "203.0.113.9, 198.51.100.1");
    assert_eq!(sign_in(&liar, MEMBER, PASSWORD).status, 429);
    assert_eq!(
        sign_in(&from(&app, "198.51.100.2"), MEMBER, PASSWORD).status,
        200
    );
    // A subscriber of IPv6 has 2^64 addresses and is one client.
    for n in 0..5 {
        let client = from(&app, &format!("2001:db8:1:2::{n}"));
        assert_eq!(sign_in(&client, MEMBER, "wrong").status, 401);
    }
    let client = from(&app, "2001:db8:1:2:ffff::1");
    assert_eq!(sign_in(&client, MEMBER, "wrong").status, 429);
}

#[test]
fn without_trusted_proxies_the_header_is_a_clients_words() {
    let app = spawn(Options {
        with_documents: false,
        ..Options::default()
    });
    let statuses: Vec<u16> = (0..6)
        .map(|n| sign_in(&from(&app, &format!("198.51.100.{n}")), MEMBER, "wrong").status)
        .collect();
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429]);
}

#[test]
fn guessing_one_account_from_everywhere_is_slowed_down_and_its_owner_is_not() {
    let app = behind_a_proxy();
    let owner = known_browser(&app, "198.51.100.250", MEMBER);
    let mut addresses = (0..).map(|n| format!("198.51.{}.{}", 101 + n / 250, n % 250));
    // From a new address each time, until it is refused.
    let mut guess_until_refused = || {
        let refused_after = addresses
            .by_ref()
            .map(|address| sign_in(&from(&app, &address), MEMBER, "wrong"))
            .position(|reply| {
                assert!(reply.status == 401 || reply.header("retry-after").is_some());
                reply.status == 429
            });
        refused_after.unwrap()
    };
    assert_eq!(guess_until_refused(), 100);
    assert_eq!(sign_in(&owner, MEMBER, PASSWORD).status, 200);
    // The token is of this account and of nobody's making.
    let mut forger = owner.clone();
    forger.set("cookie", "cloister_device=65a.AAAA.BBBB");
    guess_until_refused();
    assert_eq!(sign_in(&forger, MEMBER, PASSWORD).status, 429);
    assert_eq!(sign_in(&forger, ADMIN, PASSWORD).status, 200);
}

#[test]
fn a_known_browser_that_guesses_waits_like_anybody() {
    let app = behind_a_proxy();
    let owner = known_browser(&app, "198.51.100.7", MEMBER);
    let statuses: Vec<u16> = (0..6)
        .map(|_| sign_in(&owner, MEMBER, "wrong").status)
        .collect();
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429]);
}

#[test]
fn a_client_behind_the_proxy_has_so_many_requests_under_way_and_no_more() {
    let app = spawn(Options {
        configure: |config| {
            config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
            config.max_requests_per_client = 2;
        },
        ..Options::default()
    });
    let mut key = app.with_key(MEMBER);
    key.set("x-forwarded-for", "198.51.100.1");
    let ask = json!({ "model": "scripted-model", "stream": true, "messages": [{ "role": "user", "content": "Go on." }] });
    let streams: Vec<_> = (0..2)
        .map(|_| {
            app.model.will(crate::fakes::Script::Babble);
            let mut events = key.events("POST", "/v1/chat/completions", Some(ask.clone()));
            assert!(events.next().is_some());
            events
        })
        .collect();
    let refused = key.get("/v1/models");
    assert_eq!(
        (refused.status, refused.json["error"]["code"].as_str()),
        (429, Some("too_many_requests")),
        "{}",
        refused.text
    );
    assert_eq!(from(&app, "198.51.100.2").get("/healthz").status, 200);
    drop(streams);
    crate::app::eventually("room again", || {
        (key.get("/v1/models").status == 200).then_some(())
    });
}

#[test]
fn common_passwords_are_refused_with_a_reason() {
    let app = spawn(Options {
        with_users: false,
        with_documents: false,
        ..Options::default()
    });
    let link = app.ready.setup_link.clone().unwrap();
    let token = link.split_once("#token=").unwrap().1;
    let set_up = |password: &str| {
        app.client().post(
            "/api/auth/setup",
            json!({ "token": token, "email": "ada.lovelace@analytical.example", "password": password }),
        )
    };
    for password in [
        "password12",
        "1234567890",
        "ada.lovelace@analytical.example",
    ] {
        let reply = set_up(password);
        assert_eq!(
            (reply.status, reply.json["code"].as_str()),
            (400, Some("invalid_request")),
            "{password}"
        );
        let message = reply.json["message"].as_str().unwrap();
        assert!(message.contains("too easy to guess: "), "{message}");
    }
    assert_eq!(set_up("a few uncommon words").status, 200);
}
