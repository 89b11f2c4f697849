//! What the scenes are played on: a folder, a server, an upstream, users. All of it goes away again.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use mandate_model::Secret;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::cast::Cast;
use super::leftovers;
use super::server::{Server, Upstream, own_program};
use crate::context::DataDir;
use crate::failure::Failure;
use crate::serve::machine::random_hex;

/// Everything that the quickstart made.
#[derive(Debug)]
pub(super) struct Stage {
    folder: TempDir,
    /// One run at a time: two would remove each other's users.
    _turn: Option<File>,
    /// Tells other runs that this one lives.
    _alive: File,
    /// The server's folder.
    pub(super) data: DataDir,
    /// Users and programs. Here from the start, so that they are removed whenever this ends.
    pub(super) cast: Cast,
    parts: Option<Parts>,
}

/// What runs.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) server: Server,
    pub(super) upstream: Upstream,
}

/// What a command of this program printed, and how it ended.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) code: i32,
    /// The result, as JSON; the failure, where there was one.
    pub(super) value: Value,
}

impl Stage {
    /// A folder that all users of the machine can reach. Nothing runs yet.
    pub(super) fn new() -> Result<Self, Failure> {
        let temp = std::env::temp_dir();
        let failed = |e: std::io::Error| Failure::file(&temp, &e);
        let turn = take_turn(&temp)?;
        let folder = tempfile::Builder::new()
            .prefix(leftovers::PREFIX)
            .tempdir()
            .map_err(failed)?;
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).map_err(failed)?;
        let alive = leftovers::mark(folder.path()).map_err(failed)?;
        let data = DataDir::resolve(Some(folder.path().join("data")))?;
        Ok(Self {
            _alive: alive,
            cast: Cast::nobody(folder.path()),
            folder,
            _turn: turn,
            data,
            parts: None,
        })
    }

    /// Makes users, starts the upstream and the server, and applies the bundle.
    pub(super) async fn set(&mut self) -> Result<(), Failure> {
        self.cast.gather().await?;
        let parts = self.start().await?;
        self.parts = Some(parts);
        Ok(())
    }

    async fn start(&self) -> Result<Parts, Failure> {
        let key = Secret::new(random_hex());
        let upstream = Upstream::start(&key).await?;
        std::fs::create_dir(self.data.path()).map_err(|e| Failure::file(self.data.path(), &e))?;
        self.map_secret(&key, &upstream.address)?;
        let server = Server::start(&self.data, &self.log(), None).await?;
        let bundle = self.bundle(&upstream, &server)?;
        let bundle = bundle.display().to_string();
        let applied = self.run(&["apply", &bundle, "--yes"]).await?;
        if applied.code != 0 {
            return Err(Failure::failed(
                format!("the bundle was not applied: {}", applied.value),
                "",
            ));
        }
        Ok(Parts { server, upstream })
    }

    /// The API key goes to the gateway's local configuration and nowhere else (C4).
    fn map_secret(&self, key: &Secret<String>, upstream: &str) -> Result<(), Failure> {
        let file = self.data.path().join("records-key");
        crate::client::token_file::write(&file, key)?;
        let text = format!(
            "secrets:\n  records-key: {{file: \"{}\", origins: [\"http://{upstream}\"]}}\n",
            file.display()
        );
        let config = self.data.gateway_config();
        std::fs::write(&config, text).map_err(|e| Failure::file(&config, &e))
    }

    fn bundle(&self, upstream: &Upstream, server: &Server) -> Result<PathBuf, Failure> {
        let issuer = server
            .endpoints
            .dev_issuer
            .map(crate::serve::dev_issuer::url);
        let mut text = BUNDLE
            .replace("${login}", &issuer.unwrap_or_default())
            .replace("${records}", &upstream.address)
            .replace(
                "${operator}",
                &rustix::process::geteuid().as_raw().to_string(),
            );
        for role in super::cast::AGENTS {
            text = text.replace(&format!("${{rule.{role}}}"), &self.cast.rule(role));
        }
        let folder = self.folder.path().join("bundle");
        let file = folder.join("support.yaml");
        std::fs::create_dir(&folder)
            .and_then(|()| std::fs::write(&file, text))
            .map_err(|e| Failure::file(&file, &e))?;
        Ok(folder)
    }

    /// What runs; an error before [`Stage::set`].
    pub(super) fn parts(&mut self) -> Result<&mut Parts, Failure> {
        let missing = || Failure::failed("the stage is not set", "");
        self.parts.as_mut().ok_or_else(missing)
    }

    /// Kills the server as a crash would, and starts it again on the same folder and ports.
    pub(super) async fn crash_and_restart(&mut self) -> Result<(), Failure> {
        let (data, log) = (self.data.clone(), self.log());
        let parts = self.parts()?;
        parts.server.kill().await?;
        let before = parts.server.endpoints.clone();
        parts.server = Server::start(&data, &log, Some(&before)).await?;
        Ok(())
    }

    /// Runs a command of this program against the server, as a user would type it.
    pub(super) async fn run(&self, arguments: &[&str]) -> Result<Ran, Failure> {
        let (code, out, err) = self.run_as("json", arguments).await?;
        let text = if out.trim().is_empty() { err } else { out };
        let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Ran { code, value })
    }

    /// The same, as a person sees it.
    pub(super) async fn show(&self, arguments: &[&str]) -> Result<String, Failure> {
        let (_, out, err) = self.run_as("text", arguments).await?;
        Ok(if out.trim().is_empty() { err } else { out })
    }

    async fn run_as(
        &self,
        format: &str,
        arguments: &[&str],
    ) -> Result<(i32, String, String), Failure> {
        let command = Command::new(own_program()?)
            .arg("--data")
            .arg(self.data.path())
            .args(["--output", format])
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let slow = || Failure::failed(format!("mandate {} hangs", arguments.join(" ")), "");
        let output = tokio::time::timeout(PATIENCE, command).await;
        let output = output
            .map_err(|_| slow())?
            .map_err(|e| Failure::failed(e.to_string(), ""))?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let code = output.status.code().unwrap_or(-1);
        Ok((code, text(output.stdout), text(output.stderr)))
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    /// Ends and removes everything; says what could not be removed.
    pub(super) async fn strike(mut self) -> Vec<String> {
        let mut left = Vec::new();
        if let Some(mut parts) = self.parts.take() {
            // A server that will not stop is killed when it is dropped.
            let _ = parts.server.stop().await;
            parts.upstream.stop().await;
        }
        let users = self.cast.dismiss().await;
        left.extend(users.into_iter().map(|user| format!("user {user}")));
        let folder = self.folder.path().display().to_string();
        if let Err(e) = self.folder.close() {
            left.push(format!("{folder}: {e}"));
        }
        left
    }
}

/// Waits for another run on this machine to end, and keeps others out.
///
/// Only runs that make users are in each other's way. The folder itself is locked: nothing is left.
fn take_turn(temp: &std::path::Path) -> Result<Option<File>, Failure> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let failed = |e: std::io::Error| Failure::file(temp, &e);
    let folder = File::open(temp).map_err(failed)?;
    folder.lock().map_err(failed)?;
    Ok(Some(folder))
}

const PATIENCE: Duration = Duration::from_secs(60);
const BUNDLE: &str = include_str!("bundle.yaml");
