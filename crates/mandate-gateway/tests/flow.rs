//! TLS, HTTP/2 and long bodies on both sides, and the records that long accesses leave.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests may panic"
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use common::agent::{get, refusal, send, text};
use common::tokens::{agent, claims};
use common::{Options, World};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mandate_audit::{Outcome, What};
use mandate_model::stop::Subject;
use mandate_ports::Clock;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

const READ: &str = "/customers/acme/notes";
const STREAM: &str = "/customers/acme/stream";

fn token(world: &World) -> String {
    world
        .authority
        .keys
        .sign(claims("retriever", "read", world.clocks.now()))
}

async fn tls_world() -> World {
    World::with(Options {
        tls: true,
        server: "http: {hosts: [records.acme.example]}".to_owned(),
        ..Options::default()
    })
    .await
}

type H2 = hyper::client::conn::http2::SendRequest<http_body_util::Full<Bytes>>;

/// An HTTP/2 connection over TLS to the gateway's host listener.
async fn connect_tls(world: &World) -> H2 {
    let mut config = (*world.trust).clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(world.tls_address).await.unwrap();
    let name = ServerName::try_from("records.acme.example").unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    sender
}

fn get_h2(target: &str, token: &str) -> Request<http_body_util::Full<Bytes>> {
    let mut request = get(target, token);
    request.headers_mut().remove("host");
    *request.uri_mut() = format!("https://records.acme.example{target}")
        .parse()
        .unwrap();
    request
}

#[tokio::test]
async fn tls_and_http2_on_both_sides() {
    let world = tls_world().await;
    let mut agent = connect_tls(&world).await;
    for _ in 0..3 {
        let response = agent
            .send_request(get_h2(READ, &token(&world)))
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(text(response).await, "the record of acme");
    }
    let arrived = world.upstream.arrived();
    assert_eq!(arrived.len(), 3);
    assert!(arrived[0].version == http::Version::HTTP_2);
    assert!(!arrived[0].headers.contains_key("host"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn accesses_without_bodies_end_as_completed_and_at_once() {
    let world = tls_world().await;
    let agent = connect_tls(&world).await;
    let token = token(&world);
    let asked = (0..100).map(|_| {
        let (mut agent, request) = (agent.clone(), get_h2("/customers/acme/empty", &token));
        async move { agent.send_request(request).await.unwrap().status() }
    });
    let answers = futures_util::future::join_all(asked).await;
    assert!(answers.iter().all(|status| *status == StatusCode::OK));
    let done = |w: &World| {
        let records = w.authority.records();
        let completed = records.iter().filter(|r| {
            let outcome = Outcome::Completed;
            matches!(r.what, What::AccessCompleted { outcome: o, .. } if o == outcome)
        });
        completed.count()
    };
    // Well before anything else would have the connections flush.
    world.until(|w| done(w) == 100).await;
    assert_eq!(world.gateway.status().open_accesses, 0);
}

#[tokio::test]
async fn a_connection_without_requests_gives_its_place_free() {
    let world = World::with(Options {
        tls: true,
        server: "http: {hosts: [records.acme.example]}".to_owned(),
        limits: mandate_gateway::Limits {
            idle: Duration::from_millis(200),
            ..mandate_gateway::Limits::default()
        },
        ..Options::default()
    })
    .await;
    let mut agent = connect_tls(&world).await;
    let stream = agent.send_request(get_h2(STREAM, &token(&world)));
    let mut body = stream.await.unwrap().into_body();
    for _ in 0..3 {
        // An open stream is no rest, however quiet.
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.upstream.feed(b"more");
        assert!(body.frame().await.unwrap().is_ok());
    }
    world.upstream.end_streams();
    assert!(body.collect().await.unwrap().to_bytes().is_empty());
    let ended = async {
        while agent.ready().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ended)
        .await
        .unwrap();
}

#[tokio::test]
async fn unmatched_host_is_refused() {
    let world = tls_world().await;
    let mut agent = connect_tls(&world).await;
    let mut request = get_h2(READ, &token(&world));
    *request.uri_mut() = format!("https://other.example{READ}").parse().unwrap();
    let refused = refusal(agent.send_request(request).await.unwrap()).await;
    assert_eq!(
        refused,
        (StatusCode::NOT_FOUND, "request.no_server".to_owned())
    );
    assert!(world.upstream.arrived().is_empty());
}

#[tokio::test]
async fn a_cut_of_one_http2_stream_leaves_its_connections_and_the_other_streams_alone() {
    let world = tls_world().await;
    let mut agent_side = connect_tls(&world).await;
    let other = {
        let mut other = claims("retriever", "read", world.clocks.now());
        let chain = mandate_model::ActChain::from_levels(vec![other.acting.actor().clone()]);
        other.acting = mandate_token::ActingChain::new(chain.unwrap()).unwrap();
        world.authority.keys.sign(other)
    };
    let mut bodies = Vec::new();
    for token in [token(&world), other] {
        let response = agent_side
            .send_request(get_h2(STREAM, &token))
            .await
            .unwrap();
        bodies.push(response.into_body());
    }
    // Only the first was delegated by the orchestrator.
    let id = agent("orchestrator");
    let version = world.authority.suspend(Subject::Agent { id });
    world
        .until(|w| w.authority.acknowledged(version).is_some())
        .await;
    assert_eq!(world.authority.acknowledged(version).unwrap().cut, 1);
    world.until(|w| w.upstream.open_streams() == 1).await;
    world.upstream.feed(b"more");
    assert!(bodies[0].frame().await.unwrap().is_err());
    let frame = bodies[1].frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "more");
}

#[tokio::test]
async fn an_upstream_without_the_pinned_certificate_gets_nothing() {
    let world = World::with(Options {
        tls: true,
        distrust: true,
        server: "http: {hosts: [records.acme.example]}".to_owned(),
        ..Options::default()
    })
    .await;
    let request = get(&format!("/records{READ}"), &token(&world));
    let refused = refusal(send(world.address, request).await).await;
    assert_eq!(
        refused,
        (StatusCode::BAD_GATEWAY, "upstream.unreachable".to_owned())
    );
    assert!(world.upstream.arrived().is_empty());
}

#[tokio::test]
async fn the_authority_that_a_server_workload_names_is_the_one_asked_for() {
    for (ca, status) in [("acme", StatusCode::OK), ("other", StatusCode::BAD_GATEWAY)] {
        let world = World::with(Options {
            tls: true,
            server: format!("tls: {{ca: {ca}}}"),
            ..Options::default()
        })
        .await;
        let request = get(&format!("/records{READ}"), &token(&world));
        assert_eq!(send(world.address, request).await.status(), status, "{ca}");
        assert_eq!(world.upstream.arrived().is_empty(), ca == "other");
    }
}

#[tokio::test]
async fn long_streams_tell_of_their_progress_and_are_cut_when_it_cannot_be_recorded() {
    let world = World::new().await;
    let request = get(&format!("/records{STREAM}"), &token(&world));
    let mut body = send(world.address, request).await.into_body();
    static BLOCK: [u8; 1 << 20] = [7; 1 << 20];
    for _ in 0..17 {
        world.upstream.feed(&BLOCK);
    }
    read_exactly(&mut body, 17 << 20).await.unwrap();
    let progress = world
        .record(|r| matches!(r.what, What::AccessProgress { .. }))
        .await;
    let What::AccessProgress { bytes_down, .. } = progress.what else {
        panic!()
    };
    assert!((16 << 20..=17 << 20).contains(&bytes_down), "{bytes_down}");
    assert!(progress.task.is_some());
    world.spool.full.store(true, Ordering::SeqCst);
    for _ in 0..17 {
        world.upstream.feed(&BLOCK);
    }
    assert!(read_exactly(&mut body, 17 << 20).await.is_err());
}

#[tokio::test]
async fn no_more_than_the_bound_passes_down_before_a_record_of_it_is_durable() {
    let world = World::new().await;
    let request = get(&format!("/records{STREAM}"), &token(&world));
    let mut body = send(world.address, request).await.into_body();
    static BLOCK: [u8; 1 << 20] = [7; 1 << 20];
    let records = world.spool.slow.write().await;
    for _ in 0..40 {
        world.upstream.feed(&BLOCK);
    }
    let mut got = 0;
    while let Ok(frame) = tokio::time::timeout(Duration::from_secs(1), body.frame()).await {
        got += frame.unwrap().unwrap().into_data().unwrap().len();
    }
    assert!((16 << 20..=17 << 20).contains(&got), "{got}");
    drop(records);
    read_exactly(&mut body, (40 << 20) - got).await.unwrap();
}

#[tokio::test]
async fn a_long_upload_tells_of_its_progress_before_it_is_answered() {
    let world = World::with(Options {
        server: "http: {maxBodyBytes: 100000000}".to_owned(),
        ..Options::default()
    })
    .await;
    let (chunks, answer) = upload(&world).await;
    static BLOCK: [u8; 1 << 20] = [7; 1 << 20];
    for _ in 0..20 {
        chunks.send(Bytes::from_static(&BLOCK)).unwrap();
    }
    let progress = world
        .record(|r| matches!(r.what, What::AccessProgress { .. }))
        .await;
    let What::AccessProgress { bytes_up, .. } = progress.what else {
        panic!()
    };
    assert!((16 << 20..=17 << 20).contains(&bytes_up), "{bytes_up}");
    drop(chunks);
    assert_eq!(answer.await.unwrap().unwrap().status(), StatusCode::OK);
    assert_eq!(world.upstream.arrived()[0].body.len(), 20 << 20);
}

#[tokio::test]
async fn streams_that_are_reset_leave_no_more_work_behind_than_streams_may_be_open() {
    let world = tls_world().await;
    let agent = connect_tls(&world).await;
    let (token, most) = (token(&world), 128);
    let records = world.spool.slow.write().await;
    for n in 0..most {
        let (mut agent, request) = (agent.clone(), get_h2(READ, &token));
        let asked = tokio::spawn(async move { agent.send_request(request).await });
        world
            .until(|w| w.gateway.status().open_accesses == n + 1)
            .await;
        asked.abort();
    }
    let one_more = |world: &World| world.gateway.status().open_accesses > most;
    let (mut other, request) = (agent.clone(), get_h2(READ, &token));
    let asked = tokio::spawn(async move { other.send_request(request).await });
    let admitted = tokio::time::timeout(Duration::from_secs(1), world.until(one_more)).await;
    assert!(admitted.is_err(), "it waits for a place");
    drop(records);
    assert_eq!(asked.await.unwrap().unwrap().status(), StatusCode::OK);
    world.until(|w| w.gateway.status().open_accesses == 0).await;
    assert_eq!(
        world.upstream.arrived().len(),
        1,
        "nothing is forwarded for whoever went away"
    );
}

async fn read_exactly(body: &mut hyper::body::Incoming, bytes: usize) -> Result<(), hyper::Error> {
    let mut got = 0;
    while got < bytes {
        got += body.frame().await.unwrap()?.into_data().unwrap().len();
    }
    Ok(())
}

/// An upload whose chunks a test sends.
async fn upload(world: &World) -> Uploading {
    world.pass_start().await;
    let token = &upload_token(world);
    begin(world, token, Request::put("/records/customers/acme/files")).await
}

type Uploading = (
    mpsc::UnboundedSender<Bytes>,
    tokio::task::JoinHandle<Result<http::Response<hyper::body::Incoming>, hyper::Error>>,
);

async fn begin(world: &World, token: &str, request: http::request::Builder) -> Uploading {
    let (chunks, receiver) = mpsc::unbounded_channel::<Bytes>();
    let frames = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let chunk = receiver.recv().await?;
        Some((
            Ok::<_, std::convert::Infallible>(Frame::data(chunk)),
            receiver,
        ))
    });
    let request = request
        .header("host", "gateway")
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {token}"))
        .body(StreamBody::new(Box::pin(frames)))
        .unwrap();
    let stream = TcpStream::connect(world.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    (
        chunks,
        tokio::spawn(async move { sender.send_request(request).await }),
    )
}

fn upload_token(world: &World) -> String {
    world
        .authority
        .keys
        .sign(claims("executor", "upload", world.clocks.now()))
}

#[tokio::test]
async fn an_upload_streams_through_and_is_whole() {
    let world = World::new().await;
    let (chunks, answer) = upload(&world).await;
    for _ in 0..64 {
        chunks.send(Bytes::from_static(&[7; 65_536])).unwrap();
    }
    drop(chunks);
    assert_eq!(answer.await.unwrap().unwrap().status(), StatusCode::OK);
    assert_eq!(world.upstream.arrived()[0].body.len(), 64 * 65_536);
    let done = world
        .record(|r| matches!(r.what, What::AccessCompleted { .. }))
        .await;
    let What::AccessCompleted {
        outcome, bytes_up, ..
    } = done.what
    else {
        panic!()
    };
    assert_eq!((outcome, bytes_up), (Outcome::Completed, 64 * 65_536));
}

#[tokio::test]
async fn trailers_of_a_request_reach_no_upstream() {
    let world = tls_world().await;
    world.pass_start().await;
    let mut config = (*world.trust).clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("records.acme.example").unwrap();
    let stream = TcpStream::connect(world.tls_address).await.unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap();
    let (mut agent, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-customer", "globex".parse().unwrap());
    let frames = [
        Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(b"body"))),
        Ok(Frame::trailers(trailers)),
    ];
    let request = Request::put("https://records.acme.example/customers/acme/files")
        .header("authorization", format!("Bearer {}", upload_token(&world)))
        .header("trailer", "x-customer")
        .body(StreamBody::new(futures_util::stream::iter(frames)))
        .unwrap();
    let response = agent.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let arrived = world.upstream.arrived();
    assert_eq!(arrived[0].body, "body");
    assert!(arrived[0].trailers.is_none() && !arrived[0].headers.contains_key("trailer"));
}

#[tokio::test]
async fn suspension_cuts_an_open_upload() {
    let world = World::new().await;
    let (chunks, answer) = upload(&world).await;
    chunks.send(Bytes::from_static(b"first")).unwrap();
    world.until(|w| w.gateway.status().open_accesses == 1).await;
    let id = agent("executor");
    let version = world.authority.suspend(Subject::Agent { id });
    world
        .until(|w| w.authority.acknowledged(version).is_some())
        .await;
    let _ = chunks.send(Bytes::from_static(b"second"));
    assert!(answer.await.unwrap().is_err());
    world.until(|w| w.gateway.status().open_accesses == 0).await;
    let arrived = world.upstream.arrived();
    assert!(arrived.iter().all(|a| !a.body.ends_with(b"second")));
}

#[tokio::test]
async fn a_body_that_is_decided_on_must_come_in_time_and_before_its_token_ends() {
    for (idle, lives) in [("1s", 60), ("60s", 2)] {
        let world = World::with(Options {
            server: format!("http: {{idleTimeout: {idle}}}"),
            ..Options::default()
        })
        .await;
        let mut claims = claims("executor", "refund", world.clocks.now());
        claims.expires_at = world.clocks.now().plus(Duration::from_secs(lives));
        let token = world.authority.keys.sign(claims);
        let request = Request::post("/records/customers/acme/refunds");
        let (chunks, answer) = begin(&world, &token, request).await;
        chunks.send(Bytes::from_static(b"{")).unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(10), answer).await;
        let refused = refusal(answer.unwrap().unwrap().unwrap()).await;
        let late = (StatusCode::REQUEST_TIMEOUT, "request.body".to_owned());
        assert_eq!(refused, late);
        assert!(world.upstream.arrived().is_empty());
    }
}

#[tokio::test]
async fn an_upload_that_is_too_long_is_refused() {
    let world = World::with(Options {
        server: "http: {maxBodyBytes: 100000}".to_owned(),
        ..Options::default()
    })
    .await;
    let (chunks, answer) = upload(&world).await;
    for _ in 0..2 {
        chunks.send(Bytes::from_static(&[7; 65_536])).unwrap();
    }
    let refused = refusal(answer.await.unwrap().unwrap()).await;
    assert_eq!(
        refused,
        (StatusCode::BAD_REQUEST, "request.body".to_owned())
    );
}

#[tokio::test]
async fn an_agent_that_goes_away_is_recorded_as_gone_and_its_upstream_is_let_go() {
    let world = World::new().await;
    let request = get(&format!("/records{STREAM}"), &token(&world));
    let body = send(world.address, request).await.into_body();
    world.until(|w| w.upstream.open_streams() == 1).await;
    drop(body);
    world.until(|w| w.upstream.open_streams() == 0).await;
    let done = world
        .record(|r| matches!(r.what, What::AccessCompleted { .. }))
        .await;
    let What::AccessCompleted { outcome, .. } = done.what else {
        panic!()
    };
    assert_eq!(outcome, Outcome::AgentGone);
}

#[tokio::test]
async fn a_gateway_that_stops_cuts_records_and_ships_everything() {
    let world = World::new().await;
    let request = get(&format!("/records{STREAM}"), &token(&world));
    let mut body = send(world.address, request).await.into_body();
    for _ in 0..3 {
        let bad = get(&format!("/records{READ}"), "nonsense");
        send(world.address, bad).await;
    }
    let World {
        gateway,
        authority,
        spool,
        ..
    } = world;
    gateway.stop(Duration::from_millis(500)).await;
    assert!(body.frame().await.unwrap().is_err());
    let records = authority.records();
    let counted = records.iter().find_map(|r| {
        let What::RefusedCount {
            listener,
            source,
            count,
            ..
        } = &r.what
        else {
            return None;
        };
        Some((listener.as_str(), source.as_str(), *count))
    });
    assert_eq!(counted, Some(("dev", "127.0.0.0/24", 3)));
    let cut = records
        .iter()
        .find(|r| r.rule.as_deref() == Some("gateway.stopping"));
    assert!(cut.is_some());
    use mandate_ports::Spool;
    assert_eq!(spool.unshipped_from(), spool.head().next);
}

#[tokio::test]
async fn a_mandate_token_is_fetched_for_an_upstream_that_verifies_it() {
    let world = World::with(Options {
        server: "upstreamAudience: https://internal.acme.example".to_owned(),
        mandate_token: true,
        ..Options::default()
    })
    .await;
    for _ in 0..2 {
        let request = get(&format!("/records{READ}"), &token(&world));
        let response = send(world.address, request).await;
        assert_eq!(text(response).await, "the record of acme");
    }
    let arrived = world.upstream.arrived();
    assert_eq!(
        arrived[0].headers["authorization"],
        "Bearer upstream.token.1"
    );
    assert_eq!(
        arrived[1].headers["authorization"],
        "Bearer upstream.token.2"
    );
}
