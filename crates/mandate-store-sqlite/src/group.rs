//! Many units in one transaction, so that one sync serves them all.

use mandate_ports::{CommitError, Committed, StoreError, Unit};
use rusqlite::Connection;

use crate::alike::Alike;
use crate::apply::apply;
use crate::failure::{Failure, Outcome, store_error};
use crate::head::Head;
use crate::stops;

/// What became of the units of a group, in their order.
pub(crate) type Answers = Vec<Result<Committed, CommitError>>;

/// Commits `units`, each whole or not at all and seeing the ones before it. On an error nothing of
/// the group is stored, but where the commit itself failed: then reading tells.
pub(crate) fn commit(
    db: &Connection,
    before: &Head,
    alike: &mut Alike,
    units: &[&Unit],
    prune: bool,
) -> Result<(Head, Answers), StoreError> {
    db.execute_batch("BEGIN IMMEDIATE").map_err(store_error)?;
    let result = write(db, before, alike, units, prune);
    if result.is_err() && !db.is_autocommit() {
        // SQLite has rolled back already for some errors; for the others this does.
        db.execute_batch("ROLLBACK").map_err(store_error)?;
    }
    result
}

fn write(
    db: &Connection,
    before: &Head,
    alike: &mut Alike,
    units: &[&Unit],
    prune: bool,
) -> Result<(Head, Answers), StoreError> {
    let mut head = before.clone();
    let mut answers = Vec::with_capacity(units.len());
    for unit in units {
        answers.push(alone(db, &mut head, alike, unit)?);
    }
    if answers.iter().all(Result::is_err) {
        db.execute_batch("ROLLBACK").map_err(store_error)?;
        return Ok((before.clone(), answers));
    }
    finish(db, before, &head, prune).map_err(|failure| match failure {
        Failure::Store(error) | Failure::Unit(CommitError::Store(error)) => error,
        Failure::Unit(CommitError::Conflict(conflict)) => StoreError::Damaged(conflict.to_string()),
    })?;
    Ok((head, answers))
}

fn finish(db: &Connection, before: &Head, head: &Head, prune: bool) -> Outcome<()> {
    if prune {
        stops::prune(db, head.heard.steady)?;
    }
    head.store(db, before)?;
    db.execute_batch("COMMIT")?;
    Ok(())
}

/// Applies one unit behind a savepoint, so that its failure is its own.
fn alone(
    db: &Connection,
    head: &mut Head,
    alike: &mut Alike,
    unit: &Unit,
) -> Result<Result<Committed, CommitError>, StoreError> {
    db.execute_batch("SAVEPOINT unit").map_err(store_error)?;
    let before = head.clone();
    match apply(db, head, alike, unit) {
        Ok(committed) => {
            db.execute_batch("RELEASE unit").map_err(store_error)?;
            Ok(Ok(committed))
        }
        Err(Failure::Unit(error)) => {
            *head = before;
            db.execute_batch("ROLLBACK TO unit; RELEASE unit")
                .map_err(store_error)?;
            Ok(Err(error))
        }
        Err(Failure::Store(error)) => Err(error),
    }
}
