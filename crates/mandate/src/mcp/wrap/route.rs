//! Where a session's messages go: what is open, and what waits.

use std::collections::{HashMap, HashSet, VecDeque};

use super::outlet::Outlet;
use crate::mcp::message::{Id, Kind, Message};

/// What a session remembers.
#[derive(Default)]
pub(super) struct State {
    pub(super) requests: HashMap<Id, Request>,
    /// The client's open requests, the oldest first.
    pub(super) order: VecDeque<Id>,
    /// The stream for what the server says unasked.
    pub(super) stream: Option<Outlet>,
    /// What it said while there was none.
    pub(super) held: VecDeque<String>,
    pub(super) held_bytes: usize,
    /// The server's requests that the client has not answered.
    pub(super) asked: HashSet<Id>,
    /// `initialize` was answered: before that nothing goes anywhere.
    pub(super) begun: bool,
    pub(super) revision: Option<String>,
    pub(super) ended: bool,
}

/// One of the client's.
pub(super) struct Request {
    pub(super) token: Option<Id>,
    pub(super) outlet: Outlet,
}

impl State {
    pub(super) fn forget(&mut self, id: &Id) -> Option<Request> {
        self.order.retain(|other| other != id);
        self.requests.remove(id)
    }

    pub(super) fn forget_unread(&mut self) {
        self.requests
            .retain(|_, request| !request.outlet.is_unread());
        self.order.retain(|id| self.requests.contains_key(id));
    }

    /// Forgets the stream that `outlet` leads to, and so ends it.
    pub(super) fn cut(&mut self, outlet: &Outlet) {
        self.requests
            .retain(|_, request| !request.outlet.leads_where(outlet));
        self.order.retain(|id| self.requests.contains_key(id));
        let stream = self.stream.take();
        self.stream = stream.filter(|stream| !stream.leads_where(outlet));
    }

    /// Progress goes to the request that it is of; what concerns no request to the stream for that; everything else
    /// to the request that began last and still has a reader, since it most likely is about that.
    pub(super) fn outlet_for(&self, message: &Message) -> Option<Outlet> {
        if !self.begun {
            return None;
        }
        let readable = |outlet: &&Outlet| !outlet.is_unread();
        if let Some(token) = message.progress() {
            let mut requests = self.requests.values();
            let of = requests.find(|request| request.token.as_ref() == Some(token));
            if let Some(outlet) = of.map(|request| &request.outlet).filter(readable) {
                return Some(outlet.clone());
            }
        }
        let newest = || {
            self.order
                .iter()
                .rev()
                .filter_map(|id| self.requests.get(id))
        };
        let newest = || newest().map(|request| &request.outlet).find(readable);
        let stream = || self.stream.as_ref().filter(readable);
        let found = match message.kind() {
            Kind::Notification { method } if is_unrelated(method) => stream().or_else(newest),
            Kind::Notification { .. } | Kind::Request { .. } | Kind::Response { .. } => {
                newest().or_else(stream)
            }
        };
        found.cloned()
    }

    /// Keeps the latest; gives back what it had to drop.
    pub(super) fn hold(&mut self, text: String) -> Vec<String> {
        self.held_bytes += text.len();
        self.held.push_back(text);
        let mut dropped = Vec::new();
        while self.held_bytes > MOST_HELD
            && let Some(text) = self.held.pop_front()
        {
            self.held_bytes -= text.len();
            dropped.push(text);
        }
        dropped
    }

    pub(super) fn is_idle(&self) -> bool {
        let listens = self
            .stream
            .as_ref()
            .is_some_and(|stream| !stream.is_unread());
        let waits = |request: &Request| !request.outlet.is_unread();
        !listens && !self.requests.values().any(waits)
    }
}

fn is_unrelated(method: &str) -> bool {
    method.ends_with("/list_changed") || method == "notifications/resources/updated"
}

/// Bytes that wait for a client to listen.
const MOST_HELD: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::super::outlet::way;
    use super::*;

    #[tokio::test]
    async fn a_stream_that_was_cut_ends_and_no_other() {
        let mut state = State::default();
        let (requested, mut request) = way();
        let (streamed, mut stream) = way();
        let id = Id::Number(1);
        let outlet = requested.clone();
        state.requests.insert(
            id.clone(),
            Request {
                token: None,
                outlet,
            },
        );
        state.order.push_back(id);
        state.stream = Some(streamed.clone());
        state.cut(&requested);
        drop(requested);
        assert!(request.next().await.is_none());
        assert!(state.requests.is_empty() && state.order.is_empty());
        assert!(state.stream.is_some());
        state.cut(&streamed);
        drop(streamed);
        assert!(stream.next().await.is_none());
    }
}
