//! One unit: checked, its changes made, its records appended.

use std::borrow::Cow;
use std::collections::BTreeMap;

use mandate_audit::{Event, What};
use mandate_model::stop::Subject;
use mandate_model::{StopVersion, Timestamp};
use mandate_ports::{Change, Committed, Conflict, Ingested, Unit};
use rusqlite::Connection;

use crate::alike::Alike;
use crate::failure::Outcome;
use crate::head::Head;
use crate::{bundles, gateways, holders, ingest, keys, log, stops, tasks};

/// What changes leave behind for the records that tell of them.
#[derive(Default)]
struct Effects {
    ingested: Ingested,
    /// The version that each suspension or resumption got.
    stops: BTreeMap<Subject, StopVersion>,
}

/// Applies `unit` within the transaction that is open on `db`. On an error, both `db` and `head`
/// are to be put back to where they were.
pub(crate) fn apply(
    db: &Connection,
    head: &mut Head,
    alike: &mut Alike,
    unit: &Unit,
) -> Outcome<Committed> {
    if let Some(now) = told(unit) {
        head.heard.hear(now);
    }
    // B4: what was decided holds only against what it was decided on.
    if unit.expect.is_some_and(|expected| !head.bears(expected)) {
        return Err(Conflict::Versions(head.versions).into());
    }
    for token in &unit.shown_tokens {
        stops::check_not_revoked(db, *token)?;
    }
    for (task, at) in &unit.live_tasks {
        tasks::check_live(db, *task, *at)?;
    }
    for held in &unit.held_keys {
        holders::check(db, held)?;
    }
    let mut effects = Effects::default();
    for change in &unit.changes {
        make(db, head, alike, change, &mut effects)?;
    }
    for event in &unit.events {
        if let What::Issued { expires_at, .. } = &event.what {
            head.issued_until(*expires_at);
        }
    }
    let events = unit.events.iter().map(|event| stamped(event, &effects));
    let receipts = log::append_all(db, head, events)?;
    Ok(Committed {
        receipts,
        versions: head.versions,
        ingested: effects.ingested,
    })
}

fn make(
    db: &Connection,
    head: &mut Head,
    alike: &mut Alike,
    change: &Change,
    effects: &mut Effects,
) -> Outcome<()> {
    match change {
        Change::OpenTask(task) => tasks::open(db, task),
        Change::DelegateTask(task) => tasks::delegate(db, task),
        Change::EndTask { task, state, until } => tasks::end(db, head, *task, *state, *until),
        Change::ReserveAccesses { task, count } => tasks::reserve_accesses(db, *task, *count),
        Change::PinInstance { task, instance } => tasks::pin(db, *task, instance),
        Change::BindKey { holder, key, until } => holders::bind(db, head, holder, *key, *until),
        Change::UseOnce { scope, id, until } => stops::use_once(db, scope, id, *until),
        Change::Suspend(suspension) => {
            let version = stops::suspend(db, head, suspension)?;
            effects.stops.insert(suspension.subject.clone(), version);
            Ok(())
        }
        Change::Resume(subject) => {
            let version = stops::resume(db, head, subject)?;
            effects.stops.insert(subject.clone(), version);
            Ok(())
        }
        Change::VoidAll { beyond, until } => stops::void_all(db, head, *beyond, *until),
        Change::RevokeToken { token, until } => stops::revoke(db, head, *token, *until),
        Change::ApplyBundle { base, record } => bundles::apply(db, head, *base, record),
        Change::AddKey(key) => keys::add(db, head, key),
        Change::SetKeyState { key, state, since } => keys::set_state(db, head, key, *state, *since),
        Change::RenewGateway(gateway) => gateways::renew(db, head, gateway),
        Change::Ingest(records) => {
            let new = ingest::ingest(db, head, alike, records)?;
            effects.ingested.added += new.added;
            effects.ingested.known += new.known;
            effects.ingested.alarms += new.alarms;
            effects.ingested.next = new.next.or(effects.ingested.next);
            Ok(())
        }
    }
}

/// The record with the version that its suspension or resumption got: who asked could not know it.
fn stamped<'e>(event: &'e Event, effects: &Effects) -> Cow<'e, Event> {
    let (What::Suspended { subject, .. } | What::Resumed { subject, .. }) = &event.what else {
        return Cow::Borrowed(event);
    };
    let Some(actual) = effects.stops.get(subject) else {
        return Cow::Borrowed(event);
    };
    let mut stamped = event.clone();
    if let What::Suspended { version, .. } | What::Resumed { version, .. } = &mut stamped.what {
        *version = *actual;
    }
    Cow::Owned(stamped)
}

/// What time it is for the one who sends `unit`.
fn told(unit: &Unit) -> Option<Timestamp> {
    let event = unit.events.last().map(|event| event.at);
    let task = || unit.live_tasks.last().map(|(_, at)| *at);
    let gateway = || {
        unit.changes.iter().find_map(|change| {
            if let Change::RenewGateway(gateway) = change {
                Some(gateway.at)
            } else {
                None
            }
        })
    };
    event.or_else(task).or_else(gateway)
}
