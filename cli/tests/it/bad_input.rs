//! Mistakes of every kind: one clear sentence, a way out, the right exit status, never a panic.

use std::net::TcpListener;
use std::path::PathBuf;

use crate::run::{Place, test_models};

struct Case {
    name: &'static str,
    args: Vec<String>,
    code: i32,
    /// Pieces of stderr.
    says: Vec<String>,
}

fn case(name: &'static str, args: &[&str], code: i32, says: &[&str]) -> Case {
    let own = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
    Case {
        name,
        args: own(args),
        code,
        says: own(says),
    }
}

fn check(place: &Place, cases: &[Case]) {
    for case in cases {
        let finished = place.run(&case.args);
        let context = format!(
            "{}: exit {:?}\nstdout: {}\nstderr: {}",
            case.name, finished.code, finished.stdout, finished.stderr
        );
        assert_eq!(finished.code, Some(case.code), "{context}");
        for piece in &case.says {
            assert!(
                finished.stderr.contains(piece.as_str()),
                "{piece:?} is missing\n{context}"
            );
        }
        assert!(finished.stderr.contains("error: "), "{context}");
        for leak in ["panicked", "RUST_BACKTRACE", "stack backtrace", ".rs:"] {
            assert!(
                !finished.stderr.contains(leak),
                "{leak:?} is shown\n{context}"
            );
        }
    }
}

/// A GGUF header with one key and no tensors.
pub fn gguf(architecture: &str) -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3_u32.to_le_bytes());
    bytes.extend(0_u64.to_le_bytes());
    bytes.extend(1_u64.to_le_bytes());
    let string = |bytes: &mut Vec<u8>, text: &str| {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    };
    string(&mut bytes, "general.architecture");
    bytes.extend(8_u32.to_le_bytes());
    string(&mut bytes, architecture);
    bytes
}

const MANIFEST: &str = "title = \"X\"\nkind = \"chat\"\narchitecture = \"llama\"\nlicence = \"MIT\"\ncontext = 10\nmemory_bytes = 1\n[[files]]\npath = \"x.gguf\"\n";

/// A place with files that look like models and are none; `sum` is the checksum that none of them has.
fn place_with_unusable_models(sum: &str) -> Place {
    let place = Place::new();
    place.write("notes.gguf", "these are only notes");
    place.write("mamba.gguf", gguf("mamba"));
    place.write("empty.gguf", "");
    std::fs::create_dir(place.path("folder.gguf")).unwrap();
    place.write(
        "models/wrong.toml",
        format!("name = \"wrong\"\n{MANIFEST}sha256 = \"{sum}\"\n"),
    );
    place.write("models/wrong/x.gguf", "some bytes");
    place.write("models/huge.toml", format!("name = \"huge\"\n{MANIFEST}bytes = 900000000000000\n[[sources]]\nkind = \"hub\"\nrepo = \"a/b\"\nrevision = \"c\"\n"));
    place
}

#[test]
fn model_files_that_cannot_be_used_are_explained() {
    let sum = "0".repeat(64);
    let place = place_with_unusable_models(&sum);
    let generate = |model: &'static str| ["generate", "--model", model, "--prompt", "Hello"];
    check(
        &place,
        &[
            case(
                "unknown path",
                &generate("nowhere/model.gguf"),
                2,
                &["nowhere/model.gguf", "no such file", "hint: "],
            ),
            case(
                "unknown name",
                &generate("gpt-9"),
                2,
                &["no model named `gpt-9`", "qwen2.5-coder-1.5b-instruct"],
            ),
            case(
                "not installed",
                &generate("smollm2-135m-instruct"),
                2,
                &[
                    "is not installed",
                    "cloister models pull smollm2-135m-instruct",
                ],
            ),
            case("a folder", &generate("folder.gguf"), 2, &["is a folder"]),
            case(
                "wrong type",
                &generate("notes.gguf"),
                2,
                &["GGUF", "hint: "],
            ),
            case(
                "empty file",
                &generate("empty.gguf"),
                2,
                &["empty", "hint: "],
            ),
            case(
                "unsupported architecture",
                &generate("mamba.gguf"),
                2,
                &["mamba", "hint: "],
            ),
            case(
                "an encoder cannot chat",
                &generate("all-minilm-l6-v2"),
                2,
                &["is a model for embedding"],
            ),
            case(
                "checksum differs",
                &generate("wrong"),
                3,
                &["checksum of x.gguf", &sum, "cloister models remove wrong"],
            ),
            case(
                "tokenizer of no model",
                &["tokenize", "--model", "notes.gguf", "text"],
                2,
                &["GGUF"],
            ),
            case(
                "import of no model",
                &["models", "import", "notes.gguf"],
                2,
                &["cannot import", "GGUF"],
            ),
            case(
                "no space",
                &["models", "pull", "huge"],
                3,
                &["needs 900 TB", " free", "hint: "],
            ),
            case(
                "pull of nobody",
                &["models", "pull", "gpt-9"],
                2,
                &["no model named `gpt-9`"],
            ),
            case(
                "remove outside",
                &["models", "remove", "../data"],
                2,
                &["no model named"],
            ),
            case(
                "verify of nothing",
                &["models", "verify", "qwen3-8b"],
                2,
                &["is not installed"],
            ),
        ],
    );
}

#[test]
fn a_model_that_was_cut_off_is_explained() {
    let Some(models) = test_models(&["smollm2-135m-instruct"]) else {
        return;
    };
    let whole = std::fs::read(models.join("smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf"))
        .unwrap();
    let place = Place::new();
    for (name, length) in [
        ("in_header.gguf", 1_000),
        ("in_tensors.gguf", whole.len() / 2),
    ] {
        place.write(name, &whole[..length]);
        let args = [
            "generate",
            "--model",
            name,
            "--prompt",
            "Hello",
            "--max-tokens",
            "1",
        ];
        check(
            &place,
            &[case(
                "cut off",
                &args,
                2,
                &[name.trim_end_matches(".gguf"), "hint: "],
            )],
        );
    }
}

#[test]
fn mistakes_in_settings_and_addresses_are_explained() {
    let place = Place::new();
    place.write("bad.toml", "[engine]\nthreads = 2\nspeed = \"high\"\n");
    place.write("half-tls.toml", "[server]\ntls_cert = \"a.crt\"\n");
    place.write(
        "tls.toml",
        "[server]\ntls_cert = \"nowhere.crt\"\ntls_key = \"nowhere.key\"\n",
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let port = listener.local_addr().unwrap().port().to_string();
    check(
        &place,
        &[
            case(
                "unknown key",
                &["models", "list", "--config", "bad.toml"],
                3,
                &["bad.toml:3", "speed"],
            ),
            case(
                "certificate without a key",
                &["models", "list", "--config", "half-tls.toml"],
                3,
                &["half-tls.toml", "`tls_cert`", "needs a `tls_key`"],
            ),
            case(
                "certificate that is not there",
                &[
                    "serve",
                    "--no-model",
                    "--listen",
                    "127.0.0.1:0",
                    "--config",
                    "tls.toml",
                ],
                3,
                &["cannot read", "nowhere.crt", "hint: correct `tls_cert`"],
            ),
            case(
                "missing settings",
                &["models", "list", "--config", "none.toml"],
                3,
                &["none.toml", "no such file"],
            ),
            case(
                "unknown device",
                &["models", "list", "--device", "tpu"],
                3,
                &["`tpu` is not a device", "--device auto"],
            ),
            case(
                "port in use",
                &["serve", "--listen", &taken],
                3,
                &[&port, "in use", "--listen"],
            ),
            case(
                "foreign address",
                &["serve", "--listen", "192.0.2.1:8080"],
                3,
                &["192.0.2.1", "hint: "],
            ),
        ],
    );
}

#[test]
fn mistakes_in_commands_are_explained() {
    let place = Place::new();
    place.write(
        "questions.jsonl",
        "{\"question\": \"a\", \"document\": \"b\"}\nnonsense\n",
    );
    check(
        &place,
        &[
            case(
                "missing folder",
                &["ingest", "nowhere", "--collection", "c"],
                2,
                &["no file or folder nowhere"],
            ),
            case("empty question", &["ask", " "], 2, &["question is empty"]),
            case(
                "no hits wanted",
                &["search", "x", "-k", "0"],
                2,
                &["no hits"],
            ),
            case(
                "bad question file",
                &["eval", "questions.jsonl", "--collection", "c"],
                2,
                &["questions.jsonl:2", "hint: "],
            ),
            case(
                "no question file",
                &["eval", "none.jsonl", "--collection", "c"],
                2,
                &["none.jsonl"],
            ),
            case(
                "no password",
                &["user", "add", "a@example.com"],
                2,
                &["stdin", "--password-stdin"],
            ),
            case(
                "empty password",
                &["user", "add", "a@example.com", "--password-stdin"],
                2,
                &["no password on stdin"],
            ),
            case(
                "unconfirmed",
                &["collection", "delete", "c"],
                2,
                &["cannot be undone", "--yes"],
            ),
            case(
                "no embedding model",
                &["search", "x"],
                2,
                &[
                    "all-minilm-l6-v2 is not installed",
                    "cloister models pull all-minilm-l6-v2",
                ],
            ),
            case("unknown command", &["fly"], 2, &["fly"]),
        ],
    );
}

#[test]
fn folders_that_may_not_be_read_or_written_are_explained() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new().bound_by_permissions();
    let locked = place.path("locked");
    std::fs::create_dir(&locked).unwrap();
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o000)).unwrap();
    check(
        &place,
        &[case(
            "unreadable",
            &["ingest", "locked", "--collection", "c"],
            2,
            &["may not be read", "hint: "],
        )],
    );
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o500)).unwrap();
    let data = locked.join("data").display().to_string();
    check(
        &place,
        &[case(
            "unwritable",
            &["search", "x", "--data", &data],
            3,
            &["cannot write to the data directory", "--data"],
        )],
    );
}

#[test]
fn documents_that_cannot_be_read_are_explained() {
    let place = Place::new();
    place.write("empty.pdf", "");
    place.write(
        "lies.pdf",
        "This is plain text and no PDF at all, whatever the name says.",
    );
    place.write("broken.docx", b"PK\x03\x04 not really a zip file");
    place.write("song.mp3", "la la la");
    check(
        &place,
        &[
            case("missing", &["extract", "none.md"], 2, &["none.md"]),
            case("empty", &["extract", "empty.pdf"], 2, &["empty.pdf"]),
            case(
                "lying extension",
                &["extract", "lies.pdf"],
                2,
                &["lies.pdf"],
            ),
            case("broken", &["extract", "broken.docx"], 2, &["broken.docx"]),
            case("unsupported", &["extract", "song.mp3"], 2, &["song.mp3"]),
        ],
    );
}

#[test]
fn an_unknown_collection_is_answered_with_the_known_ones() {
    let Some(place) = Place::with_test_models(&["all-minilm-l6-v2"]) else {
        return;
    };
    let folder: PathBuf = place
        .write("docs/a.txt", "The canteen opens at eight.")
        .parent()
        .unwrap()
        .to_owned();
    let report = place.json(&[
        "ingest",
        folder.to_str().unwrap(),
        "--collection",
        "handbook",
    ]);
    assert_eq!(report["added"], 1, "{report}");
    check(
        &place,
        &[case(
            "unknown collection",
            &["search", "canteen", "--collection", "handbuch"],
            2,
            &["`handbuch`", "handbook"],
        )],
    );
}

#[test]
fn another_name_of_a_model_that_is_not_in_use_keeps_the_server_from_starting() {
    let Some(place) = Place::with_test_models(&["all-minilm-l6-v2"]) else {
        return;
    };
    let file = place.write(
        "aliases.toml",
        "[models]\naliases = { \"gpt-4o-mini\" = \"no-such-model\" }\n",
    );
    let serve = ["serve", "--no-model", "--listen", "127.0.0.1:0", "--config"];
    check(
        &place,
        &[case(
            "unknown target",
            &[&serve[..], &[file.to_str().unwrap()]].concat(),
            3,
            &["`gpt-4o-mini`", "`no-such-model`", "all-minilm-l6-v2"],
        )],
    );
}
