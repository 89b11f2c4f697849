//! A gateway's records on their way into the log: shipped at least once, there exactly once (C2).

use mandate_audit::{Decision, Event, SpoolChain, What, leaf_hash};
use mandate_model::GatewayId;
use mandate_ports::{Ingested, ShippedRecord, StoreError};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::alike::Alike;
use crate::column::{get, int, uint};
use crate::failure::{Failure, Outcome, damaged};
use crate::head::Head;
use crate::log;
use crate::lot::Lot;
use crate::lots::Lots;
use crate::words::Found;

/// What is known of a spool.
#[derive(Debug)]
pub(crate) struct Spool {
    pub(crate) no: i64,
    gateway: GatewayId,
    name: String,
    /// The first number that is not in the log.
    pub(crate) next: u64,
    /// The chain's value before that number.
    pub(crate) chain: String,
    pub(crate) announced_next: u64,
    pub(crate) announced_chain: String,
}

/// What to do with a record.
enum Verdict {
    Add(Found),
    Known,
    Alarm(&'static str),
}

/// Takes `records` into the log. Those that contradict what is known stay out, and the log says so.
pub(crate) fn ingest(
    db: &Connection,
    head: &mut Head,
    alike: &mut Alike,
    records: &[ShippedRecord],
) -> Outcome<Ingested> {
    let mut result = Ingested::default();
    for of_one in records.chunk_by(|a, b| a.key.is_of_spool(&b.key)) {
        ingest_of_one(db, head, alike, of_one, &mut result)?;
    }
    Ok(result)
}

/// Takes in records of one spool, whose row is read and written once.
fn ingest_of_one(
    db: &Connection,
    head: &mut Head,
    alike: &mut Alike,
    records: &[ShippedRecord],
    result: &mut Ingested,
) -> Outcome<()> {
    let Some(ShippedRecord { key, .. }) = records.first() else {
        return Ok(());
    };
    let mut spool = Spool::of(db, &key.gateway, &key.spool)?;
    let mut lot = Lot::default();
    let mut broken = false;
    for record in records {
        // What is known is looked up in the log, and alarms come after what came before them.
        if record.key.seq != spool.next || lot.is_full() {
            add(db, head, &spool, &mut lot)?;
        }
        match judge(db, head, alike, &mut spool, record)? {
            Verdict::Add(found) => {
                lot.add(&record.event, &found);
                result.added += 1;
            }
            Verdict::Known => result.known += 1,
            Verdict::Alarm(why) => {
                result.alarms += 1;
                add(db, head, &spool, &mut lot)?;
                // Whatever follows a refused record is a gap because of it: one alarm tells both.
                if !broken || why != GAP {
                    raise(db, head, &spool, (record.key.seq, &record.event), why)?;
                }
                broken = true;
            }
        }
    }
    add(db, head, &spool, &mut lot)?;
    spool.store(db)?;
    result.next = Some(spool.next);
    Ok(())
}

/// Judges a record. One that is to be added moves the spool.
fn judge(
    db: &Connection,
    head: &Head,
    alike: &mut Alike,
    spool: &mut Spool,
    record: &ShippedRecord,
) -> Outcome<Verdict> {
    let seq = record.key.seq;
    if seq < spool.next {
        return Ok(match recorded(db, head, spool, seq) {
            Ok(Some(bytes)) if bytes == record.event => Verdict::Known,
            Ok(_) => Verdict::Alarm("it came before with another content"),
            // Whoever ships it cannot mend that, and what follows is none the worse for it.
            Err(Failure::Store(StoreError::Damaged(_))) => {
                Verdict::Alarm("it came before, and what the log has of it was changed since")
            }
            Err(why) => return Err(why),
        });
    }
    if seq > spool.next {
        return Ok(Verdict::Alarm(GAP));
    }
    let Some(found) = alike.read(record)? else {
        return Ok(Verdict::Alarm(
            "it is not a canonical event that names its own key",
        ));
    };
    let before = SpoolChain::parse(&spool.chain).map_err(|e| damaged("a spool", e))?;
    if before.after(&record.event).to_string() != record.chain {
        return Ok(Verdict::Alarm(
            "its chain value does not follow from the records before",
        ));
    }
    if spool.announced_next == seq.saturating_add(1) && spool.announced_chain != record.chain {
        return Ok(Verdict::Alarm(
            "its chain value is not the one that was announced",
        ));
    }
    spool.next = seq.saturating_add(1);
    spool.chain.clone_from(&record.chain);
    Ok(Verdict::Add(found))
}

/// Appends `lot`, the last records before the spool's next one, and leaves it empty.
fn add(db: &Connection, head: &mut Head, spool: &Spool, lot: &mut Lot) -> Outcome<()> {
    let lot = std::mem::take(lot);
    let count = u64::try_from(lot.len()).unwrap_or(u64::MAX);
    if count == 0 {
        return Ok(());
    }
    let first = log::append_lot(db, head, &lot)?;
    let seq = spool.next.saturating_sub(count);
    db.prepare_cached("INSERT INTO spool_part (spool, seq, count, idx) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![spool.no, int(seq), int(count), int(first)])?;
    Ok(())
}

/// Records an alarm about number `seq` of `spool`, unless the log tells of this very one already.
pub(crate) fn raise(
    db: &Connection,
    head: &mut Head,
    spool: &Spool,
    (seq, content): (u64, &[u8]),
    why: &str,
) -> Outcome<()> {
    let digest = leaf_hash(&[why.as_bytes(), content].concat());
    let new = db
        .prepare_cached(
            "INSERT OR IGNORE INTO spool_alarm (spool, seq, digest) VALUES (?1, ?2, ?3)",
        )?
        .execute(params![spool.no, int(seq), digest])?;
    if new == 0 {
        return Ok(());
    }
    let message = format!(
        "record {seq} of spool `{}` of gateway `{}`: {why}",
        spool.name, spool.gateway
    );
    let alarm = Event {
        gateway: Some(spool.gateway.clone()),
        ..Event::new(head.heard.latest, What::Alarm { message }, Decision::Noted)
    };
    log::append(db, head, &alarm)?;
    Ok(())
}

fn recorded(db: &Connection, head: &Head, spool: &Spool, seq: u64) -> Outcome<Option<Vec<u8>>> {
    let part: Option<(i64, i64, i64)> = db
        .prepare_cached(
            "SELECT seq, count, idx FROM spool_part WHERE spool = ?1 AND seq <= ?2
             ORDER BY seq DESC LIMIT 1",
        )?
        .query_row(params![spool.no, int(seq)], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let index = part.and_then(|(first, count, index)| {
        let place = seq.checked_sub(uint(first))?;
        (place < uint(count)).then(|| uint(index).saturating_add(place))
    });
    match index {
        Some(index) => Ok(Lots::up_to(db, head.tree.size()).entry(index)?),
        None => Ok(None),
    }
}

impl Spool {
    /// The spool `name` of `gateway`; a new one has no records.
    pub(crate) fn of(db: &Connection, gateway: &GatewayId, name: &str) -> Outcome<Self> {
        if let Some(spool) = Self::find(db, gateway, name)? {
            return Ok(spool);
        }
        db.prepare_cached(
            "INSERT INTO spool (gateway, name, chain, announced_chain) VALUES (?1, ?2, ?3, ?3)",
        )?
        .execute(params![
            gateway.as_str(),
            name,
            SpoolChain::ORIGIN.to_string()
        ])?;
        Self::find(db, gateway, name)?
            .ok_or_else(|| damaged("a spool", "it was written and is not there").into())
    }

    fn find(db: &Connection, gateway: &GatewayId, name: &str) -> Outcome<Option<Self>> {
        let row = |row: &Row<'_>| Ok(Self::from_row(row, gateway, name));
        let found = db
            .prepare_cached(
                "SELECT no, next, chain, announced_next, announced_chain FROM spool
                 WHERE gateway = ?1 AND name = ?2",
            )?
            .query_row(params![gateway.as_str(), name], row)
            .optional()?;
        Ok(found.transpose()?)
    }

    /// Writes how far its records are in the log.
    fn store(&self, db: &Connection) -> Outcome<()> {
        db.prepare_cached("UPDATE spool SET next = ?2, chain = ?3 WHERE no = ?1")?
            .execute(params![self.no, int(self.next), self.chain])?;
        Ok(())
    }

    fn from_row(row: &Row<'_>, gateway: &GatewayId, name: &str) -> Result<Self, StoreError> {
        Ok(Self {
            no: get(row, "no")?,
            gateway: gateway.clone(),
            name: name.to_owned(),
            next: uint(get(row, "next")?),
            chain: get(row, "chain")?,
            announced_next: uint(get(row, "announced_next")?),
            announced_chain: get(row, "announced_chain")?,
        })
    }
}

const GAP: &str = "a record before it is missing";
