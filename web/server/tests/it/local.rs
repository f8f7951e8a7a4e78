//! The local socket and the commands behind it.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::Ordering;

use futures_util::StreamExt;
use rag::eval::EvalQuestion;
use web_server::{LocalErrorKind, LocalEvent, LocalRequest, call_local};

use crate::app::{Options, eventually, spawn, spawn_app};
use crate::fakes::Script;

const QUESTION: &str = "How many days of vacation does every employee have?";

fn ask() -> LocalRequest {
    LocalRequest::Ask {
        question: QUESTION.into(),
        collections: vec!["handbook".into()],
        quote_only: false,
    }
}

#[test]
fn a_command_gives_the_same_over_the_socket_as_in_the_process() {
    let app = spawn_app();
    let deltas = |events: &[LocalEvent]| -> String {
        let texts = events.iter().filter_map(|event| match event {
            LocalEvent::Delta { text } => Some(text.as_str()),
            _ => None,
        });
        texts.collect()
    };
    let here = app.local(ask());
    let there = app.over_socket(&ask());
    assert_eq!(deltas(&here), deltas(&there));
    let Some(LocalEvent::Output { value }) = there.last() else {
        panic!("{there:?}")
    };
    assert_eq!(value["answer"].as_str().unwrap(), deltas(&there));
    assert_eq!(value["refused"], false);
    assert_eq!(value["model"], "scripted-model");
    let citation = &value["citations"][0];
    assert_eq!(
        (citation["n"].as_u64(), citation["document"].as_str()),
        (Some(1), Some("vacation.md"))
    );
    for key in ["page", "quote", "start", "end"] {
        assert!(citation.get(key).is_some(), "{key}");
    }
    for key in ["prompt_tokens", "completion_tokens"] {
        assert!(value["usage"][key].as_u64().unwrap() > 0, "{key}");
    }
    assert!(value["timings"]["total_ms"].as_f64().unwrap() > 0.0);
    assert!(there.iter().any(
        |event| matches!(event, LocalEvent::Progress { message, .. } if message.contains("passage"))
    ));

    let request = LocalRequest::Search {
        query: "lost badge".into(),
        collections: Vec::new(),
        k: 3,
    };
    let Some(LocalEvent::Output { value }) = app.over_socket(&request).pop() else {
        panic!()
    };
    assert_eq!(value["hits"][0]["document"], "doors.txt");
    for key in ["page", "start", "end", "text", "score"] {
        assert!(value["hits"][0].get(key).is_some(), "{key}");
    }
    let Some(LocalEvent::Output { value }) = app.over_socket(&LocalRequest::Status).pop() else {
        panic!()
    };
    assert_eq!(
        (value["users"].as_u64(), value["admins"].as_u64()),
        (Some(3), Some(1))
    );
}

#[test]
fn the_socket_is_the_owners_alone_and_goes_with_the_server() {
    let app = spawn_app();
    let path = app.ready.socket.clone();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let database = app.data.path().join("suite.db");
    assert_eq!(
        std::fs::metadata(&database).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let folder = app.data.path().to_owned();
    // A socket that nobody listens on is not a server.
    let stale = tempfile::tempdir().unwrap();
    drop(std::os::unix::net::UnixListener::bind(stale.path().join("cloister.sock")).unwrap());
    let call = |folder: &std::path::Path| {
        app.runtime
            .block_on(call_local(folder, &LocalRequest::Status))
            .unwrap()
            .is_some()
    };
    assert!(call(&folder));
    assert!(!call(stale.path()));
    assert!(!call(&stale.path().join("nowhere")));
    drop(app);
    assert!(!path.exists());
}

#[test]
fn a_caller_that_goes_away_cancels_its_command() {
    let app = spawn_app();
    app.model.will(Script::Babble);
    app.runtime.block_on(async {
        let mut stream = call_local(app.data.path(), &ask()).await.unwrap().unwrap();
        while let Some(event) = stream.next().await {
            if matches!(event, LocalEvent::Delta { .. }) {
                break;
            }
        }
    });
    eventually("the cancellation", || {
        (app.model.cancelled.load(Ordering::SeqCst) == 1).then_some(())
    });
}

#[test]
fn mistakes_are_the_users_and_say_what_helps() {
    let app = spawn_app();
    let mistakes = [
        LocalRequest::Ask {
            question: QUESTION.into(),
            collections: vec!["nope".into()],
            quote_only: false,
        },
        LocalRequest::Ask {
            question: " ".into(),
            collections: Vec::new(),
            quote_only: false,
        },
        LocalRequest::Ingest {
            paths: vec!["/no/such/folder".into()],
            collection: "x".into(),
            full: false,
        },
        LocalRequest::KeyCreate {
            user_email: "nobody@example.org".into(),
            name: String::new(),
        },
        LocalRequest::KeyRevoke { id: 77 },
        LocalRequest::Eval {
            questions: Vec::new(),
            collection: "handbook".into(),
            retrieval_only: true,
        },
    ];
    for request in mistakes {
        match app.over_socket(&request).pop() {
            Some(LocalEvent::Error {
                kind: LocalErrorKind::User,
                message,
                ..
            }) => {
                assert!(message.len() > 10, "{message}");
            }
            other => panic!("{request:?}: {other:?}"),
        }
    }
}

#[test]
fn an_evaluation_measures_retrieval_answers_and_refusal() {
    let app = spawn_app();
    let question = |question: &str, document: &str, answer: &str| EvalQuestion {
        question: question.into(),
        document: document.into(),
        answer: vec![answer.into()],
        pages: Vec::new(),
    };
    let questions = vec![
        question(QUESTION, "vacation.md", "30 days"),
        question("Where is a lost badge reported?", "doors.txt", "front desk"),
    ];
    let request = LocalRequest::Eval {
        questions,
        collection: "handbook".into(),
        retrieval_only: false,
    };
    let events = app.over_socket(&request);
    let Some(LocalEvent::Output { value }) = events.last() else {
        panic!("{events:?}")
    };
    assert_eq!(value["recall@1"], 1.0, "{value}");
    assert_eq!(value["ndcg@10"], 1.0);
    // The scripted model says the first answer to both.
    assert_eq!(value["answer_contains"], 0.5, "{value}");
    assert!(value["citation_precision"].as_f64().is_some(), "{value}");
    for key in ["auroc", "false_refusal"] {
        assert!(value["refusal"][key].as_f64().is_some(), "{value}");
    }
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let app = spawn(Options {
        with_users: false,
        with_documents: false,
        ..Options::default()
    });
    let config = web_server::ServeConfig::new("127.0.0.1:0".parse().unwrap(), |_| {});
    let suite = app.suite.clone();
    let error = app
        .runtime
        .block_on(web_server::serve(suite, config, std::future::pending()))
        .unwrap_err();
    assert!(error.to_string().contains("another server"), "{error}");
    let taken = web_server::ServeConfig::new(app.ready.address, |_| {});
    let suite = app.suite.clone();
    let error = app
        .runtime
        .block_on(web_server::serve(suite, taken, std::future::pending()))
        .unwrap_err();
    assert!(error.to_string().contains("cannot listen"), "{error}");
}
