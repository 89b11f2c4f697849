//! A server workload that knows nothing of Mandate and counts what arrives.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

/// Outlives crashes: it is another machine.
#[derive(Clone)]
pub(crate) struct Upstream {
    listener: Arc<TcpListener>,
    arrived: Arc<Mutex<Vec<u64>>>,
}

impl Upstream {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self {
            listener: Arc::new(listener),
            arrived: Arc::default(),
        }
    }

    /// The same address, and nothing arrived yet.
    pub(crate) fn anew(&self) -> Self {
        Self {
            listener: Arc::clone(&self.listener),
            arrived: Arc::default(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// The numbers of the requests that arrived, the first one first.
    pub(crate) fn arrived(&self) -> Vec<u64> {
        self.arrived.lock().unwrap().clone()
    }

    /// How many.
    pub(crate) fn count(&self) -> usize {
        self.arrived.lock().unwrap().len()
    }

    /// Serves on this runtime.
    pub(crate) fn serve(&self) {
        let listener = self.listener.try_clone().unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let arrived = Arc::clone(&self.arrived);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let arrived = Arc::clone(&arrived);
                tokio::spawn(async move {
                    let service = service_fn(|request| answer(&arrived, request));
                    let server = hyper::server::conn::http1::Builder::new();
                    // A connection that the gateway drops is nobody's fault here.
                    drop(server.serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
    }
}

async fn answer(
    arrived: &Mutex<Vec<u64>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let number = request.uri().path().rsplit('/').next();
    let number = number.and_then(|number| number.parse().ok());
    arrived.lock().unwrap().push(number.unwrap_or(u64::MAX));
    drop(request.into_body().collect().await);
    Ok(Response::new(Full::new(Bytes::from_static(b"{}"))))
}
