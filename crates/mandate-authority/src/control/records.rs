//! `POST /control/v1/records`: a gateway's spool on its way into the log (C2).

use axum::extract::{Request, State};
use axum::response::Response;
use mandate_audit::SpoolKey;
use mandate_ports::control::{Shipment, Shipped};
use mandate_ports::{Change, ShippedRecord, Unit};

use super::OwnUser;
use crate::body;
use crate::listen::Connection;
use crate::problem::Problem;

pub(super) async fn records(
    State(at): State<Connection>,
    _: OwnUser,
    request: Request,
) -> Result<Response, Problem> {
    let lines = body::read(request, Shipment::CONTENT_TYPE, MAX_BYTES).await?;
    let shipment =
        Shipment::from_lines(&lines).map_err(|why| Problem::malformed(why.to_string()))?;
    let first = check(&shipment)?;
    let records = shipment.records.into_iter().map(|record| ShippedRecord {
        key: SpoolKey {
            gateway: shipment.gateway.clone(),
            spool: shipment.spool.clone(),
            seq: record.seq,
        },
        event: record.event.into_bytes(),
        chain: record.chain,
    });
    let unit = Unit {
        changes: vec![Change::Ingest(records.collect())],
        ..Unit::default()
    };
    let ingested = at.authority.commit(unit).await?.ingested();
    let next = ingested.next.unwrap_or(first);
    if ingested.alarms > 0 {
        tracing::error!(gateway = %shipment.gateway, spool = shipment.spool, next, "records were refused");
    }
    if first > next {
        Err(Problem::gap(next))
    } else {
        Ok(body::answer(&Shipped { next }))
    }
}

/// The number of the first record; an error if they are too many.
fn check(shipment: &Shipment) -> Result<u64, Problem> {
    if shipment.records.len() > MAX_RECORDS {
        return Err(Problem::too_large(format!(
            "a shipment has at most {MAX_RECORDS} records"
        )));
    }
    let first = shipment.records.first().map(|record| record.seq);
    first.ok_or_else(|| Problem::malformed("a shipment has at least one record"))
}

const MAX_RECORDS: usize = 2048;
const MAX_BYTES: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use mandate_model::GatewayId;
    use mandate_ports::SpooledRecord;

    use super::*;

    fn shipment(seqs: &[u64]) -> Shipment {
        let record = |seq: &u64| SpooledRecord {
            seq: *seq,
            event: String::new(),
            chain: String::new(),
        };
        Shipment {
            gateway: GatewayId::parse("g").unwrap(),
            spool: "s".to_owned(),
            records: seqs.iter().map(record).collect(),
        }
    }

    #[test]
    fn a_shipment_is_bounded() {
        assert_eq!(check(&shipment(&[4, 5, 6])), Ok(4));
        assert!(check(&shipment(&[])).is_err());
        let many: Vec<u64> = (0..2049).collect();
        assert!(check(&shipment(&many)).is_err());
        assert_eq!(check(&shipment(&many[1..])), Ok(1));
    }
}
