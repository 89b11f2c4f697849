//! Doors for agents: accepted, bounded, and each connection killable.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::body::{BodyError, OutBody};
use crate::http::{Arrival, Front, PublicAddress, Reply, Routing, serve};
use crate::socket::Socket;
use crate::wire::{self, Wire};

/// A door: a bound socket and how server workloads are told apart behind it.
#[derive(Debug)]
pub struct Listener {
    /// Its name in records.
    pub name: String,
    /// Bound and listening.
    pub socket: std::net::TcpListener,
    /// How it finds the server workload.
    pub routing: Routing,
    /// How agents write its address.
    pub public: PublicAddress,
    /// Certificates; without them it speaks plain HTTP, which belongs on loopback. ALPN is set here.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// What one agent, or all of them together, can use up.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Open connections per listener.
    pub connections: usize,
    /// Concurrent HTTP/2 streams per connection.
    pub streams: u32,
    /// The longest head of a request, in bytes.
    pub header_bytes: u32,
    /// The most header fields of a request.
    pub header_fields: usize,
    /// How long a TLS handshake or the head of a request may take.
    pub header_timeout: Duration,
    /// How long a connection may stay open without a request.
    pub idle: Duration,
    /// The longest body that attributes are read from.
    pub decided_body_bytes: usize,
    /// How many proofs of possession are remembered.
    pub proofs: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            streams: 128,
            header_bytes: 64 * 1024,
            header_fields: 100,
            header_timeout: Duration::from_secs(30),
            idle: Duration::from_secs(120),
            decided_body_bytes: 64 * 1024,
            // Five thousand a second for as long as one is remembered.
            proofs: 1_200_000,
        }
    }
}

/// Accepts until `stop`.
pub(crate) async fn accept(
    listener: TcpListener,
    door: Door,
    tls: Option<TlsAcceptor>,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(door.limits.connections));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (door, tls, stop) = (door.clone(), tls.clone(), stop.clone());
                tokio::spawn(async move {
                    door.connection(stream, peer.ip(), tls, stop).await;
                    drop(place);
                });
            }
            Err(why) => {
                tracing::warn!(%why, listener = %door.name, "a connection cannot be accepted");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
}

/// What each connection of a listener is served with.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) name: Arc<str>,
    pub(crate) routing: Routing,
    pub(crate) public: Arc<PublicAddress>,
    pub(crate) limits: Limits,
    pub(crate) front: Arc<Front>,
}

impl Door {
    async fn connection(
        self,
        stream: TcpStream,
        peer: IpAddr,
        tls: Option<TlsAcceptor>,
        stop: CancellationToken,
    ) {
        let _ = stream.set_nodelay(true);
        let (socket, io) = Socket::guard(stream, Arc::clone(&self.front.gate.lease));
        let arrival = Arrival {
            listener: Arc::clone(&self.name),
            routing: self.routing,
            public: Arc::clone(&self.public),
            peer,
            socket,
            fault: None,
            wire: Arc::default(),
        };
        match tls {
            None => self.serve(io, arrival, stop).await,
            Some(tls) => {
                let limit = self.limits.header_timeout;
                match tokio::time::timeout(limit, tls.accept(io)).await {
                    Ok(Ok(io)) => self.serve(io, arrival, stop).await,
                    Ok(Err(why)) => tracing::debug!(%why, "a TLS handshake failed"),
                    Err(_late) => tracing::debug!("a TLS handshake took too long"),
                }
            }
        }
    }

    async fn serve<T>(&self, io: T, arrival: Arrival, stop: CancellationToken)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (wire, io) = wire::watch(io, &self.limits, Arc::clone(&self.front.gate.clock));
        let asked = AtomicU64::new(0);
        let socket = Arc::clone(&arrival.socket);
        let most = usize::try_from(self.limits.streams).unwrap_or(usize::MAX);
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        let places = Arc::new(Semaphore::new(most));
        let service = service_fn(|request| {
            let fault = wire.fault_of(asked.fetch_add(1, Ordering::Relaxed));
            let wire = Arc::clone(&wire);
            let arrival = Arrival {
                fault,
                wire: Arc::clone(&wire),
                ..arrival.clone()
            };
            self.answer(arrival, request, Arc::clone(&places), wire)
        });
        let builder = self.protocols();
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(io), service);
        let mut connection = std::pin::pin!(connection);
        let mut patience = std::pin::pin!(tokio::time::sleep(self.limits.header_timeout));
        let (mut impatient, mut stopping) = (false, false);
        let mut seen = 0;
        let mut rest = std::pin::pin!(tokio::time::sleep(self.limits.idle));
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(why) = ended {
                        tracing::debug!(%why, "an agent's connection ended");
                    }
                    if wire.is_upgraded() {
                        // It keeps its place among the listener's connections for as long as it is one.
                        socket.until_over().await;
                    }
                    return;
                }
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                // A caller that connects and says nothing holds a place.
                () = patience.as_mut(), if !impatient => {
                    impatient = true;
                    if asked.load(Ordering::Relaxed) == 0 {
                        socket.kill();
                    }
                }
                // So does one that has said all it had to say: over HTTP/2 nothing else ends it.
                () = rest.as_mut() => {
                    rest.set(tokio::time::sleep(self.limits.idle));
                    let before = std::mem::replace(&mut seen, asked.load(Ordering::Relaxed));
                    if before != seen || places.available_permits() < most {
                        continue;
                    }
                    if stopping {
                        socket.kill();
                    }
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }

    /// Serves one request in a task of its own. A stream that its agent resets is over for HTTP/2 and
    /// makes room for another, while its task goes on: so a connection has no more `places` for
    /// tasks than for streams, and whoever waits for one does not outlive its stream.
    fn answer(
        &self,
        arrival: Arrival,
        request: Request<Incoming>,
        places: Arc<Semaphore>,
        wire: Arc<Wire>,
    ) -> impl Future<Output = Result<Response<OutBody>, BodyError>> + use<> {
        let front = Arc::clone(&self.front);
        async move {
            let gone = || BodyError::Cut("gateway.ended".to_owned());
            let place = places.acquire_owned().await.map_err(|_| gone())?;
            let (reply, answer) = Reply::new();
            tokio::spawn(async move {
                serve(front, arrival, request, reply).await;
                drop(place);
            });
            let mut answer = answer.await.map_err(|_| gone())?;
            if wire.is_spent() {
                let headers = answer.headers_mut();
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(answer)
        }
    }

    fn protocols(&self) -> auto::Builder<TokioExecutor> {
        let limits = &self.limits;
        let header_bytes = usize::try_from(limits.header_bytes).unwrap_or(usize::MAX);
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_headers(limits.header_fields)
            // Whether a head is too long is decided before hyper sees it.
            .max_buf_size(header_bytes.saturating_add(SMALLEST_BUFFER))
            .half_close(false);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(limits.header_bytes)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE);
        builder
    }
}

const AFTER_FAILURE: Duration = Duration::from_millis(100);
const SMALLEST_BUFFER: usize = 8 * 1024;
/// What h2 may keep back per stream: a cut has to throw it away.
const SEND_BUFFER: usize = 64 * 1024;
const KEEP_ALIVE: Duration = Duration::from_secs(20);
