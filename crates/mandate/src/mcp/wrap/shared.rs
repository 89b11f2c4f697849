//! The one child that takes messages of 2026-07-28, of all clients.
//!
//! It is asked once whether it speaks that revision. When it ends, all that it was asked is answered with an error;
//! the next message starts another one, after a pause that grows while they end early.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::Settings;
use super::live::{Live, Request};
use super::outlet::{Inlet, Piece, way};
use crate::mcp::child::Child;
use crate::mcp::message::{Changed, Id, Kind, Message};
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
            // It stays, for whoever waits for its end at the same time.
            state.live.clone()
        };
        if let Some(live) = live {
            live.child.end();
            live.child.ended().await;
        }
    }

    fn live(self: &Arc<Self>) -> Result<Arc<Live>, Refused> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(Refused::Pausing);
        }
        if let Some(live) = &state.live {
            return Ok(Arc::clone(live));
        }
        if state.pausing {
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
        // Whoever blocks on what nobody reads could not end.
        drop(lines);
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

/// No lock here is held across anything that may panic or wait; what a panic elsewhere left is whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A child that lives so long did not end early.
const LASTS: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const MOST_DOUBLINGS: u32 = 10;
