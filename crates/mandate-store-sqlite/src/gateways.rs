//! Gateways: their leases, and the spool heads that they announce (C2).

use mandate_audit::SpoolChain;
use mandate_model::{GatewayId, StopVersion};
use mandate_ports::{GatewayRecord, SpoolHead, StoreError};
use rusqlite::{Connection, Row, params};

use crate::column::{get, int, moment, timestamp, uint, word};
use crate::failure::{Outcome, store_error};
use crate::head::Head;
use crate::ingest::{self, Spool};

/// A spool of which its gateway announced more than it shipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// The gateway.
    pub gateway: GatewayId,
    /// The spool.
    pub spool: String,
    /// The first number that is not in the log.
    pub shipped: u64,
    /// The first number that was not announced.
    pub announced: u64,
}

/// A gateway got a lease.
pub(crate) fn renew(db: &Connection, head: &mut Head, gateway: &GatewayRecord) -> Outcome<()> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO gateway (id, lease_ms, at, stops, spool, next, chain)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        gateway.id.as_str(),
        int(gateway.lease_ms),
        moment(gateway.at),
        int(gateway.stops.get()),
        gateway.head.spool,
        int(gateway.head.next),
        gateway.head.chain
    ])?;
    announce(db, head, &gateway.id, &gateway.head)
}

/// Keeps the furthest head that was announced of each spool. A head that contradicts what is
/// known of the same records is an alarm.
fn announce(
    db: &Connection,
    head: &mut Head,
    gateway: &GatewayId,
    said: &SpoolHead,
) -> Outcome<()> {
    let spool = Spool::of(db, gateway, &said.spool)?;
    let known = [
        (spool.next, &spool.chain),
        (spool.announced_next, &spool.announced_chain),
    ];
    let contradicts = |(next, chain): (u64, &String)| next == said.next && *chain != said.chain;
    if SpoolChain::parse(&said.chain).is_err() || known.into_iter().any(contradicts) {
        let why = "its gateway announces another content than before";
        return ingest::raise(db, head, &spool, (said.next, said.chain.as_bytes()), why);
    }
    if said.next > spool.announced_next {
        db.prepare_cached(
            "UPDATE spool SET announced_next = ?2, announced_chain = ?3 WHERE no = ?1",
        )?
        .execute(params![spool.no, int(said.next), said.chain])?;
    }
    Ok(())
}

/// Every gateway that ever had a lease.
pub(crate) fn gateways(db: &Connection) -> Result<Vec<GatewayRecord>, StoreError> {
    let sql = "SELECT id, lease_ms, at, stops, spool, next, chain FROM gateway ORDER BY id";
    rows(db, sql, gateway)
}

/// Spools that were announced further than they were shipped.
pub(crate) fn withheld(db: &Connection) -> Result<Vec<Announced>, StoreError> {
    let sql = "SELECT gateway, name, next, announced_next FROM spool
               WHERE announced_next > next ORDER BY no";
    rows(db, sql, |row| {
        Ok(Announced {
            gateway: word("a gateway", get(row, "gateway")?)?,
            spool: get(row, "name")?,
            shipped: uint(get(row, "next")?),
            announced: uint(get(row, "announced_next")?),
        })
    })
}

fn rows<T>(
    db: &Connection,
    sql: &str,
    read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = db.prepare_cached(sql).map_err(store_error)?;
    let mut rows = statement.query([]).map_err(store_error)?;
    let mut all = Vec::new();
    while let Some(row) = rows.next().map_err(store_error)? {
        all.push(read(row)?);
    }
    Ok(all)
}

fn gateway(row: &Row<'_>) -> Result<GatewayRecord, StoreError> {
    Ok(GatewayRecord {
        id: word("a gateway", get(row, "id")?)?,
        lease_ms: uint(get(row, "lease_ms")?),
        at: timestamp(get(row, "at")?),
        stops: StopVersion::new(uint(get(row, "stops")?)),
        head: SpoolHead {
            spool: get(row, "spool")?,
            next: uint(get(row, "next")?),
            chain: get(row, "chain")?,
        },
    })
}
