//! Upgrades, with WebSocket clients and servers of another make.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests may panic"
)]

mod common;

#[path = "upgrades/ends.rs"]
mod ends;
#[path = "upgrades/upstream.rs"]
mod upstream;

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::tokens::agent;
use common::{Options, SECRET, World, vectors};
use futures_util::{SinkExt, StreamExt};
use http::StatusCode;
use mandate_audit::{Event, Outcome, What};
use mandate_model::stop::Subject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use upstream::Upstream;

type Socket = WebSocketStream<TcpStream>;

async fn world(options: Options) -> (World, Upstream) {
    let world = World::with(options).await;
    let upstream = Upstream::start(None).await;
    lead_to(&world, upstream.address.unwrap()).await;
    (world, upstream)
}

/// Leads the server workload of `vectors/http` to `address`.
async fn lead_to(world: &World, address: SocketAddr) {
    world.pin("http", address);
    world.apply(vectors::bundle(address, "")).await;
}

async fn try_open(world: &World) -> Result<Socket, Error> {
    let stream = TcpStream::connect(world.address).await.unwrap();
    let request = request(world, "ws://gateway/records/live/acme");
    client_async(request, stream)
        .await
        .map(|(socket, _)| socket)
}

fn request(world: &World, uri: &str) -> http::Request<()> {
    let mut request = uri.into_client_request().unwrap();
    let bearer = format!("Bearer {}", vectors::token(world, &["live"]));
    let headers = request.headers_mut();
    headers.insert("authorization", bearer.parse().unwrap());
    headers.insert(
        "sec-websocket-extensions",
        "permessage-deflate".parse().unwrap(),
    );
    request
}

async fn open(world: &World) -> Socket {
    try_open(world).await.unwrap()
}

async fn ended(world: &World) -> Event {
    world
        .record(|r| matches!(r.what, What::AccessCompleted { .. }))
        .await
}

fn retriever() -> Subject {
    Subject::Agent {
        id: agent("retriever"),
    }
}

#[tokio::test]
async fn a_declared_websocket_carries_messages_with_the_gateways_credential() {
    let (world, upstream) = world(Options::default()).await;
    let mut socket = open(&world).await;
    for length in [1, 1_000, 200_000] {
        let text = format!("echo {}", "x".repeat(length));
        socket.send(Message::text(text.clone())).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
    }
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}
    drop(socket);
    let asked = upstream.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0]["authorization"], format!("Bearer {SECRET}"));
    assert!(!asked[0].contains_key("sec-websocket-extensions"));
    let record = ended(&world).await;
    let What::AccessCompleted {
        outcome,
        status,
        bytes_up,
        bytes_down,
        ..
    } = record.what
    else {
        panic!("{record:?}");
    };
    assert_eq!((outcome, status), (Outcome::Completed, Some(101)));
    assert!(bytes_up > 200_000 && bytes_down > 200_000);
    assert_eq!(world.gateway.status().open_accesses, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_suspension_cuts_many_websockets_and_no_byte_comes_after_its_acknowledgement() {
    let (world, upstream) = world(Options::default()).await;
    let mut readers = Vec::new();
    let mut writers = Vec::new();
    for _ in 0..24 {
        let (mut write, mut read) = open(&world).await.split();
        readers.push(tokio::spawn(async move {
            let mut after = false;
            loop {
                match read.next().await {
                    Some(Ok(message)) => after |= message == Message::text("AFTER"),
                    Some(Err(_)) => return (true, after),
                    None => return (false, after),
                }
            }
        }));
        let (said, mut to_say) = mpsc::unbounded_channel::<&'static str>();
        writers.push(said);
        tokio::spawn(async move {
            while let Some(text) = to_say.recv().await {
                let _ = write.send(Message::text(text)).await;
            }
        });
    }
    let block = ".".repeat(16_384);
    let say = |text| {
        for writer in &writers {
            let _ = writer.send(text);
        }
    };
    for _ in 0..50 {
        upstream.feed(&block);
        say("before");
        tokio::task::yield_now().await;
    }
    let version = world.authority.suspend(retriever());
    while world.authority.acknowledged(version).is_none() {
        upstream.feed(&block);
        say("during");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    upstream.feed("AFTER");
    say("AFTER");
    assert_eq!(world.authority.acknowledged(version).unwrap().cut, 24);
    for reader in readers {
        assert_eq!(
            reader.await.unwrap(),
            (true, false),
            "cut, and nothing after"
        );
    }
    world.until(|_| upstream.open() == 0).await;
    assert!(
        upstream
            .came
            .lock()
            .unwrap()
            .iter()
            .all(|text| text != "AFTER")
    );
    assert_eq!(world.gateway.status().open_accesses, 0);
    let cut = |r: &Event| {
        matches!(
            r.what,
            What::AccessCompleted {
                outcome: Outcome::Cut,
                ..
            }
        )
    };
    world
        .until(|w| w.authority.records().iter().filter(|r| cut(r)).count() == 24)
        .await;
}

#[tokio::test]
async fn a_websocket_ends_with_its_token() {
    let (world, _upstream) = world(Options::default()).await;
    let mut socket = open(&world).await;
    world.clocks.wall_ms.store(125_000, Ordering::SeqCst);
    assert!(!matches!(socket.next().await, Some(Ok(_))));
    assert_eq!(ended(&world).await.rule.as_deref(), Some("token.expired"));
}

#[tokio::test]
async fn a_bundle_that_declares_no_upgrade_any_more_cuts_what_had_switched() {
    let (world, upstream) = world(Options::default()).await;
    let mut socket = open(&world).await;
    let now = vectors::bundle(upstream.address.unwrap(), "");
    world
        .authority
        .apply_bundle(now.replace(", upgrade: [websocket]", ""));
    assert!(!matches!(socket.next().await, Some(Ok(_))));
    assert_eq!(
        ended(&world).await.rule.as_deref(),
        Some("request.server_changed")
    );
    world.until(|_| upstream.open() == 0).await;
    let again = try_open(&world).await.unwrap_err();
    assert!(matches!(again, Error::Http(answer) if answer.status() == StatusCode::NOT_IMPLEMENTED));
}

#[tokio::test]
async fn a_websocket_pauses_without_a_lease_and_goes_on_with_the_next() {
    let (world, upstream) = world(Options {
        lease_ms: 600,
        ..Options::default()
    })
    .await;
    let mut socket = open(&world).await;
    world.authority.state().granting = false;
    world.until(|w| !w.gateway.status().ready).await;
    upstream.feed("down");
    socket.send(Message::text("up")).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(300), socket.next()).await;
    assert!(early.is_err(), "a byte passed without a lease");
    assert!(upstream.came.lock().unwrap().is_empty());
    world.authority.state().granting = true;
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("down"));
    world
        .until(|_| *upstream.came.lock().unwrap() == ["up"])
        .await;
}

#[tokio::test]
async fn a_websocket_that_echoes_the_credential_is_cut_before_it_leaves() {
    let (world, upstream) = world(Options::default()).await;
    let mut socket = open(&world).await;
    upstream.feed(&format!("your key is {SECRET}"));
    let came = socket.next().await;
    assert!(!matches!(came, Some(Ok(_))), "{came:?}");
    assert_eq!(ended(&world).await.rule.as_deref(), Some("upstream.echo"));
}

#[tokio::test]
async fn a_silent_websocket_is_given_up() {
    let (world, upstream) = world(Options::default()).await;
    let address = upstream.address.unwrap();
    world
        .apply(vectors::bundle(address, "idleTimeout: 1s"))
        .await;
    let mut socket = open(&world).await;
    assert!(!matches!(socket.next().await, Some(Ok(_))));
    assert_eq!(ended(&world).await.rule.as_deref(), Some("http.idle"));
    world.until(|_| upstream.open() == 0).await;
}

#[tokio::test]
async fn an_answer_to_another_upgrade_than_was_asked_for_is_withheld() {
    for answer in [
        "upgrade: h2c\r\nconnection: upgrade\r\n\r\n",
        "upgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
    ] {
        let world = World::new().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        lead_to(&world, listener.local_addr().unwrap()).await;
        let upstream = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await.unwrap();
            let all = format!("HTTP/1.1 101 Switching Protocols\r\n{answer}secret bytes");
            stream.write_all(all.as_bytes()).await.unwrap();
            let _ = stream.read(&mut head).await;
        });
        let refused = try_open(&world).await.unwrap_err();
        assert!(
            matches!(refused, Error::Http(answer) if answer.status() == StatusCode::BAD_GATEWAY)
        );
        assert_eq!(
            ended(&world).await.rule.as_deref(),
            Some("upstream.upgrade")
        );
        upstream.await.unwrap();
    }
}
