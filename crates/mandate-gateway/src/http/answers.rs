//! Answers of an MCP server on their way to an agent. A list shows what it may use in its task, and what the server
//! wants back is given to it alone: the state of a question, the id of a task.
//!
//! An answer comes as JSON, or in an event of a stream. An event that cannot be read in one way cuts the stream; of
//! what is neither list nor question every byte passes as it came.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::response::Parts;
use http::{StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Limited};
use mandate_decide::enforce::{
    Classified, GivenTask, Kept, Listed, UnreadableAnswer, as_call, may_be_shown, seen, shown,
    with_kept,
};
use mandate_model::ServerName;
use mandate_policy::Bundle;
use mandate_policy::decl::ServerWorkload;
use mandate_token::{AccessToken, Verified};

use super::bindings::Owner;
use super::exchange::owner;
use super::front::Front;
use super::refusal::Refusal;
use super::sse::{Looked, data_of, end_of_event, lines, media_type};
use crate::body::{AnyBody, BodyError, full};

/// What becomes of answers.
pub(super) enum Answers {
    /// Whoever holds the token sees of lists what it may use, and what was accepted.
    Lists {
        front: Arc<Front>,
        bundle: Arc<Bundle>,
        server: ServerName,
        token: Verified<AccessToken>,
        /// Whether what may not be used is shown too, as it is let pass.
        observed: bool,
    },
    /// What is wanted back is the owner's.
    Given(Box<Given>),
}

/// What may be given with an answer, and to whom.
pub(super) struct Given {
    front: Arc<Front>,
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
            return Some(Self::Lists {
                front: Arc::clone(front),
                bundle: Arc::clone(bundle),
                server: server.name.clone(),
                token: token.clone(),
                observed: server.is_observed(front.now()),
            });
        }
        let called = classified.tool().map(|_| classified.clone());
        let given = Given {
            front: Arc::clone(front),
            owner: owner(server, token.claims()),
            digest: classified.round().map(|round| *round.digest()),
            called,
            tasks: classified.tasks().to_vec(),
        };
        let gives = given.digest.is_some() || given.called.is_some() || !given.tasks.is_empty();
        gives.then(|| Self::Given(Box::new(given)))
    }

    /// `body` as the agent is to have it.
    pub(super) async fn shown(self, head: &mut Parts, body: AnyBody) -> Result<AnyBody, Refusal> {
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
                let whole = self.message(whole(body).await?);
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
                let whole = whole(body).await?;
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
            Answers::Lists {
                front,
                bundle,
                server,
                token,
                observed,
            } => {
                if tells_of_new_tools(&message) {
                    front.manifests.forget(server);
                }
                let (server, token) = (bundle.server(server), token.claims());
                shown(&message, |listed, named, item| {
                    server.is_some_and(|server| {
                        let accepted = listed != Listed::Tools
                            || front.manifests.passes(front, server, named, seen(item));
                        let may = *observed || may_be_shown(bundle, server, token, listed, named);
                        accepted && may
                    })
                })?
            }
            Answers::Given(given) => with_kept(&message, |kept| given.to_agent(kept))?,
        };
        Ok(changed.map_or(message, Bytes::from))
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

/// It need not be certain: whoever looks once more than needed has lost nothing.
fn tells_of_new_tools(message: &[u8]) -> bool {
    const CHANGED: &[u8] = b"notifications/tools/list_changed";
    message.len() < 1024 && message.windows(CHANGED.len()).any(|bytes| bytes == CHANGED)
}

async fn whole(body: AnyBody) -> Result<Bytes, Refusal> {
    let whole = Limited::new(body, LONGEST).collect().await;
    Ok(whole.map_err(|_| Refusal::Unanswered)?.to_bytes())
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
            if self.waiting.len() > LONGEST {
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
const LONGEST: usize = 8 * 1024 * 1024;
