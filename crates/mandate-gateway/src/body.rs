//! Bodies of admitted accesses: each frame is checked right before it is handed on (B1).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::admission::{Admission, Go};
use crate::egress::{Egress, End, Message, Passing};

/// Any body that brings bytes.
pub(crate) type AnyBody = Pin<Box<dyn Body<Data = Bytes, Error = BodyError> + Send>>;

/// Why a body broke off. hyper resets the stream or the connection for it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The access may not go on.
    #[error("the access was cut: {0}")]
    Cut(String),
    /// Whoever sent the body broke off, or what they sent is not HTTP.
    #[error("the body broke off")]
    Source(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A body that is handed on only while its admission stands.
pub(crate) struct Checked {
    admission: Arc<Admission>,
    egress: Arc<Egress>,
    inner: Option<AnyBody>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    message: Message,
}

impl Checked {
    /// `inner` on its way through `egress`, one of the admission's two.
    pub(crate) fn new(admission: &Arc<Admission>, egress: &Arc<Egress>, inner: AnyBody) -> Self {
        let message = Message::new(egress, inner.is_end_stream());
        Self {
            admission: Arc::clone(admission),
            egress: Arc::clone(egress),
            inner: Some(inner),
            cut: Box::pin(admission.cancelled_owned()),
            message,
        }
    }

    fn break_off(&mut self, why: BodyError) -> Poll<Option<Result<Frame<Passing>, BodyError>>> {
        self.inner = None;
        self.egress.finish(End::Broken);
        Poll::Ready(Some(Err(why)))
    }

    fn finish(&mut self) -> Poll<Option<Result<Frame<Passing>, BodyError>>> {
        self.inner = None;
        self.egress.finish(End::Whole);
        Poll::Ready(None)
    }

    fn release(&mut self, frame: Frame<Bytes>) -> Frame<Passing> {
        let length = frame.data_ref().map_or(0, Bytes::len);
        let frame = frame.map_data(|bytes| self.egress.pass(bytes));
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        // After the direction's own count, so that a record never tells of less than it takes off.
        self.admission.meter.passed(length);
        if self.inner.as_ref().is_some_and(|body| body.is_end_stream()) {
            self.egress.finish(End::Whole);
        }
        frame
    }
}

impl Body for Checked {
    type Data = Passing;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Passing>, BodyError>>> {
        let me = &mut *self;
        // Registers this task to be woken by a cut, whatever else it waits for.
        let _ = me.cut.as_mut().poll(cx);
        match me.admission.check() {
            Err(cut) => return me.break_off(BodyError::Cut(cut.rule)),
            Ok(Go::WhenLeased) => {
                me.admission.lease().wake_when_renewed(cx.waker());
                if me.admission.is_paused() {
                    return Poll::Pending;
                }
            }
            Ok(Go::Now) => {}
        }
        if me.admission.meter.poll_room(cx).is_pending() {
            return Poll::Pending;
        }
        let Some(inner) = me.inner.as_mut() else {
            return Poll::Ready(None);
        };
        match inner.as_mut().poll_frame(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => me.finish(),
            Poll::Ready(Some(Err(why))) => me.break_off(why),
            // The frame was fetched after the check; check again, since fetching it may have taken
            // a while, and hand it on with nothing in between.
            Poll::Ready(Some(Ok(frame))) => match me.admission.check() {
                Err(cut) => me.break_off(BodyError::Cut(cut.rule)),
                Ok(Go::Now | Go::WhenLeased) => Poll::Ready(Some(Ok(me.release(frame)))),
            },
        }
    }

    /// hyper asks this right before it queues the head. Of what was cut nothing may pass for whole.
    fn is_end_stream(&self) -> bool {
        self.message.take();
        let cut = self.inner.is_some() && self.admission.cut().is_some();
        !cut && self.inner.as_ref().is_none_or(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.inner
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), |body| body.size_hint())
    }
}

/// What is sent to an agent: an upstream's answer, or this gateway's own.
pub(crate) enum OutBody {
    /// Of an admitted access.
    Access(Box<Checked>),
    /// Of a denial.
    Own(Option<Bytes>),
}

impl Body for OutBody {
    type Data = Passing;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Passing>, BodyError>>> {
        match &mut *self {
            OutBody::Access(body) => Pin::new(&mut **body).poll_frame(cx),
            OutBody::Own(bytes) => {
                Poll::Ready(bytes.take().map(|b| Ok(Frame::data(Passing::own(b)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            OutBody::Access(body) => body.is_end_stream(),
            OutBody::Own(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            OutBody::Access(body) => body.size_hint(),
            OutBody::Own(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
        }
    }
}

/// A body of hyper, its errors in our words.
pub(crate) fn incoming<B>(body: B) -> AnyBody
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    use http_body_util::BodyExt;
    Box::pin(body.map_err(|why| BodyError::Source(Box::new(why))))
}

/// A request's body as it goes on: it breaks off where it is longer than `limit`, and has no
/// trailers, which nobody looked at and some servers take for header fields (RFC 9110 §6.5.1).
pub(crate) fn of_request(body: AnyBody, limit: u64) -> AnyBody {
    use http_body_util::{BodyExt, Limited};
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let body = Limited::new(body, limit).map_err(BodyError::Source);
    Box::pin(WithoutTrailers(Box::pin(body)))
}

struct WithoutTrailers(AnyBody);

impl Body for WithoutTrailers {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            match std::task::ready!(self.0.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) if !frame.is_data() => {}
                other => return Poll::Ready(other),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// `inner`, broken off before the first chunk that `look` finds wrong.
pub(crate) fn checked_by<E>(
    inner: AnyBody,
    look: impl FnMut(&[u8]) -> Result<(), E> + Send + Unpin + 'static,
) -> AnyBody
where
    E: std::error::Error + Send + Sync + 'static,
{
    Box::pin(CheckedBy { inner, look })
}

struct CheckedBy<F> {
    inner: AnyBody,
    look: F,
}

impl<E, F> Body for CheckedBy<F>
where
    E: std::error::Error + Send + Sync + 'static,
    F: FnMut(&[u8]) -> Result<(), E> + Unpin,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = std::task::ready!(self.inner.as_mut().poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && let Err(why) = (self.look)(data)
        {
            return Poll::Ready(Some(Err(BodyError::Source(Box::new(why)))));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Bytes that are there already.
pub(crate) fn full(bytes: Bytes) -> AnyBody {
    use http_body_util::{BodyExt, Full};
    Box::pin(Full::new(bytes).map_err(|never| match never {}))
}
