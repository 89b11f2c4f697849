//! A real `mandate serve`, in a folder and on ports of its own, with a bundle for the bench.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::agent::{Agent, post_unix_json};
use crate::process::{Process, release_folder};

/// A server that ends with this value.
#[derive(Debug)]
pub struct Server {
    pub process: Process,
    folder: tempfile::TempDir,
    pub tokens: SocketAddr,
    pub gateway: SocketAddr,
}

impl Server {
    /// Starts the release build and applies a bundle in front of `upstream`.
    pub async fn start(upstream: SocketAddr) -> Self {
        Self::start_with(upstream, include_str!("bundle.yaml")).await
    }

    /// The same with another bundle, in which `${uid}` and `${upstream}` are put in.
    pub async fn start_with(upstream: SocketAddr, bundle: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        map_secret(&folder.path().join("data"), upstream);
        let mut command = Command::new(binary());
        let command = command
            .args(["serve", "--data"])
            .arg(folder.path().join("data"))
            .args(["--trust-domain", "bench.example", "--log", "warn"])
            .args(["--listen", ANY_PORT, "--gateway-listen", ANY_PORT])
            .args(["--metrics-listen", ANY_PORT])
            .stdout(Stdio::piped());
        let mut process = Process::start(command);
        until_ready(&mut process);
        let endpoints = std::fs::read(folder.path().join("data/run/endpoints.json")).unwrap();
        let endpoints: serde_json::Value = serde_json::from_slice(&endpoints).unwrap();
        let address = |name: &str| endpoints[name].as_str().unwrap().parse().unwrap();
        let server = Self {
            tokens: address("authority"),
            gateway: address("gateway"),
            process,
            folder,
        };
        let bundle = folder_bundle(server.folder.path(), upstream, bundle);
        server.command(&["apply", bundle.to_str().unwrap(), "--yes"]);
        server
    }

    /// Runs another command of the binary against this server.
    pub fn command(&self, arguments: &[&str]) -> String {
        let output = Command::new(binary())
            .args(arguments)
            .arg("--data")
            .arg(self.folder.path().join("data"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    /// An operator's request.
    pub async fn operate(&self, path: &str, json: &serde_json::Value) -> serde_json::Value {
        let (status, body) = post_unix_json(&self.run("operator.sock"), path, json).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    pub fn agent(&self) -> Agent {
        Agent::new(self.run("agent.sock"), self.tokens)
    }

    fn run(&self, socket: &str) -> PathBuf {
        self.folder.path().join("data/run").join(socket)
    }
}

/// The release build beside this bench's own target folder.
fn binary() -> PathBuf {
    let binary = release_folder().join("mandate");
    assert!(
        binary.exists(),
        "build it first: cargo build --release -p mandate"
    );
    binary
}

/// Its first line says so. Nobody reads on, and the pipe must not fill.
fn until_ready(process: &mut Process) {
    let mut lines = BufReader::new(process.stdout());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert!(!line.is_empty(), "the server does not come up");
    std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
}

/// What the gateway injects into requests for `upstream`, and nowhere else.
fn map_secret(data: &Path, upstream: SocketAddr) {
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::create_dir(data).unwrap();
    std::fs::set_permissions(data, std::fs::Permissions::from_mode(0o700)).unwrap();
    let (config, secret) = (data.join("gateway.yaml"), data.join("records-key"));
    std::fs::write(&secret, CREDENTIAL).unwrap();
    let mapped = format!(
        "{{file: {}, origins: [\"http://{upstream}\"]}}",
        secret.display()
    );
    std::fs::write(&config, format!("secrets: {{records-key: {mapped}}}\n")).unwrap();
    for file in [config, secret] {
        std::fs::set_permissions(file, private.clone()).unwrap();
    }
}

fn folder_bundle(folder: &Path, upstream: SocketAddr, text: &str) -> PathBuf {
    let id = Command::new("id").arg("-u").output().unwrap();
    let uid = String::from_utf8(id.stdout).unwrap();
    let text = text
        .replace("${uid}", uid.trim())
        .replace("${upstream}", &upstream.to_string());
    let bundle = folder.join("bundle");
    std::fs::create_dir(&bundle).unwrap();
    std::fs::write(bundle.join("bench.yaml"), text).unwrap();
    bundle
}

/// What the upstream knows the gateway by.
pub const CREDENTIAL: &str = "bench-8d1f0c35b1d94c6f9a1e";
const ANY_PORT: &str = "127.0.0.1:0";
