//! The extraction process: what goes in and out, and what happens to a child that misbehaves.
//!
//! The child under test is this test binary again, told to run [`acts_as_the_extraction_child`] alone; the
//! misbehaving ones are shell commands.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rag::{ExtractError, Extractor, Limits, Protection, extract_child_main, extract_file};

use crate::extract::{data, document_xml, docx};

/// Name of the test that is the child's body.
pub(crate) const CHILD_TEST: &str = "extract_child::acts_as_the_extraction_child";

#[test]
fn acts_as_the_extraction_child() {
    // Set by `Extractor`; in an ordinary test run there is nothing to do.
    if std::env::var_os("CLOISTER_EXTRACT_LIMITS").is_none() {
        return;
    }
    let path = PathBuf::from(std::env::args_os().next_back().unwrap());
    std::process::exit(extract_child_main(&path));
}

fn real_child(limits: Limits) -> Extractor {
    let args = [CHILD_TEST, "--exact", "--nocapture", "--test-threads=1"]
        .map(String::from)
        .to_vec();
    Extractor {
        program: std::env::current_exe().unwrap(),
        args,
        limits,
    }
}

fn shell(script: &str, limits: Limits) -> Extractor {
    Extractor {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        limits,
    }
}

fn short() -> Limits {
    Limits {
        wall: Duration::from_millis(400),
        ..Limits::default()
    }
}

/// Runs `script` as the child and returns the error and how long it took.
fn run(script: &str, limits: Limits) -> (ExtractError, Duration) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"text").unwrap();
    let started = Instant::now();
    let error = shell(script, limits).extract(file.path()).unwrap_err();
    (error, started.elapsed())
}

#[test]
fn the_child_gives_what_extraction_in_process_gives() {
    let folder = tempfile::tempdir().unwrap();
    let extractor = real_child(Limits::default());
    let text = folder.path().join("-a note, \"quoted\" ü.txt");
    std::fs::write(&text, "TITLE LINE\n\nSome text with ünïcödé.").unwrap();
    assert_eq!(extractor.extract(&text), extract_file(&text));
    assert!(extractor.extract(&text).is_ok());
    std::fs::write(folder.path().join("lie.docx"), "plain").unwrap();
    let lie = extractor.extract(&folder.path().join("lie.docx"));
    assert!(
        matches!(lie, Err(ExtractError::TypeMismatch { .. })),
        "{lie:?}"
    );
    let missing = extractor.extract(&folder.path().join("missing.txt"));
    assert!(
        matches!(missing, Err(ExtractError::Unreadable { .. })),
        "{missing:?}"
    );
    let report = data("reports/nih").join("NCT06149832_Prot_000.pdf");
    assert_eq!(extractor.extract(&report), extract_file(&report));
}

#[test]
fn a_child_reads_the_file_that_was_opened_and_tells_what_the_kernel_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("note.txt");
    std::fs::write(&path, "The first text.").unwrap();
    let file = std::fs::File::open(&path).unwrap();
    let expected = extract_file(&path);
    std::fs::rename(&path, folder.path().join("moved.txt")).unwrap();
    std::fs::write(&path, "Another text in its place.").unwrap();
    let extractor = real_child(Limits::default());
    for _ in 0..2 {
        assert_eq!(extractor.extract_open(&file, &path), expected);
    }
    let missing = extractor.missing_protections().unwrap();
    assert!(!missing.contains(&Protection::Seccomp), "{missing:?}");
    let special = extractor.extract(std::path::Path::new("/dev/zero"));
    assert!(
        matches!(special, Err(ExtractError::Unreadable { .. })),
        "{special:?}"
    );
}

#[test]
fn a_child_that_needs_too_much_memory_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.docx");
    let paragraph = "<w:p><w:r><w:t>word word word word word word word word word word 0123456789</w:t></w:r></w:p>";
    // Random digits keep the archive's expansion ordinary.
    let body: String = (0..400_000u64)
        .map(|n| {
            paragraph.replace(
                "0123456789",
                &n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_string(),
            )
        })
        .collect();
    std::fs::write(
        &path,
        docx(&[("word/document.xml", document_xml(&body).as_bytes())]),
    )
    .unwrap();
    let limits = Limits {
        memory_bytes: 160 << 20,
        ..Limits::default()
    };
    let limit_bytes = limits.memory_bytes;
    assert_eq!(
        real_child(limits).extract(&path),
        Err(ExtractError::OutOfMemory { limit_bytes })
    );
    assert!(real_child(Limits::default()).extract(&path).is_ok());
}

#[test]
fn a_child_that_uses_too_much_processor_time_is_stopped() {
    // The shell sets on itself what `extract_child_main` sets.
    let limits = Limits {
        cpu: Duration::from_secs(1),
        ..Limits::default()
    };
    let (error, took) = run("ulimit -t 1; while :; do :; done", limits);
    // A shell reports the signal of a loop it runs itself; the kernel may use either of the two.
    assert!(
        matches!(
            error,
            ExtractError::Timeout { seconds: 1 } | ExtractError::OutOfMemory { .. }
        ),
        "{error}"
    );
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn a_child_that_never_ends_is_stopped_with_all_it_started() {
    for script in [
        "sleep 60",
        "sleep 60 & sleep 60; wait",
        "exec >&- 2>&-; sleep 60",
        "trap '' TERM INT; while :; do sleep 1; done",
    ] {
        let (error, took) = run(script, short());
        assert!(
            matches!(error, ExtractError::Timeout { .. }),
            "{script}: {error}"
        );
        assert!(took < Duration::from_secs(5), "{script} took {took:?}");
    }
}

#[test]
fn a_child_that_prints_without_end_is_stopped() {
    let limits = Limits {
        output_bytes: 1 << 20,
        ..Limits::default()
    };
    let (error, took) = run(
        "while :; do echo 'a line of noise that goes on and on'; done",
        limits,
    );
    assert!(
        matches!(error, ExtractError::TooLarge { limit, .. } if limit == 1 << 20),
        "{error}"
    );
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn a_child_that_crashes_or_talks_nonsense_is_reported() {
    for (script, part) in [
        ("kill -SEGV $$", "signal 11"),
        (
            "echo 'library not found' >&2; exit 127",
            "library not found",
        ),
        ("exit 0", "exit status: 0"),
        ("echo '{\"ok\": 3}'", "exit status: 0"),
    ] {
        let (error, _) = run(script, Limits::default());
        assert!(
            matches!(&error, ExtractError::Failed { reason } if reason.contains(part)),
            "{script}: {error}"
        );
    }
    let absent = Extractor {
        program: "/no/such/program".into(),
        args: vec![],
        limits: Limits::default(),
    };
    let error = absent
        .extract(&std::env::current_exe().unwrap())
        .unwrap_err();
    assert!(
        error.to_string().contains("cannot start /no/such/program"),
        "{error}"
    );
}
