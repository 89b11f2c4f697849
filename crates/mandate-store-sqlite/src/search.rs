//! Finding records by what they are about: first the lots that may have some, then those in them.

use std::ops::Range;

use mandate_audit::Event;
use mandate_ports::{Matches, Search, StoreError};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use crate::column::{moment, uint};
use crate::failure::store_error;
use crate::lots::{Lots, Row};
use crate::words::{Found, Sort, Word};

/// Matching records, the latest first.
pub(crate) fn search(db: &Connection, search: &Search) -> Result<Matches, StoreError> {
    let lots = Lots::committed(db)?;
    let filter = Filter::of(db, search, lots.size())?;
    let limit = search.limit.min(MAX_FOUND);
    let mut statement = db.prepare_cached(&filter.sql()).map_err(store_error)?;
    let mut firsts = statement
        .query(params_from_iter(filter.values()))
        .map_err(store_error)?;
    let mut found = Matches::default();
    while found.records.len() < limit
        && let Some(row) = firsts.next().map_err(store_error)?
    {
        if let Some(row) = lots.row(uint(row.get(0).map_err(store_error)?))? {
            let left = limit - found.records.len();
            let matching = filter.in_row(lots, &row, &mut found.damaged)?;
            found.records.extend(matching.into_iter().rev().take(left));
        }
    }
    Ok(found)
}

/// What must all hold of a record.
struct Filter {
    words: Vec<Word>,
    times: Range<i64>,
    /// Never more than the log's size.
    before: u64,
}

impl Filter {
    fn of(db: &Connection, search: &Search, size: u64) -> Result<Self, StoreError> {
        let root = match search.root_task {
            Some(task) => Some(root_of(db, task.as_bytes())?),
            None => None,
        };
        let asked = [
            (
                Sort::Task,
                search.under_task.as_ref().map(|task| &task.as_bytes()[..]),
            ),
            (Sort::Task, root.as_deref()),
            (
                Sort::Agent,
                search.agent.as_ref().map(|id| id.as_str().as_bytes()),
            ),
            (
                Sort::Server,
                search.server.as_ref().map(|name| name.as_str().as_bytes()),
            ),
            (
                Sort::Token,
                search.token.as_ref().map(|token| &token.as_bytes()[..]),
            ),
            (Sort::Kind, search.kind.as_deref().map(str::as_bytes)),
            (
                Sort::Decision,
                search.decision.as_deref().map(str::as_bytes),
            ),
        ];
        let asked = asked.into_iter();
        let words = asked.filter_map(|(sort, value)| Some(Word::new(sort, value?)));
        Ok(Self {
            words: words.collect(),
            times: search.since.map_or(i64::MIN, moment)..search.until.map_or(i64::MAX, moment),
            before: search.before.map_or(size, |before| before.min(size)),
        })
    }

    fn sql(&self) -> String {
        let by_word = "first IN (SELECT first FROM found_by WHERE sort = ? AND value = ?) AND ";
        let by_words = by_word.repeat(self.words.len());
        format!(
            "SELECT first FROM log WHERE {by_words} first >= 0 AND first < ? AND latest >= ?
             AND earliest < ? ORDER BY first DESC"
        )
    }

    fn values(&self) -> Vec<Value> {
        let words = self.words.iter();
        let words = words.flat_map(|word| {
            [
                Value::Integer(word.sort as i64),
                Value::Blob(word.value.clone()),
            ]
        });
        // An index beyond what SQLite compares is beyond every record.
        let before = i64::try_from(self.before).unwrap_or(i64::MAX);
        let others = [before, self.times.start, self.times.end].map(Value::Integer);
        words.chain(others).collect()
    }

    /// The matching records of a row, in their order. What is not as it was committed matches nothing, and is
    /// told in `damaged`.
    fn in_row(
        &self,
        lots: Lots<'_>,
        row: &Row,
        damaged: &mut Vec<u64>,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let mut wrong = Vec::from_iter(row.check().err().map(|_| row.first));
        wrong.extend(row.lacks().filter(|index| *index < self.before));
        let mut matching = Vec::new();
        let records = lots.proven(row)?;
        for (index, entry, is_proven) in records.take_while(|(index, ..)| *index < self.before) {
            if !is_proven {
                wrong.push(index);
            } else if self.holds_of(entry) {
                matching.push((index, entry.to_vec()));
            }
        }
        let room = MAX_DAMAGED.saturating_sub(damaged.len());
        damaged.extend(wrong.into_iter().rev().take(room));
        Ok(matching)
    }

    /// What cannot be read is found by nothing; verification names it.
    fn holds_of(&self, entry: &[u8]) -> bool {
        let found = Event::parse(entry)
            .ok()
            .and_then(|event| Found::of(&event).ok());
        found.is_some_and(|found| {
            self.times.contains(&found.at)
                && self.words.iter().all(|word| found.words.contains(word))
        })
    }
}

/// A task's tree is what is under its root; a task that is not known is its own root.
fn root_of(db: &Connection, task: &[u8]) -> Result<Vec<u8>, StoreError> {
    let root = db
        .prepare_cached("SELECT root FROM task WHERE id = ?1")
        .and_then(|mut statement| statement.query_row([task], |row| row.get(0)).optional())
        .map_err(store_error)?;
    Ok(root.unwrap_or_else(|| task.to_vec()))
}

/// One answer is never larger, whatever is asked for; `before` asks for the next page.
const MAX_FOUND: usize = 10_000;
/// Whoever has so many does not need the next one from a search.
const MAX_DAMAGED: usize = 100;
