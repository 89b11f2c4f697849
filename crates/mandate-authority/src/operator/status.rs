//! `GET /operator/v1/status`: how everything stands, in one answer.

use axum::extract::State;
use axum::response::Response;
use mandate_policy::decl::LeaseLoss;
use serde_json::{Value, json};

use super::caller::Operator;
use crate::Authority;
use crate::body;
use crate::health;
use crate::listen::Connection;
use crate::problem::Problem;
use crate::world::{Live, World};

/// How the authority stands.
#[utoipa::path(
    get, path = "/operator/v1/status", tag = "operators",
    responses((status = 200, description = "Versions, gateways, log, keys, suspensions, bundle", body = Object)),
)]
pub(crate) async fn status(State(at): State<Connection>) -> Result<Response, Problem> {
    let operator = Operator::any(&at, "status").await?;
    operator.looks_even_unrecorded(&at, "status").await;
    let (authority, world) = (&at.authority, at.authority.world());
    let config = authority.config();
    Ok(body::answer(&json!({
        "issuer": config.issuer.as_str(),
        "trust_domain": config.trust_domain,
        "operator": operator.name(),
        "now": authority.now(),
        "ready": health::findings(authority).await.is_empty(),
        "findings": health::findings(authority).await,
        "run": authority.run(),
        "versions": world.told(),
        "lease_ms": u64::try_from(config.lease.as_millis()).unwrap_or(u64::MAX),
        "gateways": gateways(authority),
        "log": log(authority).await,
        "keys": keys(&world),
        "suspensions": world.stops.suspensions().count(),
        "resumptions": world.stops.resumptions().filter(|r| r.until > authority.now()).count(),
        "undurable_suspensions": world.undurable,
        "bundle": bundle(&world),
        "observe": observed(authority, &world),
        "without_lease": without_lease(&world),
    })))
}

fn gateways(authority: &Authority) -> Vec<Value> {
    let view = authority.gateways().view(authority.boot());
    let gateway = |g: &crate::gateways::GatewayView| json!({"id": g.id, "stops": g.stops, "bundle": g.bundle, "leased": g.leased, "streaming": g.streaming});
    view.iter().map(gateway).collect()
}

async fn log(authority: &Authority) -> Value {
    match authority.ports().log.head().await {
        Ok(head) => json!({"size": head.size}),
        Err(why) => json!({"error": why.to_string()}),
    }
}

fn keys(world: &World) -> Vec<Value> {
    let key = |key: &crate::world::PublicKey| json!({"id": key.id, "purpose": key.purpose, "state": key.state});
    world.keys.all.iter().map(key).collect()
}

fn bundle(world: &World) -> Value {
    match &world.live {
        Live::None => json!({"version": 0}),
        Live::Good(live) => {
            json!({"version": live.version, "digest": live.record.digest, "at": live.record.at})
        }
        Live::Broken { version, why, .. } => json!({"version": version, "error": why}),
    }
}

/// Server workloads that gateways go on with without a lease: what weakens break-glass is said aloud (B3).
fn without_lease(world: &World) -> Vec<Value> {
    let servers = world
        .bundle()
        .into_iter()
        .flat_map(|live| live.bundle.servers());
    servers
        .filter(|server| server.lease_loss == LeaseLoss::Continue)
        .map(|s| json!({"server": s.name}))
        .collect()
}

/// Server workloads in `observe` mode: the one exemption from default deny, said aloud (P2).
fn observed(authority: &Authority, world: &World) -> Vec<Value> {
    let now = authority.now();
    let servers = world
        .bundle()
        .into_iter()
        .flat_map(|live| live.bundle.servers());
    let observed = servers.filter(|server| server.is_observed(now));
    observed
        .map(|s| json!({"server": s.name, "until": s.observe_until}))
        .collect()
}
