//! An agent: a plain HTTP client.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpStream;

/// Sends one request over a connection of its own.
pub async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Response<Incoming> {
    try_send(address, request).await.unwrap()
}

/// The same for one that may be cut before its answer begins.
pub async fn try_send(
    address: SocketAddr,
    request: Request<Full<Bytes>>,
) -> hyper::Result<Response<Incoming>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender.send_request(request).await
}

/// Sends one request over an HTTP/2 connection of its own.
pub async fn send_http2(address: SocketAddr, request: Request<Full<Bytes>>) -> Response<Incoming> {
    let mut sender = connect_http2(address).await;
    sender.send_request(request).await.unwrap()
}

/// An HTTP/2 connection.
pub async fn connect_http2(
    address: SocketAddr,
) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    sender
}

pub fn get(target: &str, token: &str) -> Request<Full<Bytes>> {
    Request::get(target)
        .header("host", "gateway")
        .header("authorization", format!("Bearer {token}"))
        .body(Full::default())
        .unwrap()
}

pub fn post(target: &str, token: &str, body: &'static str) -> Request<Full<Bytes>> {
    Request::post(target)
        .header("host", "gateway")
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from_static(body.as_bytes())))
        .unwrap()
}

pub async fn text(response: Response<Incoming>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Status and rule of a refusal.
pub async fn refusal(response: Response<Incoming>) -> (StatusCode, String) {
    let status = response.status();
    let kind = response.headers().get("content-type").cloned();
    assert_eq!(kind.unwrap(), "application/problem+json");
    let body: Value = serde_json::from_str(&text(response).await).unwrap();
    (status, body["rule"].as_str().unwrap().to_owned())
}
