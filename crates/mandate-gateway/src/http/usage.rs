//! What replies of an LLM say of the tokens that they took: read from a copy as they pass, for the record and the
//! figures. What passes is the same, and when it does.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Method;
use http::response::Parts;
use http_body::{Body, Frame, SizeHint};
use mandate_audit::Usage;
use mandate_decide::enforce::UsageReader;
use mandate_policy::decl::{LlmApi, ServerWorkload};

use crate::body::{AnyBody, BodyError};

/// Who listens for the usage of one access.
pub(super) struct Listening {
    api: LlmApi,
    reader: Mutex<Option<UsageReader>>,
}

impl Listening {
    /// To a request for `server`. Only what is posted takes tokens: what is fetched tells of what others took.
    pub(super) fn to(server: &ServerWorkload, method: &Method) -> Option<Arc<Self>> {
        let llm = server.llm.filter(|_| method == Method::POST)?;
        Some(Arc::new(Self {
            api: llm.api,
            reader: Mutex::default(),
        }))
    }

    /// `body` as it was, listened to. One that tells of an error took nothing.
    pub(super) fn over(self: &Arc<Self>, head: &Parts, body: AnyBody) -> AnyBody {
        if !head.status.is_success() {
            return body;
        }
        *self.reader() = Some(UsageReader::of(self.api, &head.headers));
        Box::pin(Heard {
            inner: body,
            listening: Arc::clone(self),
        })
    }

    /// What was said until now of a reply that came to its end, if `whole`, or did not. Nothing without one.
    pub(super) fn usage(&self, whole: bool) -> Option<Usage> {
        self.reader().as_ref().map(|reader| reader.usage(whole))
    }

    fn reader(&self) -> MutexGuard<'_, Option<UsageReader>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Heard {
    inner: AnyBody,
    listening: Arc<Listening>,
}

impl Body for Heard {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(self.inner.as_mut().poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && let Some(reader) = self.listening.reader().as_mut()
        {
            reader.read(data);
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
