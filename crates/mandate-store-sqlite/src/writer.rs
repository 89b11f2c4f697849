//! The thread that writes.
//!
//! It survives every error: after one that leaves a connection in doubt it opens a new one and
//! reads the head again, so that when the disk is back, so is the store, without help.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mandate_audit::What;
use mandate_ports::{
    Change, CheckpointRefusal, CommitError, Committed, KeyState, LogHead, StoreError, Unit,
    Versions,
};
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{mpsc, oneshot};

use crate::alike::Alike;
use crate::failure::store_error;
use crate::folder::Folder;
use crate::head::Head;
use crate::recent::Recent;
use crate::reserve::Reserve;
use crate::{group, log, schema};

/// What the thread is asked for.
pub(crate) enum Job {
    Unit(Waiting),
    Checkpoint {
        note: String,
        reply: oneshot::Sender<Result<(), CheckpointRefusal>>,
    },
    Close {
        reply: oneshot::Sender<()>,
    },
    /// Lets a test at the connection.
    #[cfg(test)]
    Run(Box<dyn FnOnce(&Connection) + Send>),
}

/// A unit and who waits for it. Someone who went away is no reason not to commit.
pub(crate) struct Waiting {
    pub(crate) unit: Unit,
    pub(crate) reply: oneshot::Sender<Result<Committed, CommitError>>,
}

/// What readers are told without asking SQLite. Replaced after each commit, before its answers.
#[derive(Debug)]
pub(crate) struct Published(Mutex<(Versions, LogHead)>);

impl Published {
    pub(crate) fn new(head: &Head) -> Arc<Self> {
        Arc::new(Self(Mutex::new((head.versions, head.log()))))
    }

    pub(crate) fn read(&self) -> (Versions, LogHead) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace(&self, head: &Head) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (head.versions, head.log());
    }
}

/// The writing end. Holds the folder's lock for as long as it lives.
pub(crate) struct Writer {
    folder: Folder,
    /// `None` after an error that leaves it in doubt.
    db: Option<Connection>,
    head: Head,
    published: Arc<Published>,
    recent: Arc<Recent>,
    alike: Alike,
    reserve: Reserve,
    wipe: Wipe,
}

/// Whether a wiped private key may still be in old pages of the write-ahead log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wipe {
    Done,
    /// It is to be emptied after so many groups more; the last wait was of so many.
    Due {
        left: u32,
        wait: u32,
    },
}

impl Wipe {
    const NOW: Wipe = Wipe::Due { left: 0, wait: 1 };

    /// Whether it is time. Counts down.
    fn is_due(&mut self) -> bool {
        match self {
            Wipe::Done => false,
            Wipe::Due { left: 0, .. } => true,
            Wipe::Due { left, .. } => {
                *left -= 1;
                false
            }
        }
    }

    /// A reader was in it: each try costs a sync, and a reader can take long.
    fn again_later(&mut self) {
        if let Wipe::Due { wait, .. } = *self {
            let (left, wait) = (wait, (wait * 2).min(LONGEST_WAIT));
            *self = Wipe::Due { left, wait };
        }
    }
}

impl Writer {
    pub(crate) fn new(
        folder: Folder,
        db: Connection,
        head: Head,
        (published, recent): (Arc<Published>, Arc<Recent>),
    ) -> Self {
        let reserve = Reserve::at(folder.reserve());
        Self {
            folder,
            db: Some(db),
            head,
            published,
            recent,
            alike: Alike::default(),
            reserve,
            wipe: Wipe::NOW,
        }
    }

    /// Works until it is told to close or nobody can ask any more.
    pub(crate) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        self.tidy();
        while let Some(first) = jobs.blocking_recv() {
            let mut waiting = Vec::new();
            let mut next = Some(first);
            while let Some(job) = next {
                if let Some(closed) = self.take(job, &mut waiting) {
                    self.close();
                    // An error means that nobody waits to be told.
                    closed.send(()).unwrap_or_default();
                    return;
                }
                next = (waiting.len() < MAX_GROUP)
                    .then(|| jobs.try_recv().ok())
                    .flatten();
            }
            self.serve(std::mem::take(&mut waiting));
            self.tidy();
        }
    }

    /// Lines up a unit; does any other job at its place in the line.
    fn take(&mut self, job: Job, waiting: &mut Vec<Waiting>) -> Option<oneshot::Sender<()>> {
        if let Job::Unit(unit) = job {
            waiting.push(unit);
            return None;
        }
        self.serve(std::mem::take(waiting));
        match job {
            Job::Unit(_) => {}
            Job::Checkpoint { note, reply } => drop(reply.send(self.keep_checkpoint(&note))),
            Job::Close { reply } => return Some(reply),
            #[cfg(test)]
            Job::Run(run) => drop(self.connection().map(run)),
        }
        None
    }

    /// Serves all of `waiting` in one transaction; if that fails, each in one of its own.
    fn serve(&mut self, mut waiting: Vec<Waiting>) {
        if waiting.len() > 1 && self.reserve.restore().is_ok() {
            let units: Vec<&Unit> = waiting.iter().map(|one| &one.unit).collect();
            if let Ok(answers) = self.commit(&units) {
                for (one, answer) in waiting.drain(..).zip(answers) {
                    drop(one.reply.send(answer));
                }
            }
        }
        for one in waiting {
            let answer = self.serve_one(&one.unit);
            drop(one.reply.send(answer));
        }
    }

    fn serve_one(&mut self, unit: &Unit) -> Result<Committed, CommitError> {
        let reserve = self.reserve.restore();
        let urgent = is_urgent(unit);
        if !urgent {
            reserve?;
        }
        let mut answer = self.commit(&[unit]);
        if urgent && answer.is_err() {
            self.reserve.free();
            answer = self.commit(&[unit]);
            for _ in 0..FREEING {
                if answer.as_ref().err() != Some(&StoreError::Full) {
                    break;
                }
                // File systems give the space of a removed file back a little later.
                std::thread::park_timeout(FREED);
                answer = self.commit(&[unit]);
            }
        }
        let lost = || StoreError::Unavailable("the unit was not answered".to_owned());
        answer?.pop().ok_or_else(lost)?
    }

    fn commit(&mut self, units: &[&Unit]) -> Result<group::Answers, StoreError> {
        self.connection()?;
        let Some(db) = &self.db else {
            return Err(StoreError::Unavailable("there is no connection".to_owned()));
        };
        // What is kept for a suspension is not spent on forgetting.
        let prune = !units.iter().any(|unit| is_urgent(unit));
        match group::commit(db, &self.head, &mut self.alike, units, prune) {
            Ok((head, answers)) => {
                if units.iter().any(|unit| wipes_key(unit)) {
                    self.wipe = Wipe::NOW;
                }
                self.recent.take_out(units.iter().copied());
                self.published.replace(&head);
                self.head = head;
                Ok(answers)
            }
            Err(error) => {
                // A commit that failed may be there all the same.
                self.recent.forget();
                tracing::error!(%error, units = units.len(), "nothing was committed");
                if error != StoreError::Full || !db.is_autocommit() {
                    self.db = None;
                }
                Err(error)
            }
        }
    }

    fn keep_checkpoint(&mut self, note: &str) -> Result<(), CheckpointRefusal> {
        self.reserve.restore()?;
        let db = self.connection()?;
        let head = Head::load(db)?;
        let kept = keep_checkpoint(db, &head, note);
        if let Err(CheckpointRefusal::Store(error)) = &kept {
            tracing::error!(%error, "the checkpoint was not kept");
            self.db = None;
        }
        kept
    }

    /// Leaves everything in the database file, and the folder to whoever opens it next.
    fn close(self) {
        if let Some(db) = &self.db {
            // What cannot be moved now stays in the write-ahead log, just as durable.
            drop(db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())));
        }
    }

    /// The connection; a new one, if the last one is in doubt.
    fn connection(&mut self) -> Result<&Connection, StoreError> {
        if self.db.is_none() {
            let db = connect(&self.folder)?;
            // A commit whose sync failed may still lie at the end of the write-ahead log, unseen by
            // readers, and would come back after a crash. This commit takes its place.
            db.execute_batch("UPDATE meta SET scars = scars + 1")
                .map_err(store_error)?;
            self.head = Head::load(&db)?;
            // What was read since the failure may be from before a commit that is there after all.
            self.recent.forget();
            self.published.replace(&self.head);
            self.db = Some(db);
        }
        self.db
            .as_ref()
            .ok_or_else(|| StoreError::Unavailable("there is no connection".to_owned()))
    }

    /// What can wait until the answers are out.
    fn tidy(&mut self) {
        if let Some(db) = &self.db
            && self.wipe.is_due()
        {
            if is_emptied(db) {
                self.wipe = Wipe::Done;
            } else {
                self.wipe.again_later();
            }
        }
        if let Err(error) = self.reserve.restore() {
            tracing::warn!(%error, "no space is reserved: only suspensions are written");
        }
    }
}

/// Empties the write-ahead log, if no reader is in it now. Units wait behind this: it waits for
/// nobody.
fn is_emptied(db: &Connection) -> bool {
    let empty = |db: &Connection| {
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
            row.get::<_, i64>(0)
        })
    };
    let busy = db.busy_timeout(Duration::ZERO).and_then(|()| empty(db));
    let restored = db.busy_timeout(schema::BUSY);
    matches!((busy, restored), (Ok(0), Ok(())))
}

/// Its statements are one transaction: dropped without commit, it is rolled back.
fn keep_checkpoint(db: &Connection, head: &Head, note: &str) -> Result<(), CheckpointRefusal> {
    let transaction = db.unchecked_transaction().map_err(store_error)?;
    log::keep_checkpoint(&transaction, head, note)?;
    Ok(transaction.commit().map_err(store_error)?)
}

/// Opens the database for writing, as every writing connection is set.
pub(crate) fn connect(folder: &Folder) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(folder.database(), flags).map_err(store_error)?;
    schema::prepare_for_writing(&db)?;
    Ok(db)
}

/// Whether the reserve is there for `unit`: stopping, lifting a stop, and what became of it (C3).
fn is_urgent(unit: &Unit) -> bool {
    let stops = |change: &Change| {
        matches!(
            change,
            Change::Suspend(_) | Change::Resume(_) | Change::VoidAll { .. }
        )
    };
    unit.changes.iter().any(stops)
        || unit.changes.is_empty()
            && unit.events.iter().any(|event| {
                matches!(
                    event.what,
                    What::SuspensionEffective { .. } | What::SuspensionNotEffective { .. }
                )
            })
}

/// Whether a private part may be wiped with `unit`.
fn wipes_key(unit: &Unit) -> bool {
    let wipes = |change: &Change| {
        matches!(
            change,
            Change::SetKeyState {
                state: KeyState::Retired | KeyState::Verifying,
                ..
            }
        )
    };
    unit.changes.iter().any(wipes)
}

/// How often, and how long each time, a suspension waits for the reserve's space to be free.
const FREEING: u32 = 20;
const FREED: Duration = Duration::from_millis(10);
/// The most groups between two tries to empty the write-ahead log.
const LONGEST_WAIT: u32 = 64;
/// More in one transaction make each one wait longer than a sync of its own would.
const MAX_GROUP: usize = 256;
