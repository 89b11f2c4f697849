//! Acknowledging stop versions until the authority has heard it.

use std::sync::Arc;
use std::time::Duration;

use mandate_model::{GatewayId, RunId, StopVersion};
use mandate_ports::control::Acknowledgement;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::Client;
use crate::admission::Cuts;

/// The latest version that is applied, of which run of the authority, and what was cut since the last
/// answered acknowledgement.
#[derive(Debug, Clone, Copy, Default)]
struct Applied {
    of: Option<(RunId, StopVersion)>,
    cuts: Cuts,
}

/// What the control task tells; acknowledgements are sent elsewhere so that it never waits for one.
#[derive(Debug)]
pub(super) struct Acks {
    told: Arc<watch::Sender<Applied>>,
    _sending: AbortOnDropHandle<()>,
}

impl Acks {
    /// Acknowledges for `gateway` from now on, until the result is dropped.
    pub(super) fn start(client: Client, gateway: GatewayId) -> Self {
        let told = Arc::new(watch::Sender::new(Applied::default()));
        let sending = tokio::spawn(acknowledge(client, gateway, Arc::clone(&told)));
        Self {
            told,
            _sending: AbortOnDropHandle::new(sending),
        }
    }

    /// Whether `version` of `run` was said to be applied last.
    pub(super) fn have_told(&self, run: RunId, version: StopVersion) -> bool {
        self.told.borrow().of == Some((run, version))
    }

    /// `version`, as `run` told it, is applied, cuts included.
    pub(super) fn applied(&self, run: RunId, version: StopVersion, cuts: Cuts) {
        self.told.send_modify(|applied| {
            applied.of = Some((run, version));
            applied.cuts.cut += cuts.cut;
            applied.cuts.unknown += cuts.unknown;
        });
    }
}

async fn acknowledge(client: Client, gateway: GatewayId, told: Arc<watch::Sender<Applied>>) {
    let mut versions = told.subscribe();
    let mut last = None;
    loop {
        let applied = *versions.borrow_and_update();
        let Some((run, version)) = applied.of.filter(|of| is_news(*of, last)) else {
            if versions.changed().await.is_err() {
                return;
            }
            continue;
        };
        let message = Acknowledgement {
            gateway: gateway.clone(),
            run,
            stops: version,
            cut: applied.cuts.cut,
            unknown: applied.cuts.unknown,
        };
        match client.tell("/control/v1/ack", &message).await {
            Ok(()) => {
                last = Some((run, version));
                told.send_if_modified(|now| forget(now, &applied));
            }
            Err(why) => {
                tracing::warn!(%why, %version, "an applied stop version is not acknowledged yet");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Whether an authority that was told of `last` has to be told of `applied`: another run knows nothing of what
/// the one before it was told.
fn is_news(applied: (RunId, StopVersion), last: Option<(RunId, StopVersion)>) -> bool {
    last.is_none_or(|last| applied.0 != last.0 || applied.1 > last.1)
}

/// Takes off the figures that were told; nobody is woken for that.
fn forget(now: &mut Applied, told: &Applied) -> bool {
    now.cuts.cut = now.cuts.cut.saturating_sub(told.cuts.cut);
    now.cuts.unknown = now.cuts.unknown.saturating_sub(told.cuts.unknown);
    false
}

const AGAIN: Duration = Duration::from_millis(200);
