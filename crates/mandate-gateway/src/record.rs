//! Writing records: every one passes here, so that each names this gateway and wakes the shipping.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;
use mandate_audit::{Decision, Draft, EncodeError, Event, SpoolKey, What};
use mandate_model::GatewayId;
use mandate_ports::{Clock, LocalReceipt, Spool, SpoolError, SpoolHead};
use tokio::sync::Notify;

use crate::metrics::Metrics;

/// The gateway's spool, as the rest of the crate sees it.
pub(crate) struct Recorder {
    pub(crate) spool: Arc<dyn Spool>,
    pub(crate) gateway: GatewayId,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) appended: Arc<Notify>,
    /// How many records were handed over that nobody waits for, and are not durable yet.
    pub(crate) behind: AtomicU64,
    /// Wakes who waits for the authority to have a record.
    pub(crate) shipped: Arc<Notify>,
    /// How many wait for that, and who is told when the first does.
    pub(crate) waiting: Arc<AtomicUsize>,
    pub(crate) hurry: Arc<Notify>,
    pub(crate) metrics: Arc<Metrics>,
    /// The last failure that stands in the way of every admission.
    pub(crate) failed: Arc<ArcSwapOption<Failure>>,
}

/// Why no admission can be recorded.
#[derive(Debug)]
pub(crate) struct Failure {
    why: SpoolError,
    /// How far shipping was then.
    shipped: (String, u64),
}

impl Recorder {
    /// Writes `event`. When this returns a receipt, the record is durable here.
    pub(crate) async fn append(&self, mut event: Event) -> Result<LocalReceipt, SpoolError> {
        event.gateway = Some(self.gateway.clone());
        self.append_draft(Arc::new(Draft::of(&event)?)).await
    }

    /// The same of a record that is encoded already, and names this gateway.
    pub(crate) async fn append_draft(&self, draft: Arc<Draft>) -> Result<LocalReceipt, SpoolError> {
        let began = self.clock.boot();
        let receipt = self.spool.append_draft(draft).await;
        self.metrics.record_appended(self.clock.boot().since(began));
        self.learn(&receipt);
        receipt
    }

    /// What became of a record shows whether others can be written.
    fn learn(&self, receipt: &Result<LocalReceipt, SpoolError>) {
        match receipt {
            Ok(_) => {
                self.appended.notify_one();
                if self.may_have_passed() {
                    self.failed.store(None);
                }
            }
            // The fault of this one record, not of the spool.
            Err(SpoolError::Encoding(_)) => {}
            Err(why) => self.failed.store(Some(Arc::new(Failure {
                why: why.clone(),
                shipped: self.shipped_so_far(),
            }))),
        }
    }

    /// Resolves when the authority has the record named `key`, which is of this process. Whoever calls it
    /// bounds it.
    pub(crate) async fn until_shipped(&self, key: &SpoolKey) {
        let _waiting = Waiting::begin(self);
        loop {
            let mut shipped = std::pin::pin!(self.shipped.notified());
            // From here on nothing is missed.
            shipped.as_mut().enable();
            if self.is_shipped(key) {
                return;
            }
            shipped.await;
        }
    }

    /// Whether anybody waits for a record to be shipped.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// A spool that has nothing to ship any more is on no list, and the present one is always on it.
    fn is_shipped(&self, key: &SpoolKey) -> bool {
        let spools = self.spool.to_ship();
        let of_record = spools.iter().find(|spool| spool.head().spool == key.spool);
        of_record.is_none_or(|spool| spool.unshipped_from() > key.seq)
    }

    fn shipped_so_far(&self) -> (String, u64) {
        let current = self.spool.current();
        (current.head().spool, current.unshipped_from())
    }

    /// Whether it makes sense to try again what failed. Where too much waits, other records than
    /// admissions show nothing; only shipping helps.
    pub(crate) fn may_have_passed(&self) -> bool {
        self.failed.load().as_ref().is_some_and(|failed| {
            failed.why != SpoolError::Unshipped || failed.shipped != self.shipped_so_far()
        })
    }

    /// Writes `event` for whom nobody waits. A failure is logged: the access that it tells of has
    /// ended already.
    pub(crate) async fn note(&self, event: Event) {
        let kind = event.what.kind();
        if let Err(why) = self.append(event).await {
            lost(&why, kind);
        }
    }

    /// The same of a record that is encoded already, and names this gateway. It is durable with the next
    /// one that somebody waits for, or moments later.
    pub(crate) fn note_draft(
        self: &Arc<Self>,
        draft: Result<Draft, EncodeError>,
        kind: &'static str,
    ) {
        let draft = match draft {
            Ok(draft) => Arc::new(draft),
            Err(why) => return lost(&why.into(), kind),
        };
        let recorder = Arc::clone(self);
        let behind = Behind::begin(recorder);
        let done = move |receipt| {
            behind.recorder.learn(&receipt);
            if let Err(why) = receipt {
                lost(&why, kind);
            }
        };
        self.spool.append_behind(draft, Box::new(done));
    }

    /// Has an operator look at something.
    pub(crate) fn alarm(self: &Arc<Self>, message: String) {
        let event = Event::new(self.clock.now(), What::Alarm { message }, Decision::Noted);
        let recorder = Arc::clone(self);
        tokio::spawn(async move { recorder.note(event).await });
    }

    /// Why records cannot be written, as far as the last one showed.
    pub(crate) fn trouble(&self) -> Option<String> {
        let failed = self.failed.load_full()?;
        Some(format!("records cannot be written: {}", failed.why))
    }

    /// Where the spool stands.
    pub(crate) fn head(&self) -> SpoolHead {
        self.spool.head()
    }

    /// How many records wait to be shipped, in this spool and in those that were closed, or to be written.
    pub(crate) fn unshipped(&self) -> u64 {
        let waiting = |spool: &dyn Spool| spool.head().next.saturating_sub(spool.unshipped_from());
        let spools = self.spool.to_ship();
        spools
            .iter()
            .fold(self.behind.load(Ordering::SeqCst), |sum, spool| {
                sum.saturating_add(waiting(&**spool))
            })
    }
}

/// A record that is handed over and not durable yet, until this is dropped: by whoever was told what became of it,
/// or with a spool that is gone.
struct Behind {
    recorder: Arc<Recorder>,
}

impl Behind {
    fn begin(recorder: Arc<Recorder>) -> Self {
        recorder.behind.fetch_add(1, Ordering::SeqCst);
        Self { recorder }
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.recorder.behind.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Somebody who waits for a record to be shipped, for as long as this lives.
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn begin(recorder: &Recorder) -> Self {
        recorder.waiting.fetch_add(1, Ordering::SeqCst);
        recorder.hurry.notify_one();
        Self(Arc::clone(&recorder.waiting))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn lost(why: &SpoolError, kind: &'static str) {
    tracing::error!(%why, kind, "a record is lost");
}
