//! `POST /control/v1/lease`.

use axum::extract::{Request, State};
use axum::response::Response;
use mandate_ports::control::{LeaseGrant, LeaseRequest};
use mandate_ports::{Change, GatewayRecord, Unit, Versions};

use super::{MAX_BODY, OwnUser};
use crate::Authority;
use crate::body;
use crate::gateways::Applied;
use crate::listen::Connection;
use crate::problem::Problem;

pub(super) async fn lease(
    State(at): State<Connection>,
    _: OwnUser,
    request: Request,
) -> Result<Response, Problem> {
    let asked: LeaseRequest = body::json(request, MAX_BODY).await?;
    let granted = grant(&at.authority, &asked).await?;
    Ok(body::answer(&granted))
}

/// Grants under the shared lock, so that a suspension is wholly before or wholly after it (B2).
/// The lock is held until the grant is known to [`Gateways`](crate::gateways::Gateways): a
/// suspension that gets the lock next waits for this gateway.
///
/// A suspension does not wait for a disk that hangs: it acts in memory, without that lock. So a
/// grant that the disk gives back late is asked once more whether one came meanwhile.
async fn grant(authority: &Authority, asked: &LeaseRequest) -> Result<LeaseGrant, Problem> {
    // Before any version is compared: those of another run may be of suspensions that were lost with it.
    if asked.run != authority.run() {
        return Err(Problem::another_run());
    }
    let _shared = authority.gate().read().await;
    if authority.is_waiting_to_store() {
        // Before the versions are compared: gateways are told more than the store knows yet.
        return Err(Problem::unavailable());
    }
    refuse_ahead(asked, authority.ports().state.versions().await?)?;
    let lease = authority.config().lease;
    let on_record = authority.gateways().lease_on_record(&asked.gateway, lease);
    let record = GatewayRecord {
        id: asked.gateway.clone(),
        lease_ms: u64::try_from(on_record.as_millis()).unwrap_or(u64::MAX),
        at: authority.now(),
        stops: asked.stops,
        head: asked.head.clone(),
    };
    let unit = Unit {
        changes: vec![Change::RenewGateway(record)],
        ..Unit::default()
    };
    let committed = authority.commit_held(unit).await?;
    let applied = Applied {
        stops: asked.stops,
        bundle: asked.bundle,
    };
    if !authority.granted(&asked.gateway, lease, applied) {
        return Err(Problem::unavailable());
    }
    Ok(LeaseGrant {
        lease_ms: u64::try_from(lease.as_millis()).unwrap_or(u64::MAX),
        versions: committed.versions(),
    })
}

/// A gateway that has applied what the store does not know saw another past of it (B4).
pub(super) fn refuse_ahead(asked: &LeaseRequest, have: Versions) -> Result<(), Problem> {
    let checks = [
        ("stops", asked.stops.get(), have.stops.get()),
        ("bundle", asked.bundle.get(), have.bundle.get()),
        ("keys", asked.keys.get(), have.keys.get()),
    ];
    match checks.iter().find(|(_, asked, have)| asked > have) {
        None => Ok(()),
        Some((what, asked, have)) => Err(Problem::ahead(format!(
            "the gateway has applied `{what}` version {asked}, and the store is at {have}"
        ))),
    }
}
