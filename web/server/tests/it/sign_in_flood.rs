//! Sign-ins in great numbers: they take no memory that stays, and known browsers still get in.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::app::{App, Client, MEMBER, Options, PASSWORD, Reply, spawn};

fn behind_a_proxy() -> App {
    spawn(Options {
        configure: |config| config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()],
        with_documents: false,
        ..Options::default()
    })
}

fn from(app: &App, client: usize) -> Client {
    let mut request = app.client();
    let address = format!("198.51.{}.{}", 100 + client / 250, client % 250);
    request.set("x-forwarded-for", &address);
    request
}

fn sign_in(client: &Client, email: &str, password: &str) -> Reply {
    client.post(
        "/api/auth/sign-in",
        json!({ "email": email, "password": password }),
    )
}

/// Set in the process that measures itself: beside other tests, memory says nothing.
const MEASURES: &str = "CLOISTER_TEST_MEASURES_MEMORY";

#[test]
fn five_hundred_sign_ins_leave_no_memory_behind() {
    if std::env::var_os(MEASURES).is_some() {
        println!("{}", measure());
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "sign_in_flood::five_hundred_sign_ins_leave_no_memory_behind",
            "--exact",
            "--nocapture",
        ])
        .env(MEASURES, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{failed}");
    assert!(said.contains("after 500 attempts"), "{said}{failed}");
}

fn measure() -> String {
    let app = behind_a_proxy();
    let attempts = |first: usize, threads: usize, each: usize| -> usize {
        let looked_at = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (app, looked_at) = (&app, &looked_at);
                scope.spawn(move || {
                    for n in 0..each {
                        let client = first + thread * each + n;
                        let reply =
                            sign_in(&from(app, client), &format!("u{client}@x.org"), "wrong");
                        assert!([401, 429].contains(&reply.status), "{}", reply.text);
                        looked_at.fetch_add(usize::from(reply.status == 401), Ordering::Relaxed);
                    }
                });
            }
        });
        looked_at.into_inner()
    };
    // Threads, connections and the memory of hashing itself are there after these.
    attempts(0, 50, 1);
    let before = resident_mib();
    let looked_at = attempts(50, 50, 10);
    let after = resident_mib();
    assert!(looked_at > 400, "{looked_at} of 500 passwords were hashed");
    assert!(
        after < before + 48 && after < MOST_MIB,
        "{before} MiB before, {after} MiB after"
    );
    format!("{before} MiB before, {after} MiB after 500 attempts, {looked_at} of them hashed")
}

/// Most memory of the process at any time, two passwords under way: 60 at once took 1,100 MiB.
const MOST_MIB: u64 = 400;

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024
}

#[test]
fn a_known_browser_signs_in_while_a_hundred_addresses_flood() {
    let app = behind_a_proxy();
    let mut known = from(&app, 400);
    let cookies = sign_in(&known, MEMBER, PASSWORD).cookies();
    known.set("cookie", &cookies[1]);

    let (stop, refused, guessed) = (
        AtomicBool::new(false),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    std::thread::scope(|scope| {
        for address in 0..100 {
            let (app, stop, refused, guessed) = (&app, &stop, &refused, &guessed);
            scope.spawn(move || {
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    n += 1;
                    // Half of them guess at the very account.
                    let email = match address % 2 {
                        0 => MEMBER.to_owned(),
                        _ => format!("u{address}-{n}@x.org"),
                    };
                    let reply = sign_in(&from(app, address), &email, "wrong");
                    match reply.status {
                        401 => guessed.fetch_add(1, Ordering::Relaxed),
                        429 => {
                            assert!(reply.header("retry-after").is_some());
                            refused.fetch_add(1, Ordering::Relaxed)
                        }
                        other => panic!("{other}: {}", reply.text),
                    };
                    std::thread::sleep(Duration::from_millis(150));
                }
            });
        }
        std::thread::sleep(Duration::from_millis(500));
        let waits: Vec<(u16, Duration)> = (0..8)
            .map(|_| {
                let started = Instant::now();
                let status = sign_in(&known, MEMBER, PASSWORD).status;
                std::thread::sleep(Duration::from_millis(100));
                (status, started.elapsed())
            })
            .collect();
        stop.store(true, Ordering::Relaxed);
        assert!(
            waits
                .iter()
                .all(|(status, wait)| *status == 200 && *wait < Duration::from_secs(2)),
            "{waits:?}"
        );
    });
    let (refused, guessed) = (refused.into_inner(), guessed.into_inner());
    assert!(
        refused > 10 && guessed > 10,
        "{refused} refused, {guessed} hashed: no flood"
    );
}
