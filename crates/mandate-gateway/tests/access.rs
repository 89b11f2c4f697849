//! What is let through, what is not, and what is recorded of it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests may panic"
)]

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::agent::{get, post, refusal, send, send_http2, text};
use common::tokens::claims;
use common::{Options, SECRET, World};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use mandate_audit::{Decision, Outcome, What};
use mandate_ports::Clock;

fn read_token(world: &World) -> String {
    world
        .authority
        .keys
        .sign(claims("retriever", "read", world.clocks.now()))
}

fn refund_token(world: &World) -> String {
    world
        .authority
        .keys
        .sign(claims("executor", "refund", world.clocks.now()))
}

const READ: &str = "/records/customers/acme/notes";

#[tokio::test]
async fn an_admitted_read_reaches_its_upstream_with_the_gateways_credential_and_is_recorded() {
    let world = World::new().await;
    let mut request = get("/records/customers/acme/notes?page=2", &read_token(&world));
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for (name, value) in [
        ("x-forwarded-for", "10.0.0.1"),
        ("x-remote-user", "root"),
        ("traceparent", trace),
    ] {
        request
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    let response = send(world.address, request).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(text(response).await, "the record of acme");

    let arrived = world.upstream.arrived();
    assert_eq!(arrived.len(), 1);
    assert_eq!(arrived[0].target, "/customers/acme/notes?page=2");
    let headers = &arrived[0].headers;
    assert_eq!(headers["authorization"], format!("Bearer {SECRET}"));
    assert_eq!(headers["host"], world.upstream.address.to_string());
    for gone in ["x-forwarded-for", "x-remote-user", "traceparent"] {
        assert!(!headers.contains_key(gone), "{gone}");
    }

    let decided = world
        .record(|r| matches!(r.what, What::AccessDecided { .. }))
        .await;
    assert_eq!(decided.decision, Decision::Allowed);
    assert_eq!(decided.policies[0].as_str(), "reading");
    assert_eq!(
        decided.trace.as_deref(),
        Some("4bf92f3577b34da6a3ce929d0e0e4736")
    );
    assert_eq!(decided.span.as_deref(), Some("00f067aa0ba902b7"));
    let key = decided.spool.clone().unwrap();
    let completed = world
        .record(|r| matches!(r.what, What::AccessCompleted { .. }))
        .await;
    assert_eq!(completed.task, decided.task);
    assert_eq!(
        completed.what,
        What::AccessCompleted {
            admitted: key.seq,
            admitted_in: Some(key.spool),
            outcome: Outcome::Completed,
            status: Some(200),
            bytes_up: 0,
            bytes_down: 18,
            usage: None,
        }
    );
    assert_eq!(world.gateway.status().open_accesses, 0);
}

#[tokio::test]
async fn agents_token_never_reaches_the_upstream() {
    let world = World::new().await;
    let token = read_token(&world);
    let mut request = get(READ, &token);
    let doubled = format!("Bearer {token}").parse().unwrap();
    request.headers_mut().append("authorization", doubled);
    let refused = refusal(send(world.address, request).await).await;
    assert_eq!(refused.1, "http.ambiguous", "two of them are none");
    send(world.address, get(READ, &token)).await;
    let arrived = world.upstream.arrived();
    assert_eq!(arrived.len(), 1);
    assert!(!format!("{arrived:?}").contains(&token));
}

#[tokio::test]
async fn forwarded_path_is_the_classified_path() {
    let world = World::new().await;
    let target = "/customers/acme/a%20b/%C3%A9/c:d?q=%2F..%2F&r=a+b";
    let request = get(&format!("/records{target}"), &read_token(&world));
    assert_eq!(send(world.address, request).await.status(), StatusCode::OK);
    assert_eq!(world.upstream.arrived()[0].target, target);
}

#[tokio::test]
async fn baggage_does_not_name_the_task() {
    let world = World::new().await;
    let mut request = get(READ, &read_token(&world));
    let other = common::tokens::task(9);
    for name in ["baggage", "x-mandate-task", "tracestate"] {
        let value = format!("task={other}").parse().unwrap();
        request.headers_mut().insert(name, value);
    }
    send(world.address, request).await;
    let record = world
        .record(|r| matches!(r.what, What::AccessDecided { .. }))
        .await;
    assert_eq!(record.task.unwrap().leaf(), common::tokens::task(2));
    assert!(!format!("{:?}", world.upstream.arrived()).contains(&other.to_string()));
}

#[tokio::test]
async fn a_customer_outside_of_the_mandate_is_denied_with_the_rule_and_recorded() {
    let world = World::new().await;
    let request = get("/records/customers/globex/notes", &read_token(&world));
    let refused = refusal(send(world.address, request).await).await;
    assert_eq!(refused, (StatusCode::FORBIDDEN, "mandate.unfit".to_owned()));
    assert!(world.upstream.arrived().is_empty());
    let record = world.record(|r| r.decision == Decision::Denied).await;
    assert_eq!(record.rule.as_deref(), Some("mandate.unfit"));
    assert_eq!(record.principal.unwrap().to_string(), "user:login:alice");
}

#[tokio::test]
async fn an_agent_that_no_policy_names_is_denied_by_default() {
    let world = World::new().await;
    let token = world
        .authority
        .keys
        .sign(claims("executor", "read", world.clocks.now()));
    let refused = refusal(send(world.address, get(READ, &token)).await).await;
    assert_eq!(
        refused,
        (StatusCode::FORBIDDEN, "policy.default_deny".to_owned())
    );
}

#[tokio::test]
async fn without_a_good_token_there_is_a_challenge_and_nothing_else() {
    let world = World::new().await;
    let bare = Request::get(READ)
        .header("host", "g")
        .body(Full::default())
        .unwrap();
    let response = send(world.address, bare).await;
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    assert_eq!(refusal(response).await.1, "token.missing");
    let mut claims_of_other = claims("retriever", "read", world.clocks.now());
    claims_of_other.audience = mandate_token::Audience::parse("https://other.example").unwrap();
    let other = world.authority.keys.sign(claims_of_other);
    for bad in ["x", "a.b.c", other.as_str()] {
        let response = send(world.address, get(READ, bad)).await;
        let challenge = response.headers()["www-authenticate"]
            .to_str()
            .unwrap()
            .to_owned();
        assert!(
            challenge.starts_with("Bearer error=\"invalid_token\""),
            "{challenge}"
        );
        let refused = refusal(response).await;
        assert_eq!(
            refused,
            (StatusCode::UNAUTHORIZED, "token.invalid".to_owned())
        );
    }
    assert!(world.upstream.arrived().is_empty());
}

/// What a stranger may make a gateway say, with what it depends on of what a server workload declares.
fn as_a_stranger(target: &str, shape: &str) -> Request<Full<bytes::Bytes>> {
    let put = |target: &str, fields: &[(&'static str, &str)]| {
        let mut request = get(target, "eyJhbGciOiJFUzI1NiJ9.e30.AAAA");
        for (name, value) in fields {
            let value = value.parse().unwrap();
            if *name == "authorization" {
                request.headers_mut().insert(*name, value);
            } else {
                request.headers_mut().append(*name, value);
            }
        }
        request
    };
    match shape {
        "no token" => {
            let mut request = put(target, &[]);
            request.headers_mut().remove("authorization");
            request
        }
        "no JWT" => put(target, &[("authorization", "Bearer nonsense")]),
        "forged" => put(target, &[]),
        "an SVID, forged" => put(
            target,
            &[(
                "authorization",
                "Bearer eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImEifQ.e30.AAAA",
            )],
        ),
        "query in two readings" => put(&format!("{target}?a=1;b=2"), &[]),
        "long head" => put(target, &[("x-long", &"x".repeat(3000))]),
        "long body" => {
            let body = Full::new(bytes::Bytes::from(vec![0; 3000]));
            put(target, &[]).map(|_| body)
        }
        "without proof" => put(target, &[("authorization", "DPoP a.b.c")]),
        "with a bad proof" => {
            let fields = [("authorization", "DPoP a.b.c"), ("dpop", "a.b.c")];
            put(target, &fields)
        }
        "with a task token" => put(target, &[("txn-token", "a.b.c")]),
        "with two task tokens" => put(target, &[("txn-token", "a.b.c"), ("txn-token", "d.e.f")]),
        "task token without proof" => {
            let fields = [("authorization", "DPoP a.b.c"), ("txn-token", "a.b.c")];
            put(target, &fields)
        }
        other => panic!("no shape {other}"),
    }
}

#[tokio::test]
async fn without_a_token_of_ours_known_and_unknown_server_workloads_look_the_same() {
    let world = World::with(Options {
        server: "http: {maxHeaderBytes: 2048, maxBodyBytes: 2048}".to_owned(),
        ..Options::default()
    });
    let world = world.await;
    for shape in [
        "no token",
        "no JWT",
        "forged",
        "an SVID, forged",
        "query in two readings",
        "long head",
        "long body",
        "without proof",
        "with a bad proof",
        "with a task token",
        "with two task tokens",
        "task token without proof",
    ] {
        let mut answers = Vec::new();
        for target in [READ, "/nosuch/customers/acme/notes"] {
            let answer = send(world.address, as_a_stranger(target, shape)).await;
            let mut headers = answer.headers().clone();
            // The nonce and the clock are of the moment, not of the server workload.
            headers.remove("dpop-nonce");
            headers.remove("date");
            answers.push((answer.status(), headers, text(answer).await));
        }
        assert_eq!(answers[0], answers[1], "{shape}");
        // Of two fields where there may be one, whoever reads a header section complains.
        let expected = if shape == "with two task tokens" {
            400
        } else {
            401
        };
        assert_eq!(answers[0].0, expected, "{shape}");
    }
    // Who holds one is told.
    let long = "x".repeat(3000).parse().unwrap();
    let mut request = get(READ, &read_token(&world));
    request.headers_mut().insert("x-long", long);
    let told = refusal(send(world.address, request).await).await;
    assert_eq!(told.1, "http.limit");
}

#[tokio::test]
async fn a_write_is_decided_on_its_body_and_the_very_bytes_are_forwarded() {
    let world = World::new().await;
    world.pass_start().await;
    let target = "/records/customers/acme/refunds";
    let body = "{ \"amount_cents\": 9900 , \"why\":\"late\"}";
    let response = send(world.address, post(target, &refund_token(&world), body)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(world.upstream.arrived()[0].body, body.as_bytes());
    for (bad, rule) in [
        ("{\"amount_cents\": 10001}", "policy.limit"),
        (
            "{\"amount_cents\": 1, \"amount_cents\": 2}",
            "request.attribute",
        ),
        ("{\"amount_cents\": \"1e3\"}", "request.attribute"),
        ("not json", "request.attribute"),
    ] {
        let response = send(world.address, post(target, &refund_token(&world), bad)).await;
        let (status, found) = refusal(response).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{bad}");
        assert!(
            found.starts_with(rule.split('.').next().unwrap()),
            "{bad}: {found}"
        );
    }
    assert_eq!(world.upstream.arrived().len(), 1);
}

#[tokio::test]
async fn a_token_for_a_write_is_good_for_one() {
    let world = World::new().await;
    world.pass_start().await;
    let (target, token) = ("/records/customers/acme/refunds", refund_token(&world));
    let body = "{\"amount_cents\": 1}";
    let first = send(world.address, post(target, &token, body)).await;
    assert_eq!(first.status(), StatusCode::OK);
    let second = refusal(send(world.address, post(target, &token, body)).await).await;
    assert_eq!(second, (StatusCode::UNAUTHORIZED, "token.spent".to_owned()));
    assert_eq!(world.upstream.arrived().len(), 1);
}

#[tokio::test]
async fn of_many_writes_at_once_with_one_token_one_is_carried_out() {
    let world = World::new().await;
    world.pass_start().await;
    let (target, token) = ("/records/customers/acme/refunds", refund_token(&world));
    let all = (0..12).map(|_| {
        let request = post(target, &token, "{\"amount_cents\": 1}");
        tokio::spawn(send(world.address, request))
    });
    let mut carried_out = 0;
    for one in all.collect::<Vec<_>>() {
        let answer = one.await.unwrap();
        if answer.status() == StatusCode::OK {
            carried_out += 1;
        } else {
            let spent = (StatusCode::UNAUTHORIZED, "token.spent".to_owned());
            assert_eq!(refusal(answer).await, spent);
        }
    }
    assert_eq!(carried_out, 1);
    assert_eq!(world.upstream.arrived().len(), 1);
}

/// FAILURES 7: it was good when it was decided, and is not when the first byte could leave.
#[tokio::test]
async fn a_token_that_expires_while_its_record_is_written_sends_nothing() {
    let world = World::new().await;
    let mut short = claims("retriever", "read", world.clocks.now());
    short.expires_at = world.clocks.now().plus(Duration::from_secs(2));
    let (ends, token) = (short.expires_at, world.authority.keys.sign(short));
    let held = world.spool.slow.write().await;
    let (address, request) = (world.address, get(READ, &token));
    let asking = tokio::spawn(async move {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await
    });
    world.until(|w| w.gateway.status().open_accesses == 1).await;
    world.until(|w| w.clocks.now() >= ends).await;
    drop(held);
    assert!(asking.await.unwrap().is_err(), "its connection is reset");
    assert!(world.upstream.arrived().is_empty());
    let record = world
        .record(|r| matches!(r.what, What::AccessCompleted { .. }))
        .await;
    assert_eq!(record.rule.as_deref(), Some("token.expired"));
}

#[tokio::test]
async fn a_write_with_a_token_that_could_have_been_used_before_the_start_is_refused() {
    let world = World::new().await;
    let (body, second) = ("{\"amount_cents\": 1}", std::time::Duration::from_secs(1));
    let now = world.clocks.now();
    for issued_at in [now.minus(second * 30), now.plus(second)] {
        let mut old = claims("executor", "refund", now);
        old.issued_at = issued_at;
        let token = world.authority.keys.sign(old);
        let request = post("/records/customers/acme/refunds", &token, body);
        let response = send(world.address, request).await;
        assert_eq!(response.headers()["retry-after"], "6");
        let refused = refusal(response).await;
        let spent = (StatusCode::UNAUTHORIZED, "token.spent".to_owned());
        assert_eq!(refused, spent);
    }
    assert!(world.upstream.arrived().is_empty());
    world.pass_start().await;
    let later = post(
        "/records/customers/acme/refunds",
        &refund_token(&world),
        body,
    );
    assert_eq!(send(world.address, later).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn ambiguous_paths_are_refused() {
    let world = World::new().await;
    for target in [
        "/records/customers//acme",
        "/records/customers/%2E%2E/x",
        "/records/customers/acme%2Fnotes",
        "/records//customers/acme/notes",
        "/records/customers/acme;x=1/notes",
    ] {
        let refused = refusal(send(world.address, get(target, &read_token(&world))).await).await;
        assert_eq!(refused.0, StatusCode::FORBIDDEN, "{target}");
        assert_eq!(refused.1, "request.ambiguous", "{target}");
    }
    assert!(world.upstream.arrived().is_empty());
}

#[tokio::test]
async fn what_a_probing_agent_asked_for_is_in_the_record_without_its_query() {
    let world = World::new().await;
    for (target, rule, request) in [
        (
            "/records/admin/users?key=hunter2",
            "request.no_action",
            "GET /admin/users",
        ),
        (
            "/records/customers/%2E%2E/x",
            "request.ambiguous",
            "GET /customers/%2E%2E/x",
        ),
        // An action, so its pattern is enough: the value that does not fit may be personal.
        (
            "/records/lists/all?CUSTOMER=jane",
            "request.attribute",
            "GET /lists/{list}",
        ),
    ] {
        let refused = refusal(send(world.address, get(target, &read_token(&world))).await).await;
        assert_eq!(refused.1, rule, "{target}");
        let record = world.record(|r| r.rule.as_deref() == Some(rule)).await;
        let expected = What::AccessDecided {
            request: request.to_owned(),
        };
        assert_eq!(record.what, expected, "{target}");
        assert!(!format!("{record:?}").contains("hunter2"));
    }
    assert!(world.upstream.arrived().is_empty());
}

#[tokio::test]
async fn upgrades_and_old_protocols_are_refused() {
    let world = World::new().await;
    let mut upgrade = get(READ, &read_token(&world));
    upgrade
        .headers_mut()
        .insert("upgrade", HeaderValue::from_static("websocket"));
    upgrade
        .headers_mut()
        .insert("connection", HeaderValue::from_static("upgrade"));
    assert_eq!(
        refusal(send(world.address, upgrade).await).await.1,
        "http.upgrade"
    );
    let mut old = get(READ, &read_token(&world));
    *old.version_mut() = http::Version::HTTP_10;
    assert_eq!(
        refusal(send(world.address, old).await).await.1,
        "http.version"
    );
    let unknown = get("/nothing/here", &read_token(&world));
    assert_eq!(
        refusal(send(world.address, unknown).await).await.1,
        "request.no_server"
    );
    assert!(world.upstream.arrived().is_empty());
}

#[tokio::test]
async fn refused_append_refuses_the_access() {
    let world = World::new().await;
    world.spool.full.store(true, Ordering::SeqCst);
    let refused = refusal(send(world.address, get(READ, &read_token(&world))).await).await;
    let unrecorded = (
        StatusCode::SERVICE_UNAVAILABLE,
        "record.unwritable".to_owned(),
    );
    assert_eq!(refused, unrecorded);
    assert!(world.upstream.arrived().is_empty());
    let status = world.gateway.status();
    assert!(!status.ready && status.trouble.unwrap().contains("disk is full"));
    // A denial that cannot be recorded is not told as one either.
    let globex = get("/records/customers/globex/notes", &read_token(&world));
    assert_eq!(refusal(send(world.address, globex).await).await, unrecorded);
    world.spool.full.store(false, Ordering::SeqCst);
    let response = send(world.address, get(READ, &read_token(&world))).await;
    assert_eq!(
        response.status(),
        StatusCode::OK,
        "it recovers without help"
    );
}

#[tokio::test]
async fn a_gateway_finds_out_by_itself_that_it_can_record_again() {
    let world = World::new().await;
    world.spool.full.store(true, Ordering::SeqCst);
    send(world.address, get(READ, &read_token(&world))).await;
    assert!(!world.gateway.status().ready);
    world.spool.full.store(false, Ordering::SeqCst);
    world.until(|w| w.gateway.status().ready).await;
    world.record(|r| matches!(r.what, What::Alarm { .. })).await;
}

#[tokio::test]
async fn an_internal_read_is_released_only_after_its_record_is_durable() {
    let options = Options {
        server: "internal: true".to_owned(),
        ..Options::default()
    };
    let world = World::with(options).await;
    let response = send(world.address, get(READ, &read_token(&world))).await;
    assert_eq!(text(response).await, "the record of acme");
    world.spool.full.store(true, Ordering::SeqCst);
    let refused = refusal(send(world.address, get(READ, &read_token(&world))).await).await;
    assert_eq!(refused.1, "record.unwritable");
}

#[tokio::test]
async fn nothing_is_released_before_a_slow_record_is_durable() {
    for internal in [true, false] {
        let options = Options {
            server: format!("internal: {internal}"),
            ..Options::default()
        };
        let world = World::with(options).await;
        let held = world.spool.slow.write().await;
        let (address, request) = (world.address, get(READ, &read_token(&world)));
        let mut asking = tokio::spawn(send(address, request));
        if internal {
            world.until(|w| w.upstream.arrived().len() == 1).await;
        } else {
            world.until(|w| w.gateway.status().open_accesses == 1).await;
        }
        let early = tokio::time::timeout(Duration::from_millis(300), &mut asking).await;
        assert!(early.is_err(), "nothing has come");
        assert_eq!(world.upstream.arrived().len(), usize::from(internal));
        drop(held);
        assert_eq!(text(asking.await.unwrap()).await, "the record of acme");
    }
}

#[tokio::test]
async fn http2_agents_are_served() {
    let world = World::new().await;
    let mut request = get(READ, &read_token(&world));
    *request.uri_mut() = format!("http://gateway{READ}").parse().unwrap();
    request.headers_mut().remove("host");
    let response = send_http2(world.address, request).await;
    assert_eq!(text(response).await, "the record of acme");
}

#[tokio::test]
async fn a_refusal_whose_record_would_be_too_long_is_recorded_without_its_attributes() {
    let world = World::new().await;
    let mut body = String::from("{\"amount_cents\":[20001");
    (20_002..)
        .take_while(|n: &u32| *n < 30_900)
        .for_each(|n| body.push_str(&format!(",{n}")));
    body.push_str("]}");
    let request = post(
        "/records/customers/acme/refunds",
        &refund_token(&world),
        body.leak(),
    );
    let refused = refusal(send(world.address, request).await).await;
    assert_ne!(refused.1, "record.unwritable");
    let record = world.record(|r| r.decision == Decision::Denied).await;
    assert_eq!(record.rule, Some(refused.1));
    assert!(record.attributes.is_empty());
    assert!(world.gateway.status().ready, "the spool is well");
}
