//! A server of its own for each test, and a client that speaks plain HTTP to it.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use ureq::http::{Request, Response};
use ureq::{Agent, Body};
use web_server::{
    LanguageModel, LocalEvent, LocalRequest, Ready, Role, Secret, ServeConfig, Suite, SuiteConfig,
    SuiteError, call_local, run_local,
};

use crate::fakes::{HashingEmbedder, ScriptedModel};

pub const ADMIN: &str = "admin@example.org";
pub const MEMBER: &str = "member@example.org";
pub const OTHER: &str = "other@example.org";
pub const PASSWORD: &str = "a long enough password";

/// A running server. Dropping it stops it.
pub struct App {
    pub runtime: Runtime,
    pub data: TempDir,
    pub suite: Arc<Suite>,
    pub model: Arc<ScriptedModel>,
    pub ready: Ready,
    stop: Option<oneshot::Sender<()>>,
    served: Option<tokio::task::JoinHandle<()>>,
}

pub struct Options {
    pub with_model: bool,
    pub with_users: bool,
    pub with_documents: bool,
    /// What running requests get when the server is stopped.
    pub grace: Duration,
    pub configure: fn(&mut SuiteConfig),
    pub adjust_library: fn(rag::Library) -> rag::Library,
    pub serve: Box<dyn FnOnce(&mut ServeConfig)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            with_model: true,
            with_users: true,
            with_documents: true,
            grace: Duration::from_secs(10),
            configure: |_| {},
            adjust_library: |library| library,
            serve: Box::new(|_| {}),
        }
    }
}

pub fn spawn_app() -> App {
    spawn(Options::default())
}

pub fn spawn(options: Options) -> App {
    let data = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let model = Arc::new(ScriptedModel::default());
    let mut config = SuiteConfig::new(data.path());
    (options.configure)(&mut config);
    let language_model: Option<Arc<dyn LanguageModel>> = if options.with_model {
        Some(model.clone())
    } else {
        None
    };
    let suite = Arc::new(open_suite_with(config, language_model, options.adjust_library).unwrap());

    let (ready_sender, ready) = oneshot::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let mut serve_config = ServeConfig::new("127.0.0.1:0".parse().unwrap(), move |ready| {
        let _ = ready_sender.send(ready);
    });
    serve_config.grace = options.grace;
    (options.serve)(&mut serve_config);
    let serving = Arc::clone(&suite);
    let served = runtime.spawn(async move {
        let shutdown = async {
            let _ = stopped.await;
        };
        web_server::serve(serving, serve_config, shutdown)
            .await
            .unwrap();
    });
    let ready = runtime.block_on(ready).unwrap();
    let app = App {
        runtime,
        data,
        suite,
        model,
        ready,
        stop: Some(stop),
        served: Some(served),
    };
    if options.with_users {
        for (email, role) in [
            (ADMIN, Role::Admin),
            (MEMBER, Role::Member),
            (OTHER, Role::Member),
        ] {
            let password = Secret(PASSWORD.to_owned());
            app.output(LocalRequest::UserAdd {
                email: email.to_owned(),
                role,
                password,
            });
        }
    }
    if options.with_documents {
        app.ingest_handbook();
    }
    app
}

/// Opens the data directory of a configuration, as a start of the program does.
pub fn open_suite(
    config: SuiteConfig,
    model: Option<Arc<dyn LanguageModel>>,
) -> Result<Suite, SuiteError> {
    open_suite_with(config, model, |library| library)
}

fn open_suite_with(
    config: SuiteConfig,
    model: Option<Arc<dyn LanguageModel>>,
    adjust_library: fn(rag::Library) -> rag::Library,
) -> Result<Suite, SuiteError> {
    let library = rag::Library::open(
        rag::LibraryConfig {
            data_dir: config.data_dir.clone(),
            store: rag::StoreChoice::Embedded,
            extractor: extractor(),
        },
        Arc::new(HashingEmbedder),
    )
    .unwrap();
    let library = Arc::new(adjust_library(library));
    Suite::open(config, library, model, Arc::new(HashingEmbedder))
}

/// The extractor's program is this binary, which then runs one test only: the one below.
fn extractor() -> rag::Extractor {
    rag::Extractor {
        program: std::env::current_exe().unwrap(),
        args: vec![
            "app::acts_as_the_extraction_child".into(),
            "--exact".into(),
            "--nocapture".into(),
            "--test-threads=1".into(),
        ],
        limits: rag::Limits::default(),
    }
}

#[test]
fn acts_as_the_extraction_child() {
    // Set by the extractor; in an ordinary test run there is nothing to do.
    if std::env::var_os("CLOISTER_EXTRACT_LIMITS").is_some() {
        let path = PathBuf::from(std::env::args_os().next_back().unwrap());
        std::process::exit(rag::extract_child_main(&path));
    }
}

impl App {
    fn ingest_handbook(&self) {
        let folder = self.data.path().join("handbook");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(
            folder.join("vacation.md"),
            "# Vacation\n\nEvery employee has 30 days of vacation per year. Unused days expire at the end of March.\n\n\
             ## Requests\n\nVacation is requested in the portal two weeks ahead. The team lead approves it.\n",
        )
        .unwrap();
        std::fs::write(
            folder.join("doors.txt"),
            "The warehouse door is opened with the badge. A lost badge is reported to the front desk within one day.\n",
        )
        .unwrap();
        let output = self.output(LocalRequest::Ingest {
            paths: vec![folder],
            collection: "handbook".into(),
            full: false,
        });
        assert_eq!(output["added"], 2, "{output}");
        assert_eq!(output["failed"], json!([]), "{output}");
    }

    /// Asks the server to stop, as a signal does.
    pub fn ask_to_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// All events of a local command, done in this process.
    pub fn local(&self, request: LocalRequest) -> Vec<LocalEvent> {
        self.runtime.block_on(async {
            let (sender, mut events) = tokio::sync::mpsc::channel(16);
            let suite = Arc::clone(&self.suite);
            tokio::spawn(async move { run_local(&suite, request, sender).await });
            let mut all = Vec::new();
            while let Some(event) = events.recv().await {
                all.push(event);
            }
            all
        })
    }

    /// All events of a local command, done through the socket.
    pub fn over_socket(&self, request: &LocalRequest) -> Vec<LocalEvent> {
        self.runtime.block_on(async {
            let stream = call_local(self.data.path(), request)
                .await
                .unwrap()
                .expect("a server runs");
            stream.collect().await
        })
    }

    /// The output of a local command that works.
    pub fn output(&self, request: LocalRequest) -> Value {
        match self.local(request).pop() {
            Some(LocalEvent::Output { value }) => value,
            other => panic!("no output but {other:?}"),
        }
    }

    pub fn client(&self) -> Client {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            // The server closes a connection whose request it refused unread; a pool would run into that.
            .max_idle_connections(0)
            .timeout_global(Some(Duration::from_secs(30)))
            .build();
        Client {
            agent: config.into(),
            base: self.ready.url.clone(),
            headers: Vec::new(),
        }
    }

    pub fn signed_in(&self, email: &str) -> Client {
        let mut client = self.client();
        let reply = client.post(
            "/api/auth/sign-in",
            json!({ "email": email, "password": PASSWORD }),
        );
        assert_eq!(reply.status, 200, "{}", reply.text);
        client.take_session(&reply);
        client
    }

    pub fn with_key(&self, email: &str) -> Client {
        let created = self.output(LocalRequest::KeyCreate {
            user_email: email.into(),
            name: "test".into(),
        });
        let mut client = self.client();
        client.set(
            "authorization",
            &format!("Bearer {}", created["key"].as_str().unwrap()),
        );
        client
    }

    /// A new conversation of the client's account and an answer in it: `(conversation, answer)`.
    pub fn ask(&self, client: &Client, question: &str) -> (String, String) {
        let conversation = client.post("/api/conversations", json!({})).json["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let answer = ask_in(client, &conversation, question);
        (conversation, answer)
    }
}

pub fn ask_in(client: &Client, conversation: &str, question: &str) -> String {
    let started = client.post(
        &format!("/api/conversations/{conversation}/messages"),
        json!({ "question": question }),
    );
    assert_eq!(started.status, 202, "{}", started.text);
    started.json["answer_id"].as_str().unwrap().to_owned()
}

impl App {
    /// Stops the server as the program does; the data directory stays.
    pub fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(served) = self.served.take() {
            let _ = self
                .runtime
                .block_on(async { tokio::time::timeout(Duration::from_secs(20), served).await });
        }
        self.suite.close();
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An HTTP client with the headers of one account.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    base: String,
    headers: Vec<(String, String)>,
}

/// A response that was read to its end.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub text: String,
    /// Null where the body is not JSON.
    pub json: Value,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(header, _)| header == name)
            .map(|(_, value)| value.as_str())
    }

    /// `NAME=VALUE` of each cookie that is set.
    pub fn cookies(&self) -> Vec<String> {
        let set = self.headers.iter().filter(|(name, _)| name == "set-cookie");
        set.map(|(_, value)| value.split(';').next().unwrap().to_owned())
            .collect()
    }
}

impl Client {
    pub fn set(&mut self, name: &str, value: &str) {
        self.headers.retain(|(header, _)| header != name);
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    /// The headers as they stand in a request.
    pub fn raw_headers(&self) -> String {
        let lines = self.headers.iter();
        lines
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect()
    }

    pub fn without(&self, name: &str) -> Client {
        let mut client = self.clone();
        client.headers.retain(|(header, _)| header != name);
        client
    }

    /// Takes the cookie of the session, not that of the device: to the server this is a new browser each time.
    pub fn take_session(&mut self, reply: &Reply) {
        let cookie = reply.cookies().swap_remove(0);
        self.set("cookie", &cookie);
        self.set("x-csrf-token", reply.json["csrf_token"].as_str().unwrap());
    }

    pub fn get(&self, path: &str) -> Reply {
        self.send("GET", path, None)
    }

    pub fn post(&self, path: &str, body: Value) -> Reply {
        self.send("POST", path, Some(body))
    }

    pub fn send(&self, method: &str, path: &str, body: Option<Value>) -> Reply {
        match body {
            Some(body) => self.send_bytes(
                method,
                path,
                "application/json",
                body.to_string().into_bytes(),
            ),
            None => self.send_bytes(method, path, "", Vec::new()),
        }
    }

    pub fn send_bytes(&self, method: &str, path: &str, content_type: &str, body: Vec<u8>) -> Reply {
        let response = self.open(method, path, content_type, body);
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        let mut text = String::new();
        response
            .into_body()
            .into_reader()
            .read_to_string(&mut text)
            .unwrap();
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Reply {
            status,
            headers,
            text,
            json,
        }
    }

    pub fn upload(&self, path: &str, files: &[(&str, &[u8])]) -> Reply {
        let mut body = Vec::new();
        for (name, content) in files {
            body.extend_from_slice(
                format!("--border\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n").as_bytes(),
            );
            body.extend_from_slice(content);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--border--\r\n");
        self.send_bytes("POST", path, "multipart/form-data; boundary=border", body)
    }

    /// The events of a server-sent stream as they come: `(id, event, data)`.
    pub fn events(&self, method: &str, path: &str, body: Option<Value>) -> Events {
        let (content_type, body) = match body {
            Some(body) => ("application/json", body.to_string().into_bytes()),
            None => ("", Vec::new()),
        };
        let response = self.open(method, path, content_type, body);
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Events {
            lines: Box::new(BufReader::new(response.into_body().into_reader()).lines()),
        }
    }

    fn open(&self, method: &str, path: &str, content_type: &str, body: Vec<u8>) -> Response<Body> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if !content_type.is_empty() {
            request = request.header("content-type", content_type);
        }
        if content_type.is_empty() && body.is_empty() {
            self.agent.run(request.body(()).unwrap()).unwrap()
        } else {
            self.agent.run(request.body(body).unwrap()).unwrap()
        }
    }
}

/// One server-sent event.
#[derive(Debug, Clone, PartialEq)]
pub struct SseEvent {
    pub id: Option<usize>,
    pub name: String,
    pub data: String,
}

impl SseEvent {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }
}

/// Reads events until the stream ends.
pub struct Events {
    lines: Box<dyn Iterator<Item = std::io::Result<String>>>,
}

impl Iterator for Events {
    type Item = SseEvent;

    fn next(&mut self) -> Option<SseEvent> {
        let mut event = SseEvent {
            id: None,
            name: String::new(),
            data: String::new(),
        };
        for line in self.lines.by_ref() {
            let line = line.unwrap();
            match line.split_once(':') {
                None if event.data.is_empty() => {}
                None => return Some(event),
                Some(("id", value)) => event.id = value.trim().parse().ok(),
                Some(("event", value)) => event.name = value.trim().to_owned(),
                Some(("data", value)) => event
                    .data
                    .push_str(value.strip_prefix(' ').unwrap_or(value)),
                Some(_) => {}
            }
        }
        None
    }
}

/// Waits until `check` gives something.
pub fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "{what} did not happen"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
