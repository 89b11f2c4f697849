//! The one child that takes messages of 2026-07-28, of all clients.
//!
//! It is asked once whether it speaks that revision. When it ends, all that it was asked is answered with an error;
//! the next message starts another one, after a pause that grows while they end early.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::Settings;
use super::outlet::{Inlet, Outlet, Piece, way};
use crate::mcp::child::Child;
use crate::mcp::message::{Changed, INTERNAL, Id, Kind, Message, NO_METHOD, error};
use crate::mcp::{STATELESS, plain::plain};

/// The shared child, or the next one.
pub(super) struct Shared {
    settings: Arc<Settings>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    live: Option<Arc<Live>>,
    /// How many ended early, one after the other.
    failures: u32,
    /// No other one is started yet.
    pausing: bool,
    /// None will be.
    closed: bool,
}

struct Live {
    child: Child,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    last: i64,
    requests: HashMap<i64, Request>,
    ended: bool,
}

struct Request {
    id: Id,
    token: Option<Id>,
    wants_logs: bool,
    outlet: Outlet,
}

/// Why a request went nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// No child runs, and none may be started yet.
    #[error("the MCP server ended early several times and is started again in a moment")]
    Pausing,
    /// It could not be started.
    #[error("the MCP server cannot be started")]
    Unstartable,
    /// Too many are under way.
    #[error("too many requests are under way")]
    Busy,
    /// It takes none.
    #[error("the MCP server takes no message")]
    Deaf,
}

/// What the child said about 2026-07-28 when it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Discovered {
    /// It speaks it.
    Spoken,
    /// It does not.
    Unspoken {
        /// What it answered.
        said: String,
        /// It ended by itself.
        ended: bool,
    },
}

impl Shared {
    pub(super) fn new(settings: Arc<Settings>) -> Arc<Self> {
        let state = Mutex::default();
        Arc::new(Self { settings, state })
    }

    /// Starts the child and asks it. One that does not speak the revision is ended, and none is started any more.
    pub(super) async fn discover(self: &Arc<Self>) -> Result<Discovered, String> {
        let question = format!(
            r#"{{"jsonrpc":"2.0","id":0,"method":"server/discover","params":{{"_meta":{{"io.modelcontextprotocol/protocolVersion":"{STATELESS}","io.modelcontextprotocol/clientCapabilities":{{}},"io.modelcontextprotocol/clientInfo":{{"name":"mandate","version":"{}"}}}}}}}}"#,
            env!("CARGO_PKG_VERSION")
        );
        let question = Message::read(question.as_bytes()).map_err(|e| e.to_string())?;
        let live = self.live().map_err(|e| e.to_string())?;
        let mut inlet = self.ask(&question).await.map_err(|e| e.to_string())?;
        let answer = timeout(self.settings.start, async {
            loop {
                match inlet.next().await {
                    Some(Piece::Between(_)) => {}
                    Some(Piece::Last { text, code }) => return Some((text, code)),
                    None => return None,
                }
            }
        });
        let said = match answer.await {
            Ok(Some((text, None))) if speaks(&text) => return Ok(Discovered::Spoken),
            Ok(Some((text, _))) => plain(&text, 200),
            Ok(None) | Err(_) => "nothing".to_owned(),
        };
        let ended = lock(&live.open).ended;
        self.close().await;
        live.child.ended().await;
        if live.child.was_none() {
            return Err("there is no such program, or it cannot be executed".to_owned());
        }
        Ok(Discovered::Unspoken { said, ended })
    }

    /// Hands on a request; what comes of it comes through the inlet. When that is dropped, it is cancelled.
    pub(super) async fn ask(self: &Arc<Self>, message: &Message) -> Result<Inlet, Refused> {
        let Kind::Request { id, .. } = message.kind() else {
            return Err(Refused::Deaf);
        };
        let live = self.live()?;
        let (outlet, inlet) = way();
        let request = Request {
            id: id.clone(),
            token: message.token().cloned(),
            wants_logs: message.wants_logs(),
            outlet: outlet.clone(),
        };
        let number = live.admit(request)?;
        // From here on, so that whoever goes away while the child reads nothing is forgotten too.
        tokio::spawn(Arc::clone(&live).until_unread(number, outlet));
        let own = Id::Number(number);
        let changed = Changed {
            id: Some(&own),
            token: Some(&own),
            ..Changed::default()
        };
        let text = message.with(&changed).ok_or(Refused::Deaf)?;
        live.child.say(text).await.map_err(|_| Refused::Deaf)?;
        Ok(inlet)
    }

    /// Ends the child, and starts none any more.
    pub(super) async fn close(&self) {
        let live = {
            let mut state = lock(&self.state);
            state.closed = true;
            state.live.take()
        };
        if let Some(live) = live {
            live.child.end();
            live.child.ended().await;
        }
    }

    fn live(self: &Arc<Self>) -> Result<Arc<Live>, Refused> {
        let mut state = lock(&self.state);
        if let Some(live) = &state.live {
            return Ok(Arc::clone(live));
        }
        if state.pausing || state.closed {
            return Err(Refused::Pausing);
        }
        let started = Child::start(&self.settings.program, self.settings.number());
        let (child, lines) = started.map_err(|error| {
            tracing::error!(%error, "the MCP server cannot be started");
            Refused::Unstartable
        })?;
        tracing::info!(
            child = child.number(),
            "started, for messages without session"
        );
        let open = Mutex::default();
        let live = Arc::new(Live { child, open });
        state.live = Some(Arc::clone(&live));
        tokio::spawn(Arc::clone(self).attend(Arc::clone(&live), lines));
        Ok(live)
    }

    /// Takes what the child says to where it belongs, until it ends.
    async fn attend(self: Arc<Self>, live: Arc<Live>, mut lines: mpsc::Receiver<Vec<u8>>) {
        let all = async {
            while let Some(line) = lines.recv().await {
                if !live.take(&line) {
                    live.child.end();
                    break;
                }
            }
        };
        let lasted = tokio::select! {
            () = all => false,
            () = sleep(LASTS) => true,
        };
        if lasted {
            lock(&self.state).failures = 0;
            while let Some(line) = lines.recv().await {
                if !live.take(&line) {
                    live.child.end();
                    break;
                }
            }
        }
        live.fail_all();
        live.child.ended().await;
        self.pause(&live).await;
    }

    async fn pause(&self, ended: &Arc<Live>) {
        let pause = {
            let mut state = lock(&self.state);
            if state
                .live
                .as_ref()
                .is_some_and(|live| Arc::ptr_eq(live, ended))
            {
                state.live = None;
            }
            if state.closed {
                return;
            }
            state.failures = state.failures.saturating_add(1);
            state.pausing = true;
            FIRST_PAUSE.saturating_mul(1 << state.failures.min(MOST_DOUBLINGS))
        };
        sleep(pause.min(LONGEST_PAUSE)).await;
        lock(&self.state).pausing = false;
    }
}

fn speaks(answer: &str) -> bool {
    let answer: Option<serde_json::Value> = serde_json::from_str(answer).ok();
    let versions = answer
        .as_ref()
        .and_then(|a| a.pointer("/result/supportedVersions"));
    let versions = versions.and_then(serde_json::Value::as_array);
    versions.is_some_and(|all| all.iter().any(|version| version == STATELESS))
}

impl Live {
    fn admit(&self, request: Request) -> Result<i64, Refused> {
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
    async fn until_unread(self: Arc<Self>, number: i64, outlet: Outlet) {
        outlet.unread().await;
        if lock(&self.open).requests.remove(&number).is_some() {
            self.cancel(number);
        }
    }

    fn cancel(&self, number: i64) {
        self.child.mention(format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{number},"reason":"the client went away"}}}}"#
        ));
    }

    /// One line of the child; `false` where it is no message.
    fn take(&self, line: &[u8]) -> bool {
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
                tracing::warn!(
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
            return tracing::warn!(child = self.child.number(), "an answer to nothing");
        };
        // Unknown: it was cancelled.
        let Some(request) = lock(&self.open).requests.remove(number) else {
            return;
        };
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
    /// the only one that is under way, or nowhere.
    fn notify(&self, message: &Message, method: &str) {
        let named = message.progress().or(message.subscription());
        let mut open = lock(&self.open);
        let number = match named {
            Some(Id::Number(number)) => Some(*number),
            Some(Id::Text(_)) => None,
            None if method == LOGGED => match open.requests.iter().next() {
                Some((number, only)) if open.requests.len() == 1 && only.wants_logs => {
                    Some(*number)
                }
                Some(_) | None => None,
            },
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
            open.requests.remove(&number);
            drop(open);
            tracing::warn!(
                child = self.child.number(),
                "a stream was cut: its reader is too slow or gone"
            );
            self.cancel(number);
        }
    }

    fn fail_all(&self) {
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

/// No lock here is held across anything that may panic or wait; what a panic elsewhere left is whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Told to whoever waits for a child that has ended.
pub(super) const ENDED: &str = "the MCP server ended; what was asked may have been carried out";
const LOGGED: &str = "notifications/message";
const MOST_OPEN: usize = 256;
/// A child that lives so long did not end early.
const LASTS: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const MOST_DOUBLINGS: u32 = 10;
