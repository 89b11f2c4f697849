//! One document's commands, run and cleaned up after.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::extract::Script;

/// What a page needs to run. Everything that it writes stays below `scratch`.
#[derive(Debug)]
pub(crate) struct Page<'a> {
    pub(crate) document: &'a Path,
    pub(crate) script: &'a Script,
    pub(crate) bin_dir: &'a Path,
    /// Where Cargo builds, so that a page that calls it does not start from nothing.
    pub(crate) target: &'a Path,
    pub(crate) timeout: Duration,
    pub(crate) scratch: &'a Path,
}

/// How a page failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) line: Option<usize>,
    pub(crate) what: String,
    /// The last lines that it printed.
    pub(crate) output: String,
}

impl Page<'_> {
    /// Copies the tracked files, so that a page starts from what a clone would hold.
    pub(crate) fn copy(&self, root: &Path, files: &[PathBuf]) -> Result<(), String> {
        for file in files {
            let to = self.folder().join(file);
            to.parent()
                .map_or(Ok(()), fs::create_dir_all)
                .and_then(|()| fs::copy(root.join(file), &to))
                .map_err(|e| format!("cannot copy {}: {e}", file.display()))?;
        }
        Ok(())
    }

    pub(crate) fn run(&self) -> Result<Option<Failure>, String> {
        let prepared = self.prepare();
        let child =
            prepared.map_err(|e| format!("cannot start {}: {e}", self.document.display()))?;
        let session = child.id();
        let ended = wait(child, self.timeout);
        self.end_session(session)?;
        let output = fs::read_to_string(self.log()).unwrap_or_default();
        Ok(match ended {
            Some(status) if status.success() => None,
            Some(status) => Some(failed(&output, &format!("the page ended with {status}"))),
            None => {
                let what = format!("the page ran longer than {} s", self.timeout.as_secs());
                Some(failed(&output, &what))
            }
        })
    }

    /// Starts the shell as the leader of a session of its own, which is how its children are found again.
    fn prepare(&self) -> std::io::Result<Child> {
        let home = self.scratch.join("home");
        fs::create_dir_all(&home)?;
        fs::create_dir_all(self.folder())?;
        let script = self.scratch.join("page.sh");
        fs::write(&script, format!("{PRELUDE}{}", self.script.text))?;
        let output = File::create(self.log())?;
        Command::new("setsid")
            .args(["bash", "-euo", "pipefail"])
            .arg(&script)
            .current_dir(self.folder())
            .env("MANDATE_DOCS_PAGE", self.scratch)
            .env("MANDATE_DOCS_HOME", &home)
            .env("MANDATE_DOCS_BIN", self.bin_dir)
            .env("CARGO_TARGET_DIR", self.target)
            .stdin(Stdio::null())
            .stderr(output.try_clone()?)
            .stdout(output)
            .spawn()
    }

    /// Kills what the page left behind: its session, and whatever left the session but kept its environment.
    fn end_session(&self, session: u32) -> Result<(), String> {
        for _ in 0..ROUNDS {
            let left = self.processes(session)?;
            if left.is_empty() {
                return Ok(());
            }
            // Whether a process was still there does not matter: the next round looks again.
            let _ = Command::new("bash")
                .args(["-c", "kill -KILL \"$@\" 2>/dev/null; sleep 0.05", "kill"])
                .args(left.iter().map(u32::to_string))
                .status();
        }
        Err(format!(
            "processes of {} survive being killed",
            self.document.display()
        ))
    }

    fn processes(&self, session: u32) -> Result<Vec<u32>, String> {
        let entries = fs::read_dir("/proc").map_err(|e| format!("cannot list processes: {e}"))?;
        let ids = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Ok(ids.filter(|id| self.owns(*id, session)).collect())
    }

    fn owns(&self, process: u32, session: u32) -> bool {
        let Ok(stat) = fs::read_to_string(format!("/proc/{process}/stat")) else {
            return false;
        };
        let Some((state, in_session)) = state_and_session(&stat) else {
            return false;
        };
        let mark = format!("MANDATE_DOCS_PAGE={}", self.scratch.display());
        let marked = || {
            let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
            environment
                .split(|byte| *byte == 0)
                .any(|variable| variable == mark.as_bytes())
        };
        state != "Z" && (in_session == session || marked())
    }

    fn folder(&self) -> PathBuf {
        self.scratch.join("w")
    }

    fn log(&self) -> PathBuf {
        self.scratch.join("output")
    }
}

/// The third and the sixth field of `/proc/<pid>/stat`; the second, a name in parentheses, may hold anything.
fn state_and_session(stat: &str) -> Option<(&str, u32)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    let session = fields.nth(2)?.parse().ok()?;
    Some((state, session))
}

/// The status of the page's shell, or nothing if it takes too long. It is reaped in either case, once it ends.
fn wait(mut child: Child, timeout: Duration) -> Option<ExitStatus> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(child.wait()));
    match told.recv_timeout(timeout) {
        Ok(status) => status.ok(),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
    }
}

fn failed(output: &str, otherwise: &str) -> Failure {
    let mark = output
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix(FAILED))
        .and_then(|rest| rest.split_once(' '));
    let lines: Vec<&str> = output
        .lines()
        .filter(|line| !line.starts_with(FAILED))
        .collect();
    let tail = lines.len().saturating_sub(TAIL);
    Failure {
        line: mark.and_then(|(line, _)| line.parse().ok()),
        what: mark.map_or_else(
            || otherwise.to_owned(),
            |(_, command)| format!("failed: {command}"),
        ),
        output: lines
            .iter()
            .skip(tail)
            .map(|line| format!("    | {line}\n"))
            .collect(),
    }
}

/// How many of the last lines of a page's output are shown.
const TAIL: usize = 30;

/// How often processes are looked for and killed before giving up.
const ROUNDS: usize = 100;

/// How the shell marks the command that failed.
const FAILED: &str = "mandate-docs-failed:";

/// Stands before line 1 without a line break, so that line numbers stay those of the document. Cargo keeps
/// its caches, everything else gets an empty home.
const PRELUDE: &str = "set -E; \
    trap 'echo \"mandate-docs-failed:$LINENO $BASH_COMMAND\" >&2' ERR; \
    export CARGO_HOME=\"${CARGO_HOME:-$HOME/.cargo}\" RUSTUP_HOME=\"${RUSTUP_HOME:-$HOME/.rustup}\"; \
    export HOME=\"$MANDATE_DOCS_HOME\" PATH=\"$MANDATE_DOCS_BIN:$PATH\"; ";
