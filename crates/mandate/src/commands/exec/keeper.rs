//! Keeps the identity and the task of a running command fresh.

use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use mandate_model::Secret;
use tempfile::TempDir;

use super::super::agent_options::AgentOptions;
use crate::client::agent::{Attested, Token};
use crate::client::members::Members;
use crate::client::token_file;
use crate::context::Context;
use crate::failure::Failure;

/// The files that a command reads its tokens from.
pub(super) struct Keeper {
    folder: TempDir,
    options: AgentOptions,
    context: Context,
    agent: Attested,
    task: Option<Token>,
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
        Self {
            folder,
            options,
            context,
            agent,
            task,
        }
    }

    /// Writes the files, and names them.
    pub(super) async fn environment(&self) -> Result<Vec<(&'static str, String)>, Failure> {
        self.write()?;
        let mut environment = vec![
            ("MANDATE_SPIFFE_ID", self.agent.id.to_string()),
            ("MANDATE_SVID_FILE", self.svid_file().display().to_string()),
        ];
        if let Some(task) = &self.task {
            let about = self.agent.introspect(&task.text).await?;
            let id = about.at("task").at("id").as_str().unwrap_or_default();
            environment.push(("MANDATE_TASK_ID", id.to_owned()));
            environment.push(("MANDATE_TOKEN_FILE", self.task_file().display().to_string()));
        }
        Ok(environment)
    }

    /// Renews for ever, each time half of the shortest life before its end.
    pub(super) async fn keep(&mut self) -> Infallible {
        let mut wait = self.half_life();
        loop {
            tokio::time::sleep(wait).await;
            wait = match self.renew().await {
                Ok(()) => self.half_life(),
                Err(error) => {
                    self.complain(&error);
                    RETRY
                }
            };
        }
    }

    async fn renew(&mut self) -> Result<(), Failure> {
        self.agent = self.options.attest(&self.context).await?;
        if let Some(task) = &mut self.task {
            *task = self.agent.renew(task.text.expose()).await?;
        }
        self.write()
    }

    /// Ends the task, if it can still be ended; otherwise it ends by itself when it expires.
    pub(super) async fn close(&self) {
        let Some(task) = &self.task else { return };
        if let Err(error) = self.agent.close(task.text.expose(), None).await {
            self.complain(&error.into());
        }
    }

    fn complain(&self, failure: &Failure) {
        self.context
            .out
            .note(&format!("mandate exec: {}", failure.broke));
    }

    fn write(&self) -> Result<(), Failure> {
        let svid = Secret::new(self.agent.svid().to_owned());
        token_file::write(&self.svid_file(), &svid)?;
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

    fn svid_file(&self) -> PathBuf {
        self.folder.path().join("svid")
    }

    fn task_file(&self) -> PathBuf {
        self.folder.path().join("task")
    }
}

const RETRY: Duration = Duration::from_secs(2);
