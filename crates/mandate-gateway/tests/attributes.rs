//! Attributes of requests are decided on as they are sent.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests may panic"
)]

mod common;

use common::World;
use common::agent::{get, refusal, send};
use common::tokens::claims;
use http::{Request, StatusCode};
use http_body_util::Full;
use mandate_ports::Clock;

fn token_for(world: &World, action: &str) -> String {
    let claims = claims("retriever", action, world.clocks.now());
    world.authority.keys.sign(claims)
}

/// A `show` of a customer whose header fields are these besides.
fn show(world: &World, fields: &[(&'static str, &'static str)]) -> Request<Full<bytes::Bytes>> {
    let mut request = get("/records/shows/1", &token_for(world, "show"));
    for (name, value) in fields {
        let (name, value) = (
            name.parse::<http::HeaderName>().unwrap(),
            value.parse().unwrap(),
        );
        request.headers_mut().append(name, value);
    }
    request
}

#[tokio::test]
async fn a_header_attribute_is_decided_on_as_it_is_sent() {
    let world = World::new().await;
    // A twin that some servers take for the same field is not sent.
    let good = show(&world, &[("x-customer", "acme"), ("x_customer", "globex")]);
    assert_eq!(send(world.address, good).await.status(), StatusCode::OK);
    let headers = &world.upstream.arrived()[0].headers;
    assert_eq!(headers["x-customer"], "acme");
    assert!(!headers.contains_key("x_customer"));
    for fields in [
        &[("x-customer", "globex")][..],
        &[("x-customer", "acme"), ("x-customer", "globex")],
        &[("x-customer", "acme,globex")],
        &[("x_customer", "acme")],
        &[],
    ] {
        let refused = refusal(send(world.address, show(&world, fields)).await).await;
        assert_eq!(refused.0, StatusCode::FORBIDDEN, "{fields:?}");
    }
    assert_eq!(world.upstream.arrived().len(), 1);
}

#[tokio::test]
async fn no_header_is_decided_on_and_then_withheld() {
    let world = World::new().await;
    for named in ["x-customer", "close, X-Customer", "upgrade-insecure"] {
        let request = show(&world, &[("x-customer", "acme"), ("connection", named)]);
        let refused = refusal(send(world.address, request).await).await;
        let rule = "http.connection".to_owned();
        assert_eq!(refused, (StatusCode::BAD_REQUEST, rule), "{named}");
    }
    let plain = show(
        &world,
        &[("x-customer", "acme"), ("connection", "TE, close")],
    );
    assert_eq!(send(world.address, plain).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_query_attribute_is_decided_on_as_it_is_sent() {
    let world = World::new().await;
    let list = |query: &str| {
        get(
            &format!("/records/lists/1?{query}"),
            &token_for(&world, "list"),
        )
    };
    let good = send(world.address, list("page=2&customer=%61cme")).await;
    assert_eq!(good.status(), StatusCode::OK);
    assert_eq!(
        world.upstream.arrived()[0].target,
        "/lists/1?page=2&customer=%61cme"
    );
    for query in [
        "customer=globex",
        "customer=acme&customer=globex",
        "customer=acme&Customer=globex",
        "page=2",
    ] {
        let refused = refusal(send(world.address, list(query)).await).await;
        assert_eq!(refused.0, StatusCode::FORBIDDEN, "{query}");
    }
    assert_eq!(world.upstream.arrived().len(), 1);
}
