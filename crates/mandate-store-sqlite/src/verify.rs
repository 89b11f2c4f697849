//! Checking the whole log, as it is on disk, in one moment.

use mandate_audit::{
    Checkpoint, CheckpointError, Event, Fault, Hash, LogVerifier, NodeId, NoteKey, Report,
    SpoolChains, SpoolFault, VerifiedCheckpoint,
};
use mandate_model::KeyId;
use mandate_model::stop::Subject;
use mandate_ports::StoreError;
use rusqlite::Connection;

use crate::column::{get, int, uint, word};
use crate::failure::store_error;
use crate::gateways::{self, Announced};
use crate::{head, log, stops};

/// What the verification of a store's log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// The records, the tree and the checkpoints.
    pub report: Report,
    /// Spools whose records in the log do not make the chain that was taken in.
    pub spools: Vec<SpoolFault>,
    /// Spools whose gateway announced more than it shipped. What is on its way shows up here too.
    pub withheld: Vec<Announced>,
    /// Keys of the log that are suspended: whoever has one signs whatever checkpoint it likes.
    pub suspended: Vec<KeyId>,
    /// The signed note of the latest checkpoint that was verified with all this; `None` if there is none.
    pub checkpoint: Option<String>,
}

impl Verification {
    /// Whether nothing in the log is wrong. Records that are still to come are not wrong.
    pub fn is_whole(&self) -> bool {
        self.report.is_whole() && self.spools.is_empty()
    }
}

/// Verifies all records against the tree, the kept checkpoints and `since`, a checkpoint that was
/// kept elsewhere. `keys` are the log's keys, past ones included.
pub(crate) fn verify(
    db: &Connection,
    keys: &[NoteKey],
    since: Option<VerifiedCheckpoint>,
    progress: &dyn Fn(u64, u64),
) -> Result<Verification, StoreError> {
    let (kept, mut bad) = checkpoints(db, keys)?;
    let latest = kept.last().map(|(note, _)| note.clone());
    let kept = kept.into_iter().map(|(_, checkpoint)| checkpoint);
    let mut verifier = LogVerifier::new(kept.chain(since));
    let mut records = Records::default();
    let head = head::read(db)?.log;
    let (beyond, by_task) = log::rows(db, head.size)?;
    while verifier.next() < head.size {
        progress(verifier.next(), head.size);
        let batch = log::stored(db, verifier.next(), BATCH)?;
        for one in &batch {
            records.take_in(db, verifier.next(), one)?;
            verifier.record(Some(&one.entry), |id| stored(db, id));
        }
        if batch.is_empty() {
            // Sizes and indexes are on the same disk: those that were changed could be anything.
            let missing = log::gap(db, verifier.next())?.filter(|gap| (1..=MAX_GAP).contains(gap));
            let Some(missing) = missing else { break };
            let missing = missing.min(head.size - verifier.next());
            (0..missing).for_each(|_| verifier.record(None, |id| stored(db, id)));
        }
    }
    progress(head.size, head.size);
    let mut report = verifier.finish_at(head.size, &head.root);
    records.report(&mut report, by_task);
    if beyond > 0 {
        report.faults.push(Fault::Beyond { count: beyond });
    }
    report.faults.append(&mut bad);
    let mut spools = records.spool_faults;
    spools.extend(compare_heads(db, &records.spools)?);
    Ok(Verification {
        report,
        spools,
        withheld: gateways::withheld(db)?,
        suspended: suspended_keys(db)?,
        checkpoint: latest,
    })
}

/// What the records say, beside being in the tree.
#[derive(Default)]
struct Records {
    spools: SpoolChains,
    spool_faults: Vec<SpoolFault>,
    /// Records that are found by something else than what they say.
    astray: Vec<u64>,
    more_astray: u64,
    /// How many rows lead to records by task.
    by_task: u64,
}

impl Records {
    fn take_in(
        &mut self,
        db: &Connection,
        index: u64,
        one: &log::Stored,
    ) -> Result<(), StoreError> {
        // What is no event has neither key nor task; the verifier of the tree names it.
        let Ok(event) = Event::parse(&one.entry) else {
            return Ok(());
        };
        if let Some(key) = &event.spool {
            self.spool_faults
                .extend(self.spools.record(key, &one.entry).err());
        }
        let tasks = log::tasks(&event);
        self.by_task += u64::try_from(tasks.len()).unwrap_or(u64::MAX);
        let says = log::Index::of(&event)?;
        if one.index.as_ref() == Some(&says) && log::is_found_by(db, index, &tasks)? {
            return Ok(());
        }
        if self.astray.len() < MAX_ASTRAY {
            self.astray.push(index);
        } else {
            self.more_astray += 1;
        }
        Ok(())
    }

    /// Rows that lead nowhere are named where nothing else is wrong: a record that is missing
    /// leaves its rows behind.
    fn report(&self, report: &mut Report, by_task: u64) {
        let astray = self
            .astray
            .iter()
            .map(|index| Fault::Index { index: *index });
        report.faults.extend(astray);
        report.more += self.more_astray;
        if report.is_whole() && by_task != self.by_task {
            report.faults.push(Fault::Rows {
                found: by_task,
                expected: self.by_task,
            });
        }
    }
}

/// A node that cannot be read is as good as lost.
fn stored(db: &Connection, id: NodeId) -> Option<Hash> {
    log::node(db, id).ok().flatten()
}

/// A checkpoint that was verified, and the note that it was signed in.
type Kept = (String, VerifiedCheckpoint);

/// The checkpoints that are kept, the oldest first, each with its note.
fn checkpoints(db: &Connection, keys: &[NoteKey]) -> Result<(Vec<Kept>, Vec<Fault>), StoreError> {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for note in log::checkpoints(db)? {
        match open(&note, keys) {
            Ok(checkpoint) => good.push((note, checkpoint)),
            Err(error) => bad.push(Fault::Checkpoint(error)),
        }
    }
    Ok((good, bad))
}

/// The checkpoint in `note`, by whichever of `keys` signed it; else what the last one said.
fn open(note: &str, keys: &[NoteKey]) -> Result<VerifiedCheckpoint, CheckpointError> {
    let mut result = Err(CheckpointError::Note(mandate_audit::NoteError::NotSigned(
        "any of the log".to_owned(),
    )));
    for key in keys {
        result = Checkpoint::open(note, key);
        if result.is_ok() {
            break;
        }
    }
    result
}

/// Compares what the log has of each spool with what was taken in.
fn compare_heads(db: &Connection, spools: &SpoolChains) -> Result<Vec<SpoolFault>, StoreError> {
    let mut statement = db
        .prepare("SELECT gateway, name, next, chain FROM spool ORDER BY no")
        .map_err(store_error)?;
    let mut rows = statement.query([]).map_err(store_error)?;
    let mut faults = Vec::new();
    while let Some(row) = rows.next().map_err(store_error)? {
        let gateway = word("a gateway", get(row, "gateway")?)?;
        let (spool, chain): (String, String) = (get(row, "name")?, get(row, "chain")?);
        let next = uint(get(row, "next")?);
        let (found_next, found) = spools.head(&gateway, &spool);
        if (found_next, found.to_string()) != (next, chain) {
            faults.push(SpoolFault {
                gateway,
                spool,
                seq: found_next.min(next),
            });
        }
    }
    Ok(faults)
}

/// The log's keys that are suspended now.
fn suspended_keys(db: &Connection) -> Result<Vec<KeyId>, StoreError> {
    let stops = stops::stops(db)?;
    let mut statement = db
        .prepare("SELECT 1 FROM signing_key WHERE id = ?1 AND purpose = 'log'")
        .map_err(store_error)?;
    let mut found = Vec::new();
    for suspension in stops.suspensions() {
        if let Subject::Key { id } = &suspension.subject
            && statement.exists([id.as_str()]).map_err(store_error)?
        {
            found.push(id.clone());
        }
    }
    found.sort();
    Ok(found)
}

/// The public keys that ever signed checkpoints, retired ones included, the oldest first.
pub(crate) fn log_keys(db: &Connection) -> Result<Vec<[u8; 32]>, StoreError> {
    let mut statement = db
        .prepare("SELECT public FROM signing_key WHERE purpose = 'log' ORDER BY since, id LIMIT ?1")
        .map_err(store_error)?;
    let keys = statement
        .query_map([int(1_000)], |row| row.get(0))
        .map_err(store_error)?;
    keys.collect::<Result<_, _>>().map_err(store_error)
}

const BATCH: usize = 1_000;
/// Whoever has a thousand of them does not need the next one by name.
const MAX_ASTRAY: usize = 1_000;
/// More missing records in one row than this are not walked one by one.
const MAX_GAP: u64 = 1 << 20;
