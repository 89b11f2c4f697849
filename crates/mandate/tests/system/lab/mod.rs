//! What the tests have: a folder, an upstream, a running server with a bundle, agents and an operator.

pub(crate) mod agent;
pub(crate) mod edge;
pub(crate) mod http;
pub(crate) mod log;
pub(crate) mod server;
pub(crate) mod upstream;
pub(crate) mod wait;

use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use agent::Agent;
use http::{Answer, Door};
use server::{Options, PROGRAM, Server};
use upstream::Upstream;

/// A server that runs, and everything around it.
pub(crate) struct Lab {
    pub(crate) server: Server,
    pub(crate) upstream: Upstream,
    /// The API key that the upstream wants and agents never see.
    pub(crate) key: String,
    data: PathBuf,
    folder: TempDir,
    options: Options,
}

/// What a command printed as JSON, and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) value: Value,
}

impl Lab {
    /// Starts everything and applies the bundle.
    pub(crate) fn start() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        Self::without_bundle(options, None).with_bundle()
    }

    /// Applies the bundle, which is in force at the gateway when that returns.
    pub(crate) fn with_bundle(self) -> Self {
        let applied = self.apply(&self.bundle());
        assert_eq!(applied.code, 0, "{}", applied.value);
        self
    }

    /// Nothing is live yet. `data` is the server's folder, if not one of its own.
    pub(crate) fn without_bundle(options: Options, data: Option<PathBuf>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let data = data.unwrap_or_else(|| folder.path().join("data"));
        let upstream = Upstream::start();
        let key = format!("key-{}", uuid::Uuid::new_v4());
        prepare(&data, &key, &upstream);
        let server = Server::start(&data, &folder.path().join("log"), &options);
        Self {
            server: server.unwrap_or_else(|why| panic!("{why}")),
            upstream,
            key,
            data,
            folder,
            options,
        }
    }

    /// Starts the server again on the same folder; the one before has ended.
    pub(crate) fn restart(&mut self) {
        let again = Server::start(&self.data, &self.log_file(), &self.options);
        self.server = again.unwrap_or_else(|why| panic!("{why}"));
    }

    /// The bundle, filled in.
    pub(crate) fn bundle(&self) -> String {
        let uid = rustix::process::geteuid().as_raw().to_string();
        let worker = std::env::current_exe().unwrap();
        BUNDLE
            .replace("${login}", &self.server.dev_issuer_url())
            .replace("${uid}", &uid)
            .replace("${worker}", &worker.display().to_string())
            .replace("${clerk}", PROGRAM)
            .replace("${upstream}", &self.upstream.address.to_string())
    }

    /// `mandate apply`.
    pub(crate) fn apply(&self, bundle: &str) -> Ran {
        let file = self.folder.path().join("bundle.yaml");
        std::fs::write(&file, bundle).unwrap();
        self.run(&["apply", &file.display().to_string(), "--yes"])
    }

    /// A command of the program, as a user would type it.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let output = Command::new(PROGRAM)
            .arg("--data")
            .arg(&self.data)
            .args(["--output", "json"])
            .args(arguments)
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let text = if output.stdout.is_empty() {
            output.stderr
        } else {
            output.stdout
        };
        let value = serde_json::from_slice(&text)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&text).into_owned()));
        Ran {
            code: output.status.code().unwrap_or(-1),
            value,
        }
    }

    /// The same, as people read it: how it ended, and what it printed.
    pub(crate) fn say(&self, arguments: &[&str]) -> (i32, String) {
        let output = Command::new(PROGRAM)
            .arg("--data")
            .arg(&self.data)
            .args(arguments)
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let code = output.status.code().unwrap_or(-1);
        let text = [output.stdout, output.stderr].concat();
        (code, String::from_utf8(text).unwrap())
    }

    /// The agents' socket: the kernel tells the server who calls.
    pub(crate) fn agents(&self) -> Door {
        server::socket(&self.data, "agent.sock")
    }

    pub(crate) fn operators(&self) -> Door {
        server::socket(&self.data, "operator.sock")
    }

    pub(crate) fn control(&self) -> Door {
        server::socket(&self.data, "control.sock")
    }

    pub(crate) fn suspend(&self, subject: &Value) -> Answer {
        let order = json!({"subject": subject, "reason": "INC-1"});
        self.operators().json("/operator/v1/suspend", &order)
    }

    pub(crate) fn resume(&self, subject: &Value) -> Answer {
        let order = json!({"subject": subject, "reason": "INC-1 is over"});
        self.operators().json("/operator/v1/resume", &order)
    }

    /// This process, attested.
    pub(crate) fn worker(&self) -> Agent {
        let answer = self.agents().form("/token", &agent::attest_form(None));
        Agent::new(
            self.server.authority(),
            answer.expect(200).text("access_token"),
        )
    }

    /// The program itself as an agent.
    pub(crate) fn clerk(&self) -> Agent {
        Agent::new(
            self.server.authority(),
            self.clerk_svid(&self.server.issuer()),
        )
    }

    pub(crate) fn clerk_svid(&self, audience: &str) -> String {
        let ran = self.run(&["token", "--identity", audience]);
        assert_eq!(ran.code, 0, "{}", ran.value);
        ran.value["token"].as_str().unwrap().to_owned()
    }

    /// An ID token of the test issuer.
    pub(crate) fn id_token(&self, user: &str) -> String {
        self.login(&json!({"user": user, "claims": {"groups": ["support"]}}))
    }

    /// What the test issuer says to `login`.
    pub(crate) fn login(&self, login: &Value) -> String {
        let answer = self.server.dev_issuer().json("/login", login);
        answer.expect(200).text("id_token")
    }

    /// `GET` through the gateway.
    pub(crate) fn access(&self, target: &str, token: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        let field = [("authorization", bearer.as_str())];
        self.server.gateway().get(target, &field)
    }

    /// Waits until single-use tokens are good: those of the second in which the gateway started might be from
    /// before it, and it cannot know whether they were spent.
    pub(crate) fn until_writes_are_admitted(&self, worker: &Agent, task: &str) {
        wait::until("a write is admitted", || {
            let token = agent::token(worker.access(task, "records"));
            let bearer = format!("Bearer {token}");
            let field = [("authorization", bearer.as_str())];
            let answer = self
                .server
                .gateway()
                .call("POST", "/records/items/first", &field, b"");
            (answer.status == 200).then_some(())
        });
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// What the server logged.
    pub(crate) fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

/// The folder with the secret, mapped and pinned (C4).
fn prepare(data: &Path, key: &str, upstream: &Upstream) {
    std::fs::create_dir_all(data).unwrap();
    std::fs::set_permissions(data, PermissionsExt::from_mode(0o711)).unwrap();
    let file = data.join("records-key");
    write(&file, key);
    let text = format!(
        "secrets:\n  records-key: {{file: \"{}\", origins: [\"http://{}\"]}}\n",
        file.display(),
        upstream.address
    );
    write(&data.join("gateway.yaml"), &text);
}

fn write(path: &Path, text: &str) {
    let mut options = std::fs::OpenOptions::new();
    let file = options.create(true).write(true).mode(0o600).open(path);
    std::io::Write::write_all(&mut file.unwrap(), text.as_bytes()).unwrap();
}

const BUNDLE: &str = include_str!("bundle.yaml");
