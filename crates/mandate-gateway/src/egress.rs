//! One direction of an admitted access on its way out: what is still under way inside this process.
//!
//! An admission may be forgotten only when nothing of it waits in a buffer of hyper, h2 or rustls;
//! otherwise a suspension would find no admission and the buffer would leave after it was called
//! effective (B1). So the head and every chunk are counted until whoever buffers them lets go of them, and then one
//! complete flush of the socket must follow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::{Buf, Bytes};
use tokio::sync::Notify;

use crate::socket::Socket;

/// Bytes towards the upstream, or bytes towards the agent.
#[derive(Debug, Default)]
pub(crate) struct Egress {
    socket: ArcSwapOption<Socket>,
    bytes: AtomicU64,
    end: AtomicU8,
    /// Heads and chunks that were handed to hyper and not let go of.
    pending: AtomicUsize,
    /// The socket's flush count when the last chunk was let go of.
    mark: AtomicU64,
    changed: Notify,
}

/// How a direction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Everything was handed on.
    Whole,
    /// Its source broke off.
    Broken,
    /// Whoever was to send it on went away.
    Dropped,
}

impl Egress {
    /// Names the socket that the bytes leave by, right before they can; another one only if nothing
    /// left by the first. A direction without a socket has nothing under way.
    pub(crate) fn leaves_by(&self, socket: &Arc<Socket>) {
        self.socket.store(Some(Arc::clone(socket)));
        self.mark_flush();
    }

    /// Bytes handed on so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&self) -> Option<End> {
        match self.end.load(Ordering::SeqCst) {
            OPEN => None,
            WHOLE => Some(End::Whole),
            BROKEN => Some(End::Broken),
            _dropped => Some(End::Dropped),
        }
    }

    /// Counts bytes that were written to the socket with nothing above that could keep them.
    pub(crate) fn count(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts `bytes` as handed on; they are under way until the result is dropped.
    pub(crate) fn pass(self: &Arc<Self>, bytes: Bytes) -> Passing {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.bytes.fetch_add(length, Ordering::Relaxed);
        self.pending.fetch_add(1, Ordering::SeqCst);
        Passing {
            bytes,
            egress: Some(Arc::clone(self)),
        }
    }

    /// Ends it. The first end counts.
    pub(crate) fn finish(&self, end: End) {
        let code = match end {
            End::Whole => WHOLE,
            End::Broken => BROKEN,
            End::Dropped => DROPPED,
        };
        self.mark_flush();
        let _ = self
            .end
            .compare_exchange(OPEN, code, Ordering::SeqCst, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Whether nothing of it is under way any more, and nothing can follow.
    pub(crate) fn is_clear(&self) -> bool {
        self.ended().is_some()
            && match self.socket.load().as_ref() {
                None => true,
                Some(socket) if socket.is_over() => true,
                Some(socket) => {
                    self.pending.load(Ordering::SeqCst) == 0
                        && socket.flushed_since(self.mark.load(Ordering::SeqCst))
                }
            }
    }

    /// Waits until the direction has ended, flushed or not.
    pub(crate) async fn until_ended(&self) -> End {
        loop {
            let changed = self.changed.notified();
            if let Some(end) = self.ended() {
                return end;
            }
            changed.await;
        }
    }

    /// Waits until nothing of it is under way.
    pub(crate) async fn until_clear(&self) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let socket = self.socket.load_full();
            let mut flushed = std::pin::pin!(async {
                match &socket {
                    Some(socket) => socket.changed().await,
                    None => std::future::pending().await,
                }
            });
            // Polled once before looking, so that no change in between is missed.
            let _ = futures_util::poll!(flushed.as_mut());
            if self.is_clear() {
                return;
            }
            self.hurry();
            tokio::select! {
                () = changed => {}
                () = flushed => {}
            }
        }
    }

    /// Has the connection flush again if that alone is missing: over HTTP/2 the last thing can be let
    /// go of by another task than the one that flushes, after it has flushed.
    fn hurry(&self) {
        if let (0, Some(socket)) = (
            self.pending.load(Ordering::SeqCst),
            self.socket.load().as_ref(),
        ) {
            socket.hurry();
        }
    }

    /// Waits until nothing of it is under way; after `bound` its connection is reset instead.
    pub(crate) async fn drain(&self, bound: Duration) {
        let late = tokio::time::timeout(bound, self.until_clear())
            .await
            .is_err();
        if late {
            self.kill();
        }
    }

    /// Resets the connection that it leaves by.
    pub(crate) fn kill(&self) {
        if let Some(socket) = self.socket.load().as_ref() {
            socket.kill();
        }
    }

    fn mark_flush(&self) {
        if let Some(socket) = self.socket.load().as_ref() {
            self.mark.fetch_max(socket.flushes(), Ordering::SeqCst);
        }
    }
}

/// A chunk under way. Dropping it says that it was written or thrown away.
#[derive(Debug)]
pub(crate) struct Passing {
    bytes: Bytes,
    egress: Option<Arc<Egress>>,
}

impl Passing {
    /// Bytes of this gateway's own, which nobody counts.
    pub(crate) fn own(bytes: Bytes) -> Self {
        Self {
            bytes,
            egress: None,
        }
    }
}

impl Buf for Passing {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }
    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }
    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

impl Drop for Passing {
    /// Marks only.
    fn drop(&mut self) {
        if let Some(egress) = &self.egress {
            egress.mark_flush();
            egress.pending.fetch_sub(1, Ordering::SeqCst);
            egress.changed.notify_waiters();
        }
    }
}

/// A message under way, from before its head can be handed on until whoever sends it lets go of it.
///
/// hyper queues the head before it drops the body, so while this lives the head may still come.
#[derive(Debug)]
pub(crate) struct Message {
    egress: Arc<Egress>,
    /// There is no body, so nothing but the drop tells the end.
    empty: bool,
    /// Whoever sends it has looked whether a body follows: it is at the head.
    taken: AtomicBool,
}

impl Message {
    /// A message that is to leave by `egress`.
    pub(crate) fn new(egress: &Arc<Egress>, empty: bool) -> Self {
        egress.pending.fetch_add(1, Ordering::SeqCst);
        Self {
            egress: Arc::clone(egress),
            empty,
            taken: AtomicBool::new(false),
        }
    }

    /// Says that its head is being handed on.
    pub(crate) fn take(&self) {
        self.taken.store(true, Ordering::SeqCst);
    }
}

impl Drop for Message {
    /// Marks only. Ends the direction if nothing else ended it.
    fn drop(&mut self) {
        let whole = self.empty && self.taken.load(Ordering::SeqCst);
        self.egress
            .finish(if whole { End::Whole } else { End::Dropped });
        self.egress.pending.fetch_sub(1, Ordering::SeqCst);
        self.egress.changed.notify_waiters();
    }
}

const OPEN: u8 = 0;
const WHOLE: u8 = 1;
const BROKEN: u8 = 2;
const DROPPED: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_under_way_until_it_is_let_go_of() {
        let egress = Arc::new(Egress::default());
        let message = Message::new(&egress, true);
        assert_eq!(egress.pending.load(Ordering::SeqCst), 1);
        assert_eq!(egress.ended(), None);
        message.take();
        drop(message);
        assert_eq!(egress.ended(), Some(End::Whole));
        assert_eq!(egress.pending.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_message_that_nobody_took_or_that_has_a_body_to_come_was_dropped() {
        for (empty, taken) in [(true, false), (false, true)] {
            let egress = Arc::new(Egress::default());
            let message = Message::new(&egress, empty);
            if taken {
                message.take();
            }
            drop(message);
            assert_eq!(egress.ended(), Some(End::Dropped));
        }
    }
}
