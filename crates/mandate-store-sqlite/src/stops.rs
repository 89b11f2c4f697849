//! Suspensions, ended tasks, revoked tokens, and identifiers that are good for one use.

use mandate_model::stop::{Resumption, StopSet, Subject, Suspension};
use mandate_model::{Principal, StopVersion, TaskId, Timestamp, TokenId};
use mandate_ports::{Conflict, StoreError};
use rusqlite::{Connection, params};

use crate::column::{FromUuid, id, int, json, moment, parse, timestamp, uint};
use crate::failure::{Outcome, store_error};
use crate::head::Head;

/// A suspension begins. One of a subject that is suspended already gets a version too, but the
/// first one stays: else the second operator would take it over, and with it who may lift it.
pub(crate) fn suspend(
    db: &Connection,
    head: &mut Head,
    suspension: &Suspension,
) -> Outcome<StopVersion> {
    let version = head.move_suspensions();
    let suspension = Suspension {
        version,
        ..suspension.clone()
    };
    let subject = json(&suspension.subject)?;
    db.prepare_cached(
        "INSERT INTO suspension (subject, body) VALUES (?1, ?2) ON CONFLICT (subject) DO NOTHING",
    )?
    .execute(params![subject, json(&suspension)?])?;
    db.prepare_cached(
        "INSERT INTO suspender (subject, operator) VALUES (?1, ?2)
         ON CONFLICT (subject, operator) DO NOTHING",
    )?
    .execute(params![subject, json(&suspension.operator)?])?;
    Ok(version)
}

/// A suspension ends. What was issued under the subject before is void by the version that this
/// gets: everything that was has a lower one, since no issuance is committed that was decided before
/// a suspension began or ended ([`Head::bears`]).
pub(crate) fn resume(db: &Connection, head: &mut Head, subject: &Subject) -> Outcome<StopVersion> {
    let text = json(subject)?;
    let rows = db
        .prepare_cached("DELETE FROM suspension WHERE subject = ?1")?
        .execute([&text])?;
    if rows == 0 {
        return Err(Conflict::NotSuspended(subject.clone()).into());
    }
    db.prepare_cached("DELETE FROM suspender WHERE subject = ?1")?
        .execute([&text])?;
    let version = head.move_suspensions();
    void(db, subject, version, head.last_expiry)?;
    Ok(version)
}

/// Everything that was ever issued is void, as far as stop versions go up to `beyond`: under
/// everything, and under each key, since "everything" does not void the sessions of those who resume
/// it. What a key signed that the store does not know is no good anyway.
pub(crate) fn void_all(
    db: &Connection,
    head: &mut Head,
    beyond: StopVersion,
    until: Timestamp,
) -> Outcome<()> {
    let version = head.move_suspensions_past(beyond);
    let until = until.max(head.last_expiry);
    let keys = crate::keys::ids(db)?.into_iter();
    let keys = keys.map(|id| Subject::Key { id });
    for subject in keys.chain([Subject::Everything]) {
        void(db, &subject, version, until)?;
    }
    Ok(())
}

fn void(db: &Connection, subject: &Subject, version: StopVersion, until: Timestamp) -> Outcome<()> {
    db.prepare_cached(
        "INSERT INTO resumption (subject, version, until) VALUES (?1, ?2, ?3)
         ON CONFLICT (subject) DO UPDATE
         SET version = excluded.version, until = max(until, excluded.until)",
    )?
    .execute(params![json(subject)?, int(version.get()), moment(until)])?;
    Ok(())
}

/// A task's tokens are void.
pub(crate) fn remember_ended(db: &Connection, task: TaskId, until: Timestamp) -> Outcome<()> {
    db.prepare_cached("INSERT OR REPLACE INTO ended_task (task, until) VALUES (?1, ?2)")?
        .execute(params![task.as_bytes(), moment(until)])?;
    Ok(())
}

/// A token is void. Said twice, the later `until` holds.
pub(crate) fn revoke(
    db: &Connection,
    head: &mut Head,
    token: TokenId,
    until: Timestamp,
) -> Outcome<()> {
    db.prepare_cached(
        "INSERT INTO revoked_token (token, until) VALUES (?1, ?2)
         ON CONFLICT (token) DO UPDATE SET until = max(until, excluded.until)",
    )?
    .execute(params![token.as_bytes(), moment(until)])?;
    head.move_stops();
    Ok(())
}

/// That `token` is not revoked.
pub(crate) fn check_not_revoked(db: &Connection, token: TokenId) -> Outcome<()> {
    let revoked = db
        .prepare_cached("SELECT 1 FROM revoked_token WHERE token = ?1")?
        .exists([token.as_bytes()])?;
    if revoked {
        Err(Conflict::TokenRevoked(token).into())
    } else {
        Ok(())
    }
}

/// An identifier is used for the first and only time.
pub(crate) fn use_once(db: &Connection, scope: &str, id: &str, until: Timestamp) -> Outcome<()> {
    let rows = db
        .prepare_cached(
            "INSERT INTO used_once (scope, id, until) VALUES (?1, ?2, ?3)
             ON CONFLICT (scope, id) DO NOTHING",
        )?
        .execute(params![scope, id, moment(until)])?;
    if rows == 1 {
        Ok(())
    } else {
        Err(Conflict::Used.into())
    }
}

/// Forgets what mattered to nobody any more at `steady`, a moment that is past by every account
/// ([`Heard`](crate::heard::Heard)). Nothing else forgets: a clock that jumped must not bring a
/// revoked token back. No version moves, since nothing becomes allowed by it.
pub(crate) fn prune(db: &Connection, steady: Timestamp) -> Outcome<()> {
    let before = moment(steady.minus(SLACK));
    for (table, key) in [
        ("used_once", "scope, id"),
        ("ended_task", "task"),
        ("revoked_token", "token"),
        ("instance_key", "provider, instance"),
        ("replaced_key", "jkt"),
        ("resumption", "subject"),
    ] {
        db.prepare_cached(&format!(
            "DELETE FROM {table} WHERE ({key}) IN
             (SELECT {key} FROM {table} WHERE until < ?1 LIMIT {AT_ONCE})"
        ))?
        .execute([before])?;
    }
    Ok(())
}

/// Everyone who suspended `subject` since it was last resumed, the first one first.
pub(crate) fn suspenders(db: &Connection, subject: &Subject) -> Result<Vec<Principal>, StoreError> {
    let mut statement = db
        .prepare_cached("SELECT operator FROM suspender WHERE subject = ?1 ORDER BY no")
        .map_err(store_error)?;
    let mut rows = statement.query([json(subject)?]).map_err(store_error)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(store_error)? {
        let operator: String = row.get(0).map_err(store_error)?;
        found.push(parse("an operator", &operator)?);
    }
    Ok(found)
}

/// All stops that are not forgotten.
pub(crate) fn stops(db: &Connection) -> Result<StopSet, StoreError> {
    let versions = crate::head::read(db)?.versions;
    let mut suspensions = Vec::new();
    let mut statement = db
        .prepare_cached("SELECT body FROM suspension")
        .map_err(store_error)?;
    let mut rows = statement.query([]).map_err(store_error)?;
    while let Some(row) = rows.next().map_err(store_error)? {
        let body: String = row.get(0).map_err(store_error)?;
        suspensions.push(parse::<Suspension>("a suspension", &body)?);
    }
    let resumptions = resumptions(db)?;
    let ended: Vec<(TaskId, _)> = voided(db, "SELECT task, until FROM ended_task")?;
    let revoked: Vec<(TokenId, _)> = voided(db, "SELECT token, until FROM revoked_token")?;
    let replaced = crate::holders::replaced(db)?;
    Ok(
        StopSet::new(versions.stops, suspensions, resumptions, ended, revoked)
            .with_replaced_keys(replaced),
    )
}

fn resumptions(db: &Connection) -> Result<Vec<Resumption>, StoreError> {
    let mut statement = db
        .prepare_cached("SELECT subject, version, until FROM resumption")
        .map_err(store_error)?;
    let mut rows = statement.query([]).map_err(store_error)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(store_error)? {
        let subject: String = row.get(0).map_err(store_error)?;
        found.push(Resumption {
            subject: parse("a subject", &subject)?,
            version: StopVersion::new(uint(row.get(1).map_err(store_error)?)),
            until: timestamp(row.get(2).map_err(store_error)?),
        });
    }
    Ok(found)
}

fn voided<T: FromUuid>(db: &Connection, sql: &str) -> Result<Vec<(T, Timestamp)>, StoreError> {
    let mut statement = db.prepare_cached(sql).map_err(store_error)?;
    let mut rows = statement.query([]).map_err(store_error)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(store_error)? {
        let bytes: [u8; 16] = row.get(0).map_err(store_error)?;
        found.push((id(&bytes)?, timestamp(row.get(1).map_err(store_error)?)));
    }
    Ok(found)
}

/// With every commit a little, more than one usually adds: no commit waits for a great clearing.
const AT_ONCE: usize = 1_000;
/// What expired no longer ago than this is kept: the authority's clock and a gateway's differ.
const SLACK: std::time::Duration = std::time::Duration::from_secs(3600);
