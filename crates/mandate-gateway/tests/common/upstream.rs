//! A records API on loopback that tells what reached it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::sync::mpsc;

use super::SECRET;

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Arrived {
    pub method: String,
    pub target: String,
    pub version: http::Version,
    pub headers: HeaderMap,
    pub trailers: Option<HeaderMap>,
    pub body: Bytes,
    /// Whether the body came to its end.
    pub whole: bool,
}

type Feed = mpsc::UnboundedSender<Bytes>;

/// What the MCP server answers: type and body.
type Answer = (&'static str, String);

pub struct Upstream {
    pub address: SocketAddr,
    /// What `POST /mcp` is answered with.
    pub mcp: Arc<Mutex<Answer>>,
    /// The status of that.
    pub mcp_status: Arc<Mutex<StatusCode>>,
    /// What its tools are; where there are some, `tools/list` and `initialize` are answered on their own.
    pub tools: Arc<Mutex<Option<serde_json::Value>>>,
    /// What an LLM answers at `/v1/…`, if the request asks for no stream.
    pub llm: Arc<Mutex<Answer>>,
    arrived: Arc<Mutex<Vec<Arrived>>>,
    feeds: Arc<Mutex<Vec<Feed>>>,
}

impl Upstream {
    pub async fn start(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = Self {
            address: listener.local_addr().unwrap(),
            mcp: Arc::default(),
            mcp_status: Arc::default(),
            tools: Arc::default(),
            llm: Arc::default(),
            arrived: Arc::default(),
            feeds: Arc::default(),
        };
        let (arrived, feeds) = (upstream.arrived.clone(), upstream.feeds.clone());
        let (mcp, llm) = (upstream.mcp.clone(), upstream.llm.clone());
        let (tools, status) = (upstream.tools.clone(), upstream.mcp_status.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (arrived, feeds) = (arrived.clone(), feeds.clone());
                let (mcp, llm, tools) = (mcp.clone(), llm.clone(), tools.clone());
                let status = status.clone();
                let tls = tls.clone().map(tokio_rustls::TlsAcceptor::from);
                tokio::spawn(async move {
                    let service = service_fn(|r| {
                        let answers = [&mcp, &llm].map(|answer| answer.lock().unwrap().clone());
                        let tools = tools.lock().unwrap().clone();
                        let status = *status.lock().unwrap();
                        answer(arrived.clone(), feeds.clone(), (answers, tools, status), r)
                    });
                    let server = auto::Builder::new(TokioExecutor::new());
                    if let Some(tls) = tls {
                        let Ok(stream) = tls.accept(stream).await else {
                            return;
                        };
                        let _ = server.serve_connection(TokioIo::new(stream), service).await;
                    } else {
                        let _ = server.serve_connection(TokioIo::new(stream), service).await;
                    }
                });
            }
        });
        upstream
    }

    pub fn arrived(&self) -> Vec<Arrived> {
        self.arrived.lock().unwrap().clone()
    }

    /// Sends `bytes` down every open stream; tells how many were still open.
    pub fn feed(&self, bytes: &'static [u8]) -> usize {
        let mut feeds = self.feeds.lock().unwrap();
        feeds.retain(|feed| feed.send(Bytes::from_static(bytes)).is_ok());
        feeds.len()
    }

    pub fn open_streams(&self) -> usize {
        let mut feeds = self.feeds.lock().unwrap();
        feeds.retain(|feed| !feed.is_closed());
        feeds.len()
    }

    /// Ends every open stream, whole.
    pub fn end_streams(&self) {
        self.feeds.lock().unwrap().clear();
    }
}

type Body = BoxBody<Bytes, Infallible>;

/// What an MCP server with `tools` answers to what was `said`, if that is about what it is. From 2026-07-28 on a tool a
/// page, each in a stream that tells of something else first.
fn listed(said: &[u8], tools: serde_json::Value) -> Option<Answer> {
    let said: serde_json::Value = serde_json::from_slice(said).ok()?;
    if said["method"] == "tools/list" && said["params"]["_meta"].is_object() {
        let page: usize = said["params"]["cursor"]
            .as_str()
            .map_or(0, |at| at.parse().unwrap());
        let mut result = serde_json::json!({"tools": [tools[page]]});
        if !tools[page + 1].is_null() {
            result["nextCursor"] = (page + 1).to_string().into();
        }
        let answer = serde_json::json!({"jsonrpc": "2.0", "id": said["id"], "result": result});
        let note = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#;
        return Some((
            "text/event-stream",
            format!("data: {note}\n\ndata: {answer}\n\n"),
        ));
    }
    let result = match said["method"].as_str()? {
        "initialize" => serde_json::json!({"protocolVersion": "2025-11-25", "capabilities": {}}),
        "tools/list" => serde_json::json!({"tools": tools}),
        _ => return None,
    };
    let answer = serde_json::json!({"jsonrpc": "2.0", "id": said["id"], "result": result});
    Some(("application/json", answer.to_string()))
}

async fn answer(
    arrived: Arc<Mutex<Vec<Arrived>>>,
    feeds: Arc<Mutex<Vec<Feed>>>,
    ([mcp, llm], tools, mcp_status): ([Answer; 2], Option<serde_json::Value>, StatusCode),
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let collected = body.collect().await.ok();
    let trailers = collected.as_ref().and_then(|b| b.trailers().cloned());
    let came_whole = collected.is_some();
    let body = collected.map(|b| b.to_bytes()).unwrap_or_default();
    let said = body.clone();
    let asks_for_stream = body.windows(13).any(|part| part == b"\"stream\":true");
    let asks_for_call_stream = body.windows(20).any(|part| part == b"SendStreamingMessage");
    arrived.lock().unwrap().push(Arrived {
        method: head.method.to_string(),
        target: head.uri.path_and_query().unwrap().to_string(),
        version: head.version,
        headers: head.headers,
        trailers,
        body,
        whole: came_whole,
    });
    let path = head.uri.path();
    let is_mcp_stream = path == "/mcp" && head.method == http::Method::GET;
    let is_call_stream = path == "/a2a" && asks_for_call_stream;
    let is_llm_stream = path.starts_with("/v1/") && asks_for_stream;
    let is_event_stream = is_mcp_stream || is_llm_stream || is_call_stream;
    if path.ends_with("/stream") || is_event_stream {
        let (feed, chunks) = mpsc::unbounded_channel();
        feeds.lock().unwrap().push(feed);
        let mut response = Response::new(streaming(chunks));
        if is_event_stream {
            let events = "text/event-stream".parse().unwrap();
            response.headers_mut().insert(header::CONTENT_TYPE, events);
        }
        return Ok(response);
    }
    if path.starts_with("/v1/") {
        let (media_type, body) = llm;
        let mut response = Response::new(whole(&body));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, media_type.parse().unwrap());
        if path.ends_with("/models") {
            *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        }
        return Ok(response);
    }
    if path == "/mcp" {
        // A session's end that is never answered.
        if head.method == http::Method::DELETE && tools.is_some() {
            std::future::pending::<()>().await;
        }
        let (media_type, body) = tools.and_then(|tools| listed(&said, tools)).unwrap_or(mcp);
        let mut response = Response::new(whole(&body));
        *response.status_mut() = mcp_status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, media_type.parse().unwrap());
        headers.insert("mcp-session-id", "s-1".parse().unwrap());
        return Ok(response);
    }
    if path.ends_with("/silence") {
        std::future::pending::<()>().await;
    }
    let mut response = Response::new(whole("the record of acme"));
    if path.ends_with("/echo-header") {
        let value = format!("key {SECRET}").parse().unwrap();
        response.headers_mut().insert("x-debug", value);
    } else if path.ends_with("/echo-body") {
        response = Response::new(whole(&format!("debug: {SECRET}")));
    } else if path.ends_with("/challenge") {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        let headers = response.headers_mut();
        headers.insert("dpop-nonce", "of-the-upstream".parse().unwrap());
        let both = r#"DPoP error="use_dpop_nonce", algs="ES256", Basic realm="a""#;
        headers.insert(header::WWW_AUTHENTICATE, both.parse().unwrap());
    } else if path.ends_with("/empty") {
        response = Response::new(whole(""));
    } else if path.ends_with("/encoded") {
        let gzip = "gzip".parse().unwrap();
        response.headers_mut().insert("content-encoding", gzip);
    } else if path.ends_with("/redirect") {
        *response.status_mut() = StatusCode::FOUND;
        // Where the query says.
        let to = head.uri.query().unwrap_or_default();
        let elsewhere = format!("http://{to}/elsewhere").parse().unwrap();
        response.headers_mut().insert(header::LOCATION, elsewhere);
    }
    Ok(response)
}

fn whole(text: &str) -> Body {
    Full::new(Bytes::from(text.to_owned())).boxed()
}

fn streaming(chunks: mpsc::UnboundedReceiver<Bytes>) -> Body {
    let frames = futures_util::stream::unfold(chunks, |mut chunks| async move {
        let chunk = chunks.recv().await?;
        Some((Ok(Frame::data(chunk)), chunks))
    });
    BodyExt::boxed(StreamBody::new(Box::pin(frames)))
}
