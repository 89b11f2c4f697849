//! The one way into the store, and the proof that something got there.

use mandate_audit::Event;
use mandate_ports::{CommitError, Committed, Conflict, Ingested, StoreError, Unit, Versions};

use crate::Authority;
use crate::problem::Problem;

/// Proof that a unit and its records are durable. Only [`Authority::commit`] makes one; every
/// reply that hands something out asks for it.
#[derive(Debug)]
pub(crate) struct Receipted {
    versions: Versions,
    ingested: Ingested,
}

impl Receipted {
    /// The versions after the commit.
    pub(crate) fn versions(&self) -> Versions {
        self.versions
    }

    /// What became of shipped records.
    pub(crate) fn ingested(&self) -> Ingested {
        self.ingested
    }
}

impl Authority {
    /// Commits `unit` under the shared lock.
    pub(crate) async fn commit(&self, unit: Unit) -> Result<Receipted, CommitError> {
        let _shared = self.gate().read().await;
        self.commit_held(unit).await
    }

    /// Commits `event` alone, at whatever versions.
    pub(crate) async fn record(&self, event: Event) -> Result<Receipted, CommitError> {
        self.commit(Unit {
            events: vec![event],
            ..Unit::default()
        })
        .await
    }

    /// Commits `unit`; the caller holds the gate, shared or alone.
    ///
    /// While a suspension acts that could not be stored, nothing else is: the store's numbering
    /// of stops would part from what gateways were told.
    pub(crate) async fn commit_held(&self, unit: Unit) -> Result<Receipted, CommitError> {
        if self.is_waiting_to_store() {
            return Err(waiting());
        }
        let (issues, told) = (unit.expect.is_some(), unit.events.len());
        let committed = self.write(unit).await?;
        if issues && self.is_waiting_to_store() {
            // A suspension came while the disk hung. What was recorded is not handed out.
            return Err(CommitError::Conflict(Conflict::Versions(
                self.world().told(),
            )));
        }
        if committed.versions != self.world().versions
            && let Err(why) = self.refresh().await
        {
            tracing::error!(%why, "the state could not be read after a commit");
        }
        if committed.receipts.len() < told {
            let why = "it gave no receipt for a record".to_owned();
            return Err(CommitError::Store(StoreError::Damaged(why)));
        }
        Ok(Receipted {
            versions: committed.versions,
            ingested: committed.ingested,
        })
    }

    /// Hands `unit` to the store and keeps count of how that goes.
    pub(crate) async fn write(&self, unit: Unit) -> Result<Committed, CommitError> {
        let began = self.boot();
        let result = self.ports().writer.commit(unit).await;
        match &result {
            Ok(_) => {
                self.metrics().committed(self.boot().since(began));
                self.writable().worked();
                self.uncovered().notify_one();
            }
            Err(CommitError::Conflict(_)) => self.metrics().commit_failed("conflict"),
            Err(CommitError::Store(why)) => {
                tracing::error!(%why, "a commit failed");
                self.metrics().commit_failed(cause(why));
                self.writable().failed(self.now(), why.to_string());
            }
        }
        result
    }

    /// Whether a suspension acts that is not stored yet.
    pub(crate) fn is_waiting_to_store(&self) -> bool {
        !self.undurable().is_empty()
    }
}

fn waiting() -> CommitError {
    let why = "a suspension waits to be stored before anything else".to_owned();
    CommitError::Store(StoreError::Unavailable(why))
}

fn cause(why: &StoreError) -> &'static str {
    match why {
        StoreError::Full => "full",
        StoreError::Unavailable(_) => "unavailable",
        StoreError::Damaged(_) => "damaged",
    }
}

impl From<CommitError> for Problem {
    fn from(why: CommitError) -> Self {
        match why {
            CommitError::Conflict(conflict) => conflict.into(),
            CommitError::Store(_) => Problem::unavailable(),
        }
    }
}

impl From<Conflict> for Problem {
    fn from(why: Conflict) -> Self {
        let detail = why.to_string();
        match why {
            Conflict::NoTask(_) | Conflict::NoKey(_) => Problem::unknown(detail),
            Conflict::NotSuspended(_) => Problem::conflict("not_suspended", detail),
            Conflict::Versions(_) => Problem::conflict("versions", detail),
            Conflict::TaskNotLive(_) => Problem::conflict("task_over", detail),
            Conflict::TokenRevoked(_) => Problem::conflict("token_revoked", detail),
            Conflict::Budget { .. } => Problem::conflict("budget", detail),
            Conflict::Pinned(_) => Problem::conflict("pinned", detail),
            Conflict::KeyReplaced(_) => Problem::conflict("key_replaced", detail),
            Conflict::Used => Problem::conflict("used", detail),
            Conflict::Bundle(_) => Problem::conflict("bundle", detail),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(why: StoreError) -> Self {
        tracing::error!(%why, "the store could not be read");
        Problem::unavailable()
    }
}
