//! A real `mandate serve`, in a folder and on ports of its own, with a bundle for the bench.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::agent::{Agent, post_unix_json};

/// A server that ends with this value.
#[derive(Debug)]
pub struct Server {
    child: Child,
    folder: tempfile::TempDir,
    pub tokens: SocketAddr,
    pub gateway: SocketAddr,
}

impl Server {
    /// Starts the release build and applies a bundle in front of `upstream`.
    pub async fn start(upstream: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(binary())
            .args(["serve", "--data"])
            .arg(folder.path().join("data"))
            .args(["--trust-domain", "bench.example", "--log", "warn"])
            .args(["--listen", ANY_PORT, "--gateway-listen", ANY_PORT])
            .args(["--metrics-listen", ANY_PORT])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        until_ready(&mut child);
        let endpoints = std::fs::read(folder.path().join("data/run/endpoints.json")).unwrap();
        let endpoints: serde_json::Value = serde_json::from_slice(&endpoints).unwrap();
        let address = |name: &str| endpoints[name].as_str().unwrap().parse().unwrap();
        let server = Self {
            tokens: address("authority"),
            gateway: address("gateway"),
            child,
            folder,
        };
        let bundle = folder_bundle(server.folder.path(), upstream);
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

    /// Resident memory in MiB, as the kernel counts it.
    pub fn resident_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib / 1024.0
    }

    fn run(&self, socket: &str) -> PathBuf {
        self.folder.path().join("data/run").join(socket)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The release build beside this bench's own target folder.
fn binary() -> PathBuf {
    let mut folder = std::env::current_exe().unwrap();
    while folder.file_name().is_some_and(|name| name != "release") {
        folder.pop();
    }
    let binary = folder.join("mandate");
    assert!(
        binary.exists(),
        "build it first: cargo build --release -p mandate"
    );
    binary
}

/// Its first line says so. Nobody reads on, and the pipe must not fill.
fn until_ready(child: &mut Child) {
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert!(!line.is_empty(), "the server does not come up");
    std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
}

fn folder_bundle(folder: &Path, upstream: SocketAddr) -> PathBuf {
    let id = Command::new("id").arg("-u").output().unwrap();
    let uid = String::from_utf8(id.stdout).unwrap();
    let text = include_str!("bundle.yaml")
        .replace("${uid}", uid.trim())
        .replace("${upstream}", &upstream.to_string());
    let bundle = folder.join("bundle");
    std::fs::create_dir(&bundle).unwrap();
    std::fs::write(bundle.join("bench.yaml"), text).unwrap();
    bundle
}

const ANY_PORT: &str = "127.0.0.1:0";
