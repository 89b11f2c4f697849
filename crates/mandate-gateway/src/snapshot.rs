//! What this gateway knows, whole: swapped, never changed.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use mandate_model::stop::StopSet;
use mandate_model::{RunId, StopVersion};
use mandate_policy::Bundle;
use mandate_ports::Versions;
use mandate_token::{Issuer, KeySet};

/// Bundle, stops and keys of one moment.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    /// Counts the snapshots of this process, so that a check compares one number.
    pub(crate) generation: u64,
    /// The run of the authority that told the stops.
    pub(crate) run: RunId,
    /// What is applied; what a lease request names.
    pub(crate) versions: Versions,
    /// `iss` of access tokens.
    pub(crate) issuer: Issuer,
    /// The declarations; `None` where no bundle was ever applied, and everything is denied.
    pub(crate) bundle: Option<Arc<Bundle>>,
    /// How far the authority's store has the stops: behind `versions.stops` while it cannot be written.
    pub(crate) durable_stops: StopVersion,
    /// What may not act.
    pub(crate) stops: Arc<StopSet>,
    /// What tokens are verified with.
    pub(crate) keys: Arc<KeySet>,
}

/// The current snapshot. Written by the control task alone.
#[derive(Debug, Default)]
pub(crate) struct Snapshots(ArcSwapOption<Snapshot>);

impl Snapshots {
    /// The current one; `None` before the first was applied.
    pub(crate) fn load(&self) -> Option<Arc<Snapshot>> {
        self.0.load_full()
    }

    /// Swaps it. Every later check sees `snapshot`.
    pub(crate) fn publish(&self, snapshot: Arc<Snapshot>) {
        self.0.store(Some(snapshot));
    }
}
