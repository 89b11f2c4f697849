//! A plain HTTP client over Unix sockets and TCP: any OAuth client sends the same.

use std::path::Path;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpStream, UnixStream};

use crate::described;

/// A whole answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// The body, of an answer with this status.
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self.json()
    }

    /// The token of a successful exchange.
    pub(crate) fn token(&self) -> String {
        self.expect(200)["access_token"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// The OAuth error; empty for none.
    pub(crate) fn error_if_any(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }

    /// The OAuth error, of a refusal.
    pub(crate) fn error(&self) -> String {
        assert!(!self.status.is_success(), "{}", self.text);
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }
}

pub(crate) async fn get(socket: &Path, path: &str) -> Answer {
    let stream = UnixStream::connect(socket).await.unwrap();
    let request = request(Method::GET, path, "", String::new());
    answered(stream, request).await
}

pub(crate) async fn get_tcp(address: std::net::SocketAddr, path: &str) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    answered(stream, request(Method::GET, path, "", String::new())).await
}

pub(crate) async fn post_form(socket: &Path, path: &str, pairs: &[(&str, &str)]) -> Answer {
    let stream = UnixStream::connect(socket).await.unwrap();
    answered(stream, form(path, pairs)).await
}

/// [`post_form`] with more fields in the head.
pub(crate) async fn post_form_with(
    socket: &Path,
    path: &str,
    fields: &[(&'static str, &str)],
    pairs: &[(&str, &str)],
) -> Answer {
    let stream = UnixStream::connect(socket).await.unwrap();
    let mut request = form(path, pairs);
    for (name, value) in fields {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    answered(stream, request).await
}

pub(crate) async fn post_form_tcp(
    address: std::net::SocketAddr,
    path: &str,
    pairs: &[(&str, &str)],
) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    answered(stream, form(path, pairs)).await
}

/// A request over the network, with `headers` beside its own.
pub(crate) async fn over_tcp(
    address: std::net::SocketAddr,
    (method, path): (Method, &str),
    headers: &[(&'static str, &str)],
    body: Option<&Value>,
) -> Answer {
    let kind = body.map_or("", |_| "application/json");
    let body = body.map(Value::to_string).unwrap_or_default();
    let mut request = request(method, path, kind, body);
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    let stream = TcpStream::connect(address).await.unwrap();
    answered(stream, request).await
}

pub(crate) async fn post_json(socket: &Path, path: &str, body: &Value) -> Answer {
    post(socket, path, "application/json", body.to_string()).await
}

pub(crate) async fn post(socket: &Path, path: &str, kind: &str, body: String) -> Answer {
    let stream = UnixStream::connect(socket).await.unwrap();
    answered(stream, request(Method::POST, path, kind, body)).await
}

/// An open stream of lines.
pub(crate) struct Lines {
    body: Incoming,
    rest: Vec<u8>,
}

impl Lines {
    pub(crate) async fn open(socket: &Path, path: &str) -> Self {
        let stream = UnixStream::connect(socket).await.unwrap();
        let response = send(stream, request(Method::GET, path, "", String::new())).await;
        assert_eq!(response.status(), StatusCode::OK);
        Self {
            body: response.into_body(),
            rest: Vec::new(),
        }
    }

    /// The next line; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = self.body.frame().await?.ok()?;
            self.rest.extend_from_slice(frame.data_ref()?);
        }
    }
}

fn form(path: &str, pairs: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let pair = |(k, v): &(&str, &str)| format!("{}={}", encode(k), encode(v));
    let body = pairs.iter().map(pair).collect::<Vec<_>>().join("&");
    request(
        Method::POST,
        path,
        "application/x-www-form-urlencoded",
        body,
    )
}

fn encode(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let byte = |b: u8| {
        if plain(b) {
            char::from(b).to_string()
        } else {
            format!("%{b:02X}")
        }
    };
    text.bytes().map(byte).collect()
}

fn request(method: Method, path: &str, kind: &str, body: String) -> Request<Full<Bytes>> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost");
    if !kind.is_empty() {
        request = request.header("content-type", kind);
    }
    request.body(Full::new(Bytes::from(body))).unwrap()
}

async fn send<S>(stream: S, request: Request<Full<Bytes>>) -> Response<Incoming>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender.send_request(request).await.unwrap()
}

/// The whole answer to `request`, which must be one that the interface's description has.
async fn answered<S>(stream: S, request: Request<Full<Bytes>>) -> Answer
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (method, path) = (request.method().clone(), request.uri().to_string());
    let (head, body) = send(stream, request).await.into_parts();
    described::hold(&method, &path, head.status, &head.headers);
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Answer {
        status: head.status,
        headers: head.headers,
        text,
    }
}
