//! An MCP server of 2026-07-28 that answers at once, and what is said to it.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::net::TcpListener;

use crate::load::Shot;
use crate::server::CREDENTIAL;

/// A server with the tools of [`tools`], which knows how many calls it has carried out.
#[derive(Debug, Clone)]
pub struct Upstream {
    pub address: SocketAddr,
    carried_out: Arc<AtomicUsize>,
}

impl Upstream {
    /// Serves on a free loopback port until the runtime ends.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let carried_out = Arc::new(AtomicUsize::new(0));
        let (counter, list) = (Arc::clone(&carried_out), Arc::<str>::from(tools(TOOLS)));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (counter, list) = (Arc::clone(&counter), Arc::clone(&list));
                let service = service_fn(move |request| {
                    answer(Arc::clone(&counter), Arc::clone(&list), request)
                });
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(serving);
            }
        });
        Self {
            address,
            carried_out,
        }
    }

    /// Calls since the last time that this was asked.
    pub fn carried_out(&self) -> usize {
        self.carried_out.swap(0, Ordering::SeqCst)
    }
}

#[derive(Deserialize)]
struct Message<'m> {
    #[serde(borrow)]
    id: Option<&'m RawValue>,
    method: &'m str,
}

async fn answer(
    carried_out: Arc<AtomicUsize>,
    list: Arc<str>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let is_known = request
        .headers()
        .get("x-api-key")
        .is_some_and(|key| key == CREDENTIAL);
    let is_few = request.uri().path().starts_with(FEW);
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let response = Response::builder().header("content-type", "application/json");
    if !is_known {
        return Ok(response.status(401).body(Full::default()).unwrap());
    }
    let message: Message<'_> = serde_json::from_slice(&body).unwrap();
    let Some(id) = message.id else {
        return Ok(response.status(202).body(Full::default()).unwrap());
    };
    let result = match message.method {
        "tools/call" => {
            carried_out.fetch_add(1, Ordering::SeqCst);
            RECORD
        }
        "initialize" => HELLO,
        _ if is_few => TWO_TOOLS,
        _ => &*list,
    };
    let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
    Ok(response.body(Full::from(answer)).unwrap())
}

/// The call of a tool for `customer`, below `base`, with a token or the server's own key.
pub fn call(base: &str, tool: &str, customer: &str, with: &With) -> Shot {
    let arguments = json!({"customer_id": customer, "fields": ["name", "plan", "notes"]});
    let params = json!({"name": tool, "arguments": arguments, "_meta": meta()});
    let mut shot = shot(base, "tools/call", &params, with);
    shot.headers.push(("mcp-name", tool.to_owned()));
    shot
}

/// The request for the list of tools.
pub fn list(base: &str, with: &With) -> Shot {
    shot(base, "tools/list", &json!({"_meta": meta()}), with)
}

/// Who asks.
#[derive(Debug, Clone)]
pub enum With {
    /// A client of the server, with its key.
    Key,
    /// An agent at a gateway.
    Token(String),
}

fn meta() -> serde_json::Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": REVISION,
        "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

fn shot(base: &str, method: &str, params: &serde_json::Value, with: &With) -> Shot {
    let message = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
    let who = match with {
        With::Key => ("x-api-key", CREDENTIAL.to_owned()),
        With::Token(token) => ("authorization", format!("Bearer {token}")),
    };
    let fixed = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", REVISION),
        ("mcp-method", method),
    ];
    let fixed = fixed.map(|(name, value)| (name, value.to_owned()));
    Shot {
        method: "POST",
        path: format!("{base}/mcp"),
        headers: fixed.into_iter().chain([who]).collect(),
        body: Bytes::from(message.to_string()),
    }
}

/// The result of `tools/list` with `count` tools, each with a schema of some 1.5 KB.
pub fn tools(count: usize) -> String {
    let mut text = String::from(r#"{"resultType":"complete","tools":["#);
    for n in 0..count {
        let comma = if n == 0 { "" } else { "," };
        let tool = include_str!("tool.json").trim_end();
        write!(text, "{comma}{}", tool.replace("${n}", &format!("{n:03}"))).unwrap();
    }
    text.push_str(r#"],"ttlMs":60000,"cacheScope":"public"}"#);
    text
}

/// The bundle for this server: a desk of one tool, and a catalogue of all of them. Half of those are actions, and half
/// of those the agent may use.
pub fn bundle() -> String {
    let mut actions = String::new();
    for action in 0..10 {
        let mut routes = String::new();
        for n in 0..50 {
            let comma = if n == 0 { "" } else { ", " };
            write!(
                routes,
                "{comma}tool crm_{:03}_update_record",
                action * 100 + n
            )
            .unwrap();
        }
        writeln!(actions, "    act-{action}: {{effect: read, match: [{routes}], attributes: {{customer: /customer_id}}}}").unwrap();
    }
    include_str!("mcp-bundle.yaml").replace("${actions}", actions.trim_end())
}

/// Below this the server has two tools only, for who would take over a thousand.
pub const FEW: &str = "/few";
pub const TOOLS: usize = 1_000;
/// Of them, those that the bundle gives the agent.
pub const SHOWN: usize = 250;
const REVISION: &str = "2026-07-28";
const RECORD: &str = r#"{"resultType":"complete","content":[{"type":"text","text":"{\"customer\":\"acme\",\"name\":\"Acme Corporation\",\"plan\":\"gold\",\"notes\":[\"called on Monday\",\"wants an invoice\"]}"}],"structuredContent":{"customer":"acme","name":"Acme Corporation","plan":"gold","notes":["called on Monday","wants an invoice"]},"isError":false}"#;
/// For clients of 2025-11-25, which begin with it.
const HELLO: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"desk","version":"1"}}"#;
const TWO_TOOLS: &str = r#"{"tools":[{"name":"look_up","inputSchema":{"type":"object","properties":{"customer_id":{"type":"string"},"fields":{"type":"array","items":{"type":"string"}}}}},{"name":"search","inputSchema":{"type":"object"}}]}"#;
