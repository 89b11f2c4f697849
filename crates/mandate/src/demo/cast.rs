//! Who plays: users of the machine, made for the run where that is allowed.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::leftovers;
use crate::failure::Failure;

/// How the agents are told apart by the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Isolation {
    /// Each agent type has a user of its own.
    Users,
    /// All run as one user and differ by their executable: identities are stamped `process-weak`.
    None,
}

/// The agents' users and programs.
#[derive(Debug)]
pub(super) struct Cast {
    pub(super) isolation: Isolation,
    made: Vec<String>,
    folder: PathBuf,
    bin: PathBuf,
}

/// A user and group to run as; `None` is whoever runs this.
pub(super) type RunAs = Option<(u32, u32)>;

impl Cast {
    /// Nobody yet.
    pub(super) fn nobody(folder: &Path) -> Self {
        Self {
            isolation: Isolation::None,
            made: Vec::new(),
            folder: folder.to_owned(),
            bin: folder.join("bin"),
        }
    }

    /// Makes users where that works, and copies of this program to run.
    ///
    /// Copies and not links: a link is the same file to the kernel, and what tells two agents of one
    /// user apart is the file that they run.
    pub(super) async fn gather(&mut self) -> Result<(), Failure> {
        std::fs::create_dir(&self.bin).map_err(|e| Failure::file(&self.bin, &e))?;
        if rustix::process::geteuid().is_root() && self.make_users().await {
            self.isolation = Isolation::Users;
        }
        self.copy_programs()
    }

    /// Whether every agent type now has a user. Users that were there before are used and kept.
    async fn make_users(&mut self) -> bool {
        for role in AGENTS {
            let name = user(role);
            if ids(&name).await.is_some() {
                continue;
            }
            // Before it is made: whoever interrupts this finds it on the list.
            self.made.push(name.clone());
            if leftovers::note_user(&self.folder, &name).is_err() {
                return false;
            }
            let options = [
                "--system",
                "--no-create-home",
                "--shell",
                "/usr/sbin/nologin",
            ];
            if !succeeds("useradd", options.into_iter().chain([name.as_str()])).await {
                return false;
            }
        }
        true
    }

    /// Whether there were none of the users before.
    pub(super) fn made_all(&self) -> bool {
        self.made.len() == AGENTS.len()
    }

    fn copy_programs(&self) -> Result<(), Failure> {
        let own = std::env::current_exe()
            .map_err(|e| Failure::failed(format!("cannot find this program: {e}"), ""))?;
        let copies: &[&str] = match self.isolation {
            Isolation::Users => &["mandate"],
            Isolation::None => &["orchestrator", "retriever", "summarizer", "stray"],
        };
        for name in copies {
            let to = self.bin.join(name);
            std::fs::copy(&own, &to).map_err(|e| Failure::file(&to, &e))?;
        }
        Ok(())
    }

    /// The program that `role` runs.
    pub(super) fn program(&self, role: &str) -> PathBuf {
        match self.isolation {
            Isolation::Users => self.bin.join("mandate"),
            Isolation::None => self.bin.join(role),
        }
    }

    /// As whom `role` runs. The stray is nobody in particular.
    pub(super) async fn run_as(&self, role: &str) -> Result<RunAs, Failure> {
        if self.isolation == Isolation::None {
            return Ok(None);
        }
        let name = if AGENTS.contains(&role) {
            user(role)
        } else {
            "nobody".to_owned()
        };
        let missing = || Failure::failed(format!("there is no user `{name}`"), "");
        Ok(Some(ids(&name).await.ok_or_else(missing)?))
    }

    /// The attestation rule of `role`, as the bundle writes it.
    pub(super) fn rule(&self, role: &str) -> String {
        match self.isolation {
            Isolation::Users => format!("{{process: {{user: {}}}}}", user(role)),
            Isolation::None => format!(
                "{{process: {{uid: {}, path: \"{}\", isolation: none}}}}",
                rustix::process::geteuid().as_raw(),
                self.program(role).display()
            ),
        }
    }

    /// Removes the users that were made here; says which could not be.
    pub(super) async fn dismiss(&mut self) -> Vec<String> {
        let mut left = Vec::new();
        for name in std::mem::take(&mut self.made) {
            if !removed(&name).await {
                left.push(name);
            }
        }
        left
    }
}

/// A process that was just killed can keep its user for a moment.
pub(super) async fn removed(name: &str) -> bool {
    for _ in 0..TRIES {
        if ids(name).await.is_none() || succeeds("userdel", [name]).await {
            return true;
        }
        tokio::time::sleep(PAUSE).await;
    }
    false
}

/// The name of an agent type's user.
pub(super) fn user(role: &str) -> String {
    format!("mandate-{role}")
}

/// The numbers of a user and its group.
async fn ids(name: &str) -> Option<(u32, u32)> {
    let output = Command::new("getent")
        .args(["passwd", name])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .await
        .ok()?;
    let line = String::from_utf8(output.stdout).ok()?;
    let mut fields = line.trim().split(':').skip(2);
    let mut number = || fields.next()?.parse().ok();
    Some((number()?, number()?))
}

async fn succeeds<'a>(program: &str, arguments: impl IntoIterator<Item = &'a str>) -> bool {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await
        .is_ok_and(|status| status.success())
}

const TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(50);

/// The agent types of the demonstration.
pub(super) const AGENTS: [&str; 3] = ["orchestrator", "retriever", "summarizer"];
