//! The store as the rest of Mandate sees it.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use mandate_audit::NodeId;
use mandate_model::stop::{StopSet, Subject};
use mandate_model::task::Task;
use mandate_model::{
    BundleVersion, Instance, Principal, StoreEpoch, TaskId, Thumbprint, Timestamp,
};
use mandate_ports::{
    BundleRecord, CheckpointRefusal, CheckpointStore, CommitError, Committed, EntryRange,
    GatewayRecord, KeyRecord, LogHead, LogReader, Matches, Search, StateReader, StoreError, Unit,
    Versions, Writer as WriterPort,
};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::failure::store_error;
use crate::folder::{Folder, OpenError};
use crate::gateways::Announced;
use crate::head::Head;
use crate::read::LogFile;
use crate::recent::Recent;
use crate::writer::{Job, Published, Waiting, Writer, connect};
use crate::{bundles, gateways, holders, keys, schema, stops, tasks};

/// Authority state and log in one folder of this machine.
///
/// Clones are the same store. It stays open until [`close`](Self::close) or until the last clone
/// is dropped and all that was asked for is done; then another process may open the folder.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    jobs: mpsc::Sender<Job>,
    published: Arc<Published>,
    log: LogFile,
    /// Connections apart: whoever reads much of the log keeps no decision waiting.
    state: LogFile,
    recent: Arc<Recent>,
}

impl SqliteStore {
    /// Opens the store in `folder`, which only its owner may look into; makes it where there is
    /// none, with an epoch of `epoch_random`. No other process can open it meanwhile.
    ///
    /// Reads and writes files: not for a thread that serves others.
    pub fn open(folder: &Path, epoch_random: [u8; 16], now: Timestamp) -> Result<Self, OpenError> {
        let folder = Folder::claim(folder)?;
        let db = connect(&folder)?;
        create_tables(&db, StoreEpoch::from_random(epoch_random), now)?;
        let mut head = Head::load(&db)?;
        head.heard.hear(now);
        let published = Published::new(&head);
        let log = LogFile::open_read_only(&folder.database())?;
        let state = LogFile::open_read_only(&folder.database())?;
        let recent = Arc::<Recent>::default();
        let told = (Arc::clone(&published), Arc::clone(&recent));
        let writer = Writer::new(folder, db, head, told);
        let (jobs, receiver) = mpsc::channel(QUEUE);
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(receiver))
            .map_err(|error| StoreError::Unavailable(format!("no thread to write: {error}")))?;
        Ok(Self {
            jobs,
            published,
            log,
            state,
            recent,
        })
    }

    /// Finishes what was asked for and lets go of the folder. Whatever is asked for later is
    /// refused, through every clone.
    pub async fn close(&self) {
        // An error means that it is closed already.
        drop(self.ask(|reply| Job::Close { reply }).await);
    }

    /// Spools whose gateway announced more records than it shipped (C2).
    pub async fn withheld(&self) -> Result<Vec<Announced>, StoreError> {
        self.log.withheld().await
    }

    /// Every signed checkpoint that is kept, the oldest first.
    pub async fn checkpoints(&self) -> Result<Vec<String>, StoreError> {
        self.log.checkpoints().await
    }

    /// The log alone, for whoever only reads it.
    pub fn log(&self) -> LogFile {
        self.log.clone()
    }

    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Result<T, StoreError> {
        let closed = || StoreError::Unavailable("the store is closed".to_owned());
        let (reply, answer) = oneshot::channel();
        self.jobs.send(job(reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())
    }

    #[cfg(test)]
    pub(crate) async fn run(&self, run: impl FnOnce(&Connection) + Send + 'static) {
        self.jobs.send(Job::Run(Box::new(run))).await.ok();
    }
}

/// Makes the tables of a new store, all or none; checks the version of an old one.
fn create_tables(db: &Connection, epoch: StoreEpoch, now: Timestamp) -> Result<(), OpenError> {
    match schema::version(db)? {
        0 => schema::create(db, |db| Head::create(db, epoch, now)).map_err(OpenError::Store),
        schema::VERSION => Ok(()),
        found => Err(OpenError::Schema {
            found,
            known: schema::VERSION,
        }),
    }
}

#[async_trait]
impl WriterPort for SqliteStore {
    async fn commit(&self, unit: Unit) -> Result<Committed, CommitError> {
        self.ask(|reply| Job::Unit(Waiting { unit, reply })).await?
    }
}

#[async_trait]
impl CheckpointStore for SqliteStore {
    async fn keep_checkpoint(&self, note: String) -> Result<(), CheckpointRefusal> {
        self.ask(|reply| Job::Checkpoint { note, reply }).await?
    }
}

#[async_trait]
impl StateReader for SqliteStore {
    async fn versions(&self) -> Result<Versions, StoreError> {
        Ok(self.published.read().0)
    }

    async fn stops(&self, _: Timestamp) -> Result<StopSet, StoreError> {
        self.state.read(stops::stops).await
    }

    async fn suspenders(&self, subject: &Subject) -> Result<Vec<Principal>, StoreError> {
        let subject = subject.clone();
        self.state
            .read(move |db| stops::suspenders(db, &subject))
            .await
    }

    async fn bundle(
        &self,
        version: Option<BundleVersion>,
    ) -> Result<Option<(BundleVersion, BundleRecord)>, StoreError> {
        self.state
            .read(move |db| bundles::bundle(db, version))
            .await
    }

    async fn task(&self, id: TaskId) -> Result<Option<Task>, StoreError> {
        let since = match self.recent.find(id) {
            Ok(known) => return Ok(Some(Task::clone(&known))),
            Err(since) => since,
        };
        let read = self.state.read(move |db| tasks::task(db, id)).await?;
        Ok(read.map(|task| {
            let task = Arc::new(task);
            self.recent.keep(&task, since);
            Arc::unwrap_or_clone(task)
        }))
    }

    async fn live_key(
        &self,
        instance: &Instance,
        at: Timestamp,
    ) -> Result<Option<Thumbprint>, StoreError> {
        let instance = instance.clone();
        self.state
            .read(move |db| holders::live(db, &instance, at).map_err(store_error))
            .await
    }

    async fn subtree(&self, id: TaskId) -> Result<Vec<Task>, StoreError> {
        self.state.read(move |db| tasks::subtree(db, id)).await
    }

    async fn keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        self.state.read(keys::keys).await
    }

    async fn gateways(&self) -> Result<Vec<GatewayRecord>, StoreError> {
        self.state.read(gateways::gateways).await
    }
}

#[async_trait]
impl LogReader for SqliteStore {
    async fn head(&self) -> Result<LogHead, StoreError> {
        Ok(self.published.read().1)
    }

    async fn entries(&self, first: u64, limit: usize) -> Result<EntryRange, StoreError> {
        self.log.entries(first, limit).await
    }

    async fn node(&self, level: u8, index: u64) -> Result<Option<[u8; 32]>, StoreError> {
        self.log.node(level, index).await
    }

    async fn nodes(
        &self,
        ids: &[NodeId],
    ) -> Result<std::collections::HashMap<NodeId, [u8; 32]>, StoreError> {
        self.log.nodes(ids).await
    }

    async fn checkpoint(&self) -> Result<Option<String>, StoreError> {
        self.log.checkpoint().await
    }

    async fn search(&self, search: &Search) -> Result<Matches, StoreError> {
        self.log.search(search).await
    }
}

/// Units that wait beyond this many make their senders wait.
const QUEUE: usize = 1_024;
