//! What every store must do: the contract of `Writer`, `StateReader`, `LogReader` and
//! `CheckpointStore`. An adapter's tests are one call to [`run`].

mod budgets;
mod expect;
mod fixture;
mod forget;
mod holders;
mod ingest;
mod log;
mod resumptions;
mod state;
mod tasks;
mod units;

use async_trait::async_trait;
use mandate_ports::{CheckpointStore, LogReader, StateReader, Writer};

/// A store under test.
pub trait Store: Writer + StateReader + LogReader + CheckpointStore + 'static {}
impl<T: Writer + StateReader + LogReader + CheckpointStore + 'static> Store for T {}

/// Makes stores.
#[async_trait]
pub trait StoreFactory: Sync {
    /// What it makes.
    type Store: Store;

    /// A new and empty store, apart from all others.
    async fn fresh(&self) -> Self::Store;

    /// `store` as it is after its process ended and another one began.
    async fn reopened(&self, store: Self::Store) -> Self::Store;
}

/// Runs every case, each on a store of its own. Panics at the first broken promise.
pub async fn run<F: StoreFactory>(factory: &F) {
    units::run(factory).await;
    expect::run(factory).await;
    tasks::run(factory).await;
    budgets::run(factory).await;
    state::run(factory).await;
    holders::run(factory).await;
    resumptions::run(factory).await;
    forget::run(factory).await;
    ingest::run(factory).await;
    log::run(factory).await;
}
