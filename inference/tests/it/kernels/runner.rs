//! Compiles the runner of `inference/kernels/host` once, and runs cases with it.

use std::{
    collections::BTreeMap,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
    thread,
};

use bytemuck::{NoUninit, Pod};

/// Orders of threads in which every case runs.
const SEEDS: [u64; 2] = [1, 2];

/// `-O1` compiles in seconds; faults of memory and arithmetic end the run; warnings are errors.
const FLAGS: [&str; 9] = [
    "-std=c++17",
    "-O1",
    "-g1",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unknown-pragmas",
];

/// One run of a kernel: what goes in, by name.
#[derive(Debug, Clone)]
pub struct Case {
    name: String,
    header: String,
    data: Vec<u8>,
}

/// The buffers that came back.
#[derive(Debug, PartialEq)]
pub struct Buffers(BTreeMap<String, Vec<u8>>);

/// How a run ended that did not succeed.
#[derive(Debug)]
pub struct Failure {
    pub status: Option<i32>,
    pub stderr: String,
}

impl Case {
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            header: String::new(),
            data: Vec::new(),
        }
    }

    pub fn scalar(mut self, name: &str, value: impl Into<f64>) -> Self {
        self.header += &format!("scalar {name} {:e}\n", value.into());
        self
    }

    pub fn size(self, name: &str, value: usize) -> Self {
        self.scalar(name, value as f64)
    }

    pub fn buffer<T: NoUninit>(mut self, name: &str, values: &[T]) -> Self {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        self.header += &format!("buffer {name} {}\n", bytes.len());
        self.data.extend_from_slice(bytes);
        self
    }

    /// Runs the case in every order of threads and returns what came back, which must not depend on it.
    #[track_caller]
    pub fn run(&self) -> Buffers {
        let mut runs = SEEDS.map(|seed| {
            self.run_in_order(seed)
                .unwrap_or_else(|failure| panic!("{}: {failure:?}", self.name))
        });
        assert!(
            runs[0] == runs[1],
            "{}: the result depends on the order of threads",
            self.name
        );
        std::mem::replace(&mut runs[0], Buffers(BTreeMap::new()))
    }

    /// Runs the case in one order of threads.
    pub fn run_in_order(&self, seed: u64) -> Result<Buffers, Failure> {
        let mut child = Command::new(runner())
            .args([&self.name, &seed.to_string()])
            // A process ends after one run, and looking for leaks needs rights that containers do not give.
            .env("ASAN_OPTIONS", "detect_leaks=0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the runner starts");
        let mut stdin = child.stdin.take().expect("piped");
        let input = [self.header.as_bytes(), b"end\n", &self.data].concat();
        // A thread, because the runner may answer before it has read everything. A run that fails early closes its input.
        let writer = thread::spawn(move || stdin.write_all(&input));
        let Output {
            status,
            stdout,
            stderr,
        } = child.wait_with_output().expect("the runner ends");
        let written = writer.join().expect("no panic");
        if !status.success() {
            return Err(Failure {
                status: status.code(),
                stderr: String::from_utf8_lossy(&stderr).into_owned(),
            });
        }
        written.expect("a run that succeeds reads its input");
        Ok(Buffers::parse(&stdout))
    }
}

impl Buffers {
    fn parse(mut stdout: &[u8]) -> Self {
        let mut sizes = Vec::new();
        loop {
            let end = stdout.iter().position(|&byte| byte == b'\n').expect("line");
            let line = std::str::from_utf8(&stdout[..end]).expect("text");
            stdout = &stdout[end + 1..];
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["buffer", name, bytes] => sizes.push((name.to_owned(), bytes.parse().unwrap())),
                ["end"] => break,
                _ => panic!("unknown line {line}"),
            }
        }
        let mut take = |bytes: usize| {
            let mut data = vec![0; bytes];
            stdout.read_exact(&mut data).expect("the promised bytes");
            data
        };
        Self(
            sizes
                .into_iter()
                .map(|(name, bytes)| (name, take(bytes)))
                .collect(),
        )
    }

    pub fn get<T: Pod>(&self, name: &str) -> Vec<T> {
        bytemuck::pod_collect_to_vec(&self.0[name])
    }
}

/// Returns the runner, compiled when it is older than its sources.
fn runner() -> &'static Path {
    static RUNNER: OnceLock<PathBuf> = OnceLock::new();
    RUNNER.get_or_init(build)
}

fn build() -> PathBuf {
    let kernels = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let sources = files(&kernels.join("host"), "cpp");
    let mut hasher = DefaultHasher::new();
    (&compiler, FLAGS).hash(&mut hasher);
    for (folder, extension) in [
        (&kernels, "cu"),
        (&kernels, "cuh"),
        (&kernels.join("host"), "h"),
        (&kernels.join("host"), "cpp"),
    ] {
        for file in files(folder, extension) {
            (&file, fs::read(&file).expect("readable")).hash(&mut hasher);
        }
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let runner = folder.join(format!("kernel-runner-{:016x}", hasher.finish()));
    if !runner.exists() {
        // Compiled aside and then renamed, so that another process never sees half of it.
        let aside = tempfile::tempdir_in(folder).expect("a temporary folder");
        compile(&compiler, &sources, aside.path());
        fs::rename(aside.path().join("runner"), &runner).expect("renamed");
    }
    runner
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder of kernels");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files
}

fn compile(compiler: &str, sources: &[PathBuf], to: &Path) {
    let object = |source: &Path| to.join(source.with_extension("o").file_name().expect("a file"));
    thread::scope(|scope| {
        for source in sources {
            scope.spawn(move || {
                let mut command = Command::new(compiler);
                command.args(FLAGS).arg("-c").arg(source);
                check(command.arg("-o").arg(object(source)));
            });
        }
    });
    let mut link = Command::new(compiler);
    link.args(FLAGS)
        .args(sources.iter().map(|source| object(source)));
    check(link.arg("-o").arg(to.join("runner")));
}

fn check(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| {
        panic!(
            "the tests of CUDA kernels need a C++17 compiler with AddressSanitizer, and {:?} does not start: {error}. \
             Install g++ (Debian: build-essential) or name another with CXX.",
            command.get_program()
        )
    });
    assert!(
        output.status.success(),
        "{command:?}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
