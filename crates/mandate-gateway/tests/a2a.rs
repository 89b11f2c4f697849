//! Agents that are called by agents: each call decided, the called one's task handed on, a suspended one unreachable.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests may panic"
)]

mod common;

use bytes::Bytes;
use common::agent::{get, refusal, send, text};
use common::tokens::{agent, claims, delegated, for_helper, for_vault, task};
use common::{SECRET, World};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use mandate_audit::{Event, Outcome, What};
use mandate_model::stop::Subject;
use mandate_ports::Clock;
use mandate_token::AccessToken;
use serde_json::{Value, json};

const ENDPOINT: &str = "/helper/a2a";

fn caller(world: &World) -> AccessToken {
    for_helper(claims("retriever", "read", world.clocks.now()))
}

fn call(method: &str, customer: &str) -> Value {
    let message = json!({"messageId": "m-1", "role": "ROLE_USER", "parts": [{"text": "Hello"}],
        "metadata": {"customer": customer}});
    json!({"jsonrpc": "2.0", "id": "c-1", "method": method, "params": {"message": message}})
}

fn ask(world: &World, claims: &AccessToken, body: impl ToString) -> Request<Full<Bytes>> {
    let token = world.authority.keys.sign(claims.clone());
    Request::post(ENDPOINT)
        .header("host", "gateway")
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .header("a2a-version", "1.0")
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap()
}

async fn told(world: &World, body: impl ToString) -> (u16, Value) {
    let request = ask(world, &caller(world), body);
    let response = send(world.address, request).await;
    let status = response.status().as_u16();
    (status, serde_json::from_str(&text(response).await).unwrap())
}

async fn decided(world: &World) -> Event {
    world
        .record(|r| matches!(r.what, What::AccessDecided { .. }))
        .await
}

#[tokio::test]
async fn a_call_is_an_action_by_its_method_and_params() {
    let world = World::new().await;
    for method in ["SendMessage", "message/send"] {
        let body = call(method, "acme").to_string();
        let response = send(world.address, ask(&world, &caller(&world), &body)).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(text(response).await, "the record of acme");
        let arrived = world.upstream.arrived().pop().unwrap();
        assert_eq!(
            (&*arrived.target, &*arrived.body),
            ("/a2a", body.as_bytes())
        );
        let headers = &arrived.headers;
        assert_eq!(headers[header::AUTHORIZATION], format!("Bearer {SECRET}"));
        assert_eq!(headers["a2a-version"], "1.0");
        assert!(!headers.contains_key("txn-token"));
    }
    let record = decided(&world).await;
    assert_eq!(record.action.unwrap().as_str(), "ask");
    let request = "rpc SendMessage".to_owned();
    assert_eq!(record.what, What::AccessDecided { request });
    assert_eq!(record.actors[0].sub, agent("retriever"));
}

#[tokio::test]
async fn the_card_is_fetched_like_anything_else() {
    let world = World::new().await;
    let token = world.authority.keys.sign(caller(&world));
    let card = "/helper/.well-known/agent-card.json";
    let response = send(world.address, get(card, &token)).await;
    assert_eq!(response.status(), StatusCode::OK);
    let other = send(world.address, get("/helper/.well-known/other.json", &token)).await;
    let (status, rule) = refusal(other).await;
    assert_eq!(
        (status, &*rule),
        (StatusCode::FORBIDDEN, "request.no_action")
    );
}

#[tokio::test]
async fn what_is_denied_is_an_error_of_json_rpc() {
    let world = World::new().await;
    let with = |member: &str, value: Value| {
        let mut call = call("SendMessage", "acme");
        call[member] = value;
        call.to_string()
    };
    let twins = |twin: &str| {
        let text = call("SendMessage", "acme").to_string();
        let other = format!("\"metadata\":{{\"customer\":\"acme\"}},{twin}");
        text.replace("\"metadata\":{\"customer\":\"acme\"}", &other)
    };
    for (body, status, code, rule) in [
        (
            call("SendMessage", "globex").to_string(),
            200,
            403,
            "mandate.unfit",
        ),
        (with("method", json!("GetTask")), 200, -32601, "a2a.method"),
        (
            with("method", json!("sendMessage")),
            200,
            -32601,
            "a2a.method",
        ),
        (
            with("method", json!(["SendMessage"])),
            400,
            -32600,
            "a2a.message",
        ),
        (with("params", json!([])), 400, -32602, "a2a.params"),
        (with("params", json!({})), 200, 403, "mandate.missing"),
        (with("jsonrpc", json!("1.0")), 400, -32600, "a2a.message"),
        (with("id", Value::Null), 400, -32600, "a2a.message"),
        (with("result", json!({})), 400, -32600, "a2a.message"),
        (with("Method", json!("GetTask")), 400, -32600, "a2a.message"),
        (
            format!("[{}]", call("SendMessage", "acme")),
            400,
            -32600,
            "a2a.message",
        ),
        (
            "{\"jsonrpc\":\"2.0\"".to_owned(),
            400,
            -32700,
            "a2a.message",
        ),
        (
            call("SendMessage", "acme")
                .to_string()
                .replace("\"id\":", "\"method\":\"GetTask\",\"id\":"),
            400,
            -32700,
            "a2a.message",
        ),
        // The JSON form of protocol buffers takes both spellings.
        (
            twins("\"meta_data\":{\"customer\":\"globex\"}"),
            403,
            403,
            "request.attribute",
        ),
        (
            twins("\"Metadata\":{\"customer\":\"globex\"}"),
            403,
            403,
            "request.attribute",
        ),
    ] {
        let (said, answer) = told(&world, &body).await;
        let error = &answer["error"];
        assert_eq!(error["code"], code, "{body}: {answer}");
        assert_eq!(error["data"]["rule"], rule, "{body}: {answer}");
        assert_eq!(said, if status == 403 { 200 } else { status }, "{body}");
        assert_eq!(answer["jsonrpc"], "2.0");
    }
    assert_eq!(world.upstream.arrived().len(), 0);
}

#[tokio::test]
async fn an_agent_that_is_suspended_is_called_by_nobody() {
    let world = World::new().await;
    let open = ask(
        &world,
        &caller(&world),
        call("SendStreamingMessage", "acme"),
    );
    let response = send(world.address, open).await;
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = response.into_body();
    world.upstream.feed(b"data: {}\n\n");
    assert_eq!(chunk(&mut body).await.unwrap(), "data: {}\n\n");
    let version = world.authority.suspend(Subject::Agent {
        id: agent("executor"),
    });
    world
        .until(|w| w.authority.acknowledged(version).is_some())
        .await;
    assert_eq!(world.authority.acknowledged(version).unwrap().cut, 1);
    world.upstream.feed(b"data: {}\n\n");
    assert!(chunk(&mut body).await.is_err());
    let record = world
        .record(|r| matches!(r.what, What::AccessCompleted { .. }))
        .await;
    let What::AccessCompleted { outcome, .. } = record.what else {
        panic!()
    };
    assert_eq!(outcome, Outcome::Cut);
    let (status, refused) = told(&world, call("SendMessage", "acme")).await;
    assert_eq!(
        (status, &refused["error"]["data"]["rule"]),
        (200, &json!("stopped"))
    );
    assert_eq!(world.upstream.arrived().len(), 1);
}

async fn chunk(body: &mut Incoming) -> Result<Bytes, hyper::Error> {
    let frame = body.frame().await.unwrap()?;
    Ok(frame.into_data().unwrap())
}

fn with_task(mut request: Request<Full<Bytes>>, task: &str) -> Request<Full<Bytes>> {
    let headers = request.headers_mut();
    headers.insert("txn-token", task.parse().unwrap());
    request
}

#[tokio::test]
async fn the_called_agents_own_task_is_handed_on() {
    let world = World::new().await;
    let (access, now) = (caller(&world), world.clocks.now());
    let keys = &world.authority.keys;
    let own = keys.sign_at(delegated(&access, "executor", now), now);
    let request = ask(&world, &access, call("SendMessage", "acme"));
    let response = send(world.address, with_task(request, &own)).await;
    assert_eq!(response.status(), StatusCode::OK);
    let arrived = world.upstream.arrived().pop().unwrap();
    let fields: Vec<_> = arrived.headers.get_all("txn-token").iter().collect();
    assert_eq!(fields, [own.as_str()]);
}

/// B1: it may be stopped while the call is under way, and is worth nothing to the called agent then.
#[tokio::test]
async fn a_call_ends_with_the_task_token_that_it_hands_on() {
    let world = World::new().await;
    let (access, now) = (caller(&world), world.clocks.now());
    let own = delegated(&access, "executor", now);
    let child = own.path.leaf();
    let own = world.authority.keys.sign_at(own, now);
    let request = ask(&world, &access, call("SendStreamingMessage", "acme"));
    let response = send(world.address, with_task(request, &own)).await;
    let mut body = response.into_body();
    world.upstream.feed(b"data: {}\n\n");
    assert_eq!(chunk(&mut body).await.unwrap(), "data: {}\n\n");
    let version = world.authority.suspend(Subject::Task { id: child });
    world
        .until(|w| w.authority.acknowledged(version).is_some())
        .await;
    world.upstream.feed(b"data: {}\n\n");
    assert!(chunk(&mut body).await.is_err());
}

/// What names a call in the bundle is no method of HTTP.
#[tokio::test]
async fn a_request_whose_method_is_rpc_is_no_call() {
    let world = World::new().await;
    let mut request = ask(&world, &caller(&world), call("CancelTask", "acme"));
    *request.method_mut() = "rpc".parse().unwrap();
    *request.uri_mut() = "/helper/SendMessage".parse().unwrap();
    let response = send(world.address, request).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert!(world.upstream.arrived().is_empty());
}

#[tokio::test]
async fn no_other_task_token_is_handed_on() {
    let world = World::new().await;
    let (access, now) = (caller(&world), world.clocks.now());
    let keys = &world.authority.keys;
    let own = delegated(&access, "executor", now);
    let elsewhere = mandate_token::TaskToken {
        path: mandate_model::task::TaskPath::root_of(task(9))
            .child(task(3))
            .unwrap(),
        ..own.clone()
    };
    let callers_own = mandate_token::TaskToken {
        path: access.path.clone(),
        ..own.clone()
    };
    let deeper = mandate_token::TaskToken {
        path: own.path.child(task(4)).unwrap(),
        ..own.clone()
    };
    let others = delegated(&access, "retriever", now);
    for (what, task) in [
        ("another agent's", others),
        ("another task's", elsewhere),
        ("the caller's task", callers_own),
        ("a task further below", deeper),
    ] {
        let task = keys.sign_at(task, now);
        let request = ask(&world, &access, call("SendMessage", "acme"));
        let response = send(world.address, with_task(request, &task)).await;
        let (status, rule) = refusal(response).await;
        let refused = (StatusCode::BAD_REQUEST, "request.txn_token");
        assert_eq!((status, &*rule), refused, "{what}");
    }
    let good = keys.sign_at(own, now);
    let request = ask(&world, &access, call("SendMessage", "acme"));
    let broken = with_task(request, &format!("{good}A"));
    let (status, _) = refusal(send(world.address, broken).await).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    // Elsewhere an access token has none beside it.
    let vault = keys.sign(for_vault(claims("retriever", "read", now)));
    let request = with_task(get("/vault/customers/acme/notes", &vault), &good);
    let (status, rule) = refusal(send(world.address, request).await).await;
    assert_eq!(
        (status, &*rule),
        (StatusCode::BAD_REQUEST, "request.txn_token")
    );
    // Its task is over, or was never to be.
    world.authority.suspend(Subject::Task { id: task(3) });
    world
        .until(|w| w.gateway.status().versions.unwrap().stops.get() > 0)
        .await;
    let request = ask(&world, &access, call("SendMessage", "acme"));
    let (_, rule) = refusal(send(world.address, with_task(request, &good)).await).await;
    assert_eq!(rule, "stopped");
    assert_eq!(world.upstream.arrived().len(), 0);
}
