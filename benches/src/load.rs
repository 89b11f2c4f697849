//! Load: closed loops for throughput, a fixed rate for latency.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::figures::Samples;

/// A request that can be sent again and again.
#[derive(Debug, Clone)]
pub struct Shot {
    pub method: &'static str,
    pub path: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
}

impl Shot {
    fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::builder()
            .method(self.method)
            .uri(&self.path)
            .header("host", "bench");
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        request.body(Full::new(self.body.clone())).unwrap()
    }
}

/// What a run came to.
#[derive(Debug, Clone, Default)]
pub struct Run {
    pub per_second: f64,
    pub latencies: Samples,
}

/// A client connection to `to`.
pub async fn connect(to: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

/// One request; stops the bench unless it is answered with 200.
pub async fn send(sender: &mut SendRequest<Full<Bytes>>, shot: &Shot) -> Bytes {
    let (status, body) = ask(sender, shot).await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    body
}

/// One request, however it is answered.
pub async fn ask(sender: &mut SendRequest<Full<Bytes>>, shot: &Shot) -> (u16, Bytes) {
    sender.ready().await.unwrap();
    let response = sender.send_request(shot.request()).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, body)
}

/// `connections` that each send the next request when the last one is answered.
pub async fn closed_loop(to: SocketAddr, shot: &Shot, connections: usize, span: Duration) -> Run {
    in_turn(to, std::slice::from_ref(shot), connections, span).await
}

/// The same with each of `shots` in turn.
pub async fn in_turn(to: SocketAddr, shots: &[Shot], connections: usize, span: Duration) -> Run {
    loops(to, shots, connections, Some(span)).await
}

/// The same with each of `shots` once.
pub async fn each_once(to: SocketAddr, shots: &[Shot], connections: usize) -> Run {
    loops(to, shots, connections, None).await
}

async fn loops(to: SocketAddr, shots: &[Shot], connections: usize, span: Option<Duration>) -> Run {
    let (shots, taken) = (Arc::<[Shot]>::from(shots), Arc::new(AtomicUsize::new(0)));
    let mut senders = Vec::new();
    for _ in 0..connections {
        senders.push(connect(to).await);
    }
    let began = Instant::now();
    let clients: Vec<_> = senders
        .into_iter()
        .map(|mut sender| {
            let (shots, taken) = (Arc::clone(&shots), Arc::clone(&taken));
            tokio::spawn(async move {
                let mut latencies = Samples::default();
                while span.is_none_or(|span| began.elapsed() < span) {
                    let nth = taken.fetch_add(1, Ordering::Relaxed);
                    if span.is_none() && nth >= shots.len() {
                        break;
                    }
                    let sent = Instant::now();
                    send(&mut sender, &shots[nth % shots.len()]).await;
                    latencies.push(sent.elapsed());
                }
                latencies
            })
        })
        .collect();
    let mut latencies = Samples::default();
    for client in clients {
        latencies.extend(client.await.unwrap());
    }
    let count = u32::try_from(latencies.len()).unwrap();
    Run {
        per_second: f64::from(count) / began.elapsed().as_secs_f64(),
        latencies,
    }
}

/// Requests at a fixed rate, whatever the answers do; latency counts from when each was due.
pub async fn fixed_rate(to: SocketAddr, shot: &Shot, per_second: u32, span: Duration) -> Samples {
    let connections = 16;
    let gap = Duration::from_secs(1) * connections / per_second;
    let began = Instant::now();
    let clients: Vec<_> = (0..connections)
        .map(|n| {
            let shot = shot.clone();
            tokio::spawn(async move {
                let mut sender = connect(to).await;
                let mut latencies = Samples::default();
                let mut due = began + gap * n / connections;
                while began.elapsed() < span {
                    tokio::time::sleep_until(due.into()).await;
                    send(&mut sender, &shot).await;
                    latencies.push(due.elapsed());
                    due += gap;
                }
                latencies
            })
        })
        .collect();
    let mut latencies = Samples::default();
    for client in clients {
        latencies.extend(client.await.unwrap());
    }
    latencies
}
