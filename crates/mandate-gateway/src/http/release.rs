//! The upstream's answer on its way to the agent: searched for the credential, then checked frame
//! by frame.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, Version, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::answers::Answers;
use super::echo::{Needles, Sieve};
use super::headers::{is_plain, strip_response};
use super::refusal::Refusal;
use super::usage::Listening;
use crate::admission::Admission;
use crate::body::{AnyBody, BodyError, Checked, OutBody, full, incoming};

/// The answer as it may leave. Nothing of it has left yet.
///
/// An answer with a known short length is read whole, so that an echo in it becomes a 502. A longer
/// one is searched as it passes, and cut before an echo leaves.
pub(super) async fn release(
    admission: &Arc<Admission>,
    response: Response<Incoming>,
    needles: Needles,
    idle: Duration,
    (answers, usage): (Option<Answers>, Option<&Arc<Listening>>),
) -> Result<Response<OutBody>, Refusal> {
    if response.status().is_informational() {
        // Nothing was asked that could switch protocols (RFC 9110 §15.2.2).
        return Err(Refusal::UpstreamBroke);
    }
    let (mut head, body) = response.into_parts();
    let searched = !needles.is_empty() || answers.is_some();
    if searched && !is_plain(&head.headers) {
        return Err(Refusal::Encoded);
    }
    strip_response(&mut head.headers);
    // hyper keeps what it knows of the upstream's head beside its fields, the reason phrase among it,
    // and would write that to the agent: nobody has searched it (C4).
    head.extensions.clear();
    needles
        .check_headers(&head.headers)
        .map_err(|_| Refusal::Echo)?;
    let body = if needles.is_empty() || body.is_end_stream() {
        incoming(body)
    } else if is_short(&head, &body) {
        let reading = read_whole(body, &needles);
        let read = tokio::time::timeout(idle, reading).await;
        full(read.unwrap_or(Err(Refusal::UpstreamTimeout))?)
    } else {
        Box::pin(Sieved {
            inner: incoming(body),
            sieve: Sieve::new(needles),
            trailers: None,
        })
    };
    let body = match answers {
        None => body,
        Some(answers) => answers.shown(&mut head, body, idle).await?,
    };
    let body = match usage {
        None => body,
        Some(usage) => usage.over(&head, body),
    };
    // What h2 said in its own version is said by the agent's connection in its own.
    head.version = Version::HTTP_11;
    let checked = Checked::new(admission, &admission.down, body);
    Ok(Response::from_parts(
        head,
        OutBody::Access(Box::new(checked)),
    ))
}

/// In HTTP/1.1 a body with a length has no trailers, so nothing is lost by reading it whole.
fn is_short(head: &http::response::Parts, body: &Incoming) -> bool {
    head.version == Version::HTTP_11
        && head.headers.contains_key(header::CONTENT_LENGTH)
        && body.size_hint().exact().is_some_and(|n| n <= SHORT)
}

/// Reads a body whose length is known and no longer than what is searched of a body.
async fn read_whole(mut body: Incoming, needles: &Needles) -> Result<Bytes, Refusal> {
    let mut frames = Vec::with_capacity(1);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::UpstreamBroke)?;
        frames.extend(frame.into_data().ok());
    }
    let whole = match <[Bytes; 1]>::try_from(frames) {
        Ok([whole]) => whole,
        Err(pieces) => Bytes::from(pieces.concat()),
    };
    needles.check_bytes(&whole).map_err(|_| Refusal::Echo)?;
    Ok(whole)
}

/// A body that is searched as it passes.
struct Sieved {
    inner: AnyBody,
    sieve: Sieve,
    /// They wait for what was held back before them.
    trailers: Option<Frame<Bytes>>,
}

impl Sieved {
    fn sift(&mut self, frame: Frame<Bytes>) -> Result<Option<Frame<Bytes>>, BodyError> {
        let echo = |_| BodyError::Cut("upstream.echo".to_owned());
        match frame.into_data() {
            Ok(data) => {
                let passing = self.sieve.pass(data).map_err(echo)?;
                Ok((!passing.is_empty()).then(|| Frame::data(passing)))
            }
            Err(other) => {
                if let Some(trailers) = other.trailers_ref() {
                    self.sieve.check_trailers(trailers).map_err(echo)?;
                }
                if self.sieve.is_empty() {
                    return Ok(Some(other));
                }
                // Whatever comes after it, the body is over: what looked like an echo is none.
                self.trailers = Some(other);
                Ok(Some(Frame::data(self.sieve.rest())))
            }
        }
    }
}

impl Body for Sieved {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let me = &mut *self;
        if let Some(trailers) = me.trailers.take() {
            return Poll::Ready(Some(Ok(trailers)));
        }
        loop {
            match std::task::ready!(me.inner.as_mut().poll_frame(cx)) {
                None if me.sieve.is_empty() => return Poll::Ready(None),
                None => return Poll::Ready(Some(Ok(Frame::data(me.sieve.rest())))),
                Some(Err(why)) => return Poll::Ready(Some(Err(why))),
                Some(Ok(frame)) => match me.sift(frame) {
                    Ok(None) => {}
                    Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                    Err(why) => return Poll::Ready(Some(Err(why))),
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.sieve.is_empty() && self.trailers.is_none() && self.inner.is_end_stream()
    }

    /// What is held back is still to come, so the whole is what it was.
    fn size_hint(&self) -> SizeHint {
        let held = u64::try_from(self.sieve.held()).unwrap_or(u64::MAX);
        let inner = self.inner.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint.set_lower(inner.lower().saturating_add(held));
        hint
    }
}

const SHORT: u64 = 64 * 1024;
