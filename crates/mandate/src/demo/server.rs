//! The server and the upstream of the quickstart: child processes that never outlive it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use mandate_model::Secret;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use crate::context::DataDir;
use crate::failure::Failure;
use crate::serve::endpoints::Endpoints;

/// A running `mandate serve`. It ends when this is dropped, or when this process does: it reads the
/// other end of a pipe.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    _alive: Option<ChildStdin>,
    /// Where it listens.
    pub(super) endpoints: Endpoints,
}

impl Server {
    /// Starts it on free ports, or on those of `before`, and waits until it is ready.
    pub(super) async fn start(
        data: &DataDir,
        log: &Path,
        before: Option<&Endpoints>,
    ) -> Result<Self, Failure> {
        let log_file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .map_err(|e| Failure::file(log, &e))?;
        // What an earlier one left behind must not be taken for this one's word.
        let _ = std::fs::remove_file(data.endpoints());
        let mut command = Command::new(own_program()?);
        command
            .arg("--data")
            .arg(data.path())
            .args([
                "serve",
                "--dev",
                "--end-with-stdin",
                "--trust-domain",
                DOMAIN,
            ])
            .args(listen_options(before))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log_file)
            .kill_on_drop(true);
        let mut child = command
            .spawn()
            .map_err(|e| Failure::failed(format!("the server cannot be started: {e}"), ""))?;
        let alive = child.stdin.take();
        let endpoints = ready(&mut child, data, log).await?;
        Ok(Self {
            child,
            _alive: alive,
            endpoints,
        })
    }

    /// Its process id, to be shown.
    pub(super) fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Kills it without a word (SIGKILL), and waits until it is gone.
    pub(super) async fn kill(&mut self) -> Result<(), Failure> {
        let killed = self.child.kill().await;
        killed.map_err(|e| Failure::failed(format!("the server cannot be killed: {e}"), ""))
    }

    /// Asks it to end (SIGTERM), and waits until it has.
    pub(super) async fn stop(&mut self) -> Result<(), Failure> {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            // It may have ended by itself; `wait` tells.
            let _ = kill_process(pid, Signal::TERM);
        }
        if tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .is_err()
        {
            self.kill().await?;
        }
        Ok(())
    }
}

fn listen_options(before: Option<&Endpoints>) -> Vec<String> {
    let at = |option: &str, address: Option<std::net::SocketAddr>| {
        let free = || "127.0.0.1:0".to_owned();
        [
            option.to_owned(),
            address.map_or_else(free, |a| a.to_string()),
        ]
    };
    [
        at("--listen", before.map(|e| e.authority)),
        at("--gateway-listen", before.map(|e| e.gateway)),
        at("--metrics-listen", before.map(|e| e.metrics)),
        at("--dev-listen", before.and_then(|e| e.dev_issuer)),
    ]
    .concat()
}

/// The server says on standard output that it is ready, and where.
async fn ready(child: &mut Child, data: &DataDir, log: &Path) -> Result<Endpoints, Failure> {
    let out = child.stdout.take();
    let mut lines = BufReader::new(out.ok_or_else(|| Failure::failed("no pipe", ""))?).lines();
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
    if let Ok(Ok(Some(_))) = line {
        // Whatever it says later is nobody's concern, and must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        return Endpoints::read(&data.endpoints());
    }
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let last: Vec<&str> = text.lines().rev().take(5).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    Err(Failure::failed(
        format!("the server did not start: {}", last.join(" | ")),
        "`mandate doctor` finds what would keep it from working",
    ))
}

/// The records API of the demonstration.
#[derive(Debug)]
pub(super) struct Upstream {
    child: Child,
    _alive: ChildStdin,
    /// `host:port`.
    pub(super) address: String,
}

impl Upstream {
    /// Starts it; it wants `key` from now on.
    pub(super) async fn start(key: &Secret<String>) -> Result<Self, Failure> {
        let failed = |why: String| Failure::failed(format!("the records API: {why}"), "");
        let mut child = Command::new(own_program()?)
            .args(["demo", "records"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| failed(e.to_string()))?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (mut input, out) = pipes.ok_or_else(|| failed("no pipes".to_owned()))?;
        let line = format!("{}\n", key.expose());
        let written = input.write_all(line.as_bytes()).await;
        written.map_err(|e| failed(e.to_string()))?;
        let mut lines = BufReader::new(out).lines();
        let address = lines.next_line().await.map_err(|e| failed(e.to_string()))?;
        Ok(Self {
            child,
            _alive: input,
            address: address.ok_or_else(|| failed("it ended".to_owned()))?,
        })
    }

    /// Ends it.
    pub(super) async fn stop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill().await;
    }
}

/// This very program.
pub(super) fn own_program() -> Result<std::path::PathBuf, Failure> {
    std::env::current_exe()
        .map_err(|e| Failure::failed(format!("cannot find this program: {e}"), ""))
}

/// The demonstration's trust domain.
pub(super) const DOMAIN: &str = "acme.example";
const PATIENCE: Duration = Duration::from_secs(30);
