//! Leases: nothing without one, and what happens to streams when it ends (B2, B3).

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests may panic"
)]

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::agent::{get, refusal, send, text};
use common::tokens::claims;
use common::{Options, World};
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use mandate_audit::What;
use mandate_ports::Clock;

const READ: &str = "/records/customers/acme/notes";
const STREAM: &str = "/records/customers/acme/stream";

fn token(world: &World) -> String {
    world
        .authority
        .keys
        .sign(claims("retriever", "read", world.clocks.now()))
}

async fn open_stream(world: &World) -> Incoming {
    let response = send(world.address, get(STREAM, &token(world))).await;
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = response.into_body();
    world.upstream.feed(b"first");
    assert_eq!(chunk(&mut body).await.unwrap(), "first");
    body
}

async fn chunk(body: &mut Incoming) -> Result<String, hyper::Error> {
    let frame = body.frame().await.unwrap()?;
    Ok(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
}

#[tokio::test]
async fn nothing_is_admitted_before_the_first_lease() {
    let options = Options {
        granting: false,
        ..Options::default()
    };
    let world = World::with(options).await;
    world
        .until(|w| !w.authority.state().leases.is_empty())
        .await;
    let response = send(world.address, get(READ, &token(&world))).await;
    assert_eq!(response.headers()["retry-after"], "1");
    let refused = refusal(response).await;
    assert_eq!(
        refused,
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "gateway.no_lease".to_owned()
        )
    );
    world.authority.state().granting = true;
    world.until(|w| w.gateway.status().ready).await;
    let response = send(world.address, get(READ, &token(&world))).await;
    assert_eq!(text(response).await, "the record of acme");
}

#[tokio::test]
async fn a_stream_pauses_without_a_lease_and_goes_on_with_the_next() {
    let options = Options {
        lease_ms: 600,
        ..Options::default()
    };
    let world = World::with(options).await;
    let mut body = open_stream(&world).await;
    world.authority.state().granting = false;
    world.until(|w| !w.gateway.status().ready).await;
    world.upstream.feed(b"second");
    let early = tokio::time::timeout(Duration::from_millis(300), chunk(&mut body)).await;
    assert!(early.is_err(), "a byte passed without a lease");
    let refused = refusal(send(world.address, get(READ, &token(&world))).await).await;
    assert_eq!(refused.1, "gateway.no_lease");
    world.authority.state().granting = true;
    assert_eq!(chunk(&mut body).await.unwrap(), "second");
}

#[tokio::test]
async fn a_stream_is_reset_when_the_lease_stays_away_for_the_grace() {
    let options = Options {
        lease_ms: 300,
        grace: Duration::from_millis(300),
        ..Options::default()
    };
    let world = World::with(options).await;
    let mut body = open_stream(&world).await;
    world.authority.state().granting = false;
    assert!(chunk(&mut body).await.is_err());
    assert!(!world.gateway.status().ready);
    let record = world
        .record(|r| matches!(r.what, What::AccessCompleted { .. }))
        .await;
    assert_eq!(record.rule.as_deref(), Some("gateway.lease_ended"));
}

#[tokio::test]
async fn clock_jump_drops_the_lease() {
    let world = World::with(Options {
        lease_ms: 600,
        ..Options::default()
    })
    .await;
    world.authority.state().granting = false;
    world.clocks.wall_ms.store(3_600_000, Ordering::SeqCst);
    world.until(|w| !w.gateway.status().ready).await;
    let alarm = world.record(|r| matches!(r.what, What::Alarm { .. })).await;
    assert!(matches!(alarm.what, What::Alarm { message } if message.contains("jumped")));
    world.authority.state().granting = true;
    world.until(|w| w.gateway.status().ready).await;
}

#[tokio::test]
async fn a_bundle_that_is_applied_is_told_of_at_once_with_a_lease_request() {
    let options = Options {
        // The next renewal by itself would come in minutes.
        lease_ms: 3_600_000,
        ..Options::default()
    };
    let world = World::with(options).await;
    let bundle = world.authority.state().bundle.clone();
    world.authority.apply_bundle(bundle);
    let told = |world: &World| {
        let state = world.authority.state();
        let last = state.leases.last();
        last.is_some_and(|lease| lease.bundle.get() == 2)
    };
    world.until(told).await;
    let asked = world.authority.state().leases.len();
    world.authority.change_stops(|_| {});
    world.until(|w| w.authority.state().acks.len() > 1).await;
    assert_eq!(
        world.authority.state().leases.len(),
        asked,
        "stops have acknowledgements of their own"
    );
}
