//! LLM endpoints: the key injected, the model decided on, replies untouched, what they took recorded.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests may panic"
)]

mod common;

use std::path::Path;

use bytes::Bytes;
use common::agent::{refusal, send, text};
use common::tokens::{agent, claims, for_llm};
use common::{SECRET, World};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use mandate_audit::{Event, Incomplete, Outcome, Usage, What};
use mandate_model::AttributeName;
use mandate_model::stop::Subject;
use mandate_ports::Clock;

const GPT: &str = "gpt-4.1";
const CLAUDE: &str = "claude-sonnet-4-5";

fn fixture(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/llm");
    std::fs::read_to_string(Path::new(folder).join(name)).unwrap()
}

fn ask(world: &World, target: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let (server, model) = match target.split('/').nth(1) {
        Some("gpt") => ("gpt", GPT),
        Some("claude") => ("claude", CLAUDE),
        other => panic!("{other:?}"),
    };
    let claims = claims("retriever", "read", world.clocks.now());
    let token = world.authority.keys.sign(for_llm(claims, server, model));
    Request::post(target)
        .header("host", "gateway")
        .header("authorization", format!("Bearer {token}"))
        .header("x-api-key", "the-agents-own")
        .header("accept-encoding", "gzip, deflate, br, zstd")
        .header("content-type", "application/json")
        .body(Full::new(body.into()))
        .unwrap()
}

fn prompt(model: &str, more: &str) -> String {
    format!(
        "{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]{more}}}"
    )
}

/// How the one access ended, with the usage.
async fn ended(world: &World) -> (Event, Outcome, Option<Usage>) {
    let record = world
        .record(|r| matches!(r.what, What::AccessCompleted { .. }))
        .await;
    let What::AccessCompleted { outcome, usage, .. } = &record.what else {
        panic!()
    };
    (record.clone(), *outcome, usage.clone())
}

#[tokio::test]
async fn the_key_is_put_in_the_model_is_decided_on_and_usage_is_recorded() {
    let world = World::new().await;
    let reply = fixture("openai-chat.json");
    *world.upstream.llm.lock().unwrap() = ("application/json", reply.clone());
    let asked = prompt(GPT, "");
    let request = ask(&world, "/gpt/v1/chat/completions", asked.clone());
    let response = send(world.address, request).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(text(response).await, reply);
    let arrived = world.upstream.arrived().pop().unwrap();
    assert_eq!(arrived.target, "/v1/chat/completions");
    assert_eq!(arrived.body, asked);
    let headers = &arrived.headers;
    assert_eq!(headers[header::AUTHORIZATION], format!("Bearer {SECRET}"));
    assert_eq!(headers[header::ACCEPT_ENCODING], "identity");
    let (record, outcome, usage) = ended(&world).await;
    assert_eq!(outcome, Outcome::Completed);
    let expected = Usage {
        model: Some("gpt-4.1-2025-04-14".to_owned()),
        input: Some(19),
        output: Some(10),
        cached: Some(8),
        cache_write: None,
        reasoning: Some(4),
        incomplete: None,
    };
    assert_eq!(usage, Some(expected));
    let model = AttributeName::parse("model").unwrap();
    assert_eq!(record.attributes[&model][0].to_string(), GPT);
}

#[tokio::test]
async fn a_model_that_the_mandate_has_not_is_denied() {
    let world = World::new().await;
    for (target, model) in [
        ("/gpt/v1/chat/completions", "gpt-5-pro"),
        ("/claude/v1/messages", "claude-opus-4-5"),
    ] {
        let refused = refusal(send(world.address, ask(&world, target, prompt(model, ""))).await);
        let (status, rule) = refused.await;
        assert_eq!((status, &*rule), (StatusCode::FORBIDDEN, "mandate.unfit"));
    }
    let without = ask(&world, "/claude/v1/messages", "{\"messages\":[]}");
    let (status, _) = refusal(send(world.address, without).await).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(world.upstream.arrived().len(), 0);
}

#[tokio::test]
async fn an_agents_own_key_does_not_reach_the_model() {
    let world = World::new().await;
    *world.upstream.llm.lock().unwrap() = ("application/json", fixture("anthropic-message.json"));
    let request = ask(&world, "/claude/v1/messages", prompt(CLAUDE, ""));
    assert_eq!(send(world.address, request).await.status(), StatusCode::OK);
    let headers = world.upstream.arrived().pop().unwrap().headers;
    let keys: Vec<_> = headers.get_all("x-api-key").iter().collect();
    assert_eq!(keys, [SECRET]);
    assert!(!headers.contains_key(header::AUTHORIZATION));
    let (_, _, usage) = ended(&world).await;
    let usage = usage.unwrap();
    assert_eq!((usage.input, usage.output), (Some(1125), Some(15)));
}

#[tokio::test]
async fn a_prompt_may_be_as_long_as_the_server_workload_takes() {
    let world = World::new().await;
    *world.upstream.llm.lock().unwrap() = ("application/json", fixture("openai-chat.json"));
    let more = format!(",\"image\":\"{}\"", "A".repeat(3 * 1024 * 1024));
    let request = ask(&world, "/gpt/v1/chat/completions", prompt(GPT, &more));
    assert_eq!(send(world.address, request).await.status(), StatusCode::OK);
    let more = format!(",\"image\":\"{}\"", "A".repeat(10 * 1024 * 1024));
    let request = ask(&world, "/gpt/v1/chat/completions", prompt(GPT, &more));
    let (status, rule) = refusal(send(world.address, request).await).await;
    assert_eq!(
        (status, &*rule),
        (StatusCode::PAYLOAD_TOO_LARGE, "request.body")
    );
}

/// A reply may be anything: it passes as it is.
#[tokio::test]
async fn a_reply_that_is_malformed_or_lies_passes_as_it_is() {
    let deep = "[".repeat(200_000);
    for (media_type, reply, incomplete) in [
        ("application/json", "{\"usage\":", Incomplete::Unreadable),
        ("application/json", &*deep, Incomplete::Unreadable),
        (
            "application/json",
            "{\"usage\":{\"prompt_tokens\":-7}}",
            Incomplete::NotSaid,
        ),
        (
            "text/event-stream",
            "data: {\"usage\"\n\n",
            Incomplete::Unreadable,
        ),
        ("text/event-stream", "data: {}", Incomplete::BrokeOff),
        ("text/plain", "busy", Incomplete::NotSaid),
    ] {
        let world = World::new().await;
        *world.upstream.llm.lock().unwrap() = (media_type, reply.to_owned());
        let request = ask(&world, "/gpt/v1/chat/completions", prompt(GPT, ""));
        let response = send(world.address, request).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[header::CONTENT_TYPE], media_type);
        assert!(text(response).await == reply);
        let (_, outcome, usage) = ended(&world).await;
        assert_eq!(outcome, Outcome::Completed);
        let expected = Usage {
            incomplete: Some(incomplete),
            ..Usage::default()
        };
        assert_eq!(usage, Some(expected), "{media_type}");
    }
}

#[tokio::test]
async fn what_takes_no_tokens_has_no_usage() {
    let reply = fixture("openai-response.json");
    for (method, target) in [
        // A reply of an earlier call, fetched again, would be counted twice.
        ("GET", "/gpt/v1/responses/resp_1"),
        // It is answered with 429.
        ("POST", "/gpt/v1/models"),
    ] {
        let world = World::new().await;
        *world.upstream.llm.lock().unwrap() = ("application/json", reply.clone());
        let mut request = ask(&world, target, "");
        *request.method_mut() = method.parse().unwrap();
        let response = send(world.address, request).await;
        assert_eq!(text(response).await, reply);
        let (_, outcome, usage) = ended(&world).await;
        assert_eq!((outcome, usage), (Outcome::Completed, None), "{target}");
    }
}

async fn chunk(body: &mut Incoming) -> Result<Bytes, hyper::Error> {
    let frame = body.frame().await.unwrap()?;
    Ok(frame.into_data().unwrap())
}

/// The events of a stream of Anthropic's, up to the one that counts its output; and the rest.
fn message() -> (&'static [u8], &'static [u8]) {
    let text: &'static str = Box::leak(fixture("anthropic-message.sse").into_boxed_str());
    let at = text.find("event: message_delta").unwrap();
    text.as_bytes().split_at(at)
}

async fn open_stream(world: &World) -> Incoming {
    let asked = prompt(CLAUDE, ",\"stream\":true");
    let request = ask(world, "/claude/v1/messages", asked);
    let response = send(world.address, request).await;
    assert_eq!(response.status(), StatusCode::OK);
    response.into_body()
}

#[tokio::test]
async fn a_stream_passes_piece_by_piece_and_its_usage_is_recorded() {
    let world = World::new().await;
    let mut body = open_stream(&world).await;
    let (begin, rest) = message();
    // In the middle of an event: what came is there, though nobody knows yet what it will be.
    let (one, two) = begin.split_at(begin.len() / 2);
    for piece in [one, two, rest] {
        world.upstream.feed(piece);
        let mut came = Vec::new();
        while came.len() < piece.len() {
            came.extend_from_slice(&chunk(&mut body).await.unwrap());
        }
        assert_eq!(came, piece);
    }
    world.upstream.end_streams();
    assert!(body.frame().await.is_none());
    let (_, outcome, usage) = ended(&world).await;
    assert_eq!(outcome, Outcome::Completed);
    let expected = Usage {
        model: Some("claude-sonnet-4-5-20250929".to_owned()),
        input: Some(1125),
        output: Some(15),
        cached: Some(1000),
        cache_write: Some(100),
        reasoning: Some(7),
        incomplete: None,
    };
    assert_eq!(usage, Some(expected));
}

fn begun() -> Usage {
    Usage {
        model: Some("claude-sonnet-4-5-20250929".to_owned()),
        input: Some(1125),
        output: Some(1),
        cached: Some(1000),
        cache_write: Some(100),
        reasoning: None,
        incomplete: Some(Incomplete::BrokeOff),
    }
}

#[tokio::test]
async fn a_suspension_cuts_a_stream_and_what_was_known_is_recorded() {
    let world = World::new().await;
    let mut body = open_stream(&world).await;
    let (begin, rest) = message();
    world.upstream.feed(begin);
    let mut came = 0;
    while came < begin.len() {
        came += chunk(&mut body).await.unwrap().len();
    }
    let version = world.authority.suspend(Subject::Agent {
        id: agent("retriever"),
    });
    world
        .until(|w| w.authority.acknowledged(version).is_some())
        .await;
    assert_eq!(world.authority.acknowledged(version).unwrap().cut, 1);
    world.upstream.feed(rest);
    assert!(chunk(&mut body).await.is_err());
    let (record, outcome, usage) = ended(&world).await;
    assert_eq!(outcome, Outcome::Cut);
    assert_eq!(record.rule.as_deref(), Some("stopped"));
    assert_eq!(usage, Some(begun()));
}

#[tokio::test]
async fn of_a_stream_that_its_agent_leaves_is_recorded_what_was_known() {
    let world = World::new().await;
    let mut body = open_stream(&world).await;
    let (begin, _) = message();
    world.upstream.feed(begin);
    let mut came = 0;
    while came < begin.len() {
        came += chunk(&mut body).await.unwrap().len();
    }
    drop(body);
    let (_, outcome, usage) = ended(&world).await;
    assert_eq!(outcome, Outcome::AgentGone);
    assert_eq!(usage, Some(begun()));
}
