//! Server workloads that go on without a lease: what they may, and when they may not (B3).

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
use common::tokens::{claims, for_vault};
use common::{Options, World};
use http::StatusCode;
use http_body_util::BodyExt;
use mandate_audit::{Event, What};
use mandate_ports::{Clock, Spool};

const READ: &str = "/records/customers/acme/notes";
const STREAM: &str = "/records/customers/acme/stream";
const VAULT: &str = "/vault/customers/acme/notes";

/// `records` goes on without a lease, `vault` does not.
fn options() -> Options {
    Options {
        lease_ms: 500,
        grace: Duration::from_millis(300),
        server: "leaseLoss: continue".to_owned(),
        ..Options::default()
    }
}

fn token(world: &World) -> String {
    world
        .authority
        .keys
        .sign(claims("retriever", "read", world.clocks.now()))
}

/// The status and rule of a refused read of `records`, or nothing if it was let through.
async fn refused(world: &World) -> Option<(StatusCode, String)> {
    let response = send(world.address, get(READ, &token(world))).await;
    if response.status() == StatusCode::OK {
        assert_eq!(text(response).await, "the record of acme");
        return None;
    }
    Some(refusal(response).await)
}

fn no_lease() -> Option<(StatusCode, String)> {
    let rule = "gateway.no_lease".to_owned();
    Some((StatusCode::SERVICE_UNAVAILABLE, rule))
}

/// A world whose authority cannot be reached any more and whose lease has run out.
async fn alone(options: Options) -> World {
    let world = World::with(options).await;
    world.authority.cut();
    world.until(|w| !w.gateway.status().ready).await;
    world
}

#[tokio::test]
async fn what_may_go_on_is_admitted_without_a_lease_and_nothing_else_is() {
    let world = alone(options()).await;
    assert_eq!(refused(&world).await, None);
    let vault = for_vault(claims("retriever", "read", world.clocks.now()));
    let vault = world.authority.keys.sign(vault);
    let response = send(world.address, get(VAULT, &vault)).await;
    assert_eq!(Some(refusal(response).await), no_lease());
    // What is not known may be so only because what is known is old.
    let response = send(world.address, get("/unknown/x", &token(&world))).await;
    assert_eq!(Some(refusal(response).await), no_lease());
    // Tokens are verified as ever, and so is what they are for.
    let mut expired = claims("retriever", "read", world.clocks.now());
    expired.issued_at = world.clocks.now().minus(Duration::from_secs(60));
    expired.expires_at = world.clocks.now().minus(Duration::from_secs(1));
    let expired = world.authority.keys.sign(expired);
    let response = send(world.address, get(READ, &expired)).await;
    assert_eq!(refusal(response).await.1, "token.invalid");
    let other = "/records/customers/globex/notes";
    let response = send(world.address, get(other, &token(&world))).await;
    assert_eq!(refusal(response).await.1, "mandate.unfit");
    assert!(
        !world.gateway.status().ready,
        "and it does not call that ready"
    );
}

#[tokio::test]
async fn what_was_let_happen_without_a_lease_is_marked_in_its_records() {
    let world = World::with(options()).await;
    assert_eq!(refused(&world).await, None);
    world.authority.cut();
    world.until(|w| !w.gateway.status().ready).await;
    assert_eq!(refused(&world).await, None);
    let of_accesses = |r: &Event| {
        matches!(
            r.what,
            What::AccessDecided { .. } | What::AccessCompleted { .. }
        )
    };
    // Durable here while nobody can be asked: a decision and an end.
    world
        .until(|w| w.spool.head().next >= w.spool.unshipped_from() + 2)
        .await;
    world.authority.mend();
    world.until(|w| w.gateway.status().ready).await;
    assert_eq!(refused(&world).await, None);
    let all = |w: &World| {
        let records = w.authority.records().into_iter();
        records.filter(of_accesses).collect::<Vec<_>>()
    };
    world.until(|w| all(w).len() >= 6).await;
    let marks: Vec<bool> = all(&world).iter().map(|r| r.without_lease).collect();
    assert_eq!(marks, [false, false, true, true, false, false]);
}

#[tokio::test]
async fn nothing_goes_on_before_the_first_lease() {
    let granting = false;
    let world = World::with(Options {
        granting,
        ..options()
    })
    .await;
    world
        .until(|w| !w.authority.state().leases.is_empty())
        .await;
    assert_eq!(refused(&world).await, no_lease());
    world.authority.cut();
    assert_eq!(refused(&world).await, no_lease());
}

#[tokio::test]
async fn an_open_stream_goes_on_without_a_lease_and_ends_with_its_token() {
    let world = World::with(options()).await;
    let mut short = claims("retriever", "read", world.clocks.now());
    short.expires_at = world.clocks.now().plus(Duration::from_secs(5));
    let short = world.authority.keys.sign(short);
    let response = send(world.address, get(STREAM, &short)).await;
    let mut body = response.into_body();
    world.authority.cut();
    world.until(|w| !w.gateway.status().ready).await;
    let began = world.clocks.boot();
    let mut chunks = 0;
    let cut = loop {
        world.upstream.feed(b"more");
        match body.frame().await.unwrap() {
            Ok(_) => chunks += 1,
            Err(cut) => break cut,
        }
    };
    let passed = world.clocks.boot().since(began);
    assert!(
        chunks > 0 && passed > Duration::from_secs(1),
        "{passed:?}: {cut}"
    );
    world.authority.mend();
    let end = world
        .record(|r| matches!(r.what, What::AccessCompleted { .. }))
        .await;
    assert_eq!(end.rule.as_deref(), Some("token.expired"));
    assert!(end.without_lease, "it began under a lease and outlived it");
}

#[tokio::test]
async fn a_wall_clock_that_moves_ends_it_before_anybody_has_noticed() {
    for moved in [-2_000, 3_600_000] {
        let world = alone(options()).await;
        assert_eq!(refused(&world).await, None);
        world.clocks.wall_ms.store(moved, Ordering::SeqCst);
        assert_eq!(refused(&world).await, no_lease(), "{moved}");
        // And for good: a clock that is set right again is not known to be right.
        // The third record is the alarm, after the two of the access.
        world.until(|w| w.spool.head().next == 3).await;
        world.clocks.wall_ms.store(0, Ordering::SeqCst);
        assert_eq!(refused(&world).await, no_lease());
        world.authority.mend();
        world.until(|w| w.gateway.status().ready).await;
        assert_eq!(refused(&world).await, None);
    }
}

#[tokio::test]
async fn a_gateway_that_knows_of_a_bundle_that_it_has_not_applied_does_not_go_on() {
    let world = World::with(options()).await;
    world.authority.apply_bundle("kind: Nonsense".to_owned());
    let told = |w: &World| w.gateway.status().trouble.is_some();
    world.until(told).await;
    world.authority.cut();
    world.until(|w| !w.gateway.status().ready).await;
    assert_eq!(refused(&world).await, no_lease());
}

#[tokio::test]
async fn an_authority_that_says_no_is_none_that_is_silent() {
    for (status, goes_on) in [(503, true), (403, false)] {
        let world = World::with(options()).await;
        world.authority.state().lease_refusal = Some(status);
        world.until(|w| !w.gateway.status().ready).await;
        let refused = refused(&world).await;
        assert_eq!(refused.is_none(), goes_on, "{status}: {refused:?}");
        world.authority.cut();
        assert_eq!(self::refused(&world).await.is_none(), goes_on, "{status}");
    }
}

#[tokio::test]
async fn a_line_that_cannot_be_read_is_no_silence() {
    let world = World::with(options()).await;
    // Whatever it said may have been a suspension.
    world.authority.say_nonsense();
    world.authority.cut();
    world.until(|w| !w.gateway.status().ready).await;
    assert_eq!(refused(&world).await, no_lease());
}

#[tokio::test]
async fn a_stop_that_came_is_obeyed_without_a_lease_too() {
    let world = World::with(options()).await;
    world.authority.state().lease_refusal = Some(503);
    world.until(|w| !w.gateway.status().ready).await;
    assert_eq!(refused(&world).await, None);
    let id = common::tokens::agent("retriever");
    let version = world
        .authority
        .suspend(mandate_model::stop::Subject::Agent { id });
    world
        .until(|w| w.authority.acknowledged(version).is_some())
        .await;
    assert_eq!(refused(&world).await.unwrap().1, "stopped");
}

#[tokio::test]
async fn what_waits_to_be_shipped_bounds_it_as_ever() {
    let max_unshipped = 4;
    let world = alone(Options {
        max_unshipped,
        ..options()
    })
    .await;
    let mut admitted = 0;
    let refused = loop {
        match refused(&world).await {
            None => admitted += 1,
            Some(refused) => break refused,
        }
    };
    assert!((1..=max_unshipped).contains(&admitted), "{admitted}");
    assert_eq!(refused.1, "record.unwritable");
    world.authority.mend();
    world.until(|w| w.gateway.status().ready).await;
    assert_eq!(self::refused(&world).await, None);
}
