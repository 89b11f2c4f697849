//! The spool that others use.

use std::fs::File;
use std::path::Path;
use std::sync::mpsc::{self, SendError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use mandate_audit::Draft;
use mandate_ports::{Done, Entropy, LocalReceipt, Spool, SpoolError, SpoolHead, SpooledRecord};
use tokio::sync::oneshot;

use crate::ledger::Ledger;
use crate::private;
use crate::recover::{self, Recovered};
use crate::writer::{Append, Position, Reply, Shelf, SyncFile, Writer, begin};
use crate::{OnDamage, OpenError, SpoolOptions};

/// A spool in a folder.
pub struct FileSpool {
    shelf: Arc<Shelf>,
    appends: Sender<Append>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl FileSpool {
    /// Opens the spool of a folder and goes on with it, or begins the first one.
    ///
    /// A group that a crash tore, and that nobody was told of, is cut off. What is in the files and
    /// whole is made durable before this returns. `entropy` names spools, now and after a failed sync.
    pub fn open(options: SpoolOptions, entropy: Arc<dyn Entropy>) -> Result<Self, OpenError> {
        Self::open_with_sync(options, entropy, Arc::new(File::sync_data))
    }

    pub(crate) fn open_with_sync(
        mut options: SpoolOptions,
        entropy: Arc<dyn Entropy>,
        sync: SyncFile,
    ) -> Result<Self, OpenError> {
        let smallest = 2 * u64::try_from(crate::group::MAX_BODY).unwrap_or(u64::MAX);
        options.limits.segment_bytes = options.limits.segment_bytes.max(smallest);
        let lock = lock(&options.directory)?;
        let (at, retired) = recover_all(&options, &*entropy)?;
        let shelf = Arc::new(Shelf::new(at.ledger.clone(), retired));
        let writer = Writer {
            directory: options.directory.clone(),
            gateway: options.gateway,
            limits: options.limits,
            entropy,
            sync,
            shelf: shelf.clone(),
            at,
            doubtful: false,
            _lock: lock,
        };
        let (appends, inbox) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || writer.run(&inbox))
            .map_err(|e| OpenError::unusable(&options.directory, &e))?;
        Ok(Self {
            shelf,
            appends,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Writes what still waits and gives the folder free. Blocks until then.
    ///
    /// Without it the folder is free a moment after the spool is dropped.
    pub fn close(self) {
        drop(self.appends);
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the spool's thread panicked");
        }
    }
}

#[async_trait]
impl Spool for FileSpool {
    async fn append_draft(&self, draft: Arc<Draft>) -> Result<LocalReceipt, SpoolError> {
        let (reply, receipt) = oneshot::channel();
        self.appends
            .send(Append {
                draft,
                reply: Reply::Awaited(reply),
            })
            .map_err(|_| gone())?;
        receipt.await.unwrap_or_else(|_| Err(gone()))
    }

    fn append_behind(&self, draft: Arc<Draft>, done: Done) {
        let reply = Reply::Behind(done);
        if let Err(SendError(append)) = self.appends.send(Append { draft, reply }) {
            append.reply.tell(Err(gone()));
        }
    }

    fn head(&self) -> SpoolHead {
        self.shelf.current().head()
    }

    async fn read(&self, from: u64, limit: usize) -> Result<Vec<SpooledRecord>, SpoolError> {
        read(self.shelf.current(), from, limit).await
    }

    fn unshipped_from(&self) -> u64 {
        self.shelf.current().unshipped_from()
    }

    async fn shipped(&self, next: u64) -> Result<(), SpoolError> {
        shipped(self.shelf.current(), next).await
    }

    fn current(&self) -> Arc<dyn Spool> {
        Arc::new(OneSpool(self.shelf.current()))
    }

    fn retired(&self) -> Vec<Arc<dyn Spool>> {
        let retired = self.shelf.retired();
        retired
            .into_iter()
            .map(|ledger| Arc::new(OneSpool(ledger)) as Arc<dyn Spool>)
            .collect()
    }
}

/// One spool of the folder by itself, to ship its records: another that is begun meanwhile changes
/// nothing of it.
#[derive(Clone)]
struct OneSpool(Arc<Ledger>);

#[async_trait]
impl Spool for OneSpool {
    async fn append_draft(&self, _draft: Arc<Draft>) -> Result<LocalReceipt, SpoolError> {
        Err(takes_none())
    }

    fn append_behind(&self, _draft: Arc<Draft>, done: Done) {
        done(Err(takes_none()));
    }

    fn head(&self) -> SpoolHead {
        self.0.head()
    }

    async fn read(&self, from: u64, limit: usize) -> Result<Vec<SpooledRecord>, SpoolError> {
        read(self.0.clone(), from, limit).await
    }

    fn unshipped_from(&self) -> u64 {
        self.0.unshipped_from()
    }

    async fn shipped(&self, next: u64) -> Result<(), SpoolError> {
        shipped(self.0.clone(), next).await
    }

    fn current(&self) -> Arc<dyn Spool> {
        Arc::new(self.clone())
    }
}

fn gone() -> SpoolError {
    SpoolError::Unwritable("the spool's thread is gone".to_owned())
}

fn takes_none() -> SpoolError {
    let reason = "records are appended to the folder, which knows the spool that takes them";
    SpoolError::Unwritable(reason.to_owned())
}

async fn read(
    ledger: Arc<Ledger>,
    from: u64,
    limit: usize,
) -> Result<Vec<SpooledRecord>, SpoolError> {
    blocking(move || ledger.read(from, limit)).await
}

async fn shipped(ledger: Arc<Ledger>, next: u64) -> Result<(), SpoolError> {
    blocking(move || ledger.shipped(next)).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SpoolError> + Send + 'static,
) -> Result<T, SpoolError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|e| Err(SpoolError::Unwritable(e.to_string())))
}

/// One process per folder: the lock ends with the process, however it ends.
fn lock(directory: &Path) -> Result<File, OpenError> {
    private::make_folder(directory)?;
    let path = directory.join("lock");
    let file = private::file_options()
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|e| OpenError::unusable(&path, &e))?;
    private::check(&path, &file)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse(directory.to_owned())),
        Err(std::fs::TryLockError::Error(e)) => Err(OpenError::unusable(&path, &e)),
    }
}

/// Recovers every spool of the folder; the one begun last goes on.
fn recover_all(
    options: &SpoolOptions,
    entropy: &dyn Entropy,
) -> Result<(Position, Vec<Arc<Ledger>>), OpenError> {
    let directory = &options.directory;
    let unusable = |e: std::io::Error| OpenError::unusable(directory, &e);
    let mut spools: Vec<Recovered> = Vec::new();
    let mut set_aside = false;
    for (spool, files) in recover::list(directory).map_err(unusable)? {
        match recover::recover(directory, &files) {
            Ok(recovered) => spools.push(recovered),
            Err(error @ OpenError::Damaged { .. }) if options.on_damage == OnDamage::StartNew => {
                tracing::warn!(%error, "damaged spool set aside");
                recover::set_aside(directory, &spool, &files).map_err(unusable)?;
                set_aside = true;
            }
            Err(error) => return Err(error),
        }
    }
    spools.sort_by_key(|spool| spool.segment.header.generation);
    // What was set aside may have been the latest: none of the others was meant to go on.
    let latest = if set_aside { None } else { spools.pop() };
    let generation = spools.last().map_or(0, |s| s.segment.header.generation + 1);
    let at = match latest {
        Some(mut latest) => latest.settle().map(|()| Position::of(latest)),
        None => begin(directory, generation, entropy),
    };
    let retired = spools.into_iter().map(|spool| Arc::new(spool.ledger));
    Ok((at.map_err(unusable)?, retired.collect()))
}
