//! How a connection that has switched protocols ends, and what its last record says of that.

use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::*;
use crate::upstream::reset_when_closed;

/// What the last record says.
#[derive(Debug)]
struct Last {
    outcome: Outcome,
    rule: Option<String>,
    detail: Option<String>,
    bytes_up: u64,
    bytes_down: u64,
}

async fn last(world: &World) -> Last {
    let record = ended(world).await;
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
    assert_eq!(status, Some(101));
    Last {
        outcome,
        rule: record.rule,
        detail: record.detail,
        bytes_up,
        bytes_down,
    }
}

/// Sends `echo …` of so many bytes, and takes it back.
async fn echo<S>(socket: &mut WebSocketStream<S>, length: usize)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let text = format!("echo {}", "x".repeat(length));
    socket.send(Message::text(text.clone())).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
}

#[tokio::test]
async fn the_side_that_closes_a_websocket_is_recorded() {
    let (world_a, _upstream) = world(Options::default()).await;
    let socket = open(&world_a).await;
    // Without a closing handshake: the end of the connection is all there is.
    drop(socket);
    let said = last(&world_a).await;
    assert_eq!(said.outcome, Outcome::Completed, "{said:?}");
    assert_eq!(said.detail.as_deref(), Some("the agent ended it"));

    let (world_b, upstream) = world(Options::default()).await;
    let mut socket = open(&world_b).await;
    echo(&mut socket, 1).await;
    upstream.close();
    while let Some(Ok(_)) = socket.next().await {}
    let said = last(&world_b).await;
    assert_eq!(said.outcome, Outcome::Completed, "{said:?}");
    assert_eq!(said.detail.as_deref(), Some("the upstream ended it"));
    assert_eq!(said.rule, None);
}

#[tokio::test]
async fn the_side_that_resets_a_websocket_is_recorded() {
    let (world_a, _upstream) = world(Options::default()).await;
    let mut socket = open(&world_a).await;
    echo(&mut socket, 10).await;
    reset_when_closed(socket.get_ref());
    drop(socket);
    let said = last(&world_a).await;
    assert_eq!(said.outcome, Outcome::AgentGone, "{said:?}");
    assert_eq!(said.rule.as_deref(), Some("agent.gone"));

    let (world_b, upstream) = world(Options::default()).await;
    let mut socket = open(&world_b).await;
    echo(&mut socket, 10).await;
    upstream.reset();
    while let Some(Ok(_)) = socket.next().await {}
    let said = last(&world_b).await;
    assert_eq!(said.outcome, Outcome::UpstreamFailed, "{said:?}");
    assert_eq!(said.rule.as_deref(), Some("upstream.broke"));
    // What passed is in the record all the same: a frame of 15 bytes each way, masked on the way up.
    assert_eq!((said.bytes_up, said.bytes_down), (21, 17), "{said:?}");
}

#[tokio::test]
async fn a_suspension_that_ends_a_websocket_is_recorded_by_its_rule() {
    let (world, _upstream) = world(Options::default()).await;
    let mut socket = open(&world).await;
    world.authority.suspend(retriever());
    assert!(!matches!(socket.next().await, Some(Ok(_))));
    let said = last(&world).await;
    assert_eq!(said.outcome, Outcome::Cut, "{said:?}");
    assert_eq!(said.rule.as_deref(), Some("stopped"));
    assert_eq!(world.gateway.status().open_accesses, 0);
}

#[tokio::test]
async fn no_more_bytes_pass_than_the_server_workload_allows() {
    let (world, upstream) = world(Options::default()).await;
    let address = upstream.address.unwrap();
    world
        .apply(vectors::bundle(address, "maxUpgradeBytes: 1000"))
        .await;
    // Both ways together: twice some 415 bytes fit, and the next ones do not.
    let mut socket = open(&world).await;
    echo(&mut socket, 400).await;
    socket.send(Message::text("y".repeat(400))).await.unwrap();
    assert!(!matches!(socket.next().await, Some(Ok(_))));
    let said = last(&world).await;
    assert_eq!(said.outcome, Outcome::Cut, "{said:?}");
    assert_eq!(said.rule.as_deref(), Some("http.upgrade_bytes"));
    assert!(said.bytes_up + said.bytes_down <= 1000, "{said:?}");
    world.until(|_| upstream.open() == 0).await;
    let came = upstream.came.lock().unwrap();
    assert!(came.iter().all(|text| !text.contains('y')), "{came:?}");
}

#[tokio::test]
async fn an_upgrade_may_be_silent_for_a_time_of_its_own() {
    let (world, upstream) = world(Options::default()).await;
    let address = upstream.address.unwrap();
    let http = "idleTimeout: 10m, upgradeIdleTimeout: 1s";
    world.apply(vectors::bundle(address, http)).await;
    let mut socket = open(&world).await;
    assert!(!matches!(socket.next().await, Some(Ok(_))));
    let said = last(&world).await;
    assert_eq!(
        (said.outcome, said.rule.as_deref()),
        (Outcome::Cut, Some("http.idle"))
    );
}

/// TLS to the gateway, and from it to the upstream.
#[tokio::test]
async fn a_websocket_over_tls_on_both_sides_is_carried_and_cut_like_any_other() {
    let world = World::new().await;
    let upstream = Upstream::start(Some(world.server_tls.clone())).await;
    let address = upstream.address.unwrap();
    world.pin("https", address);
    let bundle = vectors::bundle(address, "hosts: [records.acme.example]");
    world
        .apply(bundle.replace("upstream: http:", "upstream: https:"))
        .await;
    let tls = TlsConnector::from(world.trust.clone());
    let stream = TcpStream::connect(world.tls_address).await.unwrap();
    let name = ServerName::try_from("records.acme.example").unwrap();
    let stream = tls.connect(name, stream).await.unwrap();
    let asked = request(&world, "wss://records.acme.example/live/acme");
    let (mut socket, _) = client_async(asked, stream).await.unwrap();
    for length in [1, 1_000, 200_000] {
        echo(&mut socket, length).await;
    }
    let asked = upstream.asked.lock().unwrap().clone();
    assert_eq!(asked[0]["authorization"], format!("Bearer {SECRET}"));
    let version = world.authority.suspend(retriever());
    assert!(!matches!(socket.next().await, Some(Ok(_))));
    world
        .until(|w| w.authority.acknowledged(version).is_some())
        .await;
    let said = last(&world).await;
    assert_eq!(said.outcome, Outcome::Cut, "{said:?}");
    assert!(said.bytes_up > 200_000 && said.bytes_down > 200_000);
    world.until(|_| upstream.open() == 0).await;
    assert_eq!(world.gateway.status().open_accesses, 0);
}

/// A certificate that nobody vouches for gets neither the credential nor a byte.
#[tokio::test]
async fn no_websocket_is_opened_to_an_upstream_whose_certificate_is_not_trusted() {
    let world = World::new().await;
    let stranger = common::Certificates::new().server;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let tls = tokio_rustls::TlsAcceptor::from(stranger);
        tls.accept(stream).await.is_ok()
    });
    world.pin("https", address);
    let bundle = vectors::bundle(address, "");
    world
        .apply(bundle.replace("upstream: http:", "upstream: https:"))
        .await;
    let refused = try_open(&world).await.unwrap_err();
    assert!(matches!(refused, Error::Http(answer) if answer.status() == StatusCode::BAD_GATEWAY));
    assert!(!accepted.await.unwrap(), "the handshake broke off");
}
