//! Metrics, health and readiness, which tell the truth.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use mandate_model::GatewayId;
use mandate_model::stop::{StopSet, Subject};
use mandate_ports::{KeyPurpose, KeyState};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::Authority;
use crate::body;
use crate::gateways::GatewayView;
use crate::listen::Connection;
use crate::problem::Problem;
use crate::world::Live;

/// The routes for Prometheus and whoever restarts things.
pub(crate) fn router(registry: Arc<Registry>) -> Router<Connection> {
    let metrics = move |State(at): State<Connection>| metrics(at, registry.clone());
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .fallback(|| async { Problem::unknown("no such path") })
}

async fn metrics(at: Connection, registry: Arc<Registry>) -> Response {
    at.authority.measure().await;
    let mut text = String::new();
    if encode(&mut text, &registry).is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

async fn readyz(State(at): State<Connection>) -> Response {
    let findings = findings(&at.authority).await;
    let status = if findings.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = body::answer(&serde_json::json!({
        "ready": findings.is_empty(),
        "findings": findings,
    }));
    (status, body).into_response()
}

/// What keeps the authority from issuing, or a gateway that is connected or in this process from
/// admitting, now; empty if nothing does.
pub(crate) async fn findings(authority: &Authority) -> Vec<String> {
    let world = authority.world();
    let mut findings = Vec::new();
    if let Some(failing) = authority.writable().failing() {
        findings.push(format!(
            "the store fails since {}: {}",
            failing.since, failing.why
        ));
    }
    if let Err(why) = authority.ports().state.versions().await {
        findings.push(format!("the store cannot be read: {why}"));
    }
    if world.undurable > 0 {
        findings.push(format!(
            "{} suspensions act in memory and are not stored",
            world.undurable
        ));
    }
    for purpose in [KeyPurpose::Svid, KeyPurpose::Oauth] {
        let published = |key: &crate::world::PublicKey| {
            key.purpose == purpose && key.state == KeyState::Signing
        };
        let signs = authority.ports().signer.current(purpose);
        if signs.is_err() || !world.keys.all.iter().any(published) {
            findings.push(format!(
                "no key signs `{}` tokens",
                crate::keys::name_of(purpose)
            ));
        }
    }
    let gateways = authority.gateways().view(authority.boot());
    for gateway in gateways.iter().filter(|g| g.streaming && !g.leased) {
        findings.push(format!(
            "gateway `{}` has no lease and admits nothing, or only for what goes on without one",
            gateway.id
        ));
    }
    findings.extend(authority.beside());
    findings.extend(suspended(&world.stops, &gateways));
    match &world.live {
        Live::Good(_) => {}
        Live::None => findings.push("no bundle is live".to_owned()),
        Live::Broken { version, why, .. } => {
            findings.push(format!(
                "bundle version {version} does not load here: {why}"
            ));
        }
    }
    findings
}

/// Suspensions after which nothing passes here: that is what was ordered, and still it does not work.
fn suspended(stops: &StopSet, gateways: &[GatewayView]) -> Vec<String> {
    if stops.suspension(&Subject::Everything).is_some() {
        return vec!["everything is suspended: nothing is issued, nothing admitted".to_owned()];
    }
    let is_suspended = |id: &GatewayId| {
        let subject = Subject::Gateway { id: id.clone() };
        stops.suspension(&subject).is_some()
    };
    let known = gateways
        .iter()
        .filter(|g| g.streaming && is_suspended(&g.id));
    known
        .map(|g| format!("gateway `{}` is suspended and admits nothing", g.id))
        .collect()
}
