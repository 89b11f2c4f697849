//! Checking the whole log, as it is on disk, in one moment.

use mandate_audit::{
    Checkpoint, CheckpointError, Event, Fault, Hash, LogVerifier, NodeId, NoteKey, Report,
    SpoolChains, SpoolFault, VerifiedCheckpoint,
};
use mandate_ports::StoreError;
use rusqlite::Connection;

use crate::column::{get, int, uint, word};
use crate::failure::store_error;
use crate::gateways::{self, Announced};
use crate::{head, log};

/// What the verification of a store's log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// The records, the tree and the checkpoints.
    pub report: Report,
    /// Spools whose records in the log do not make the chain that was taken in.
    pub spools: Vec<SpoolFault>,
    /// Spools whose gateway announced more than it shipped. What is on its way shows up here too.
    pub withheld: Vec<Announced>,
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
    let mut spools = SpoolChains::default();
    let mut spool_faults = Vec::new();
    let size = head::read(db)?.log.size;
    while verifier.next() < size {
        progress(verifier.next(), size);
        let batch = log::entries(db, verifier.next(), BATCH)?;
        for entry in &batch.entries {
            verifier.record(Some(entry), |id| stored(db, id));
            spool_faults.extend(take_in(&mut spools, entry));
        }
        if batch.entries.is_empty() {
            verifier.record(None, |id| stored(db, id));
        }
    }
    progress(size, size);
    let mut report = verifier.finish();
    report.faults.append(&mut bad);
    spool_faults.extend(compare_heads(db, &spools)?);
    Ok(Verification {
        report,
        spools: spool_faults,
        withheld: gateways::withheld(db)?,
        checkpoint: latest,
    })
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

fn take_in(spools: &mut SpoolChains, entry: &[u8]) -> Option<SpoolFault> {
    // What is no event has no key; the verifier of the tree names it.
    let key = Event::parse(entry).ok()?.spool?;
    spools.record(&key, entry).err()
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
