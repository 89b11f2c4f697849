//! The log: its records in lots, what they are found by, and the nodes of the tree. `lots.rs` reads the lots.

use std::borrow::Borrow;

use mandate_audit::{Checkpoint, Event, Hash, NodeId, ProofPlan};
use mandate_ports::{CheckpointRefusal, LogReceipt, StoreError};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::column::{int, uint};
use crate::failure::{Outcome, damaged, store_error};
use crate::head::Head;
use crate::lot::{self, Lot};
use crate::words::{Found, Word};

/// Appends `event`.
pub(crate) fn append(db: &Connection, head: &mut Head, event: &Event) -> Outcome<()> {
    append_all(db, head, std::iter::once(event)).map(drop)
}

/// Appends `events`, in their order.
pub(crate) fn append_all(
    db: &Connection,
    head: &mut Head,
    events: impl Iterator<Item = impl Borrow<Event>>,
) -> Outcome<Vec<LogReceipt>> {
    let before = head.tree.size();
    let mut lot = Lot::default();
    for event in events {
        let event = event.borrow();
        lot.add(&event.canonical()?, &Found::of(event)?);
        if lot.is_full() {
            append_lot(db, head, &std::mem::take(&mut lot))?;
        }
    }
    append_lot(db, head, &lot)?;
    let receipts = (before..head.tree.size()).map(|index| LogReceipt { index });
    Ok(receipts.collect())
}

/// Appends the records of `lot`. Tells the index of the first.
pub(crate) fn append_lot(db: &Connection, head: &mut Head, lot: &Lot) -> Outcome<u64> {
    let first = head.tree.size();
    let Some((earliest, latest)) = lot.times else {
        return Ok(first);
    };
    let mut hashes = Vec::with_capacity(lot.len() * 2 * 32);
    for leaf in &lot.leaves {
        head.tree
            .append(*leaf, |_, hash| hashes.extend_from_slice(&hash));
    }
    let count = i64::try_from(lot.len()).unwrap_or(i64::MAX);
    db.prepare_cached(
        "INSERT INTO log (first, count, earliest, latest, entries) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![int(first), count, earliest, latest, lot.entries])?;
    db.prepare_cached("INSERT INTO node (first, hashes) VALUES (?1, ?2)")?
        .execute(params![int(first), hashes])?;
    let mut found_by =
        db.prepare_cached("INSERT INTO found_by (sort, value, first) VALUES (?1, ?2, ?3)")?;
    for word in &lot.words {
        found_by.execute(params![word.sort as i64, word.value, int(first)])?;
    }
    Ok(first)
}

/// Whether `word` finds the lot that begins with `first`.
pub(crate) fn is_found_by(db: &Connection, first: u64, word: &Word) -> Result<bool, StoreError> {
    db.prepare_cached("SELECT 1 FROM found_by WHERE sort = ?1 AND value = ?2 AND first = ?3")
        .and_then(|mut statement| {
            statement.exists(params![word.sort as i64, word.value, int(first)])
        })
        .map_err(store_error)
}

/// How many words lead to lots.
pub(crate) fn words(db: &Connection) -> Result<u64, StoreError> {
    db.query_row("SELECT count(*) FROM found_by", [], |row| row.get(0))
        .map(uint)
        .map_err(store_error)
}

/// A stored node.
pub(crate) fn node(db: &Connection, id: NodeId) -> Result<Option<Hash>, StoreError> {
    let Ok(leaf) = i64::try_from(lot::completed_with(id)) else {
        return Ok(None);
    };
    db.prepare_cached(
        "SELECT first, hashes FROM node WHERE first <= ?1 ORDER BY first DESC LIMIT 1",
    )
    .and_then(|mut statement| {
        let row = |row: &Row<'_>| {
            let hashes = row.get_ref(1)?.as_blob()?;
            Ok(lot::node(uint(row.get(0)?), hashes, id))
        };
        statement.query_row([leaf], row).optional()
    })
    .map(Option::flatten)
    .map_err(store_error)
}

/// The latest checkpoint.
pub(crate) fn checkpoint(db: &Connection) -> Result<Option<String>, StoreError> {
    db.prepare_cached("SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)).optional())
        .map_err(store_error)
}

/// Every checkpoint that is kept, the oldest first.
pub(crate) fn checkpoints(db: &Connection) -> Result<Vec<String>, StoreError> {
    let mut statement = db
        .prepare_cached("SELECT note FROM checkpoint ORDER BY size")
        .map_err(store_error)?;
    let notes = statement
        .query_map([], |row| row.get(0))
        .map_err(store_error)?;
    notes.collect::<Result<_, _>>().map_err(store_error)
}

/// Keeps `note` as the checkpoint of the committed log at the size that it names (C8).
pub(crate) fn keep_checkpoint(
    db: &Connection,
    head: &Head,
    note: &str,
) -> Result<(), CheckpointRefusal> {
    let said = Checkpoint::dangerous_unverified(note)
        .map_err(|e| CheckpointRefusal::Malformed(e.to_string()))?;
    if said.size() > head.tree.size() {
        return Err(CheckpointRefusal::Beyond {
            size: said.size(),
            committed: head.tree.size(),
        });
    }
    let root = ProofPlan::root(said.size())
        .build(|id| node(db, id))
        .map_err(|e| damaged("the log's tree", e))?;
    if root
        .first()
        .copied()
        .unwrap_or_else(mandate_audit::empty_root)
        != *said.root()
    {
        return Err(CheckpointRefusal::Root { size: said.size() });
    }
    insert_checkpoint(db, said.size(), note)
}

fn insert_checkpoint(db: &Connection, size: u64, note: &str) -> Result<(), CheckpointRefusal> {
    let latest: Option<(i64, String)> = db
        .query_row(
            "SELECT size, note FROM checkpoint ORDER BY size DESC LIMIT 1",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()
        .map_err(store_error)?;
    match latest {
        Some((at, kept)) if uint(at) == size && kept == note => return Ok(()),
        Some((at, _)) if uint(at) >= size => {
            return Err(CheckpointRefusal::Taken {
                size,
                latest: uint(at),
            });
        }
        Some(_) | None => {}
    }
    db.execute(
        "INSERT INTO checkpoint (size, note) VALUES (?1, ?2)",
        params![int(size), note],
    )
    .map_err(store_error)?;
    db.execute(
        "DELETE FROM checkpoint WHERE size <= (SELECT size FROM checkpoint ORDER BY size DESC LIMIT 1 OFFSET ?1)",
        [KEPT_CHECKPOINTS],
    )
    .map_err(store_error)?;
    Ok(())
}

/// So many of the latest checkpoints narrow down where a log was changed.
const KEPT_CHECKPOINTS: i64 = 1_000;
