//! A server on standard input and output.

use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;

use super::{Ask, Link, ReadError, result_of};
use crate::mcp::child::{Child, Program};
use crate::mcp::message::{Kind, Message, NO_METHOD, error};

pub(super) struct StdioLink {
    program: Program,
    child: Child,
    lines: mpsc::Receiver<Vec<u8>>,
    /// Whoever stops waiting stops the server too.
    ends: DropGuard,
}

impl StdioLink {
    pub(super) fn new(program: Program) -> Result<Self, ReadError> {
        let (child, lines) = start(&program)?;
        let guard = child.guard();
        Ok(Self {
            program,
            child,
            lines,
            ends: guard,
        })
    }

    async fn answer(&mut self, ask: &Ask) -> Result<Box<RawValue>, ReadError> {
        self.child
            .say(ask.text())
            .await
            .map_err(|_| ReadError::Ended)?;
        while let Some(line) = self.lines.recv().await {
            let message = Message::read(&line).map_err(|why| ReadError::NotMcp(why.to_string()))?;
            match message.kind() {
                Kind::Response { id, .. } if id.as_ref() == Some(&ask.id()) => {
                    return result_of(ask.method, message.text());
                }
                Kind::Request { id, .. } => {
                    let refused = error(Some(id), NO_METHOD, "this client answers nothing");
                    self.child.mention(refused);
                }
                Kind::Response { .. } | Kind::Notification { .. } => {}
            }
        }
        Err(ReadError::Ended)
    }
}

fn start(program: &Program) -> Result<(Child, mpsc::Receiver<Vec<u8>>), ReadError> {
    Child::start(program, 1).map_err(|e| ReadError::Unreachable(e.to_string()))
}

impl Link for StdioLink {
    async fn ask(&mut self, ask: &Ask) -> Result<Box<RawValue>, ReadError> {
        let answer = self.answer(ask).await;
        if matches!(answer, Err(ReadError::Ended)) {
            self.child.end();
            self.child.ended().await;
            if self.child.was_none() {
                let why = "there is no such program, or it cannot be executed";
                return Err(ReadError::Unreachable(why.to_owned()));
            }
            // It may have ended at a question that it does not know.
            if ask.is_stateless {
                (self.child, self.lines) = start(&self.program)?;
                self.ends = self.child.guard();
            }
        }
        answer
    }

    async fn tell(&mut self, method: &'static str) -> Result<(), ReadError> {
        let text = format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#);
        self.child.say(text).await.map_err(|_| ReadError::Ended)
    }

    fn agreed(&mut self, _: &str) {}

    async fn close(mut self) {
        self.lines.close();
        self.child.end();
        self.child.ended().await;
    }
}
