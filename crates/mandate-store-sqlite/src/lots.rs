//! Reading the log's rows: the one reader for searches, exports, proofs, shipments and verification.
//!
//! A row says which record it begins with and how many it has; its bytes say that too, and so do the row
//! after it and the log's end. Whoever writes the database can make them disagree, and hide a record of
//! its own where nothing else looks. So all of them must agree, and a record is handed out only if its
//! hash is the one that the tree was built from, as it is stored under the record's number.
//!
//! That is no proof against whoever also writes the hashes of a whole row anew: what is put in a record's
//! place like that is shown, and verification alone finds it.

use mandate_audit::{NodeId, RowFault, leaf_hash};
use mandate_ports::{EntryRange, StoreError};
use rusqlite::{Connection, OptionalExtension, Row as SqlRow};

use crate::column::{int, uint};
use crate::failure::{damaged, store_error};
use crate::{head, lot};

/// The rows of the log, up to a size of it. What is beyond is no record.
#[derive(Clone, Copy)]
pub(crate) struct Lots<'a> {
    db: &'a Connection,
    size: u64,
}

/// A row as it is stored, whatever is wrong with it.
pub(crate) struct Row {
    pub(crate) first: u64,
    /// From when to when its records are found.
    pub(crate) times: (i64, i64),
    /// Where the next row begins or the log ends: what this one says of later records is never read.
    pub(crate) end: u64,
    count: i64,
    entries: Vec<u8>,
}

/// The hashes that are stored for the records of a row.
struct Leaves {
    first: u64,
    hashes: Vec<u8>,
}

impl<'a> Lots<'a> {
    /// Those of the log as it is committed.
    pub(crate) fn committed(db: &'a Connection) -> Result<Self, StoreError> {
        Ok(Self::up_to(db, head::read(db)?.log.size))
    }

    /// Those of a log of `size` records: for whoever writes it, before that is committed.
    pub(crate) fn up_to(db: &'a Connection, size: u64) -> Self {
        Self { db, size }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The row in which the record `index` should be; `None` if there is none, or no such record.
    pub(crate) fn row(&self, index: u64) -> Result<Option<Row>, StoreError> {
        let (Ok(asked), true) = (i64::try_from(index), index < self.size) else {
            return Ok(None);
        };
        let found = self
            .db
            .prepare_cached(
                "SELECT * FROM log WHERE first BETWEEN 0 AND ?1 ORDER BY first DESC LIMIT 1",
            )
            .and_then(|mut statement| statement.query_row([asked], Row::read).optional())
            .map_err(store_error)?;
        let Some(mut row) = found else {
            return Ok(None);
        };
        row.end = self.next_after(row.first)?;
        Ok(Some(row))
    }

    /// Where the first row after the record `index` begins, or the log ends.
    pub(crate) fn next_after(&self, index: u64) -> Result<u64, StoreError> {
        let Ok(asked) = i64::try_from(index) else {
            return Ok(self.size);
        };
        let next: Option<i64> = self
            .db
            .prepare_cached("SELECT min(first) FROM log WHERE first > ?1")
            .and_then(|mut statement| statement.query_row([asked], |row| row.get(0)))
            .map_err(store_error)?;
        Ok(next.map_or(self.size, |next| uint(next).min(self.size)))
    }

    /// The records of `row`, each with its number, and whether it is what the tree was built from.
    pub(crate) fn proven<'r>(
        &self,
        row: &'r Row,
    ) -> Result<impl Iterator<Item = (u64, &'r [u8], bool)> + use<'r>, StoreError> {
        let leaves = Leaves::of(*self, row.first)?;
        let told = move |(index, entry)| (index, entry, leaves.has(index, entry));
        Ok(row.unproven(row.first).map(told))
    }

    /// The bytes of the record `index`; `None` beyond the log's end.
    pub(crate) fn entry(&self, index: u64) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.entries(index, 1)?.entries.pop())
    }

    /// The records from `first` on, without gaps, up to the log's end.
    ///
    /// # Errors
    /// If one of them is not as it was committed, or in a row that is not to be believed.
    pub(crate) fn entries(&self, first: u64, limit: usize) -> Result<EntryRange, StoreError> {
        let mut entries = Vec::new();
        let mut next = first;
        while entries.len() < limit && next < self.size {
            let row = self.whole(next)?;
            let before = next;
            let wanted = self.proven(&row)?.filter(|(index, ..)| *index >= before);
            for (index, entry, is_proven) in wanted.take(limit - entries.len()) {
                if !is_proven {
                    return Err(not_whole(index, "is not what its hash was made of"));
                }
                entries.push(entry.to_vec());
                next = index + 1;
            }
            if next == before {
                return Err(not_whole(next, "is missing"));
            }
        }
        Ok(EntryRange { first, entries })
    }

    /// The row of the record `index`, which is below the size.
    fn whole(&self, index: u64) -> Result<Row, StoreError> {
        let row = self.row(index)?;
        let row = row.ok_or_else(|| not_whole(index, "is missing"))?;
        match row.check() {
            Ok(()) => Ok(row),
            Err(why) => Err(damaged(
                "the log",
                format!("the row of record {} {why}; {VERIFY}", row.first),
            )),
        }
    }

    /// How many records lie where no tree covers them: at the log's end or beyond, or below its first.
    pub(crate) fn beyond(&self) -> Result<u64, StoreError> {
        let mut statement = self
            .db
            .prepare("SELECT entries FROM log WHERE first < 0 OR first >= ?1")
            .map_err(store_error)?;
        let size = i64::try_from(self.size).unwrap_or(i64::MAX);
        let mut rows = statement.query([size]).map_err(store_error)?;
        let mut beyond = 0_u64;
        while let Some(row) = rows.next().map_err(store_error)? {
            let bytes = row.get_ref(0).map_err(store_error)?;
            let bytes = bytes.as_blob().map_err(|e| store_error(e.into()))?;
            // A row without a record does not belong there either.
            beyond = beyond.saturating_add(count(lot::entries(bytes)).max(1));
        }
        Ok(beyond)
    }
}

impl Row {
    /// `end` is to be filled in.
    fn read(row: &SqlRow<'_>) -> rusqlite::Result<Self> {
        let first = uint(row.get("first")?);
        Ok(Self {
            first,
            times: (row.get("earliest")?, row.get("latest")?),
            end: first,
            count: row.get("count")?,
            entries: row.get("entries")?,
        })
    }

    /// Whether the row is to be believed. One that ends before the next begins is: what is missing
    /// between them is missing from neither.
    pub(crate) fn check(&self) -> Result<(), RowFault> {
        let mut records = lot::entries(&self.entries);
        let held = count(records.by_ref());
        if !records.left().is_empty() {
            return Err(RowFault::Leftover);
        }
        if held == 0 {
            return Err(RowFault::Empty);
        }
        if u64::try_from(self.count) != Ok(held) {
            let said = self.count;
            return Err(RowFault::Count { said, held });
        }
        let room = self.end.saturating_sub(self.first);
        if held > room {
            return Err(RowFault::Overlap { held, room });
        }
        Ok(())
    }

    /// The first record between its last one and the next row. There is none, unless a row is gone.
    pub(crate) fn lacks(&self) -> Option<u64> {
        let held = count(lot::entries(&self.entries));
        let next = self.first.saturating_add(held);
        (next < self.end).then_some(next)
    }

    /// Its records with their numbers, from `from` on, whether they are what was committed or not.
    pub(crate) fn unproven(&self, from: u64) -> impl Iterator<Item = (u64, &[u8])> {
        let numbered = (self.first..self.end).zip(lot::entries(&self.entries));
        numbered.skip_while(move |(index, _)| *index < from)
    }
}

impl Leaves {
    /// Those that were stored with the row that begins with `first`: none, unless the rows of hashes meet there
    /// and at their end. Else a row that was put between others would bring its hashes along.
    fn of(lots: Lots<'_>, first: u64) -> Result<Self, StoreError> {
        let hashes: Option<Vec<u8>> = lots
            .db
            .prepare_cached("SELECT hashes FROM node WHERE first = ?1")
            .and_then(|mut statement| {
                let one = statement.query_row([int(first)], |row| row.get(0));
                one.optional()
            })
            .map_err(store_error)?;
        let hashes = hashes.unwrap_or_default();
        let next: Option<i64> = lots
            .db
            .prepare_cached("SELECT min(first) FROM node WHERE first > ?1")
            .and_then(|mut statement| statement.query_row([int(first)], |row| row.get(0)))
            .map_err(store_error)?;
        let end = next.map_or(lots.size, |next| uint(next).min(lots.size));
        let fits = lot::is_of(first..end, hashes.len()) && Self::begin(lots, first)?;
        Ok(Self {
            first,
            hashes: if fits { hashes } else { Vec::new() },
        })
    }

    /// Whether the row of hashes before `first` ends there, or the log begins.
    fn begin(lots: Lots<'_>, first: u64) -> Result<bool, StoreError> {
        let before: Option<(i64, i64)> = lots
            .db
            .prepare_cached(
                "SELECT first, length(hashes) FROM node WHERE first < ?1 ORDER BY first DESC LIMIT 1",
            )
            .and_then(|mut statement| {
                let one = statement.query_row([int(first)], |row| Ok((row.get(0)?, row.get(1)?)));
                one.optional()
            })
            .map_err(store_error)?;
        Ok(match before {
            None => first == 0,
            Some((begin, length)) => match (u64::try_from(begin), usize::try_from(length)) {
                (Ok(begin), Ok(length)) => lot::is_of(begin..first, length),
                (Err(_), _) => first == 0,
                (_, Err(_)) => false,
            },
        })
    }

    /// Whether `entry` is what the tree has as record `index`.
    fn has(&self, index: u64, entry: &[u8]) -> bool {
        let leaf = NodeId { level: 0, index };
        lot::node(self.first, &self.hashes, leaf) == Some(leaf_hash(entry))
    }
}

fn count(records: impl Iterator) -> u64 {
    u64::try_from(records.count()).unwrap_or(u64::MAX)
}

fn not_whole(index: u64, why: &str) -> StoreError {
    damaged("the log", format!("record {index} {why}; {VERIFY}"))
}

const VERIFY: &str = "`mandate audit verify` names all that is wrong";
