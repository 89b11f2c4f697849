//! Keeps the identity and the task of a running command fresh.

use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use mandate_model::{Secret, TaskId};
use tempfile::TempDir;

use super::super::agent_options::AgentOptions;
use super::door::{Present, Shared};
use crate::client::agent::{AgentError, Attested, Token};
use crate::client::members::Members;
use crate::client::token_file;
use crate::context::Context;
use crate::failure::Failure;

/// The files that a command reads its tokens from.
pub(super) struct Keeper {
    folder: TempDir,
    options: AgentOptions,
    context: Context,
    agent: Arc<Attested>,
    task: Option<Token>,
    /// What its doors act with.
    present: Shared,
    task_id: Option<TaskId>,
}

/// A folder for this user alone.
pub(super) fn folder() -> Result<TempDir, Failure> {
    tempfile::Builder::new()
        .prefix("mandate-exec-")
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir()
        .map_err(|e| Failure::file(&std::env::temp_dir(), &e))
}

impl Keeper {
    /// Keeps `agent` and `task` fresh in `folder`, which is not yet filled.
    pub(super) fn new(
        folder: TempDir,
        options: AgentOptions,
        context: Context,
        agent: Attested,
        task: Option<Token>,
    ) -> Self {
        let agent = Arc::new(agent);
        Self {
            present: Arc::new(ArcSwap::from_pointee(present(&agent, task.as_ref()))),
            folder,
            options,
            context,
            agent,
            task,
            task_id: None,
        }
    }

    /// What the command is at any moment.
    pub(super) fn shared(&self) -> &Shared {
        &self.present
    }

    /// The folder of this user alone.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes the files, and names them.
    pub(super) async fn environment(&mut self) -> Result<Vec<(&'static str, String)>, Failure> {
        self.write()?;
        let mut environment = vec![
            ("MANDATE_SPIFFE_ID", self.agent.id.to_string()),
            ("MANDATE_SVID_FILE", self.svid_file().display().to_string()),
            ("MANDATE_GATEWAY_SOCKET", self.path("gateway")),
        ];
        if self.agent.prover().is_some() {
            environment.push(("MANDATE_PROOF_SOCKET", self.path("proof")));
        }
        if let Some(task) = &self.task {
            let about = self.agent.introspect(&task.text).await?;
            let id = about.at("task").at("id").as_str().unwrap_or_default();
            self.task_id = TaskId::parse(id).ok();
            environment.push(("MANDATE_TASK_ID", id.to_owned()));
            environment.push(("MANDATE_TOKEN_FILE", self.task_file().display().to_string()));
        }
        Ok(environment)
    }

    /// Renews for ever, each time half of the shortest life before its end. What fails is tried again,
    /// ever more slowly: each try may be a record in the log. The same trouble is told once.
    pub(super) async fn keep(&mut self) -> Infallible {
        let (mut wait, mut failures, mut told) = (self.half_life(), 0, String::new());
        loop {
            tokio::time::sleep(wait).await;
            wait = match self.renew().await {
                Ok(()) => {
                    if failures > 0 {
                        self.say("identity and task are good again");
                    }
                    (failures, told) = (0, String::new());
                    self.half_life()
                }
                Err(error) => {
                    if error.broke != told {
                        self.complain(&error);
                        told = error.broke;
                    }
                    failures += 1;
                    pause_after(failures)
                }
            };
        }
    }

    /// The identity first: it is good without the task. After a suspension all earlier tokens stay
    /// void, and the task goes on with another one, where this instance may have one.
    async fn renew(&mut self) -> Result<(), Failure> {
        // With the same key: another one would void what the command holds.
        let key = self.agent.prover().cloned();
        let agent = self.options.attest_with(key, &self.context).await?;
        self.agent = Arc::new(agent);
        self.publish();
        self.write_svid()?;
        let Some(task) = &self.task else {
            return Ok(());
        };
        let renewed = match self.agent.renew(task.text.expose()).await {
            Err(refused @ AgentError::Refused { .. }) => self.resume(refused).await?,
            other => other?,
        };
        token_file::write(&self.task_file(), &renewed.text)?;
        self.task = Some(renewed);
        self.publish();
        Ok(())
    }

    async fn resume(&self, refused: AgentError) -> Result<Token, Failure> {
        let lost = |why: AgentError| {
            let why = Failure::from(why).broke;
            Failure::failed(
                format!(
                    "the task's token cannot be renewed, and the command goes on without it: {why}"
                ),
                "start the command again with another task",
            )
        };
        match self.task_id {
            Some(task) => {
                let resumed = self.agent.resume(task, None).await;
                resumed.map_err(|why| match why {
                    AgentError::Refused { .. } => lost(refused),
                    AgentError::Http(_) | AgentError::Answer(_) | AgentError::Proof(_) => {
                        why.into()
                    }
                })
            }
            None => Err(lost(refused)),
        }
    }

    /// Ends the task, if it can still be ended; otherwise it ends by itself when it expires.
    pub(super) async fn close(&self) {
        let Some(task) = &self.task else { return };
        if let Err(error) = self.agent.close(task.text.expose(), None).await {
            self.complain(&error.into());
        }
    }

    fn complain(&self, failure: &Failure) {
        self.say(&failure.broke);
    }

    fn say(&self, what: &str) {
        self.context.out.note(&format!("mandate exec: {what}"));
    }

    fn write_svid(&self) -> Result<(), Failure> {
        let svid = Secret::new(self.agent.svid().to_owned());
        token_file::write(&self.svid_file(), &svid)
    }

    fn write(&self) -> Result<(), Failure> {
        self.write_svid()?;
        match &self.task {
            Some(task) => token_file::write(&self.task_file(), &task.text),
            None => Ok(()),
        }
    }

    fn half_life(&self) -> Duration {
        let task = self.task.as_ref().map(|task| task.lifetime);
        let shortest = task.map_or(self.agent.lifetime, |task| task.min(self.agent.lifetime));
        (shortest / 2).max(RETRY)
    }

    fn publish(&self) {
        let now = present(&self.agent, self.task.as_ref());
        self.present.store(Arc::new(now));
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn svid_file(&self) -> PathBuf {
        self.folder.path().join("svid")
    }

    fn task_file(&self) -> PathBuf {
        self.folder.path().join("task")
    }
}

fn present(agent: &Arc<Attested>, task: Option<&Token>) -> Present {
    Present {
        agent: Arc::clone(agent),
        task: task.map(|task| Secret::new(task.text.expose().clone())),
    }
}

/// After so many failures in a row.
fn pause_after(failures: u32) -> Duration {
    let doubled = RETRY.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(LONGEST_PAUSE)
}

const RETRY: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_tried_again_ever_more_slowly_and_never_given_up() {
        let pauses: Vec<u64> = [1, 2, 3, 4, 5, 6, 1_000]
            .map(|n| pause_after(n).as_secs())
            .into();
        assert_eq!(pauses, [2, 4, 8, 16, 30, 30, 30]);
    }
}
