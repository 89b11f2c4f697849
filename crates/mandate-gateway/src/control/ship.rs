//! Shipping the spool: at least once on the wire, exactly once by key (C2).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use mandate_model::GatewayId;
use mandate_ports::control::{MalformedShipment, Shipment, Shipped};
use mandate_ports::{Spool, SpooledRecord};
use tokio::sync::Notify;

use super::{Client, ControlError};
use crate::record::Recorder;

/// Ships whatever the spool holds, for ever. An append wakes it; without that it looks once a second.
///
/// Spools that were closed are shipped first, since they are older; none keeps another back.
pub(crate) async fn ship(client: Client, gateway: GatewayId, recorder: Arc<Recorder>) {
    let mut broken = HashSet::new();
    loop {
        let woken = recorder.appended.notified();
        let mut failed = false;
        for spool in recorder.spool.to_ship() {
            let name = spool.head().spool;
            match ship_all(&client, &gateway, &*spool, &recorder.shipped).await {
                Ok(()) => {
                    broken.remove(&name);
                }
                Err(why) => {
                    failed = true;
                    tracing::warn!(%why, spool = name, "records of the spool are not shipped");
                    if why.is_for_people() && broken.insert(name.clone()) {
                        recorder.alarm(format!("records of spool {name} cannot be shipped: {why}"));
                    }
                }
            }
        }
        if failed {
            tokio::time::sleep(IDLE).await;
        } else if tokio::time::timeout(IDLE, woken).await.is_ok() {
            gather(&recorder).await;
        }
    }
}

/// Waits a moment for more, since each shipment is a commit and a sync of its own; not while anybody
/// waits for a record to be shipped.
async fn gather(recorder: &Recorder) {
    if recorder.is_waited_for() {
        return;
    }
    tokio::select! {
        biased;
        () = recorder.hurry.notified() => {}
        () = tokio::time::sleep(GATHER) => {}
    }
}

async fn ship_all(
    client: &Client,
    gateway: &GatewayId,
    spool: &dyn Spool,
    shipped: &Notify,
) -> Result<(), ShipError> {
    let mut from = spool.unshipped_from();
    loop {
        let records = within_bytes(spool.read(from, MAX_RECORDS).await?);
        let Some(first) = records.first().map(|record| record.seq) else {
            return Ok(());
        };
        if first != from {
            return Err(ShipError::Gone {
                wanted: from,
                first,
            });
        }
        from = ship_some(client, gateway, spool, from, records).await?;
        shipped.notify_waiters();
    }
}

/// Ships one batch, and tells the number to go on with.
async fn ship_some(
    client: &Client,
    gateway: &GatewayId,
    spool: &dyn Spool,
    from: u64,
    records: Vec<SpooledRecord>,
) -> Result<u64, ShipError> {
    let shipment = Shipment {
        gateway: gateway.clone(),
        spool: spool.head().spool,
        records,
    };
    let lines = shipment.to_lines()?.into();
    let kind = Shipment::CONTENT_TYPE;
    let answer: Result<Shipped, ControlError> = client
        .post_as("/control/v1/records", kind, lines, LIMIT)
        .await;
    match answer {
        Ok(Shipped { next }) => {
            spool.shipped(next).await?;
            Ok(next)
        }
        // It has less than was thought: begin where it ends.
        Err(ControlError::Refused {
            next: Some(next), ..
        }) if next < from => Ok(next),
        Err(why) => Err(why.into()),
    }
}

fn within_bytes(records: Vec<SpooledRecord>) -> Vec<SpooledRecord> {
    let mut total = 0;
    records
        .into_iter()
        .enumerate()
        .take_while(|(place, record)| {
            total += record.event.len() + RECORD_OVERHEAD;
            *place == 0 || total <= MAX_BYTES
        })
        .map(|(_, record)| record)
        .collect()
}

#[derive(Debug, thiserror::Error)]
enum ShipError {
    #[error("{0}")]
    Control(#[from] ControlError),
    #[error("the authority lacks record {wanted}, the spool begins with {first}")]
    Gone { wanted: u64, first: u64 },
    #[error("{0}")]
    Spool(#[from] mandate_ports::SpoolError),
    #[error("{0}")]
    Malformed(#[from] MalformedShipment),
}

impl ShipError {
    /// Whether it will not pass by itself.
    fn is_for_people(&self) -> bool {
        match self {
            ShipError::Gone { .. } | ShipError::Spool(_) | ShipError::Malformed(_) => true,
            ShipError::Control(why) => {
                matches!(why, ControlError::Refused { name, .. } if name == "gap")
            }
        }
    }
}

const MAX_RECORDS: usize = 2048;
const MAX_BYTES: usize = 3 * 1024 * 1024;
const RECORD_OVERHEAD: usize = 128;
const LIMIT: Duration = Duration::from_secs(30);
const GATHER: Duration = Duration::from_millis(25);
const IDLE: Duration = Duration::from_secs(1);
