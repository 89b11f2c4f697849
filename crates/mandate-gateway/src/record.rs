//! Writing records: every one passes here, so that each names this gateway and wakes the shipping.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use mandate_audit::{Decision, Event, What};
use mandate_model::GatewayId;
use mandate_ports::{Clock, LocalReceipt, Spool, SpoolError, SpoolHead};
use tokio::sync::Notify;

use crate::metrics::Metrics;

/// The gateway's spool, as the rest of the crate sees it.
#[derive(Clone)]
pub(crate) struct Recorder {
    pub(crate) spool: Arc<dyn Spool>,
    pub(crate) gateway: GatewayId,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) appended: Arc<Notify>,
    pub(crate) metrics: Arc<Metrics>,
    /// Why the last append failed, if it did.
    pub(crate) failed: Arc<ArcSwapOption<SpoolError>>,
}

impl Recorder {
    /// Writes `event`. When this returns a receipt, the record is durable here.
    pub(crate) async fn append(&self, mut event: Event) -> Result<LocalReceipt, SpoolError> {
        event.gateway = Some(self.gateway.clone());
        let began = self.clock.boot();
        let receipt = self.spool.append(event).await;
        self.metrics.record_appended(self.clock.boot().since(began));
        match &receipt {
            Ok(_) => {
                self.appended.notify_one();
                if self.failed.load().is_some() {
                    self.failed.store(None);
                }
            }
            Err(why) => self.failed.store(Some(Arc::new(why.clone()))),
        }
        receipt
    }

    /// Writes `event` for whom nobody waits. A failure is logged: the access that it tells of has
    /// ended already.
    pub(crate) async fn note(&self, event: Event) {
        let kind = event.what.kind();
        if let Err(why) = self.append(event).await {
            tracing::error!(%why, kind, "a record is lost");
        }
    }

    /// Has an operator look at something.
    pub(crate) fn alarm(&self, message: String) {
        let event = Event::new(self.clock.now(), What::Alarm { message }, Decision::Noted);
        let recorder = self.clone();
        tokio::spawn(async move { recorder.note(event).await });
    }

    /// Why records cannot be written, as far as the last one showed.
    pub(crate) fn trouble(&self) -> Option<String> {
        let failed = self.failed.load_full()?;
        Some(format!("records cannot be written: {failed}"))
    }

    /// Where the spool stands.
    pub(crate) fn head(&self) -> SpoolHead {
        self.spool.head()
    }

    /// How many records wait to be shipped.
    pub(crate) fn unshipped(&self) -> u64 {
        self.spool
            .head()
            .next
            .saturating_sub(self.spool.unshipped_from())
    }
}
