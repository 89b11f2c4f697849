//! A plain HTTP client: any OAuth client sends the same.

use std::net::SocketAddr;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpStream, UnixStream};

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
    /// Not all of it came.
    pub(crate) broken: bool,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }
}

pub(crate) type Got = Result<Answer, String>;

pub(crate) async fn get(socket: &Path, path: &str) -> Got {
    send(unix(socket).await?, request(Method::GET, path, &[], "")).await
}

pub(crate) async fn post_json(socket: &Path, path: &str, body: &Value) -> Got {
    let kind = [("content-type", "application/json")];
    let request = request(Method::POST, path, &kind, &body.to_string());
    send(unix(socket).await?, request).await
}

pub(crate) async fn post_form(socket: &Path, path: &str, pairs: &[(&str, &str)]) -> Got {
    let pair = |(k, v): &(&str, &str)| format!("{}={}", encode(k), encode(v));
    let body = pairs.iter().map(pair).collect::<Vec<_>>().join("&");
    let kind = [("content-type", "application/x-www-form-urlencoded")];
    send(
        unix(socket).await?,
        request(Method::POST, path, &kind, &body),
    )
    .await
}

pub(crate) async fn through(gateway: SocketAddr, method: Method, path: &str, token: &str) -> Got {
    let stream = TcpStream::connect(gateway).await.map_err(told)?;
    let bearer = format!("Bearer {token}");
    let fields = [("authorization", bearer.as_str())];
    send(stream, request(method, path, &fields, "")).await
}

async fn unix(socket: &Path) -> Result<UnixStream, String> {
    UnixStream::connect(socket).await.map_err(told)
}

fn told(why: impl std::fmt::Display) -> String {
    why.to_string()
}

fn request(
    method: Method,
    path: &str,
    fields: &[(&str, &str)],
    body: &str,
) -> Request<Full<Bytes>> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap()
}

async fn send<S>(stream: S, request: Request<Full<Bytes>>) -> Got
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let io = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
        .await
        .map_err(told)?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(told)?;
    let status = response.status().as_u16();
    let body = response
        .into_body()
        .collect()
        .await
        .map(|body| body.to_bytes());
    Ok(Answer {
        status,
        broken: body.is_err(),
        text: String::from_utf8_lossy(&body.unwrap_or_default()).into_owned(),
    })
}

fn encode(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let byte = |b: u8| match plain(b) {
        true => char::from(b).to_string(),
        false => format!("%{b:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// The claims of a token, unverified.
pub(crate) fn claims(token: &str) -> Value {
    part(token, 1)
}

/// The key that a token names.
pub(crate) fn key_of(token: &str) -> String {
    part(token, 0)["kid"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn part(token: &str, index: usize) -> Value {
    let text = token.split('.').nth(index).unwrap_or_default();
    let bytes = URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or(Value::Null)
}
