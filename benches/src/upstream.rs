//! A server workload: a small answer, and a download that does not end by itself.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Serves on a free loopback port until the runtime ends.
pub async fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let serving = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(answer));
            tokio::spawn(serving);
        }
    });
    address
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let body = if request.uri().path().ends_with("/export") {
        endless()
    } else {
        let record = r#"{"customer":"acme","name":"Acme Corporation","plan":"gold","notes":["called on Monday","wants an invoice"]}"#;
        Full::new(Bytes::from_static(record.as_bytes())).boxed_unsync()
    };
    let response = Response::builder().header("content-type", "application/json");
    Ok(response.body(body).unwrap())
}

/// A chunk of 1 KiB each millisecond.
fn endless() -> Body {
    let interval = tokio::time::interval(Duration::from_millis(1));
    let chunks = futures_util::stream::unfold(interval, |mut interval| async {
        interval.tick().await;
        let chunk = Bytes::from_static(&[b'x'; 1024]);
        Some((Ok(Frame::data(chunk)), interval))
    });
    BodyExt::boxed_unsync(StreamBody::new(chunks))
}
