//! The live key of each instance, and the keys that were replaced (A5).

use mandate_model::{Instance, Thumbprint, Timestamp};
use mandate_ports::{Conflict, HeldKey, StoreError};
use rusqlite::{Connection, OptionalExtension, params};

use crate::column::{moment, timestamp};
use crate::failure::{Outcome, store_error};
use crate::head::Head;

/// That the instance has the live key that it is taken to have.
pub(crate) fn check(db: &Connection, held: &HeldKey) -> Outcome<()> {
    if live(db, &held.instance, held.at)? == held.key {
        Ok(())
    } else {
        Err(Conflict::KeyReplaced(held.instance.clone()).into())
    }
}

/// `key` is the instance's live one from now on; what it had is void.
pub(crate) fn bind(
    db: &Connection,
    head: &mut Head,
    holder: &HeldKey,
    key: Thumbprint,
    until: Timestamp,
) -> Outcome<()> {
    let instance = &holder.instance;
    let found = live(db, instance, holder.at)?;
    let known = found == Some(key) || found == holder.key;
    if !known || is_replaced(db, key)? {
        return Err(Conflict::KeyReplaced(instance.clone()).into());
    }
    if let Some(old) = found.filter(|old| *old != key) {
        replace(db, instance, old)?;
        head.move_stops();
    }
    // The same key again: the later end holds.
    db.prepare_cached(
        "INSERT INTO instance_key (provider, instance, jkt, until) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (provider, instance) DO UPDATE SET
         until = iif(jkt = excluded.jkt, max(until, excluded.until), excluded.until),
         jkt = excluded.jkt",
    )?
    .execute(params![
        instance.provider.as_str(),
        instance.id.as_str(),
        key.as_bytes(),
        moment(until)
    ])?;
    Ok(())
}

/// What is bound to `old` expires when the row of it says.
fn replace(db: &Connection, instance: &Instance, old: Thumbprint) -> Outcome<()> {
    db.prepare_cached(
        "INSERT INTO replaced_key (jkt, until)
         SELECT jkt, until FROM instance_key WHERE provider = ?1 AND instance = ?2 AND jkt = ?3
         ON CONFLICT (jkt) DO UPDATE SET until = max(until, excluded.until)",
    )?
    .execute(params![
        instance.provider.as_str(),
        instance.id.as_str(),
        old.as_bytes()
    ])?;
    Ok(())
}

fn is_replaced(db: &Connection, key: Thumbprint) -> Outcome<bool> {
    Ok(db
        .prepare_cached("SELECT 1 FROM replaced_key WHERE jkt = ?1")?
        .exists([key.as_bytes()])?)
}

/// The live key of `instance` at `at`.
pub(crate) fn live(
    db: &Connection,
    instance: &Instance,
    at: Timestamp,
) -> rusqlite::Result<Option<Thumbprint>> {
    let found: Option<[u8; 32]> = db
        .prepare_cached(
            "SELECT jkt FROM instance_key WHERE provider = ?1 AND instance = ?2 AND ?3 < until",
        )?
        .query_row(
            params![instance.provider.as_str(), instance.id.as_str(), moment(at)],
            |row| row.get(0),
        )
        .optional()?;
    Ok(found.map(Thumbprint::new))
}

/// Every key that was replaced and is not forgotten.
pub(crate) fn replaced(db: &Connection) -> Result<Vec<(Thumbprint, Timestamp)>, StoreError> {
    let read = || {
        let mut statement = db.prepare_cached("SELECT jkt, until FROM replaced_key")?;
        let rows = statement.query_map([], |row| {
            Ok((Thumbprint::new(row.get(0)?), timestamp(row.get(1)?)))
        })?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    };
    read().map_err(store_error)
}
