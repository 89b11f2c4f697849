//! A gateway's own durable records, before they reach the log (C2).

use std::sync::Arc;

use async_trait::async_trait;
use mandate_audit::{Draft, EncodeError, Event, SpoolKey};

/// Proof that a record is durable in the gateway's spool. Made by spools alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalReceipt {
    /// The record's name.
    pub key: SpoolKey,
}

/// Where a spool stands: what a lease renewal announces.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpoolHead {
    /// The spool's random name.
    pub spool: String,
    /// How many records it has: the next one gets this number.
    pub next: u64,
    /// The hash chain's value over all of them, base64url.
    pub chain: String,
}

/// A record as it is shipped.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpooledRecord {
    /// Its number in the spool.
    pub seq: u64,
    /// The canonical event, as JSON text.
    pub event: String,
    /// The hash chain's value after it, base64url.
    pub chain: String,
}

/// Why a record is not durable. Whatever the variant: nothing may be admitted on its account.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpoolError {
    /// The disk is full. Later appends may succeed.
    #[error("the spool's disk is full")]
    Full,
    /// Writing or syncing failed. After a failed sync the spool closes its file and starts
    /// a new one, since nobody can know what the failed one holds.
    #[error("the spool cannot be written: {0}")]
    Unwritable(String),
    /// Too much is waiting to be shipped.
    #[error("too many records wait to be shipped")]
    Unshipped,
    /// The event has no encoding.
    #[error("the record cannot be encoded: {0}")]
    Encoding(String),
}

impl From<EncodeError> for SpoolError {
    fn from(why: EncodeError) -> Self {
        SpoolError::Encoding(why.to_string())
    }
}

/// Told what became of a record that nobody waits for.
pub type Done = Box<dyn FnOnce(Result<LocalReceipt, SpoolError>) + Send>;

/// The spool of one gateway.
#[async_trait]
pub trait Spool: Send + Sync {
    /// Writes the record that `draft` is, giving it its [`SpoolKey`]. When this returns a receipt, the
    /// record survives a crash of the machine. Appends are grouped; their order is the order of `seq`.
    async fn append_draft(&self, draft: Arc<Draft>) -> Result<LocalReceipt, SpoolError>;

    /// Takes over a record that nobody waits for. It is written behind those that were taken before it, and
    /// is durable with the next one that somebody waits for, or moments later. `done` is told what became of
    /// it, and must not block.
    fn append_behind(&self, draft: Arc<Draft>, done: Done);

    /// Encodes `event` and writes it.
    async fn append(&self, event: Event) -> Result<LocalReceipt, SpoolError> {
        self.append_draft(Arc::new(Draft::of(&event)?)).await
    }

    /// Where the spool stands, counting only what is durable.
    fn head(&self) -> SpoolHead;

    /// Durable records from number `from` on, at most `limit`.
    async fn read(&self, from: u64, limit: usize) -> Result<Vec<SpooledRecord>, SpoolError>;

    /// The first number that the authority does not have yet.
    fn unshipped_from(&self) -> u64;

    /// The authority has everything below `next`: it may be deleted here.
    async fn shipped(&self, next: u64) -> Result<(), SpoolError>;

    /// The spool that takes appends at this moment, by itself: its name, records and numbers stay its
    /// own when another one is begun after it. It takes no appends.
    ///
    /// Whoever reads records and later says that they were shipped must do both on this one: numbers of
    /// one spool mean nothing in another.
    fn current(&self) -> Arc<dyn Spool>;

    /// Former spools of this gateway that were closed (after a failed sync) and still have records
    /// to ship, each under its own name. They take no appends.
    fn retired(&self) -> Vec<Arc<dyn Spool>> {
        Vec::new()
    }

    /// Every spool that may have records to ship, the oldest first, each by itself.
    fn to_ship(&self) -> Vec<Arc<dyn Spool>> {
        let mut spools = self.retired();
        spools.push(self.current());
        spools
    }
}
