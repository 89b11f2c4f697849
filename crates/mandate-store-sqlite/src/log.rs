//! The log: its records, their index, and the nodes of the tree.

use mandate_audit::{Checkpoint, Event, Hash, NodeId, ProofPlan, What, leaf_hash};
use mandate_model::stop::Subject;
use mandate_model::{TaskId, TokenId};
use mandate_ports::{CheckpointRefusal, EntryRange, LogReceipt, StoreError};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::column::{int, moment, uint, word_of};
use crate::failure::{Outcome, damaged, store_error};
use crate::head::Head;

/// Appends `event`.
pub(crate) fn append(db: &Connection, head: &mut Head, event: &Event) -> Outcome<LogReceipt> {
    append_bytes(db, head, event, &event.canonical()?)
}

/// Appends `bytes`, which are the encoding of `event`.
pub(crate) fn append_bytes(
    db: &Connection,
    head: &mut Head,
    event: &Event,
    bytes: &[u8],
) -> Outcome<LogReceipt> {
    let index = head.tree.size();
    insert_record(db, index, event, bytes)?;
    insert_tasks(db, index, event)?;
    let mut nodes = Vec::with_capacity(2);
    head.tree
        .append(leaf_hash(bytes), |id, hash| nodes.push((id, hash)));
    for (id, hash) in nodes {
        db.prepare_cached("INSERT INTO node (level, idx, hash) VALUES (?1, ?2, ?3)")?
            .execute(params![id.level, int(id.index), hash])?;
    }
    Ok(LogReceipt { index })
}

/// What is found by: of a record, what its columns and rows beside its bytes say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Index {
    at: i64,
    kind: String,
    decision: String,
    agent: Option<String>,
    server: Option<String>,
    token: Option<Vec<u8>>,
}

impl Index {
    /// What is to be found of `event`.
    pub(crate) fn of(event: &Event) -> Result<Self, StoreError> {
        Ok(Self {
            at: moment(event.at),
            kind: event.what.kind().to_owned(),
            decision: word_of(&event.decision)?,
            agent: event.actors.first().map(|a| a.sub.as_str().to_owned()),
            server: event.server.as_ref().map(|s| s.as_str().to_owned()),
            token: token(event).map(|token| token.as_bytes().to_vec()),
        })
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            at: row.get("at")?,
            kind: row.get("kind")?,
            decision: row.get("decision")?,
            agent: row.get("agent")?,
            server: row.get("server")?,
            token: row.get("token")?,
        })
    }
}

/// A record as it is stored, with what it is found by. An index that cannot be read is none.
pub(crate) struct Stored {
    pub(crate) entry: Vec<u8>,
    pub(crate) index: Option<Index>,
}

/// The records from `first` on as they are stored, without gaps.
pub(crate) fn stored(db: &Connection, first: u64, limit: usize) -> Result<Vec<Stored>, StoreError> {
    let mut statement = db
        .prepare_cached("SELECT * FROM log WHERE idx >= ?1 ORDER BY idx LIMIT ?2")
        .map_err(store_error)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement
        .query(params![int(first), limit])
        .map_err(store_error)?;
    let (mut found, mut next) = (Vec::new(), first);
    while let Some(row) = rows.next().map_err(store_error)? {
        let index: i64 = row.get("idx").map_err(store_error)?;
        if uint(index) != next {
            break;
        }
        found.push(Stored {
            entry: row.get("entry").map_err(store_error)?,
            index: Index::read(row).ok(),
        });
        next += 1;
    }
    Ok(found)
}

/// Whether each of `tasks` finds the record `index`.
pub(crate) fn is_found_by(
    db: &Connection,
    index: u64,
    tasks: &[TaskId],
) -> Result<bool, StoreError> {
    let mut statement = db
        .prepare_cached("SELECT 1 FROM log_task WHERE task = ?1 AND idx = ?2")
        .map_err(store_error)?;
    for task in tasks {
        let found = statement.exists(params![task.as_bytes(), int(index)]);
        if !found.map_err(store_error)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// How many rows there are of records beyond `size`, and by which tasks find records.
pub(crate) fn rows(db: &Connection, size: u64) -> Result<(u64, u64), StoreError> {
    let sql = "SELECT (SELECT count(*) FROM log WHERE idx >= ?1 OR idx < 0),
                      (SELECT count(*) FROM log_task)";
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    db.query_row(sql, [size], |row| {
        Ok((uint(row.get(0)?), uint(row.get(1)?)))
    })
    .map_err(store_error)
}

/// How many records from `first` on are not there; `None` if none comes after them.
pub(crate) fn gap(db: &Connection, first: u64) -> Result<Option<u64>, StoreError> {
    let next: Option<i64> = db
        .query_row(
            "SELECT min(idx) FROM log WHERE idx >= ?1",
            [int(first)],
            |row| row.get(0),
        )
        .map_err(store_error)?;
    Ok(next.and_then(|next| uint(next).checked_sub(first)))
}

fn insert_record(db: &Connection, index: u64, event: &Event, bytes: &[u8]) -> Outcome<()> {
    let found = Index::of(event)?;
    db.prepare_cached(
        "INSERT INTO log (idx, entry, at, kind, decision, agent, server, token)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        int(index),
        bytes,
        found.at,
        found.kind,
        found.decision,
        found.agent,
        found.server,
        found.token,
    ])?;
    Ok(())
}

fn insert_tasks(db: &Connection, index: u64, event: &Event) -> Outcome<()> {
    for task in tasks(event) {
        db.prepare_cached("INSERT INTO log_task (task, idx) VALUES (?1, ?2)")?
            .execute(params![task.as_bytes(), int(index)])?;
    }
    Ok(())
}

/// The tasks that find `event`: those on its path, and the one that it is about.
pub(crate) fn tasks(event: &Event) -> Vec<TaskId> {
    let mut tasks: Vec<TaskId> = event.task.iter().flat_map(|path| path.iter()).collect();
    tasks.extend(named_task(&event.what).filter(|task| !tasks.contains(task)));
    tasks
}

/// The task that an event is about without being done in it.
fn named_task(what: &What) -> Option<TaskId> {
    if let What::TaskEnded { task, .. }
    | What::Suspended {
        subject: Subject::Task { id: task },
        ..
    }
    | What::Resumed {
        subject: Subject::Task { id: task },
        ..
    } = what
    {
        Some(*task)
    } else {
        None
    }
}

fn token(event: &Event) -> Option<TokenId> {
    if let What::Revoked { token } = event.what {
        Some(token)
    } else {
        event.token
    }
}

/// A stored node.
pub(crate) fn node(db: &Connection, id: NodeId) -> Result<Option<Hash>, StoreError> {
    db.prepare_cached("SELECT hash FROM node WHERE level = ?1 AND idx = ?2")
        .and_then(|mut statement| {
            statement
                .query_row(params![id.level, int(id.index)], |row| row.get(0))
                .optional()
        })
        .map_err(store_error)
}

/// The bytes of a record.
pub(crate) fn entry(db: &Connection, index: u64) -> Result<Option<Vec<u8>>, StoreError> {
    db.prepare_cached("SELECT entry FROM log WHERE idx = ?1")
        .and_then(|mut statement| {
            statement
                .query_row([int(index)], |row| row.get(0))
                .optional()
        })
        .map_err(store_error)
}

/// The records from `first` on, without gaps: it ends before the first that is not there.
pub(crate) fn entries(db: &Connection, first: u64, limit: usize) -> Result<EntryRange, StoreError> {
    let mut range = EntryRange {
        first,
        entries: Vec::new(),
    };
    let mut statement = db
        .prepare_cached("SELECT idx, entry FROM log WHERE idx >= ?1 ORDER BY idx LIMIT ?2")
        .map_err(store_error)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement
        .query(params![int(first), limit])
        .map_err(store_error)?;
    let mut next = first;
    while let Some(row) = rows.next().map_err(store_error)? {
        let index: i64 = row.get(0).map_err(store_error)?;
        if uint(index) != next {
            break;
        }
        range.entries.push(row.get(1).map_err(store_error)?);
        next += 1;
    }
    Ok(range)
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
