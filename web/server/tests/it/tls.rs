//! TLS of the program's own, the certificate's reload, and what changes for browsers.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;
use web_server::TlsFiles;

use crate::app::{App, MEMBER, Options, PASSWORD, eventually, spawn};
use crate::raw::{connect, exchange, read_to_close, send};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

/// A server with copies of certificate and key `a` in its folder.
struct Secure {
    app: App,
    files: TlsFiles,
    _folder: tempfile::TempDir,
}

fn secure() -> Secure {
    let folder = tempfile::tempdir().unwrap();
    let files = TlsFiles {
        certificate: folder.path().join("site.crt"),
        key: folder.path().join("site.key"),
    };
    put(&files, "a");
    let tls = files.clone();
    let app = spawn(Options {
        configure: |config| config.secure_cookies = true,
        serve: Box::new(move |serve| {
            serve.tls = Some(tls);
            serve.tls_look = Duration::from_millis(50);
            serve.connections.head = Duration::from_millis(600);
        }),
        with_documents: false,
        ..Options::default()
    });
    Secure {
        app,
        files,
        _folder: folder,
    }
}

/// Replaces both files as tools for certificates do: by renaming.
fn put(files: &TlsFiles, name: &str) {
    for (file, kind) in [(&files.key, "key"), (&files.certificate, "crt")] {
        let new = file.with_extension("new");
        std::fs::copy(data(&format!("tls-{name}.{kind}")), &new).unwrap();
        std::fs::rename(new, file).unwrap();
    }
}

fn certificate(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(data(&format!("tls-{name}.crt"))).unwrap()
}

/// A connection that trusts these certificates and no others.
fn secured(app: &App, trusted: &[&str]) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    for name in trusted {
        roots.add(certificate(name)).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    StreamOwned::new(client, connect(app.ready.address))
}

fn sign_in() -> String {
    let body = json!({ "email": MEMBER, "password": PASSWORD }).to_string();
    format!(
        "POST /api/auth/sign-in HTTP/1.1\r\nHost: localhost\r\nOrigin: https://localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn over_tls_cookies_are_for_this_host_and_tls_alone() {
    let Secure { app, .. } = secure();
    assert!(
        app.ready.url.starts_with("https://127.0.0.1:"),
        "{}",
        app.ready.url
    );
    assert_eq!(app.ready.warning, None);
    let answer = exchange(secured(&app, &["a"]), &sign_in());
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let lower = answer.to_lowercase();
    assert!(
        lower.contains("strict-transport-security: max-age="),
        "{answer}"
    );
    let cookies: Vec<&str> = answer
        .lines()
        .filter(|line| line.to_lowercase().starts_with("set-cookie:"))
        .collect();
    assert_eq!(cookies.len(), 2, "{answer}");
    for (cookie, name, site) in [
        (cookies[0], "__Host-cloister_session=", "SameSite=Lax"),
        (cookies[1], "__Host-cloister_device=", "SameSite=Strict"),
    ] {
        for part in [name, site, "; Path=/;", "; HttpOnly", "; Secure"] {
            assert!(cookie.contains(part), "{part} in {cookie}");
        }
        assert!(!cookie.contains("Domain"), "{cookie}");
    }
    // The session opens the suite under its own name, and not under the one that others can plant.
    let value = cookies[0].split(['=', ';']).nth(1).unwrap();
    for (name, status) in [("__Host-cloister_session", 200), ("cloister_session", 401)] {
        let me = format!(
            "GET /api/me HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: {name}={value}\r\n\r\n"
        );
        let answer = exchange(secured(&app, &["a"]), &me);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{name}: {answer}"
        );
    }
}

#[test]
fn a_new_certificate_is_served_without_a_restart_and_a_broken_one_is_not() {
    let Secure {
        app,
        files,
        _folder,
    } = secure();
    let served = || {
        let mut stream = secured(&app, &["a", "b"]);
        send(
            &mut stream,
            "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        );
        let _ = read_to_close(&mut stream);
        stream.conn.peer_certificates().unwrap()[0]
            .clone()
            .into_owned()
    };
    assert_eq!(served(), certificate("a"));
    put(&files, "b");
    eventually("the new certificate", || {
        (served() == certificate("b")).then_some(())
    });
    // A key that is not its own: the certificate before stays.
    std::fs::copy(data("tls-a.crt"), &files.certificate).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(served(), certificate("b"));
    put(&files, "a");
    eventually("the first certificate again", || {
        (served() == certificate("a")).then_some(())
    });
}

#[test]
fn a_connection_that_speaks_no_tls_or_nothing_is_closed() {
    let Secure { app, .. } = secure();
    let mut plain = connect(app.ready.address);
    send(&mut plain, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answer = read_to_close(&mut plain).expect("closed");
    assert!(!answer.contains("HTTP/1.1"), "{answer}");
    let mut half = secured(&app, &["a"]);
    send(&mut half, "GET / HTTP/1.1\r\nX-Half: ");
    let started = Instant::now();
    // Closed without the end that TLS asks for, which is an error to read.
    assert!(read_to_close(&mut half).is_none_or(|answer| answer.is_empty()));
    assert!(started.elapsed() < Duration::from_secs(5), "still open");
}

#[test]
fn the_public_address_is_where_people_are_sent_and_an_origin_of_ours() {
    let app = spawn(Options {
        configure: |config| {
            config.public_url = Some("https://docs.example.org".parse().unwrap());
            config.secure_cookies = true;
        },
        with_users: false,
        with_documents: false,
        ..Options::default()
    });
    let link = app.ready.setup_link.clone().unwrap();
    assert!(
        link.starts_with("https://docs.example.org/setup#token="),
        "{link}"
    );
    let body = |origin: &str| {
        let text = json!({ "email": MEMBER, "password": PASSWORD }).to_string();
        format!(
            "POST /api/auth/sign-in HTTP/1.1\r\nHost: 10.0.0.7:8080\r\nOrigin: {origin}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        )
    };
    for (origin, status) in [
        ("https://docs.example.org", 401),
        ("http://docs.example.org", 403),
        ("https://evil.example", 403),
    ] {
        let answer = exchange(connect(app.ready.address), &body(origin));
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{origin}: {answer}"
        );
    }
}

#[test]
fn plain_http_beyond_this_machine_is_warned_about() {
    let warning = |configure: fn(&mut web_server::SuiteConfig), listen: &'static str| {
        let app = spawn(Options {
            configure,
            serve: Box::new(move |serve| serve.listen = listen.parse().unwrap()),
            with_users: false,
            with_documents: false,
            ..Options::default()
        });
        app.ready.warning.clone()
    };
    assert_eq!(warning(|_| {}, "127.0.0.1:0"), None);
    let open = warning(|_| {}, "0.0.0.0:0").expect("a warning");
    assert!(
        open.contains("tls_cert") && open.contains("public_url"),
        "{open}"
    );
    let proxied = |config: &mut web_server::SuiteConfig| {
        config.public_url = Some("http://intranet".parse().unwrap());
    };
    assert!(warning(proxied, "127.0.0.1:0").is_some());
    assert_eq!(
        warning(|config| config.secure_cookies = true, "0.0.0.0:0"),
        None
    );
}
