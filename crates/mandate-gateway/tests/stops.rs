//! Suspensions, leases, and what is cut when (B1–B4).

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests may panic"
)]

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::agent::{connect_http2, get, refusal, send, send_http2, text};
use common::tokens::{agent, claims, task};
use common::{Options, World};
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use mandate_audit::{Outcome, What};
use mandate_gateway::Marks;
use mandate_model::stop::{Resumption, Subject};
use mandate_model::{StopVersion, StoreEpoch, Timestamp};
use mandate_ports::Clock;
use mandate_token::AccessToken;

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

fn retriever() -> Subject {
    Subject::Agent {
        id: agent("retriever"),
    }
}

#[tokio::test]
async fn suspension_cuts_an_open_download() {
    let world = World::new().await;
    let mut body = open_stream(&world).await;
    let version = world.authority.suspend(retriever());
    world
        .until(|w| w.authority.acknowledged(version).is_some())
        .await;
    let ack = world.authority.acknowledged(version).unwrap();
    assert_eq!((ack.cut, ack.unknown), (1, 0));
    // Whatever the upstream still sends, nothing of it arrives.
    world.upstream.feed(b"second");
    assert!(chunk(&mut body).await.is_err());
    world.until(|w| w.upstream.open_streams() == 0).await;
    let refused = refusal(send(world.address, get(READ, &token(&world))).await).await;
    assert_eq!(refused, (StatusCode::FORBIDDEN, "stopped".to_owned()));
    let record = world
        .record(|r| matches!(r.what, What::AccessCompleted { .. }))
        .await;
    assert_eq!(record.rule.as_deref(), Some("stopped"));
    let What::AccessCompleted {
        outcome,
        bytes_down,
        ..
    } = record.what
    else {
        panic!()
    };
    assert_eq!((outcome, bytes_down), (Outcome::Cut, 5));
}

#[tokio::test]
async fn suspension_of_one_agent_leaves_others_running() {
    let world = World::new().await;
    let mut body = open_stream(&world).await;
    let version = world.authority.suspend(Subject::Agent {
        id: agent("executor"),
    });
    world
        .until(|w| w.authority.acknowledged(version).is_some())
        .await;
    assert_eq!(world.authority.acknowledged(version).unwrap().cut, 0);
    world.upstream.feed(b"second");
    assert_eq!(chunk(&mut body).await.unwrap(), "second");
}

#[tokio::test]
async fn suspension_of_a_task_stops_its_subtree_only() {
    let world = World::new().await;
    let mut body = open_stream(&world).await;
    let version = world.authority.suspend(Subject::Task { id: task(9) });
    world
        .until(|w| w.authority.acknowledged(version).is_some())
        .await;
    world.upstream.feed(b"second");
    assert_eq!(chunk(&mut body).await.unwrap(), "second");
    let version = world.authority.suspend(Subject::Task { id: task(1) });
    world
        .until(|w| w.authority.acknowledged(version).is_some())
        .await;
    assert!(chunk(&mut body).await.is_err());
}

/// The resumption of `subject` with the version that it gets.
fn resume(world: &World, subject: Subject) -> StopVersion {
    world.authority.change_stops(|stops| {
        stops.suspensions.retain(|s| s.subject != subject);
        stops.resumptions.push(Resumption {
            subject: subject.clone(),
            version: stops.version,
            until: Timestamp::from_millis(u64::MAX),
        });
    })
}

#[tokio::test]
async fn what_was_issued_before_a_resumption_is_cut_and_refused_and_what_comes_after_is_not() {
    let world = World::new().await;
    let issued_under = |stops| {
        let claims = claims("retriever", "read", world.clocks.now());
        world.authority.keys.sign(AccessToken { stops, ..claims })
    };
    let gateway = Subject::Gateway {
        id: common::gateway_id(),
    };
    let orchestrator = Subject::Agent {
        id: agent("orchestrator"),
    };
    let task = Subject::Task { id: task(1) };
    for subject in [retriever(), orchestrator, task, gateway] {
        let now = world.authority.stop_version();
        let old = issued_under(now);
        let response = send(world.address, get(STREAM, &old)).await;
        let mut body = response.into_body();
        world.upstream.feed(b"first");
        assert_eq!(chunk(&mut body).await.unwrap(), "first");
        // The suspension itself never comes: the authority may skip versions.
        let version = resume(&world, subject.clone());
        world
            .until(|w| w.authority.acknowledged(version).is_some())
            .await;
        assert_eq!(world.authority.acknowledged(version).unwrap().cut, 1);
        assert!(chunk(&mut body).await.is_err(), "{subject}");
        let refused = refusal(send(world.address, get(READ, &old)).await).await;
        assert_eq!(refused, (StatusCode::FORBIDDEN, "stopped".to_owned()));
        let fresh = issued_under(version);
        let answer = send(world.address, get(READ, &fresh)).await;
        assert_eq!(answer.status(), StatusCode::OK, "{subject}");
    }
}

#[tokio::test]
async fn a_token_of_a_version_that_the_gateway_has_not_heard_of_yet_is_good() {
    let world = World::new().await;
    resume(&world, retriever());
    let claims = claims("retriever", "read", world.clocks.now());
    let stops = StopVersion::new(9);
    let ahead = world.authority.keys.sign(AccessToken { stops, ..claims });
    let answer = send(world.address, get(READ, &ahead)).await;
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn an_ended_ancestor_and_a_suspended_delegator_cut_too() {
    for ended in [true, false] {
        let world = World::new().await;
        let mut body = open_stream(&world).await;
        let version = if ended {
            let until = Timestamp::from_millis(u64::MAX);
            world
                .authority
                .change_stops(|stops| stops.ended.push((task(1), until)))
        } else {
            let id = agent("orchestrator");
            world.authority.suspend(Subject::Agent { id })
        };
        world
            .until(|w| w.authority.acknowledged(version).is_some())
            .await;
        assert!(chunk(&mut body).await.is_err());
    }
}

#[tokio::test]
async fn a_request_without_an_answer_yet_is_counted_as_unknown() {
    let world = World::new().await;
    let request = get("/records/customers/acme/silence", &token(&world));
    let address = world.address;
    let asking = tokio::spawn(async move {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await
    });
    world.until(|w| w.upstream.arrived().len() == 1).await;
    let version = world.authority.suspend(retriever());
    world
        .until(|w| w.authority.acknowledged(version).is_some())
        .await;
    let ack = world.authority.acknowledged(version).unwrap();
    assert_eq!((ack.cut, ack.unknown), (1, 1));
    assert!(asking.await.unwrap().is_err());
    let record = world
        .record(|r| matches!(r.what, What::AccessCompleted { .. }))
        .await;
    let What::AccessCompleted { outcome, .. } = record.what else {
        panic!()
    };
    assert_eq!(outcome, Outcome::Unknown);
}

#[tokio::test]
async fn an_agent_that_does_not_read_gets_nothing_of_what_was_buffered_for_it() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = World::new().await;
    let mut agent = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let bearer = token(&world);
    let request =
        format!("GET {STREAM} HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {bearer}\r\n\r\n");
    agent.write_all(request.as_bytes()).await.unwrap();
    world.until(|w| w.upstream.open_streams() == 1).await;
    // Far more than all buffers between upstream and agent hold, and nobody reads.
    static BLOCK: [u8; 1 << 20] = [7; 1 << 20];
    for _ in 0..64 {
        world.upstream.feed(&BLOCK);
    }
    world
        .until(|_| rustix::io::ioctl_fionread(&agent).unwrap() > 100_000)
        .await;
    let version = world.authority.suspend(retriever());
    world
        .until(|w| w.authority.acknowledged(version).is_some())
        .await;
    // What the agent's kernel has by now had left before. Nothing may be added.
    let had = rustix::io::ioctl_fionread(&agent).unwrap();
    assert!(had < 32 << 20, "{had}");
    world.upstream.feed(&BLOCK);
    let (mut got, mut buffer) = (0, vec![0; 65_536]);
    let end = loop {
        match agent.read(&mut buffer).await {
            Ok(0) => panic!("the answer ended as if it were whole"),
            Ok(n) => got += u64::try_from(n).unwrap(),
            Err(why) => break why,
        }
    };
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(got, had);
}

#[tokio::test]
async fn an_http2_stream_is_reset_and_its_connection_lives_on() {
    let world = World::new().await;
    let request = || {
        let mut request = get(STREAM, &token(&world));
        *request.uri_mut() = format!("http://gateway{STREAM}").parse().unwrap();
        request.headers_mut().remove("host");
        request
    };
    let mut agent = connect_http2(world.address).await;
    let mut body = agent.send_request(request()).await.unwrap().into_body();
    world.upstream.feed(b"first");
    assert_eq!(chunk(&mut body).await.unwrap(), "first");
    let version = world.authority.suspend(retriever());
    world
        .until(|w| w.authority.acknowledged(version).is_some())
        .await;
    world.upstream.feed(b"second");
    let why = chunk(&mut body).await.unwrap_err();
    let source = std::error::Error::source(&why).unwrap().to_string();
    assert!(source.contains("stream error"), "{source}");
    let refused = refusal(agent.send_request(request()).await.unwrap()).await;
    assert_eq!(refused, (StatusCode::FORBIDDEN, "stopped".to_owned()));
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let world = World::new().await;
    let mut short = claims("retriever", "read", world.clocks.now());
    short.expires_at = world.clocks.now().plus(Duration::from_secs(3));
    let token = world.authority.keys.sign(short);
    let response = send(world.address, get(STREAM, &token)).await;
    let mut body = response.into_body();
    world.upstream.feed(b"first");
    assert_eq!(chunk(&mut body).await.unwrap(), "first");
    assert!(chunk(&mut body).await.is_err());
    let record = world
        .record(|r| matches!(r.what, What::AccessCompleted { .. }))
        .await;
    assert_eq!(record.rule.as_deref(), Some("token.expired"));
}

#[tokio::test]
async fn a_bundle_without_the_policy_cuts_what_it_had_admitted() {
    let world = World::new().await;
    let mut body = open_stream(&world).await;
    let bundle = common::bundle(world.upstream.address, "");
    world
        .authority
        .apply_bundle(bundle.replace("agents: [retriever]", "agents: [executor]"));
    assert!(chunk(&mut body).await.is_err());
}

#[tokio::test]
async fn a_lease_is_renewed_however_often_there_is_something_new() {
    let world = World::with(Options {
        lease_ms: 1500,
        ..Options::default()
    })
    .await;
    // For longer than a lease, more often than the gateway looks at its clocks.
    for n in 0..110 {
        let id = agent(&format!("other-{n}"));
        world.authority.suspend(Subject::Agent { id });
        tokio::time::sleep(Duration::from_millis(20)).await;
        let status = world.gateway.status();
        assert!(status.ready, "{n}: {status:?}");
    }
}

#[tokio::test]
async fn a_server_workload_that_goes_to_another_gateway_takes_its_accesses_along() {
    let world = World::new().await;
    let mut body = open_stream(&world).await;
    let elsewhere = "gateways: {gateway-9: \"http://gateway-9.acme.example/records\"}";
    let bundle = common::bundle(world.upstream.address, elsewhere);
    world.authority.apply_bundle(bundle);
    assert!(chunk(&mut body).await.is_err());
}

#[tokio::test]
async fn broken_bundle_leaves_the_last_good_one_live() {
    let world = World::with(Options {
        lease_ms: 600,
        ..Options::default()
    })
    .await;
    world.authority.apply_bundle("kind: Nonsense".to_owned());
    world.until(|w| w.gateway.status().trouble.is_some()).await;
    let version = world.authority.suspend(retriever());
    world
        .until(|w| w.authority.acknowledged(version).is_some())
        .await;
    assert_eq!(world.gateway.status().versions.unwrap().bundle.get(), 1);
    world.until(|w| !w.gateway.status().ready).await;
}

#[tokio::test]
async fn gateway_refuses_an_older_suspension_version() {
    for other_epoch in [true, false] {
        let world = World::new().await;
        let version = world.authority.suspend(retriever());
        world
            .until(|w| w.authority.acknowledged(version).is_some())
            .await;
        {
            let mut state = world.authority.state();
            if other_epoch {
                state.epoch = StoreEpoch::from_random([8; 16]);
            } else {
                state.stops.version = StopVersion::new(1);
                state.stops.suspensions.clear();
            }
        }
        world.authority.hang_up();
        world.until(|w| !w.gateway.status().ready).await;
        let trouble = world.gateway.status().trouble.unwrap();
        assert!(trouble.contains("mandate gateway accept"), "{trouble}");
        let refused = refusal(send(world.address, get(READ, &token(&world))).await).await;
        assert_eq!(refused.0, StatusCode::SERVICE_UNAVAILABLE);
        let marks = refused_marks(&world).await;
        assert_eq!((marks.stops, marks.suspensions.len()), (version, 1));
    }
}

/// A suspension that the authority could not store acts, and is gone with the authority's memory: that is
/// what its operator was told. Nothing that the store ever had is missing then (FAILURES 43).
#[tokio::test]
async fn a_store_without_a_suspension_that_it_never_had_has_not_gone_back() {
    for missing in [1, 2] {
        let world = World::new().await;
        let before = world.authority.change_stops(|_| ());
        world
            .until(|w| w.authority.acknowledged(before).is_some())
            .await;
        let version = world.authority.suspend_in_memory(retriever());
        world
            .until(|w| w.authority.acknowledged(version).is_some())
            .await;
        let refused = refusal(send(world.address, get(READ, &token(&world))).await).await;
        assert_eq!(refused.0, StatusCode::FORBIDDEN);
        {
            let mut state = world.authority.state();
            state.stops.version = StopVersion::new(version.get() - missing);
            state.stops.suspensions.clear();
            state.stops.undurable = 0;
        }
        world.authority.hang_up();
        if missing == 1 {
            let applied = |w: &World| w.authority.last_leased() == Some(before);
            world
                .until(|w| applied(w) && w.gateway.status().ready)
                .await;
            let response = send(world.address, get(READ, &token(&world))).await;
            assert_eq!(response.status(), StatusCode::OK);
        } else {
            assert_eq!(refused_marks(&world).await.stops, before);
        }
    }
}

/// What waited in the authority's memory and is stored since is as durable as anything else: a store that is
/// behind it went back (B4).
#[tokio::test]
async fn a_suspension_that_became_durable_is_kept_in_the_marks() {
    let world = World::new().await;
    let version = world.authority.suspend_in_memory(retriever());
    world
        .until(|w| w.authority.acknowledged(version).is_some())
        .await;
    let path = world.folder.path().join("marks.json");
    let marks = || Marks::read(&path).unwrap().unwrap();
    assert_eq!(marks().stops.get(), version.get() - 1);
    assert_eq!(marks().suspensions, []);
    world.authority.store_what_waits();
    world.until(|_| marks().stops == version).await;
    assert_eq!(marks().suspensions.len(), 1);
    {
        let mut state = world.authority.state();
        state.stops.version = StopVersion::new(version.get() - 1);
        state.stops.suspensions.clear();
    }
    world.authority.hang_up();
    assert_eq!(refused_marks(&world).await.stops, version);
}

/// A version that was in memory alone is given to something else after a crash. Whoever applied the former has
/// not applied the latter.
#[tokio::test]
async fn what_another_run_of_the_authority_told_is_not_acknowledged_to_this_one() {
    let world = World::new().await;
    world.authority.state().refuse_ack = true;
    let version = world.authority.suspend_in_memory(retriever());
    let applied = |w: &World| w.gateway.status().versions.map(|v| v.stops);
    world.until(|w| applied(w) == Some(version)).await;
    world.authority.start_anew(|stops| {
        stops.undurable = 0;
        stops.suspensions[0].subject = Subject::Everything;
    });
    world.authority.state().refuse_ack = false;
    world
        .until(|w| w.authority.state().acks_of_others > 0)
        .await;
    assert_eq!(world.authority.acknowledged(version), None);
    world.authority.hang_up();
    world
        .until(|w| w.authority.acknowledged(version).is_some())
        .await;
    let path = world.folder.path().join("marks.json");
    let marks = Marks::read(&path).unwrap().unwrap();
    assert_eq!(marks.suspensions[0].subject, Subject::Everything);
}

/// It asks for its lease before it has seen that the stream is over: it is told so, and not that the store went
/// back behind what was never in it.
#[tokio::test]
async fn a_gateway_that_has_not_read_a_new_runs_stream_reads_it_and_goes_on() {
    let world = World::with(Options {
        lease_ms: 600,
        ..Options::default()
    })
    .await;
    let version = world.authority.suspend_in_memory(retriever());
    world
        .until(|w| w.authority.acknowledged(version).is_some())
        .await;
    world.authority.start_anew(|stops| {
        stops.undurable = 0;
        stops.version = StopVersion::new(version.get() - 1);
        stops.suspensions.clear();
    });
    let run = world.authority.state().run;
    let asks = |w: &World| w.authority.state().leases.last().map(|asked| asked.run);
    world
        .until(|w| asks(w) == Some(run) && w.gateway.status().ready)
        .await;
    let response = send(world.address, get(READ, &token(&world))).await;
    assert_eq!(response.status(), StatusCode::OK);
    let path = world.folder.path().join("marks.json");
    assert!(!Marks::read(&path).unwrap().unwrap().went_back);
}

/// The marks of a gateway that has refused a store.
async fn refused_marks(world: &World) -> Marks {
    let path = world.folder.path().join("marks.json");
    let read = || Marks::read(&path).unwrap().unwrap();
    world.until(|_| read().went_back).await;
    read()
}

#[tokio::test]
async fn a_store_that_went_back_and_caught_up_is_refused_all_the_same() {
    let world = World::new().await;
    let version = world.authority.suspend(retriever());
    world
        .until(|w| w.authority.acknowledged(version).is_some())
        .await;
    {
        let mut state = world.authority.state();
        state.stops.version = StopVersion::new(1);
        state.stops.suspensions.clear();
    }
    world.authority.hang_up();
    refused_marks(&world).await;
    // Ended tasks move the version too. What was suspended is as forgotten as before.
    let later = world.authority.change_stops(|stops| {
        stops.version = version.next();
    });
    assert!(later > version);
    let not_accepted = |w: &World| {
        let trouble = w.gateway.status().trouble;
        trouble.is_some_and(|why| why.contains("went back behind what this gateway has seen"))
    };
    world.until(not_accepted).await;
    assert!(!world.gateway.status().ready);
    let refused = refusal(send(world.address, get(READ, &token(&world))).await).await;
    assert_eq!(refused.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_store_that_an_operator_accepts_is_good_again_and_hears_what_is_applied() {
    for stops in [1, 2] {
        let world = World::new().await;
        let version = world.authority.suspend(retriever());
        world
            .until(|w| w.authority.acknowledged(version).is_some())
            .await;
        let former = {
            let mut state = world.authority.state();
            state.epoch = StoreEpoch::from_random([8; 16]);
            state.stops.version = mandate_model::StopVersion::new(stops);
            state.stops.suspensions.clear();
            state.acks.len()
        };
        world.authority.hang_up();
        let path = world.folder.path().join("marks.json");
        let mut marks = refused_marks(&world).await;
        marks.went_back = false;
        marks.epoch = StoreEpoch::from_random([8; 16]);
        marks.stops = mandate_model::StopVersion::new(stops);
        marks.write(&path).unwrap();
        world.until(|w| w.gateway.status().ready).await;
        let response = send(world.address, get(READ, &token(&world))).await;
        assert_eq!(text(response).await, "the record of acme");
        let heard = |w: &World| {
            let acks = &w.authority.state().acks;
            acks.iter().skip(former).any(|a| a.stops.get() == stops)
        };
        world.until(heard).await;
    }
}

#[tokio::test]
async fn marks_that_could_not_be_written_are_told_of_and_written_later() {
    let world = World::new().await;
    let path = world.folder.path().join("marks.json");
    std::fs::remove_file(&path).unwrap();
    // Nothing can be renamed over a folder.
    std::fs::create_dir(&path).unwrap();
    let version = world.authority.suspend(retriever());
    world
        .until(|w| w.authority.acknowledged(version).is_some())
        .await;
    let trouble = world.gateway.status().trouble.unwrap();
    assert!(trouble.contains("not on disk"), "{trouble}");
    world.record(|r| matches!(r.what, What::Alarm { .. })).await;
    std::fs::remove_dir(&path).unwrap();
    world.until(|w| w.gateway.status().trouble.is_none()).await;
    let marks = mandate_gateway::Marks::read(&path).unwrap().unwrap();
    assert_eq!((marks.stops, marks.suspensions.len()), (version, 1));
}

#[tokio::test]
async fn suspend_works_without_a_writable_disk() {
    let world = World::new().await;
    let mut body = open_stream(&world).await;
    world.spool.full.store(true, Ordering::SeqCst);
    let version = world.authority.suspend(retriever());
    world
        .until(|w| w.authority.acknowledged(version).is_some())
        .await;
    assert!(chunk(&mut body).await.is_err());
}

#[tokio::test]
async fn an_acknowledgement_is_repeated_until_it_is_heard() {
    let world = World::new().await;
    let mut body = open_stream(&world).await;
    world.authority.state().refuse_ack = true;
    let version = world.authority.suspend(retriever());
    assert!(chunk(&mut body).await.is_err());
    world.authority.state().refuse_ack = false;
    world
        .until(|w| w.authority.acknowledged(version).is_some())
        .await;
    assert_eq!(world.authority.acknowledged(version).unwrap().cut, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_byte_that_comes_after_the_acknowledgement_reaches_any_of_many_agents() {
    let world = World::new().await;
    let mut readers = Vec::new();
    for n in 0..24 {
        let mut request = get(STREAM, &token(&world));
        let response = if n % 2 == 0 {
            send(world.address, request).await
        } else {
            *request.uri_mut() = format!("http://gateway{STREAM}").parse().unwrap();
            request.headers_mut().remove("host");
            send_http2(world.address, request).await
        };
        readers.push(tokio::spawn(read_to_the_end(response.into_body())));
    }
    static BLOCK: [u8; 16_384] = [b'.'; 16_384];
    for _ in 0..200 {
        world.upstream.feed(&BLOCK);
        tokio::task::yield_now().await;
    }
    let version = world.authority.suspend(retriever());
    while world.authority.acknowledged(version).is_none() {
        world.upstream.feed(&BLOCK);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    world.upstream.feed(b"AFTER");
    assert_eq!(world.authority.acknowledged(version).unwrap().cut, 24);
    for reader in readers {
        let (whole, after) = reader.await.unwrap();
        assert!(!whole && !after);
    }
    assert_eq!(world.gateway.status().open_accesses, 0);
}

/// Whether the body ended whole, and whether it held what was sent last.
async fn read_to_the_end(mut body: Incoming) -> (bool, bool) {
    let mut after = false;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => after |= frame.into_data().unwrap().ends_with(b"AFTER"),
            Err(_cut) => return (false, after),
        }
    }
    (true, after)
}
