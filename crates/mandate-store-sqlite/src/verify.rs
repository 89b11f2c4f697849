//! Checking the whole log, as it is on disk when that begins.

use std::collections::HashSet;

use mandate_audit::{
    Checkpoint, CheckpointError, Event, Fault, Hash, LogVerifier, NodeId, NoteKey, Report,
    SpoolChains, SpoolFault, VerifiedCheckpoint,
};
use mandate_model::stop::Subject;
use mandate_model::{GatewayId, KeyId};
use mandate_ports::{LogHead, StoreError};
use rusqlite::{Connection, OptionalExtension};

use crate::column::{get, int, uint, word};
use crate::failure::store_error;
use crate::gateways::{self, Announced};
use crate::lots::{Lots, Row};
use crate::read::in_one_moment;
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
    /// Keys of the log that are suspended: whoever has one signs whatever checkpoint it likes, so
    /// what they signed is compared with the log and confirms nothing.
    pub suspended: Vec<KeyId>,
    /// Whether one of them signed the checkpoint that was kept elsewhere.
    pub since_is_suspended: bool,
    /// The signed note of the latest checkpoint that was verified with all this, by a key that is not
    /// suspended; `None` if there is none.
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
///
/// What moves is read in one moment, at the beginning: how far the log goes, and what is compared with
/// it. The records up to there stay as they are.
pub(crate) fn verify(
    db: &Connection,
    keys: &[NoteKey],
    since: Option<VerifiedCheckpoint>,
    progress: &dyn Fn(u64, u64),
) -> Result<Verification, StoreError> {
    let mut begun = in_one_moment(db, |db| Begun::read(db, keys))?;
    let since_is_suspended = since.as_ref().is_some_and(|one| begun.doubts(one));
    let (doubted, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut begun.kept)
        .into_iter()
        .partition(|(_, checkpoint)| begun.doubts(checkpoint));
    let latest = kept.last().map(|(note, _)| note.clone());
    let alone = |kept: Vec<Kept>| kept.into_iter().map(|(_, checkpoint)| checkpoint);
    let mut verifier = LogVerifier::new(alone(kept)).doubting(alone(doubted));
    if let Some(since) = since {
        verifier = verifier.since(since, since_is_suspended);
    }
    let mut records = Records::default();
    let size = begun.head.size;
    while verifier.next() < size {
        progress(verifier.next(), size);
        let more = |db: &Connection| take_in(db, size, &mut verifier, &mut records);
        if !in_one_moment(db, more)? {
            break;
        }
    }
    progress(size, size);
    let mut report = verifier.finish_at(size, &begun.head.root);
    records.report(&mut report, begun.words);
    if begun.beyond > 0 {
        report.faults.push(Fault::Beyond {
            count: begun.beyond,
        });
    }
    report.faults.append(&mut begun.bad);
    let mut spools = records.spool_faults;
    spools.extend(compare_heads(&begun.spools, &records.spools));
    Ok(Verification {
        report,
        spools,
        withheld: begun.withheld,
        suspended: begun.suspended.into_iter().map(|(id, _)| id).collect(),
        since_is_suspended,
        checkpoint: latest,
    })
}

/// What moves while a log is verified, as it was when that began.
struct Begun {
    head: LogHead,
    /// Records that nobody reads, and words that lead to lots.
    beyond: u64,
    words: u64,
    kept: Vec<Kept>,
    /// Checkpoints that none of the keys signed.
    bad: Vec<Fault>,
    spools: Vec<SpoolHead>,
    withheld: Vec<Announced>,
    /// Keys of the log that are suspended, with the keys themselves.
    suspended: Vec<(KeyId, Vec<u8>)>,
}

impl Begun {
    fn read(db: &Connection, keys: &[NoteKey]) -> Result<Self, StoreError> {
        let head = head::read(db)?.log;
        let beyond = Lots::up_to(db, head.size).beyond()?;
        let words = log::words(db)?;
        let (kept, bad) = checkpoints(db, keys)?;
        Ok(Self {
            head,
            beyond,
            words,
            kept,
            bad,
            spools: spool_heads(db)?,
            withheld: gateways::withheld(db)?,
            suspended: suspended_keys(db)?,
        })
    }

    /// Whether somebody else may have signed it.
    fn doubts(&self, checkpoint: &VerifiedCheckpoint) -> bool {
        let signer = checkpoint.key().public();
        self.suspended.iter().any(|(_, public)| public == signer)
    }
}

/// The next records, some thousand; whether there is anything left to look at.
fn take_in(
    db: &Connection,
    size: u64,
    verifier: &mut LogVerifier,
    records: &mut Records,
) -> Result<bool, StoreError> {
    let lots = Lots::up_to(db, size);
    let until = verifier.next().saturating_add(BATCH).min(size);
    while verifier.next() < until {
        let (began, mut end) = (verifier.next(), None);
        if let Some(row) = lots.row(began)? {
            records.look_at(&row);
            for (index, entry) in row.unproven(began) {
                records.take_in(db, &row, index, entry)?;
                verifier.record(Some(entry), |id| stored(db, id));
            }
            end = Some(row.end);
        }
        if verifier.next() == began {
            let end = end.map_or_else(|| lots.next_after(began), Ok)?;
            if !skip_missing(db, (end, size), verifier) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Goes on at `end` after records that are not there; whether there is anything after them.
fn skip_missing(db: &Connection, (end, size): (u64, u64), verifier: &mut LogVerifier) -> bool {
    // Sizes and indexes are on the same disk: those that were changed could be anything.
    let missing = end.saturating_sub(verifier.next());
    if end >= size || !(1..=MAX_GAP).contains(&missing) {
        return false;
    }
    (0..missing).for_each(|_| verifier.record(None, |id| stored(db, id)));
    true
}

/// What the records say, beside being in the tree.
#[derive(Default)]
struct Records {
    spools: SpoolChains,
    spool_faults: Vec<SpoolFault>,
    /// Rows that are not to be believed, and the last one that was looked at.
    rows: Vec<Fault>,
    more_rows: u64,
    row: Option<u64>,
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
    /// Looks at a row that has the next record, or should have it.
    fn look_at(&mut self, row: &Row) {
        if self.row.replace(row.first) == Some(row.first) {
            return;
        }
        let first = row.first;
        match row.check() {
            Ok(()) => {}
            Err(_) if self.rows.len() >= MAX_ASTRAY => self.more_rows += 1,
            Err(fault) => self.rows.push(Fault::Row { first, fault }),
        }
    }

    fn take_in(
        &mut self,
        db: &Connection,
        lot: &Row,
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
        if self.are_found(db, lot.first, &says.words)? && in_time {
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
        words: &[Word],
    ) -> Result<bool, StoreError> {
        if self.lot.replace(first) != Some(first) {
            self.finding.clear();
            self.missing.clear();
        }
        let mut all = true;
        for word in words {
            if self.finding.contains(word) {
                continue;
            }
            if self.missing.contains(word) {
                all = false;
                continue;
            }
            self.words += 1;
            if log::is_found_by(db, first, word)? {
                self.finding.insert(word.clone());
            } else {
                self.missing.insert(word.clone());
                all = false;
            }
        }
        Ok(all)
    }

    /// Rows that lead nowhere are named where nothing else is wrong: a record that is missing
    /// leaves its rows behind.
    fn report(&mut self, report: &mut Report, words: u64) {
        report.faults.append(&mut self.rows);
        report.more += self.more_rows;
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

/// How far a spool was taken in.
struct SpoolHead {
    gateway: GatewayId,
    spool: String,
    next: u64,
    chain: String,
}

fn spool_heads(db: &Connection) -> Result<Vec<SpoolHead>, StoreError> {
    let mut statement = db
        .prepare("SELECT gateway, name, next, chain FROM spool ORDER BY no")
        .map_err(store_error)?;
    let mut rows = statement.query([]).map_err(store_error)?;
    let mut heads = Vec::new();
    while let Some(row) = rows.next().map_err(store_error)? {
        heads.push(SpoolHead {
            gateway: word("a gateway", get(row, "gateway")?)?,
            spool: get(row, "name")?,
            next: uint(get(row, "next")?),
            chain: get(row, "chain")?,
        });
    }
    Ok(heads)
}

/// Compares what the log has of each spool with what was taken in.
fn compare_heads(heads: &[SpoolHead], spools: &SpoolChains) -> Vec<SpoolFault> {
    let wrong = heads.iter().filter_map(|head| {
        let (next, chain) = spools.head(&head.gateway, &head.spool);
        let same = next == head.next && chain.to_string() == head.chain;
        (!same).then(|| SpoolFault {
            gateway: head.gateway.clone(),
            spool: head.spool.clone(),
            seq: next.min(head.next),
        })
    });
    wrong.collect()
}

/// The log's keys that are suspended now.
fn suspended_keys(db: &Connection) -> Result<Vec<(KeyId, Vec<u8>)>, StoreError> {
    let stops = stops::stops(db)?;
    let mut statement = db
        .prepare("SELECT public FROM signing_key WHERE id = ?1 AND purpose = 'log'")
        .map_err(store_error)?;
    let mut found = Vec::new();
    for suspension in stops.suspensions() {
        if let Subject::Key { id } = &suspension.subject {
            let public = statement
                .query_row([id.as_str()], |row| row.get(0))
                .optional()
                .map_err(store_error)?;
            found.extend(public.map(|public| (id.clone(), public)));
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

const BATCH: u64 = 1_000;
/// Whoever has a thousand of them does not need the next one by name.
const MAX_ASTRAY: usize = 1_000;
/// More missing records in one row than this are not walked one by one.
const MAX_GAP: u64 = 1 << 20;
