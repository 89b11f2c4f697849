//! The shared child, and whose each of its messages is.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use super::outlet::{Outlet, Piece};
use super::shared::{Refused, lock};
use crate::mcp::child::Child;
use crate::mcp::message::{Changed, INTERNAL, Id, Kind, Message, NO_METHOD, error};
use crate::mcp::plain::plain;

/// The shared child while it lives, and what it was asked.
pub(super) struct Live {
    pub(super) child: Child,
    pub(super) open: Mutex<Open>,
}

/// What is under way, by the numbers that the child knows it by.
#[derive(Default)]
pub(super) struct Open {
    pub(super) last: i64,
    pub(super) requests: HashMap<i64, Request>,
    /// Those that nobody waits for any more, on which the child may be working still.
    left: Left,
    pub(super) ended: bool,
}

/// Numbers of requests that were cancelled and not answered; a child may answer them or not.
#[derive(Default)]
struct Left {
    numbers: HashSet<i64>,
    /// There were too many to know them all.
    and_more: bool,
}

impl Left {
    fn add(&mut self, number: i64) {
        if self.numbers.len() < MOST_LEFT {
            self.numbers.insert(number);
        } else {
            self.and_more = true;
        }
    }

    fn is_empty(&self) -> bool {
        self.numbers.is_empty() && !self.and_more
    }
}

impl Open {
    /// The request that is no longer waited for, if it was.
    fn leave(&mut self, number: i64) -> Option<Request> {
        let request = self.requests.remove(&number)?;
        self.left.add(number);
        Some(request)
    }

    /// The only request that the child can be working on.
    fn alone(&self) -> Option<(i64, &Request)> {
        let mut all = self.requests.iter();
        match (all.next(), all.next()) {
            (Some((number, only)), None) if self.left.is_empty() => Some((*number, only)),
            (_, _) => None,
        }
    }
}

/// A client's request.
pub(super) struct Request {
    pub(super) id: Id,
    pub(super) token: Option<Id>,
    pub(super) wants_logs: bool,
    pub(super) outlet: Outlet,
}

impl Live {
    pub(super) fn admit(&self, request: Request) -> Result<i64, Refused> {
        let mut open = lock(&self.open);
        if open.ended {
            return Err(Refused::Deaf);
        }
        if open.requests.len() >= MOST_OPEN {
            return Err(Refused::Busy);
        }
        open.last += 1;
        let number = open.last;
        open.requests.insert(number, request);
        Ok(number)
    }

    /// MCP 2026-07-28, "Cancellation": who closes the answer's stream cancels the request.
    pub(super) async fn until_unread(self: Arc<Self>, number: i64, outlet: Outlet) {
        outlet.unread().await;
        if lock(&self.open).leave(number).is_some() {
            self.cancel(number);
        }
    }

    fn cancel(&self, number: i64) {
        self.child.mention(format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{number},"reason":"the client went away"}}}}"#
        ));
    }

    /// One line of the child; `false` where it is no message.
    pub(super) fn take(&self, line: &[u8]) -> bool {
        let message = match Message::read(line) {
            Ok(message) => message,
            Err(why) => {
                let line = plain(&String::from_utf8_lossy(line), 200);
                tracing::warn!(child = self.child.number(), %why, line, "it wrote what is no message: ended");
                return false;
            }
        };
        match message.kind() {
            Kind::Response { id, code } => self.answer(&message, id.as_ref(), *code),
            Kind::Notification { method } => self.notify(&message, method),
            // MCP 2026-07-28 has none: a server asks within its answers.
            Kind::Request { id, method } => {
                tracing::debug!(
                    child = self.child.number(),
                    method = plain(method, 80),
                    "it asks, which this revision does not have"
                );
                self.child.mention(error(
                    Some(id),
                    NO_METHOD,
                    "this revision has no requests of servers",
                ));
            }
        }
        true
    }

    fn answer(&self, message: &Message, id: Option<&Id>, code: Option<i64>) {
        let Some(Id::Number(number)) = id else {
            return tracing::debug!(child = self.child.number(), "an answer to nothing");
        };
        let request = {
            let mut open = lock(&self.open);
            open.left.numbers.remove(number);
            open.requests.remove(number)
        };
        // Unknown: it was cancelled.
        let Some(request) = request else { return };
        let changed = Changed {
            id: Some(&request.id),
            subscription: own(message.subscription(), *number).then_some(&request.id),
            ..Changed::default()
        };
        if let Some(text) = message.with(&changed)
            && request.outlet.push(Piece::Last { text, code }).is_err()
        {
            tracing::warn!(
                child = self.child.number(),
                "an answer was lost: its reader is too slow or gone"
            );
        }
    }

    /// A notification goes to the request that it names. One that names none could be about anybody's, and goes to
    /// the only one that is under way, or nowhere. One that was cancelled is under way until it is answered.
    fn notify(&self, message: &Message, method: &str) {
        let named = message.progress().or(message.subscription());
        let mut open = lock(&self.open);
        let number = match named {
            Some(Id::Number(number)) => Some(*number),
            Some(Id::Text(_)) => None,
            None if method == LOGGED => {
                let only = open.alone().filter(|(_, only)| only.wants_logs);
                only.map(|(number, _)| number)
            }
            None => None,
        };
        let Some((number, request)) = number.and_then(|n| open.requests.get_key_value(&n)) else {
            let method = plain(method, 80);
            return tracing::debug!(
                child = self.child.number(),
                method,
                "a notification of no request"
            );
        };
        let number = *number;
        let progress = own(message.progress(), number);
        if progress && request.token.is_none() {
            return;
        }
        let changed = Changed {
            progress: progress.then_some(request.token.as_ref()).flatten(),
            subscription: own(message.subscription(), number).then_some(&request.id),
            ..Changed::default()
        };
        let Some(text) = message.with(&changed) else {
            return;
        };
        if request.outlet.push(Piece::Between(text)).is_err() {
            open.leave(number);
            drop(open);
            tracing::warn!(
                child = self.child.number(),
                "a stream was cut: its reader is too slow or gone"
            );
            self.cancel(number);
        }
    }

    pub(super) fn fail_all(&self) {
        let requests = {
            let mut open = lock(&self.open);
            open.ended = true;
            std::mem::take(&mut open.requests)
        };
        for request in requests.into_values() {
            request
                .outlet
                .finish(error(Some(&request.id), INTERNAL, ENDED), INTERNAL);
        }
    }
}

fn own(id: Option<&Id>, number: i64) -> bool {
    id == Some(&Id::Number(number))
}

/// Told to whoever waits for a child that has ended.
pub(super) const ENDED: &str = "the MCP server ended; what was asked may have been carried out";
const LOGGED: &str = "notifications/message";
const MOST_OPEN: usize = 256;
/// A child that leaves more unanswered writes no log for clients any more.
const MOST_LEFT: usize = 1024;
