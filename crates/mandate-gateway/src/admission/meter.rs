//! How much of an access has passed since its last record (C1).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;

/// Counts what passes, both ways together, and lets nothing more be fetched while [`MOST`] of it is
/// in no record.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    unrecorded: AtomicU64,
    full: Notify,
    /// Bodies that wait for a record.
    paused: Mutex<Vec<Waker>>,
}

impl Meter {
    /// Counts `bytes` that were handed on.
    pub(crate) fn passed(&self, bytes: u64) {
        self.unrecorded.fetch_add(bytes, Ordering::SeqCst);
        if self.is_full() {
            self.full.notify_one();
        }
    }

    /// What is in no record.
    pub(crate) fn unrecorded(&self) -> u64 {
        self.unrecorded.load(Ordering::SeqCst)
    }

    /// Whether nothing more may be fetched before a record is durable.
    pub(crate) fn is_full(&self) -> bool {
        self.unrecorded() >= MOST
    }

    /// Resolves when it is full.
    pub(crate) async fn until_full(&self) {
        while !self.is_full() {
            self.full.notified().await;
        }
    }

    /// Ready while there is room; otherwise the caller's task is woken by the next record.
    pub(crate) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        if !self.is_full() {
            return Poll::Ready(());
        }
        let waker = cx.waker();
        let mut paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        if !paused.iter().any(|known| known.will_wake(waker)) {
            paused.push(waker.clone());
        }
        drop(paused);
        // A record that came before the push has woken nobody.
        if self.is_full() {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }

    /// A durable record tells of `bytes` of what passed.
    pub(crate) fn recorded(&self, bytes: u64) {
        self.unrecorded.fetch_sub(bytes, Ordering::SeqCst);
        let woken =
            std::mem::take(&mut *self.paused.lock().unwrap_or_else(PoisonError::into_inner));
        woken.into_iter().for_each(Waker::wake);
    }
}

/// The most that passes without a record, but for the chunk that reaches it.
const MOST: u64 = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::task::noop_waker;

    use super::*;

    #[test]
    fn room_ends_at_the_mark_and_comes_back_with_the_record() {
        let (meter, waker) = (Meter::default(), noop_waker());
        let cx = Context::from_waker(&waker);
        meter.passed(MOST - 1);
        assert!(meter.poll_room(&cx).is_ready());
        assert!(meter.until_full().now_or_never().is_none());
        meter.passed(2);
        assert!(meter.poll_room(&cx).is_pending());
        assert!(meter.until_full().now_or_never().is_some());
        assert_eq!(meter.paused.lock().unwrap().len(), 1);
        meter.recorded(MOST);
        assert!(meter.poll_room(&cx).is_ready());
        assert_eq!(meter.unrecorded(), 1, "what the record did not tell of");
        assert!(meter.paused.lock().unwrap().is_empty(), "it was woken");
    }
}
