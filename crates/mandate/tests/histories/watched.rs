//! The store, and what is asked of it at this moment.

use std::collections::HashMap;

use async_trait::async_trait;
use mandate_audit::NodeId;
use mandate_model::stop::{StopSet, Subject};
use mandate_model::task::Task;
use mandate_model::{BundleVersion, Instance, Principal, TaskId, Thumbprint, Timestamp};
use mandate_ports::{
    BundleRecord, Change, CheckpointRefusal, CheckpointStore, CommitError, Committed, EntryRange,
    GatewayRecord, KeyRecord, LogHead, LogReader, Matches, Search, StateReader, StoreError, Unit,
    Versions, Writer,
};
use mandate_store_sqlite::SqliteStore;

use crate::parts::Busy;
use crate::story::Without;

/// The store; and what of its promises is taken away to see that it is missed.
pub(crate) struct Watched {
    pub(crate) store: SqliteStore,
    pub(crate) busy: Busy,
    pub(crate) without: Without,
}

#[async_trait]
impl Writer for Watched {
    async fn commit(&self, unit: Unit) -> Result<Committed, CommitError> {
        let mut unit = unit;
        if self.without.once {
            unit.changes
                .retain(|change| !matches!(change, Change::UseOnce { .. }));
        }
        if self.without.budgets {
            unit.live_tasks.clear();
            unit.changes
                .retain(|change| !matches!(change, Change::ReserveAccesses { .. }));
        }
        let work = async {
            let committed = self.store.commit(unit).await;
            // What the store's thread tidies after its answer is done before it says no to this.
            drop(self.store.keep_checkpoint(String::new()).await);
            committed
        };
        self.busy.alone(work).await
    }
}

#[async_trait]
impl CheckpointStore for Watched {
    async fn keep_checkpoint(&self, note: String) -> Result<(), CheckpointRefusal> {
        self.busy.alone(self.store.keep_checkpoint(note)).await
    }
}

#[async_trait]
impl StateReader for Watched {
    async fn versions(&self) -> Result<Versions, StoreError> {
        self.store.versions().await
    }

    async fn stops(&self, now: Timestamp) -> Result<StopSet, StoreError> {
        self.busy.look(self.store.stops(now)).await
    }

    async fn live_key(
        &self,
        instance: &Instance,
        now: Timestamp,
    ) -> Result<Option<Thumbprint>, StoreError> {
        self.busy.look(self.store.live_key(instance, now)).await
    }

    async fn suspenders(&self, subject: &Subject) -> Result<Vec<Principal>, StoreError> {
        self.busy.look(self.store.suspenders(subject)).await
    }

    async fn bundle(
        &self,
        version: Option<BundleVersion>,
    ) -> Result<Option<(BundleVersion, BundleRecord)>, StoreError> {
        self.busy.look(self.store.bundle(version)).await
    }

    async fn task(&self, id: TaskId) -> Result<Option<Task>, StoreError> {
        self.busy.look(self.store.task(id)).await
    }

    async fn subtree(&self, id: TaskId) -> Result<Vec<Task>, StoreError> {
        self.busy.look(self.store.subtree(id)).await
    }

    async fn keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        self.busy.look(self.store.keys()).await
    }

    async fn gateways(&self) -> Result<Vec<GatewayRecord>, StoreError> {
        self.busy.look(self.store.gateways()).await
    }
}

#[async_trait]
impl LogReader for Watched {
    async fn head(&self) -> Result<LogHead, StoreError> {
        self.store.head().await
    }

    async fn entries(&self, first: u64, limit: usize) -> Result<EntryRange, StoreError> {
        self.busy.look(self.store.entries(first, limit)).await
    }

    async fn node(&self, level: u8, index: u64) -> Result<Option<[u8; 32]>, StoreError> {
        self.busy.look(self.store.node(level, index)).await
    }

    async fn nodes(&self, ids: &[NodeId]) -> Result<HashMap<NodeId, [u8; 32]>, StoreError> {
        self.busy.look(self.store.nodes(ids)).await
    }

    async fn checkpoint(&self) -> Result<Option<String>, StoreError> {
        self.busy.look(self.store.checkpoint()).await
    }

    async fn search(&self, search: &Search) -> Result<Matches, StoreError> {
        self.busy.look(self.store.search(search)).await
    }
}
