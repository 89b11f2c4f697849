//! Reading: a few connections that can do nothing else, each used by one reader at a time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use mandate_audit::{NodeId, NoteKey, VerifiedCheckpoint};
use mandate_ports::{EntryRange, LogHead, LogReader, Matches, Search, StoreError};
use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use crate::failure::store_error;
use crate::folder::{DATABASE, OpenError};
use crate::gateways::{self, Announced};
use crate::lots::Lots;
use crate::verify::{self, Verification};
use crate::{head, log, schema, search};

/// The log of a store, read from its file, whether a server runs on it or not. Nothing can be
/// written through it.
#[derive(Debug, Clone)]
pub struct LogFile(Arc<Readers>);

#[derive(Debug)]
struct Readers {
    path: PathBuf,
    /// The disk is read-only, so that not even the files for sharing can be made. Nobody writes.
    immutable: bool,
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

impl LogFile {
    /// Opens the store in the folder or file `path`. Reads files: not for a thread that serves
    /// others.
    pub fn open_read_only(path: &Path) -> Result<Self, OpenError> {
        let path = if path.is_dir() {
            path.join(DATABASE)
        } else {
            path.to_owned()
        };
        let (db, immutable) = match connect(&path, false) {
            Ok(db) => (db, false),
            Err(error) if has_no_log(&path) => (connect(&path, true).map_err(|_| error)?, true),
            Err(error) => return Err(error.into()),
        };
        let found = schema::version(&db)?;
        if found != schema::VERSION {
            return Err(OpenError::Schema {
                found,
                known: schema::VERSION,
            });
        }
        Ok(Self(Arc::new(Readers {
            path,
            immutable,
            idle: Mutex::new(vec![db]),
            permits: Semaphore::new(READERS),
        })))
    }

    /// Spools whose gateway announced more records than it shipped (C2).
    pub async fn withheld(&self) -> Result<Vec<Announced>, StoreError> {
        self.read(gateways::withheld).await
    }

    /// Every signed checkpoint that is kept, the oldest first.
    pub async fn checkpoints(&self) -> Result<Vec<String>, StoreError> {
        self.read(log::checkpoints).await
    }

    /// Checks the whole log as it is when this begins: records, tree, the checkpoints that are kept
    /// and `since`, one that was kept elsewhere. `keys` are all that ever signed checkpoints.
    ///
    /// Records never change, so they are read a thousand at a moment: no moment is held for so long
    /// that the files of a server that goes on writing would grow meanwhile.
    ///
    /// A log proves nothing against its own host without such an earlier checkpoint and keys that
    /// are known from elsewhere.
    ///
    /// `progress` is told now and then how many records are checked, of how many.
    pub async fn verify(
        &self,
        keys: Vec<NoteKey>,
        since: Option<VerifiedCheckpoint>,
        progress: impl Fn(u64, u64) + Send + 'static,
    ) -> Result<Verification, StoreError> {
        self.with(move |db| verify::verify(db, &keys, since, &progress))
            .await
    }

    /// The public keys (Ed25519) that ever signed checkpoints, as this store tells it, retired ones
    /// included, the oldest first.
    pub async fn log_keys(&self) -> Result<Vec<[u8; 32]>, StoreError> {
        self.read(verify::log_keys).await
    }

    /// Runs `read` on a connection, within one moment of the store.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.with(|db| in_one_moment(db, read)).await
    }

    /// Runs `work` on a connection; what it reads is of one moment only where it says so.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let gone = |why: &dyn std::fmt::Display| StoreError::Unavailable(why.to_string());
        let _permit = self.0.permits.acquire().await.map_err(|e| gone(&e))?;
        let readers = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || readers.with(work))
            .await
            .map_err(|e| gone(&e))?
    }
}

impl Readers {
    fn with<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let db = match idle {
            Some(db) => db,
            None => connect(&self.path, self.immutable)?,
        };
        let result = work(&db);
        // A connection that failed is not used again.
        if result.is_ok() {
            self.idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(db);
        }
        result
    }
}

/// Runs `read` within one moment of the store.
pub(crate) fn in_one_moment<T>(
    db: &Connection,
    read: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let transaction = db.unchecked_transaction().map_err(store_error)?;
    let value = read(&transaction)?;
    transaction.commit().map_err(store_error)?;
    Ok(value)
}

fn connect(path: &Path, immutable: bool) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = if immutable {
        Connection::open_with_flags(immutable_uri(path), flags | OpenFlags::SQLITE_OPEN_URI)
    } else {
        Connection::open_with_flags(path, flags)
    };
    let db = db.map_err(store_error)?;
    db.set_prepared_statement_cache_capacity(32);
    db.busy_timeout(Duration::from_secs(2))
        .map_err(store_error)?;
    db.execute_batch("PRAGMA query_only = ON; PRAGMA trusted_schema = OFF")
        .map_err(store_error)?;
    // The first read opens the file in earnest.
    schema::version(&db)?;
    Ok(db)
}

/// Whether there is nothing in a write-ahead log that reading the file alone would miss.
fn has_no_log(path: &Path) -> bool {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    path.is_file() && std::fs::metadata(wal).map_or(true, |found| found.len() == 0)
}

/// `immutable=1`: SQLite takes no lock and makes no file. The path's special bytes are escaped.
fn immutable_uri(path: &Path) -> String {
    use std::fmt::Write;
    use std::os::unix::ffi::OsStrExt;
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' => uri.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
            // Writing to a `String` cannot fail.
            byte => drop(write!(uri, "%{byte:02x}")),
        }
    }
    uri + "?immutable=1"
}

#[async_trait]
impl LogReader for LogFile {
    async fn head(&self) -> Result<LogHead, StoreError> {
        self.read(|db| Ok(head::read(db)?.log)).await
    }

    async fn entries(&self, first: u64, limit: usize) -> Result<EntryRange, StoreError> {
        self.read(move |db| Lots::committed(db)?.entries(first, limit))
            .await
    }

    async fn node(&self, level: u8, index: u64) -> Result<Option<[u8; 32]>, StoreError> {
        self.read(move |db| log::node(db, NodeId { level, index }))
            .await
    }

    async fn nodes(&self, ids: &[NodeId]) -> Result<HashMap<NodeId, [u8; 32]>, StoreError> {
        let ids = ids.to_vec();
        self.read(move |db| {
            let found = |id| Ok(log::node(db, id)?.map(|hash| (id, hash)));
            ids.into_iter()
                .filter_map(|id| found(id).transpose())
                .collect()
        })
        .await
    }

    async fn checkpoint(&self) -> Result<Option<String>, StoreError> {
        self.read(log::checkpoint).await
    }

    async fn search(&self, search: &Search) -> Result<Matches, StoreError> {
        let search = search.clone();
        self.read(move |db| search::search(db, &search)).await
    }
}

/// More readers than this at a time wait: SQLite gains nothing from more on one machine.
const READERS: usize = 4;
