//! Where a secret's bytes come from.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use mandate_model::Secret;
use mandate_ports::MIN_SECRET;
use tokio::io::AsyncReadExt;

use crate::credentials::Lookup;
use crate::guarded::{self, Guard, Stamp};

/// A source. Its configuration is no secret; what it yields is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    File(PathBuf),
    Env(String),
    Command {
        program: String,
        arguments: Vec<String>,
    },
}

/// A value and the state of the file that it came from.
pub(crate) struct Yield {
    pub(crate) secret: Secret<Vec<u8>>,
    pub(crate) stamp: Option<Stamp>,
}

impl Source {
    /// Reads the value, less one line end. An empty or very short value is none. Errors never show it.
    pub(crate) async fn read(&self, env: &Lookup) -> Result<Yield, String> {
        let (stamp, bytes) = match self {
            Source::File(path) => {
                let path = path.clone();
                let read = move || guarded::read(&path, Guard::Secret);
                let read = tokio::task::spawn_blocking(read).await;
                let (stamp, bytes) = read.map_err(|e| e.to_string())??;
                (Some(stamp), bytes)
            }
            Source::Env(name) => (None, variable(name, env)?),
            Source::Command { program, arguments } => (None, run(program, arguments).await?),
        };
        let secret = Secret::new(without_line_end(bytes));
        if secret.expose().is_empty() {
            return Err("the value is empty".to_owned());
        }
        if secret.expose().len() < MIN_SECRET {
            return Err(format!(
                "the value is shorter than {MIN_SECRET} bytes: it could be guessed, and an echo of it not be recognised; use a longer one"
            ));
        }
        Ok(Yield { secret, stamp })
    }
}

fn variable(name: &str, env: &Lookup) -> Result<Vec<u8>, String> {
    env(name)
        .map(String::into_bytes)
        .ok_or_else(|| format!("the environment variable `{name}` is not set"))
}

/// Runs a program with an empty environment and no input, and takes what it prints.
async fn run(program: &str, arguments: &[String]) -> Result<Vec<u8>, String> {
    let failed = |e: &dyn std::fmt::Display| format!("`{program}` failed: {e}");
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| failed(&e))?;
    let output = child.stdout.take().ok_or_else(|| failed(&"no output"))?;
    let work = async {
        let mut bytes = Vec::with_capacity(4096);
        output.take(MAX_OUTPUT).read_to_end(&mut bytes).await?;
        Ok::<_, std::io::Error>((bytes, child.wait().await?))
    };
    let (bytes, status) = tokio::time::timeout(TIMEOUT, work)
        .await
        .map_err(|_| failed(&format_args!("no result after {} s", TIMEOUT.as_secs())))?
        .map_err(|e| failed(&e))?;
    if status.success() {
        Ok(bytes)
    } else {
        Err(failed(&status))
    }
}

fn without_line_end(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    bytes
}

const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_OUTPUT: u64 = 64 << 10;
