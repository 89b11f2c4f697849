//! Agents of the MCP server `desk`.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use mandate_ports::Clock;
use serde_json::{Value, json};

use super::World;
use super::agent::{send, text};
use super::tokens::{claims, for_desk};

/// Whoever speaks to the MCP server `desk`.
pub struct Agent<'w> {
    pub world: &'w World,
    pub token: String,
}

impl<'w> Agent<'w> {
    pub fn new(world: &'w World) -> Self {
        Self::of(world, "retriever", &["look", "report", "refund"])
    }

    pub fn of(world: &'w World, name: &str, actions: &[&str]) -> Self {
        let claims = for_desk(claims(name, "read", world.clocks.now()), actions);
        Self {
            world,
            token: world.authority.keys.sign(claims),
        }
    }

    pub fn in_another_task(world: &'w World) -> Self {
        let claims = for_desk(claims("retriever", "read", world.clocks.now()), &["look"]);
        let elsewhere = mandate_token::AccessToken {
            path: mandate_model::task::TaskPath::root_of(super::tokens::task(9)),
            ..claims
        };
        Self {
            world,
            token: world.authority.keys.sign(elsewhere),
        }
    }

    pub fn request(&self, message: &Value) -> Request<Full<Bytes>> {
        Request::post("/desk/mcp")
            .header("host", "gateway")
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(Full::from(message.to_string()))
            .unwrap()
    }

    /// The status, and the answer as it came.
    pub async fn says(&self, message: &Value) -> (StatusCode, String) {
        let answer = send(self.world.address, self.request(message)).await;
        (answer.status(), text(answer).await)
    }

    /// The stream of a session.
    pub async fn opens_a_stream(&self) -> Response<Incoming> {
        let mut request = self.request(&json!(null));
        *request.method_mut() = http::Method::GET;
        *request.body_mut() = Full::default();
        send(self.world.address, request).await
    }

    pub async fn asks(&self, method: &str, params: Value) -> (StatusCode, Value) {
        let message = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
        let (status, said) = self.says(&message).await;
        (status, serde_json::from_str(&said).unwrap())
    }

    pub async fn calls(&self, tool: &str, arguments: Value) -> (StatusCode, Value) {
        let params = json!({"name": tool, "arguments": arguments});
        self.asks("tools/call", params).await
    }
}

pub fn answers(world: &World, media_type: &'static str, body: &str) {
    *world.upstream.mcp.lock().unwrap() = (media_type, body.to_owned());
}

/// FAILURES 24: nobody can take it for success, and it says by which rule.
#[track_caller]
pub fn is_denied((status, answer): (StatusCode, Value), rule: &str) {
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["id"], 7);
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    let text = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains(&format!("`{rule}`")), "{text}");
    assert!(answer["result"].get("structuredContent").is_none());
}
