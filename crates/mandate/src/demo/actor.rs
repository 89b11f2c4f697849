//! A running agent of the quickstart, as the quickstart sees it: a process that takes orders.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::cast::Cast;
use super::orders::{Answer, Ended, Identity, Line, Order};
use crate::failure::Failure;

/// A process under orders. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Actor {
    role: &'static str,
    child: Child,
    orders: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    ended: Option<Ended>,
}

impl Actor {
    /// Starts `role` under its own user, with nothing in its environment and nothing in hand.
    pub(super) async fn start(
        role: &'static str,
        cast: &Cast,
        data: &Path,
    ) -> Result<Self, Failure> {
        let program = cast.program(role);
        let mut command = Command::new(&program);
        command
            .arg("--data")
            .arg(data)
            .args(["demo", role])
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true);
        if let Some((uid, gid)) = cast.run_as(role).await? {
            command.uid(uid).gid(gid);
        }
        let mut child = command.spawn().map_err(|e| Failure::file(&program, &e))?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (orders, out) = pipes.ok_or_else(|| Failure::failed("an agent has no pipes", ""))?;
        Ok(Self {
            role,
            child,
            orders,
            lines: BufReader::new(out).lines(),
            ended: None,
        })
    }

    /// Its process id, to be shown.
    pub(super) fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Gives an order and waits for its answer.
    async fn order(&mut self, order: &Order) -> Result<Answer, Failure> {
        let mut text = serde_json::to_vec(order).map_err(|e| self.lost(&e))?;
        text.push(b'\n');
        let written = self.orders.write_all(&text).await;
        written.map_err(|e| self.lost(&e))?;
        loop {
            match self.line().await? {
                Line::Answer(answer) => return Ok(answer),
                Line::Ended(ended) => self.ended = Some(ended),
            }
        }
    }

    /// Gives an order whose answer has to be of a kind.
    pub(super) async fn expect<T>(
        &mut self,
        order: &Order,
        kind: impl FnOnce(Answer) -> Result<T, Answer>,
    ) -> Result<T, Failure> {
        let answer = self.order(order).await?;
        kind(answer).map_err(|other| self.unexpected(&other))
    }

    /// Proves what it is.
    pub(super) async fn attest(&mut self) -> Result<Identity, Failure> {
        let order = Order::Attest { claim: None };
        self.expect(&order, Answer::identity).await
    }

    /// Waits until its download has ended.
    pub(super) async fn download_ended(&mut self) -> Result<Ended, Failure> {
        if let Some(ended) = self.ended.take() {
            return Ok(ended);
        }
        match self.line().await? {
            Line::Ended(ended) => Ok(ended),
            Line::Answer(answer) => Err(self.unexpected(&answer)),
        }
    }

    async fn line(&mut self) -> Result<Line, Failure> {
        let line = self.lines.next_line().await.map_err(|e| self.lost(&e))?;
        let line = line.ok_or_else(|| self.lost(&"it ended"))?;
        serde_json::from_str(&line).map_err(|e| self.lost(&e))
    }

    /// An answer that this scene cannot go on with.
    fn unexpected(&self, answer: &Answer) -> Failure {
        let what = match answer {
            Answer::Refused {
                error, description, ..
            } => format!("was refused: {error}: {description}"),
            Answer::Failed { why } => format!("failed: {why}"),
            Answer::Http { status, body, .. } => format!("got status {status}: {}", body.trim()),
            Answer::Attested { .. } | Answer::Task { .. } | Answer::Handed { .. } => {
                "succeeded, where it should have been refused".to_owned()
            }
        };
        Failure::failed(
            format!("the {} {what}", self.role),
            "this should not happen; `mandate doctor` may know why",
        )
    }

    fn lost(&self, why: &dyn std::fmt::Display) -> Failure {
        Failure::failed(
            format!("the {} process is gone: {why}", self.role),
            "look at its message above",
        )
    }

    /// Ends it: no orders, no agent.
    pub(super) async fn dismiss(mut self) {
        drop(self.orders);
        if tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .is_err()
        {
            // It may have ended in this very moment.
            let _ = self.child.kill().await;
        }
    }
}

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);
