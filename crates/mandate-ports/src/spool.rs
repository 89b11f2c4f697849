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
    /// it, and must not block. Nothing holds the caller up, so whoever calls bounds how many are under way.
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
    /// to ship, each under its own name. They take no appends. One is here from before
    /// [`current`](Self::current) tells the next one.
    fn retired(&self) -> Vec<Arc<dyn Spool>> {
        Vec::new()
    }

    /// Every spool that may have records to ship, the oldest first, each by itself, once.
    ///
    /// What is not among them has nothing to ship: acknowledgements rest on that. So the present one is
    /// looked at before the retired ones. In the other order one that is closed in between would be in
    /// neither, and its records would count as shipped.
    fn to_ship(&self) -> Vec<Arc<dyn Spool>> {
        let current = self.current();
        let name = current.head().spool;
        let mut spools = self.retired();
        spools.retain(|spool| spool.head().spool != name);
        spools.push(current);
        spools
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Spools by name, the last one current. Whenever it was asked something, the current one is closed.
    struct Restless(Mutex<Vec<u64>>);

    impl Restless {
        fn told<T>(&self, tell: impl FnOnce(&[u64]) -> T) -> T {
            let mut all = self.0.lock().unwrap();
            let told = tell(&all);
            let next = all.len() as u64;
            all.push(next);
            told
        }
    }

    struct Named(u64);

    #[async_trait]
    impl Spool for Named {
        async fn append_draft(&self, _: Arc<Draft>) -> Result<LocalReceipt, SpoolError> {
            Err(SpoolError::Full)
        }
        fn append_behind(&self, _: Arc<Draft>, done: Done) {
            done(Err(SpoolError::Full));
        }
        async fn read(&self, _: u64, _: usize) -> Result<Vec<SpooledRecord>, SpoolError> {
            Err(SpoolError::Full)
        }
        fn unshipped_from(&self) -> u64 {
            0
        }
        async fn shipped(&self, _: u64) -> Result<(), SpoolError> {
            Err(SpoolError::Full)
        }
        fn head(&self) -> SpoolHead {
            SpoolHead {
                spool: self.0.to_string(),
                next: 1,
                chain: String::new(),
            }
        }
        fn current(&self) -> Arc<dyn Spool> {
            Arc::new(Self(self.0))
        }
    }

    #[async_trait]
    impl Spool for Restless {
        async fn append_draft(&self, _: Arc<Draft>) -> Result<LocalReceipt, SpoolError> {
            Err(SpoolError::Full)
        }
        fn append_behind(&self, _: Arc<Draft>, done: Done) {
            done(Err(SpoolError::Full));
        }
        async fn read(&self, _: u64, _: usize) -> Result<Vec<SpooledRecord>, SpoolError> {
            Err(SpoolError::Full)
        }
        fn unshipped_from(&self) -> u64 {
            0
        }
        async fn shipped(&self, _: u64) -> Result<(), SpoolError> {
            Err(SpoolError::Full)
        }
        fn head(&self) -> SpoolHead {
            self.current().head()
        }
        fn current(&self) -> Arc<dyn Spool> {
            self.told(|all| Arc::new(Named(*all.last().unwrap())))
        }
        fn retired(&self) -> Vec<Arc<dyn Spool>> {
            let one = |name: &u64| Arc::new(Named(*name)) as Arc<dyn Spool>;
            self.told(|all| all[..all.len() - 1].iter().map(one).collect())
        }
    }

    #[test]
    fn a_spool_that_is_closed_while_the_list_is_made_is_on_it_once() {
        let spools = Restless(Mutex::new(vec![0, 1]));
        let listed: Vec<String> = spools.to_ship().iter().map(|s| s.head().spool).collect();
        assert_eq!(listed, ["0", "1"]);
    }
}
