//! Checking the whole log, as it is on disk, in one moment.

use std::collections::HashSet;

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
use crate::words::{Found, Word};
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
    let (beyond, words) = log::rows(db, head.size)?;
    let mut told = None;
    while verifier.next() < head.size {
        if told.is_none_or(|told| verifier.next() >= told + TELL_EACH) {
            told = Some(verifier.next());
            progress(verifier.next(), head.size);
        }
        if let Some(lot) = log::lot_of(db, verifier.next())? {
            for (index, entry) in lot.records(verifier.next()) {
                if index < head.size {
                    records.take_in(db, &lot, index, entry)?;
                    verifier.record(Some(entry), |id| stored(db, id));
                }
            }
        } else {
            // Sizes and indexes are on the same disk: those that were changed could be anything.
            let missing = log::gap(db, verifier.next())?.filter(|gap| (1..=MAX_GAP).contains(gap));
            let Some(missing) = missing else { break };
            let missing = missing.min(head.size - verifier.next());
            (0..missing).for_each(|_| verifier.record(None, |id| stored(db, id)));
        }
    }
    progress(head.size, head.size);
    let mut report = verifier.finish_at(head.size, &head.root);
    records.report(&mut report, words);
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
    /// The lot that is looked at, and the words that do find it, of those that its records say.
    lot: Option<u64>,
    finding: HashSet<Word>,
    missing: HashSet<Word>,
    /// How many words should lead to lots.
    words: u64,
}

impl Records {
    fn take_in(
        &mut self,
        db: &Connection,
        lot: &log::Stored,
        index: u64,
        entry: &[u8],
    ) -> Result<(), StoreError> {
        // What is no event has neither key nor words; the verifier of the tree names it.
        let Ok(event) = Event::parse(entry) else {
            return Ok(());
        };
        if let Some(key) = &event.spool {
            self.spool_faults
                .extend(self.spools.record(key, entry).err());
        }
        let says = Found::of(&event)?;
        let in_time = (lot.times.0..=lot.times.1).contains(&says.at);
        if self.are_found(db, lot.first, says.words)? && in_time {
            return Ok(());
        }
        if self.astray.len() < MAX_ASTRAY {
            self.astray.push(index);
        } else {
            self.more_astray += 1;
        }
        Ok(())
    }

    /// Whether each of `words` finds the lot that begins with `first`. Each word of a lot is looked up
    /// once.
    fn are_found(
        &mut self,
        db: &Connection,
        first: u64,
        words: Vec<Word>,
    ) -> Result<bool, StoreError> {
        if self.lot.replace(first) != Some(first) {
            self.finding.clear();
            self.missing.clear();
        }
        let mut all = true;
        for word in words {
            if self.finding.contains(&word) {
                continue;
            }
            if self.missing.contains(&word) {
                all = false;
                continue;
            }
            self.words += 1;
            if log::is_found_by(db, first, &word)? {
                self.finding.insert(word);
            } else {
                self.missing.insert(word);
                all = false;
            }
        }
        Ok(all)
    }

    /// Rows that lead nowhere are named where nothing else is wrong: a record that is missing
    /// leaves its rows behind.
    fn report(&self, report: &mut Report, words: u64) {
        let astray = self
            .astray
            .iter()
            .map(|index| Fault::Index { index: *index });
        report.faults.extend(astray);
        report.more += self.more_astray;
        if report.is_whole() && words != self.words {
            report.faults.push(Fault::Rows {
                found: words,
                expected: self.words,
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

const TELL_EACH: u64 = 1_000;
/// Whoever has a thousand of them does not need the next one by name.
const MAX_ASTRAY: usize = 1_000;
/// More missing records in one row than this are not walked one by one.
const MAX_GAP: u64 = 1 << 20;
