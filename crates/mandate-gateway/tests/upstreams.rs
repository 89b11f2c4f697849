//! What upstreams get to see, and what of their answers is withheld (C4).

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests may panic"
)]

mod common;

use common::agent::{get, refusal, send};
use common::tokens::claims;
use common::{Options, SECRET, World};
use http::StatusCode;
use mandate_audit::{Outcome, What};
use mandate_ports::{Clock, Origin};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn read_token(world: &World) -> String {
    world
        .authority
        .keys
        .sign(claims("retriever", "read", world.clocks.now()))
}

const READ: &str = "/records/customers/acme/notes";

#[tokio::test]
async fn response_that_echoes_the_credential_is_refused() {
    let world = World::new().await;
    // In a redirect too: where it leads is chosen by the query here.
    let redirect = format!("redirect?{SECRET}");
    for path in ["echo-header", "echo-body", redirect.as_str()] {
        let target = format!("/records/customers/acme/{path}");
        let response = send(world.address, get(&target, &read_token(&world))).await;
        let headers = format!("{:?}", response.headers());
        assert!(!headers.contains(SECRET));
        let refused = refusal(response).await;
        assert_eq!(
            refused,
            (StatusCode::BAD_GATEWAY, "upstream.echo".to_owned())
        );
    }
    let record = world
        .record(|r| r.rule.as_deref() == Some("upstream.echo"))
        .await;
    assert!(matches!(record.what, What::AccessCompleted { .. }));
}

#[tokio::test]
async fn an_echo_in_a_stream_is_cut_before_any_of_it_leaves() {
    let world = World::new().await;
    let target = "/records/customers/acme/stream";
    let response = send(world.address, get(target, &read_token(&world))).await;
    let mut body = response.into_body();
    world.upstream.feed(b"hello ");
    assert_eq!(next_chunk(&mut body).await.unwrap(), "hello ");
    world.upstream.feed(b"now upstream-key-");
    assert_eq!(next_chunk(&mut body).await.unwrap(), "now ");
    world.upstream.feed(b"4711/x and more");
    assert!(next_chunk(&mut body).await.is_err());
}

#[tokio::test]
async fn an_answer_in_pieces_or_encoded_cannot_hide_an_echo() {
    let world = World::new().await;
    let mut request = get(READ, &read_token(&world));
    for (name, value) in [
        ("range", "bytes=0-7"),
        ("if-range", "\"x\""),
        ("accept-encoding", "gzip"),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    assert_eq!(send(world.address, request).await.status(), StatusCode::OK);
    let headers = &world.upstream.arrived()[0].headers;
    assert!(!headers.contains_key("range") && !headers.contains_key("if-range"));
    assert_eq!(headers["accept-encoding"], "identity");
    let encoded = get("/records/customers/acme/encoded", &read_token(&world));
    let refused = refusal(send(world.address, encoded).await).await;
    assert_eq!(
        refused,
        (StatusCode::BAD_GATEWAY, "upstream.encoded".to_owned())
    );
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let world = World::new().await;
    let elsewhere = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = elsewhere.local_addr().unwrap();
    let target = format!("/records/customers/acme/redirect?{to}");
    let response = send(world.address, get(&target, &read_token(&world))).await;
    assert_eq!(response.status(), StatusCode::FOUND);
    let location = format!("http://{to}/elsewhere");
    assert_eq!(response.headers()["location"], location);
    world
        .record(|r| matches!(r.what, What::AccessCompleted { .. }))
        .await;
    assert_eq!(world.upstream.arrived().len(), 1);
    // The access is over, and nobody stands in the other's queue.
    let nobody = futures_util::FutureExt::now_or_never(elsewhere.accept());
    assert!(nobody.is_none());
    let us = tokio::net::TcpStream::connect(to).await.unwrap();
    let (_, first) = elsewhere.accept().await.unwrap();
    assert_eq!(first, us.local_addr().unwrap(), "the first to connect");
}

#[tokio::test]
async fn credential_is_sent_only_to_its_pinned_origin() {
    let world = World::new().await;
    let own = world.secrets.origins.lock().unwrap()["records-key"].clone();
    let others = [
        Origin {
            port: own.port ^ 1,
            ..own.clone()
        },
        Origin {
            host: "localhost".to_owned(),
            ..own.clone()
        },
        Origin {
            scheme: "https".to_owned(),
            ..own.clone()
        },
    ];
    let pin = |to: Option<Origin>| {
        let mut origins = world.secrets.origins.lock().unwrap();
        origins.clear();
        origins.extend(to.map(|origin| ("records-key".to_owned(), origin)));
    };
    for other in others.into_iter().map(Some).chain([None]) {
        pin(other.clone());
        let refused = refusal(send(world.address, get(READ, &read_token(&world))).await).await;
        let credential = (StatusCode::BAD_GATEWAY, "upstream.credential".to_owned());
        assert_eq!(refused, credential, "{other:?}");
    }
    assert!(world.upstream.arrived().is_empty());
    pin(Some(own));
    let answer = send(world.address, get(READ, &read_token(&world))).await;
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn an_unreachable_upstream_is_a_bad_gateway_and_recorded_as_failed() {
    let world = World::new().await;
    let gone: std::net::SocketAddr = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    world.lead_to(gone).await;
    let refused = refusal(send(world.address, get(READ, &read_token(&world))).await).await;
    assert_eq!(
        refused,
        (StatusCode::BAD_GATEWAY, "upstream.unreachable".to_owned())
    );
    let record = world
        .record(|r| matches!(r.what, What::AccessCompleted { .. }))
        .await;
    let What::AccessCompleted { outcome, .. } = record.what else {
        panic!()
    };
    assert_eq!(outcome, Outcome::UpstreamFailed);
}

/// An upstream that gives `answer`, byte for byte, to the first request.
async fn raw_upstream(answer: String) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        let _ = stream.read_u8().await;
    });
    address
}

/// The whole of what an agent gets to see, byte for byte.
async fn raw_answer(world: &World, target: &str) -> String {
    let mut agent = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let token = read_token(world);
    let request = format!(
        "GET {target} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
    );
    agent.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    agent.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn an_upstreams_reason_phrase_reaches_no_agent() {
    let world = World::new().await;
    let answer = format!("HTTP/1.1 200 key {SECRET}\r\ncontent-length: 2\r\n\r\nok");
    world.lead_to(raw_upstream(answer).await).await;
    let answer = raw_answer(&world, READ).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    assert!(!answer.contains(SECRET));
}

#[tokio::test]
async fn what_was_held_back_leaves_before_the_trailers_that_follow() {
    let world = World::new().await;
    let (begin, _) = SECRET.split_at(9);
    let body = format!("it begins like {begin}");
    let answer = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n{:x}\r\n{body}\r\n0\r\nx-sum: 7\r\n\r\n",
        body.len()
    );
    world.lead_to(raw_upstream(answer).await).await;
    let response = send(world.address, get(READ, &read_token(&world))).await;
    assert_eq!(common::agent::text(response).await, body);
}

#[tokio::test]
async fn a_query_that_can_be_read_in_two_ways_hides_no_second_credential() {
    let world = World::new().await;
    let header = "{header: Authorization, value: \"Bearer ${secret:records-key}\"}";
    let query = "{query: {name: key, value: \"${secret:records-key}\"}}";
    let bundle = common::bundle(world.upstream.address, "").replace(header, query);
    world.apply(bundle).await;
    let ask = |query: &str| get(&format!("{READ}?{query}"), &read_token(&world));
    let refused = refusal(send(world.address, ask("page=2;key=mine")).await).await;
    let two_ways = (StatusCode::BAD_REQUEST, "request.target".to_owned());
    assert_eq!(refused, two_ways);
    assert!(world.upstream.arrived().is_empty());
    let answer = send(world.address, ask("page=2%3Bkey=mine&key=mine")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let sent = SECRET.replace('/', "%2F");
    let target = format!("/customers/acme/notes?page=2%3Bkey=mine&key={sent}");
    assert_eq!(world.upstream.arrived()[0].target, target);
}

#[tokio::test]
async fn a_connection_is_used_no_more_once_its_authority_is_not_trusted() {
    let world = World::with(Options {
        tls: true,
        ..Options::default()
    })
    .await;
    let ask = || send(world.address, get(READ, &read_token(&world)));
    assert_eq!(ask().await.status(), StatusCode::OK);
    *world.upstream_trust.0.lock().unwrap() = common::Certificates::new().client;
    let refused = refusal(ask().await).await;
    let untrusted = (StatusCode::BAD_GATEWAY, "upstream.unreachable".to_owned());
    assert_eq!(refused, untrusted);
    assert_eq!(world.upstream.arrived().len(), 1);
}

async fn open_stream(world: &World) -> hyper::body::Incoming {
    let target = "/records/customers/acme/stream";
    let response = send(world.address, get(target, &read_token(world))).await;
    let mut body = response.into_body();
    world.upstream.feed(b"first");
    assert_eq!(next_chunk(&mut body).await.unwrap(), "first");
    body
}

#[tokio::test]
async fn an_open_access_is_cut_when_its_server_workload_is_declared_otherwise() {
    let read = "read: {effect: read, match: \"GET /customers/{customer}/**\"}";
    let narrower = "tail: {effect: read, match: \"GET /customers/{customer}/stream\"}";
    let also = format!("{read}\n    {narrower}");
    for (from, to, rule) in [
        (
            "Bearer ${secret",
            "Token ${secret",
            "request.server_changed",
        ),
        (
            "upstream: http://127.0.0.1",
            "upstream: http://localhost",
            "request.server_changed",
        ),
        // What it asks for is another action now, which nobody permits.
        (read, also.as_str(), "mandate.no_entry"),
    ] {
        let world = World::new().await;
        let mut body = open_stream(&world).await;
        let bundle = common::bundle(world.upstream.address, "");
        assert!(bundle.contains(from));
        world.apply(bundle.replace(from, to)).await;
        assert!(next_chunk(&mut body).await.is_err(), "{to}");
        let cut = world
            .record(|r| matches!(r.what, What::AccessCompleted { .. }))
            .await;
        assert_eq!(cut.rule.as_deref(), Some(rule), "{to}");
    }
}

#[tokio::test]
async fn an_open_access_goes_on_when_something_else_is_declared_otherwise() {
    let world = World::new().await;
    let mut body = open_stream(&world).await;
    let bundle = common::bundle(world.upstream.address, "http: {idleTimeout: 50s}");
    world
        .apply(bundle.replace("max: 10000", "max: 20000"))
        .await;
    world.upstream.feed(b"second");
    assert_eq!(next_chunk(&mut body).await.unwrap(), "second");
}

async fn next_chunk(body: &mut hyper::body::Incoming) -> Result<String, hyper::Error> {
    use http_body_util::BodyExt;
    let frame = body.frame().await.unwrap()?;
    Ok(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
}
