//! Answers of an MCP server on their way to an agent. A list shows what it may use in its task, and what the server
//! wants back is given to it alone: the state of a question, the id of a task.
//!
//! An answer comes as JSON, or in an event of a stream. An event that cannot be read in one way cuts the stream; of
//! what is neither list nor question every byte passes as it came.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::response::Parts;
use http::{StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use mandate_decide::enforce::{
    Classified, GivenTask, Kept, Listed, UnreadableAnswer, as_call, may_be_shown, shown, tells_of,
    with_kept,
};
use mandate_model::ServerName;
use mandate_policy::Bundle;
use mandate_policy::decl::ServerWorkload;
use mandate_token::{AccessToken, Verified};
use serde_json::Value;

use super::bindings::Owner;
use super::exchange::owner;
use super::front::Front;
use super::manifest::Passing;
use super::refusal::Refusal;
use super::sse::{Looked, data_of, end_of_event, lines, media_type};
use crate::body::{AnyBody, BodyError, full};

/// What becomes of answers.
pub(super) enum Answers {
    /// Whoever holds the token sees of lists what it may use, and what was accepted.
    Lists(Box<Lists>),
    /// What is wanted back is the owner's.
    Given(Box<Given>),
}

/// For whom a list is.
pub(super) struct Lists {
    front: Arc<Front>,
    bundle: Arc<Bundle>,
    server: ServerName,
    token: Verified<AccessToken>,
    /// Whether what may not be used is shown too, as it is let pass.
    observed: bool,
}

/// What may be given with an answer, and to whom.
pub(super) struct Given {
    front: Arc<Front>,
    /// Of the request, which no other may be answered beside.
    id: Option<Value>,
    owner: Owner,
    /// State is for the request of this digest.
    digest: Option<[u8; 32]>,
    /// A new task is this call's.
    called: Option<Classified>,
    /// What the agent goes on with.
    tasks: Vec<GivenTask>,
}

impl Answers {
    /// To a request of `owner`, who holds `token`.
    pub(super) fn of(
        front: &Arc<Front>,
        classified: &Classified,
        (bundle, server): (&Arc<Bundle>, &ServerWorkload),
        token: &Verified<AccessToken>,
    ) -> Option<Self> {
        if classified.may_be_answered_by_a_list() {
            return Some(Self::Lists(Box::new(Lists {
                front: Arc::clone(front),
                bundle: Arc::clone(bundle),
                server: server.name.clone(),
                token: token.clone(),
                observed: server.is_observed(front.now()),
            })));
        }
        classified.era()?;
        let called = classified.tool().map(|_| classified.clone());
        let given = Given {
            front: Arc::clone(front),
            id: classified.message_id().cloned(),
            owner: owner(server, token.claims()),
            digest: classified.round().map(|round| *round.digest()),
            called,
            tasks: classified.tasks().to_vec(),
        };
        Some(Self::Given(Box::new(given)))
    }

    /// `body` as the agent is to have it.
    pub(super) async fn shown(
        self,
        head: &mut Parts,
        body: AnyBody,
        idle: Duration,
    ) -> Result<AnyBody, Refusal> {
        if !head.status.is_success() {
            // Nothing that a client would read an answer from.
            return Ok(body);
        }
        if head.status == StatusCode::ACCEPTED {
            // A notification or an answer that was taken: whatever is said of it, it is no message.
            head.headers.remove(header::CONTENT_LENGTH);
            head.headers.remove(header::CONTENT_TYPE);
            return Ok(full(Bytes::new()));
        }
        match media_type(&head.headers).as_deref() {
            Some("application/json") => {
                let whole = self.message(whole(body, self.longest(), idle).await?);
                let whole = whole.map_err(|_| Refusal::Unanswered)?;
                head.headers.remove(header::CONTENT_LENGTH);
                head.headers.remove(header::TRANSFER_ENCODING);
                Ok(full(whole))
            }
            Some("text/event-stream") => {
                head.headers.remove(header::CONTENT_LENGTH);
                Ok(Box::pin(Events {
                    inner: Some(body),
                    answers: self,
                    waiting: BytesMut::new(),
                    looked: Looked::default(),
                }))
            }
            _ => {
                let whole = whole(body, self.longest(), idle).await?;
                whole
                    .is_empty()
                    .then(|| full(whole))
                    .ok_or(Refusal::Unanswered)
            }
        }
    }

    fn message(&self, message: Bytes) -> Result<Bytes, UnreadableAnswer> {
        if message.is_empty() {
            return Ok(message);
        }
        let changed = match self {
            Answers::Lists(lists) => lists.shown(&message)?,
            Answers::Given(given) => {
                tells_of_new_tools(&given.front, &given.owner.server, &message);
                with_kept(&message, given.id.as_ref(), |kept| given.to_agent(kept))?
            }
        };
        Ok(changed.map_or(message, Bytes::from))
    }

    /// Of one answer that is no stream, and of one event.
    fn longest(&self) -> usize {
        match self {
            Answers::Lists(_) => LONGEST_LIST,
            Answers::Given(_) => LONGEST,
        }
    }

    /// An event with its last line, as it is shown (HTML, "Server-sent events").
    fn event(&self, event: Bytes) -> Result<Bytes, UnreadableAnswer> {
        // Clients take it for nothing where a stream begins, and the field after it for a field.
        if event.starts_with(b"\xef\xbb\xbf") {
            return Err(UnreadableAnswer);
        }
        let lines: Vec<&[u8]> = lines(&event).collect();
        let data: Vec<&[u8]> = lines.iter().filter_map(|line| data_of(line)).collect();
        if data.is_empty() {
            return Ok(event);
        }
        let message = Bytes::from(data.join(&b'\n'));
        // An event without a message keeps the connection open, or says from where it is resumed.
        if message.trim_ascii().is_empty() {
            return Ok(event);
        }
        let changed = self.message(message.clone())?;
        if changed == message {
            return Ok(event);
        }
        let mut shown = BytesMut::with_capacity(event.len());
        for line in lines
            .iter()
            .filter(|line| !line.is_empty() && data_of(line).is_none())
        {
            shown.extend_from_slice(line);
            shown.extend_from_slice(b"\n");
        }
        // What stood on several lines does again.
        for line in changed.split(|b| *b == b'\n') {
            shown.extend_from_slice(b"data: ");
            shown.extend_from_slice(line);
            shown.extend_from_slice(b"\n");
        }
        shown.extend_from_slice(b"\n");
        Ok(shown.freeze())
    }
}

impl Given {
    /// What the agent gets for what the server keeps; `None` for what is not the agent's.
    fn to_agent(&self, kept: Kept<'_>) -> Option<String> {
        let bindings = &self.front.bindings;
        match kept {
            Kept::State(state) => {
                let digest = self.digest.as_ref()?;
                Some(bindings.give_state(&self.owner, digest, state))
            }
            Kept::Task(id) => {
                let given = self.tasks.iter().find(|task| task.id() == id);
                if let Some(given) = given {
                    return Some(given.given());
                }
                let call = as_call(self.called.as_ref()?)?;
                Some(bindings.give_task(&self.owner, &call, id))
            }
        }
    }
}

impl Lists {
    /// What may be used, and is as it was accepted. A tool that stands twice is two, of which nobody accepted both.
    fn shown(&self, message: &[u8]) -> Result<Option<Vec<u8>>, UnreadableAnswer> {
        let Self {
            front,
            bundle,
            server,
            token,
            observed,
        } = self;
        tells_of_new_tools(front, server, message);
        let Some(server) = bundle.server(server) else {
            return shown(message, |_, _, _| false);
        };
        let passing = RefCell::new(Passing::of(server));
        let changed = shown(message, |listed, named, item| {
            let accepted = listed != Listed::Tools || passing.borrow_mut().takes(named, item);
            let may = *observed || may_be_shown(bundle, server, token.claims(), listed, named);
            accepted && may
        })?;
        front.manifests.saw(front, server, passing.into_inner())?;
        Ok(changed)
    }
}

/// What was seen of the tools is believed no longer where the server says that they have changed.
fn tells_of_new_tools(front: &Front, server: &ServerName, message: &[u8]) {
    const CHANGED: &[u8] = b"list_changed";
    let may_tell = message.windows(CHANGED.len()).any(|bytes| bytes == CHANGED);
    if may_tell && tells_of(message, "notifications/tools/list_changed") {
        front.manifests.forget(server);
    }
}

/// A body that stands still for no longer than `idle`.
async fn whole(mut body: AnyBody, longest: usize, idle: Duration) -> Result<Bytes, Refusal> {
    let mut whole = BytesMut::new();
    loop {
        let frame = tokio::time::timeout(idle, body.frame()).await;
        let Some(frame) = frame.map_err(|_| Refusal::UpstreamTimeout)? else {
            return Ok(whole.freeze());
        };
        let frame = frame.map_err(|_| Refusal::Unanswered)?;
        if let Ok(data) = frame.into_data() {
            whole.extend_from_slice(&data);
        }
        if whole.len() > longest {
            return Err(Refusal::Unanswered);
        }
    }
}

/// A stream of events, each passed on once it is whole.
struct Events {
    inner: Option<AnyBody>,
    answers: Answers,
    waiting: BytesMut,
    looked: Looked,
}

impl Events {
    fn next_event(&mut self) -> Option<Result<Bytes, BodyError>> {
        let end = end_of_event(&self.waiting, &mut self.looked)?;
        let event = self.waiting.split_to(end).freeze();
        Some(self.answers.event(event).map_err(unreadable))
    }

    /// An event that its stream has not ended is none (HTML, "Server-sent events"); comments are.
    fn last(&mut self) -> Option<Result<Bytes, BodyError>> {
        let rest = std::mem::take(&mut self.waiting).freeze();
        if rest.is_empty() {
            return None;
        }
        let whole = [&rest[..], b"\n\n"].concat();
        let shown = self.answers.event(Bytes::from(whole.clone()));
        Some(match shown {
            Ok(shown) if shown == whole => Ok(rest),
            Ok(shown) => Ok(shown),
            Err(why) => Err(unreadable(why)),
        })
    }
}

fn unreadable(why: UnreadableAnswer) -> BodyError {
    BodyError::Source(Box::new(why))
}

impl Body for Events {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if let Some(event) = self.next_event() {
                return Poll::Ready(Some(event.map(Frame::data)));
            }
            if self.waiting.len() > self.answers.longest() {
                self.inner = None;
                return Poll::Ready(Some(Err(unreadable(UnreadableAnswer))));
            }
            let Some(inner) = self.inner.as_mut() else {
                return Poll::Ready(self.last().map(|event| event.map(Frame::data)));
            };
            match ready!(inner.as_mut().poll_frame(cx)) {
                None => self.inner = None,
                Some(Err(why)) => return Poll::Ready(Some(Err(why))),
                // Trailers say nothing of a stream of events.
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.waiting.extend_from_slice(&data);
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let ended = self
            .inner
            .as_ref()
            .is_none_or(|inner| inner.is_end_stream());
        ended && self.waiting.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::new()
    }
}

/// A list of thousands of tools with their schemas.
const LONGEST_LIST: usize = 8 * 1024 * 1024;
/// A result with a picture or a file in it.
const LONGEST: usize = 32 * 1024 * 1024;
