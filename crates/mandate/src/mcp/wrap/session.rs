//! A session: one child, one client, ids as the client gave them.

use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc};
use tokio::time::{sleep, timeout};

use super::Settings;
use super::live::ENDED;
use super::outlet::{Inlet, Outlet, Piece, way};
use super::route::{Request, State};
use super::shared::lock;
use crate::mcp::child::Child;
use crate::mcp::message::{INTERNAL, Id, Kind, Message, error};
use crate::mcp::plain::plain;

/// A session that has begun.
pub(super) struct Session {
    child: Child,
    state: Mutex<State>,
    used: Notify,
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// The id is one of a request that is under way.
    #[error("this id is one of a request that is under way")]
    Twice,
    /// Too many are under way.
    #[error("too many requests of this session are under way")]
    Busy,
    /// The server did not ask that.
    #[error("the server asked nothing with this id")]
    Unasked,
    /// It takes none.
    #[error("the MCP server takes no message")]
    Deaf,
    /// The session has ended.
    #[error("there is no such session")]
    Over,
}

/// What came of `initialize`.
pub(super) enum Begun {
    /// There is a session, and this is the answer.
    Session(Arc<Session>, String),
    /// The server refused, in these words.
    Refused(String),
    /// It said nothing in time, or ended.
    Silent,
}

impl Session {
    /// Starts a child and hands it `initialize`. If whoever asked goes away meanwhile, it ends. `place` is held until
    /// the child is gone.
    pub(super) async fn begin(
        settings: &Arc<Settings>,
        initialize: &Message,
        place: OwnedSemaphorePermit,
    ) -> std::io::Result<Begun> {
        let (child, lines) = Child::start(&settings.program, settings.number())?;
        tracing::info!(child = child.number(), "started, for a session");
        let abandoned = child.guard();
        let session = Arc::new(Self {
            child,
            state: Mutex::default(),
            used: Notify::new(),
        });
        let attended = Arc::clone(&session).attend(Arc::clone(settings), lines, place);
        tokio::spawn(attended);
        let Ok(mut inlet) = session.ask(initialize).await else {
            return Ok(Begun::Silent);
        };
        let answer = timeout(settings.start, inlet.next()).await;
        let Ok(Some(Piece::Last { text, code })) = answer else {
            return Ok(Begun::Silent);
        };
        if lock(&session.state).ended {
            return Ok(Begun::Silent);
        }
        if code.is_some() {
            return Ok(Begun::Refused(text));
        }
        let answer = Message::read(text.as_bytes());
        let revision = answer.ok().and_then(|a| a.revision().map(str::to_owned));
        {
            let mut state = lock(&session.state);
            state.begun = true;
            state.revision = revision;
        }
        abandoned.disarm();
        Ok(Begun::Session(session, text))
    }

    /// The revision that was agreed on.
    pub(super) fn revision(&self) -> Option<String> {
        lock(&self.state).revision.clone()
    }

    /// Hands on a request; what comes of it comes through the inlet. That nobody reads that any more cancels nothing
    /// (MCP 2025-11-25, "Sending Messages").
    pub(super) async fn ask(&self, message: &Message) -> Result<Inlet, Refused> {
        let Kind::Request { id, .. } = message.kind() else {
            return Err(Refused::Deaf);
        };
        let (outlet, inlet) = way();
        let token = message.token().cloned();
        self.admit(id, Request { token, outlet })?;
        if let Err(why) = self.say(message).await {
            lock(&self.state).forget(id);
            return Err(why);
        }
        Ok(inlet)
    }

    fn admit(&self, id: &Id, request: Request) -> Result<(), Refused> {
        let mut state = lock(&self.state);
        if state.ended {
            return Err(Refused::Over);
        }
        if state.requests.contains_key(id) {
            return Err(Refused::Twice);
        }
        if state.requests.len() >= MOST_OPEN {
            // Nobody waits for these; answers to them are answers to nothing.
            state.forget_unread();
        }
        if state.requests.len() >= MOST_OPEN {
            return Err(Refused::Busy);
        }
        state.requests.insert(id.clone(), request);
        state.order.push_back(id.clone());
        Ok(())
    }

    /// Hands on a notification, or an answer to what the server asked.
    pub(super) async fn tell(&self, message: &Message) -> Result<(), Refused> {
        match message.kind() {
            Kind::Response { id: Some(id), .. } => {
                if !lock(&self.state).asked.remove(id) {
                    return Err(Refused::Unasked);
                }
            }
            Kind::Response { id: None, .. } => return Err(Refused::Unasked),
            Kind::Notification { .. } if message.is_cancellation() => {
                // It may never be answered, and an answer is not wanted.
                if let Some(id) = message.cancels() {
                    lock(&self.state).forget(id);
                }
            }
            Kind::Notification { .. } | Kind::Request { .. } => {}
        }
        self.say(message).await
    }

    async fn say(&self, message: &Message) -> Result<(), Refused> {
        self.used.notify_one();
        let said = self.child.say(message.text().to_owned()).await;
        said.map_err(|_| {
            if self.is_over() {
                Refused::Over
            } else {
                Refused::Deaf
            }
        })
    }

    /// The stream for what the server says unasked. There is one: another one takes its place, since a client that
    /// opens it has lost the former.
    pub(super) fn listen(&self) -> Inlet {
        let (outlet, inlet) = way();
        let mut state = lock(&self.state);
        state.held_bytes = 0;
        for text in std::mem::take(&mut state.held) {
            // What was held has room.
            let _ = outlet.push(Piece::Between(text));
        }
        if !state.ended {
            state.stream = Some(outlet);
        }
        self.used.notify_one();
        inlet
    }

    /// Whether it has ended; its child may not be gone yet.
    pub(super) fn is_over(&self) -> bool {
        lock(&self.state).ended
    }

    /// Ends the session with its child.
    pub(super) fn end(&self) {
        self.child.end();
    }

    /// Waits until the child is gone.
    pub(super) async fn ended(&self) {
        self.child.ended().await;
    }

    async fn attend(
        self: Arc<Self>,
        settings: Arc<Settings>,
        mut lines: mpsc::Receiver<Vec<u8>>,
        place: OwnedSemaphorePermit,
    ) {
        // What a server says by itself is no use of it.
        let mut idle = std::pin::pin!(sleep(settings.idle));
        // Readers have so long for what it wrote before it ended.
        let mut late = std::pin::pin!(self.child.late());
        loop {
            tokio::select! {
                biased;
                () = self.used.notified() => idle.set(sleep(settings.idle)),
                () = idle.as_mut() => {
                    if lock(&self.state).is_idle() {
                        tracing::info!(child = self.child.number(), "the session was not used");
                        break;
                    }
                    idle.set(sleep(settings.idle));
                }
                () = late.as_mut() => break,
                line = lines.recv() => {
                    let Some(line) = line else { break };
                    let goes_on = tokio::select! {
                        goes_on = self.take(&line) => goes_on,
                        () = late.as_mut() => false,
                    };
                    if !goes_on {
                        break;
                    }
                }
            }
        }
        self.fail_all();
        self.child.end();
        // Whoever blocks on what nobody reads could not end.
        drop(lines);
        self.child.ended().await;
        drop(place);
    }

    /// One line of the child; `false` where it is no message.
    async fn take(&self, line: &[u8]) -> bool {
        let message = match Message::read(line) {
            Ok(message) => message,
            Err(why) => {
                let line = plain(&String::from_utf8_lossy(line), 200);
                tracing::warn!(child = self.child.number(), %why, line, "it wrote what is no message: ended");
                return false;
            }
        };
        match message.kind() {
            Kind::Response { id, code } => self.answer(&message, id.as_ref(), *code).await,
            Kind::Notification { .. } | Kind::Request { .. } => self.pass_on(&message).await,
        }
        true
    }

    async fn answer(&self, message: &Message, id: Option<&Id>, code: Option<i64>) {
        let request = id.and_then(|id| lock(&self.state).forget(id));
        // Unknown: it was cancelled.
        let Some(request) = request else { return };
        let text = message.text().to_owned();
        if request
            .outlet
            .send(Piece::Last { text, code })
            .await
            .is_err()
        {
            tracing::info!(
                child = self.child.number(),
                "an answer was lost: its reader is too slow or gone"
            );
        }
    }

    /// What the server says by itself: to one stream, and while there is none it is held.
    async fn pass_on(&self, message: &Message) {
        let text = || message.text().to_owned();
        let outlet = {
            let mut state = lock(&self.state);
            if message.is_cancellation()
                && let Some(id) = message.cancels()
            {
                state.asked.remove(id);
            }
            if let Kind::Request { id, .. } = message.kind() {
                if state.asked.len() >= MOST_OPEN {
                    return self.child.mention(error(
                        Some(id),
                        INTERNAL,
                        "too many questions are open",
                    ));
                }
                state.asked.insert(id.clone());
            }
            state.outlet_for(message)
        };
        if let Some(outlet) = outlet {
            if outlet.send(Piece::Between(text())).await.is_ok() {
                return;
            }
            self.cut(&outlet);
        }
        let dropped = lock(&self.state).hold(text());
        for question in dropped.iter().filter_map(|text| question(text)) {
            lock(&self.state).asked.remove(&question);
            self.child
                .mention(error(Some(&question), INTERNAL, "nobody listens"));
        }
    }

    /// Whoever did not read for so long is not waited for again.
    fn cut(&self, outlet: &Outlet) {
        if outlet.is_unread() {
            // It has gone, and is passed over already.
            return;
        }
        lock(&self.state).cut(outlet);
        tracing::info!(
            child = self.child.number(),
            "a stream was cut: its reader is too slow"
        );
    }

    fn fail_all(&self) {
        let requests = {
            let mut state = lock(&self.state);
            state.ended = true;
            state.stream = None;
            state.order.clear();
            std::mem::take(&mut state.requests)
        };
        for (id, request) in requests {
            request
                .outlet
                .finish(error(Some(&id), INTERNAL, ENDED), INTERNAL);
        }
    }
}

fn question(text: &str) -> Option<Id> {
    match Message::read(text.as_bytes()).ok()?.kind() {
        Kind::Request { id, .. } => Some(id.clone()),
        Kind::Notification { .. } | Kind::Response { .. } => None,
    }
}

const MOST_OPEN: usize = 64;
