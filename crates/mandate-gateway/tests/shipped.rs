//! Records that must be in the authority's log before anything is forwarded (C2).

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests may panic"
)]

mod common;

use common::agent::{get, refusal, send, text};
use common::tokens::claims;
use common::{Options, World};
use http::StatusCode;
use mandate_audit::{Event, Outcome, What};
use mandate_ports::Clock;

const READ: &str = "/records/customers/acme/notes";

fn options(durability: &str) -> Options {
    Options {
        // A read that could otherwise be recorded after it was forwarded.
        server: format!("internal: true\n  durability: {durability}"),
        ..Options::default()
    }
}

fn token(world: &World) -> String {
    world
        .authority
        .keys
        .sign(claims("retriever", "read", world.clocks.now()))
}

fn is_decision(record: &Event) -> bool {
    matches!(record.what, What::AccessDecided { .. })
}

#[tokio::test]
async fn nothing_is_forwarded_before_the_authority_has_the_record() {
    let world = World::with(options("shipped")).await;
    world.authority.state().holding_records = true;
    let (address, request) = (world.address, get(READ, &token(&world)));
    let asking = tokio::spawn(async move { send(address, request).await });
    world
        .until(|w| w.authority.state().held_shipments > 0)
        .await;
    assert!(world.upstream.arrived().is_empty(), "it waits");
    world.authority.state().holding_records = false;
    let response = asking.await.unwrap();
    assert_eq!(text(response).await, "the record of acme");
    assert_eq!(world.upstream.arrived().len(), 1);
    assert!(world.authority.records().iter().any(is_decision));
}

#[tokio::test]
async fn what_waits_for_nobody_is_forwarded_while_the_authority_has_no_record() {
    let world = World::with(options("local")).await;
    world.authority.state().holding_records = true;
    let response = send(world.address, get(READ, &token(&world))).await;
    assert_eq!(text(response).await, "the record of acme");
    assert!(!world.authority.records().iter().any(is_decision));
}

#[tokio::test]
async fn an_authority_that_does_not_take_the_record_in_time_is_an_access_denied() {
    let world = World::with(options("shipped")).await;
    world.authority.state().holding_records = true;
    let refused = refusal(send(world.address, get(READ, &token(&world))).await).await;
    let rule = "record.not_shipped".to_owned();
    assert_eq!(refused, (StatusCode::SERVICE_UNAVAILABLE, rule));
    assert!(world.upstream.arrived().is_empty());
    world.authority.state().holding_records = false;
    let end = world
        .record(|r| matches!(r.what, What::AccessCompleted { .. }))
        .await;
    assert_eq!(end.rule.as_deref(), Some("record.not_shipped"));
    let What::AccessCompleted { outcome, .. } = end.what else {
        panic!("{end:?}");
    };
    assert_eq!(outcome, Outcome::Aborted);
    // It passes by itself.
    let response = send(world.address, get(READ, &token(&world))).await;
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn an_authority_that_cannot_be_reached_denies_what_must_be_shipped() {
    let world = World::with(options("shipped")).await;
    // The lease holds on: it is the record alone that is missed.
    world.authority.cut();
    let refused = refusal(send(world.address, get(READ, &token(&world))).await).await;
    assert_eq!(refused.1, "record.not_shipped");
    assert!(world.upstream.arrived().is_empty());
}

#[tokio::test]
async fn a_stop_that_comes_while_a_record_is_shipped_is_obeyed() {
    let world = World::with(options("shipped")).await;
    world.authority.state().holding_records = true;
    let (address, request) = (world.address, get(READ, &token(&world)));
    let asking = tokio::spawn(async move { send(address, request).await });
    world
        .until(|w| w.authority.state().held_shipments > 0)
        .await;
    let id = common::tokens::agent("retriever");
    let version = world
        .authority
        .suspend(mandate_model::stop::Subject::Agent { id });
    world
        .until(|w| w.authority.acknowledged(version).is_some())
        .await;
    // The connection is reset, or the refusal was on its way already.
    if let Ok(response) = asking.await {
        assert_ne!(response.status(), StatusCode::OK);
    }
    world.authority.state().holding_records = false;
    world
        .record(|r| matches!(r.what, What::AccessCompleted { .. }))
        .await;
    assert!(world.upstream.arrived().is_empty());
}
