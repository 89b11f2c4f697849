//! Accepting, bounded in number and time, and an end that lets requests finish.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Connection, Origin};
use crate::Authority;

/// What a socket is for. Each has its own routes; none has another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Agents and verifiers over the network.
    Public,
    /// Agents of this machine.
    Agents,
    /// Operators of this machine.
    Operators,
    /// Gateways of this machine.
    Control,
    /// Metrics and health.
    Observe,
}

impl Door {
    /// Its name in records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Door::Public => "public",
            Door::Agents => "agents",
            Door::Operators => "operators",
            Door::Control => "control",
            Door::Observe => "observe",
        }
    }

    fn connections(self) -> usize {
        match self {
            Door::Public | Door::Agents => 4096,
            Door::Operators | Door::Observe => 64,
            Door::Control => 512,
        }
    }
}

/// A socket that accepts.
#[derive(Debug)]
pub(crate) enum Socket {
    /// TCP, plain. TLS is put in front of it.
    Tcp(TcpListener),
    /// A Unix socket, whose peers the kernel names.
    Unix(UnixListener),
}

/// Serves `router` at `socket` until `stop`; then lets open requests end for a while.
pub(crate) async fn serve(
    authority: Authority,
    door: Door,
    socket: Socket,
    router: Router<Connection>,
    stop: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(door.connections()));
    let (tracker, kill) = (TaskTracker::new(), CancellationToken::new());
    loop {
        let permit = tokio::select! {
            () = stop.cancelled() => break,
            permit = Arc::clone(&permits).acquire_owned() => match permit {
                Ok(permit) => permit,
                Err(_) => break,
            },
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&authority, &socket) => accepted,
        };
        let (stream, origin) = match accepted {
            Ok(accepted) => accepted,
            Err(why) => {
                tracing::warn!(door = door.as_str(), %why, "a connection was not accepted");
                // Out of descriptors, say: another try at once would spin.
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection = Connection {
            authority: authority.clone(),
            origin,
            door,
        };
        let service = router.clone().with_state(connection);
        let (stop, kill) = (stop.clone(), kill.clone());
        tracker.spawn(async move {
            tokio::select! {
                () = kill.cancelled() => {}
                () = converse(stream, service, stop) => {}
            }
            drop(permit);
        });
    }
    tracker.close();
    if tokio::time::timeout(GRACE, tracker.wait()).await.is_err() {
        kill.cancel();
        tracker.wait().await;
    }
}

async fn accept(authority: &Authority, socket: &Socket) -> io::Result<(Stream, Origin)> {
    match socket {
        Socket::Tcp(listener) => {
            let (stream, address) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok((Box::new(stream), Origin::Network(address)))
        }
        Socket::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            let peer = authority.ports().peers.peer(stream.as_fd())?;
            Ok((Box::new(stream), Origin::Process(Arc::new(peer))))
        }
    }
}

async fn converse(stream: Stream, service: Router, stop: CancellationToken) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .keep_alive(true);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(why) = ended {
        tracing::debug!(%why, "a connection ended early");
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}
type Stream = Box<dyn Duplex>;

const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_HEAD: usize = 64 * 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const GRACE: Duration = Duration::from_secs(10);
