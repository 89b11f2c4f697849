//! Accepting, bounded in number and time, and an end that lets requests finish.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use mandate_policy::decl::Right;
use mandate_policy::{OperatorDenial, OperatorIdentity};
use mandate_ports::PeerProcess;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::{Accept, TlsAcceptor};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::places::{Guest, Place, Places};
use super::sources::Sources;
use super::{Connection, Origin};
use crate::Authority;
use crate::problem::Problem;

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

    /// At most so many connections over the network, of which `agents` are for agents; Unix sockets
    /// have [`Places`].
    fn connections(self, agents: usize) -> usize {
        match self {
            Door::Observe => 64,
            Door::Public | Door::Agents | Door::Operators | Door::Control => agents,
        }
    }
}

/// The socket of [`Door::Public`].
#[derive(Debug)]
pub struct PublicSocket {
    /// Bound and listening.
    pub socket: std::net::TcpListener,
    /// Certificates; without them it speaks plain HTTP, which belongs on loopback. ALPN is set here.
    pub tls: Option<Arc<ServerConfig>>,
}

/// A socket that accepts.
pub(crate) enum Socket {
    /// TCP, plain or with TLS.
    Tcp(TcpListener, Option<TlsAcceptor>),
    /// A Unix socket, whose peers the kernel names.
    Unix(UnixListener),
}

impl PublicSocket {
    /// Ready to accept.
    pub(crate) fn taken(self) -> io::Result<Socket> {
        let tls = self.tls.map(|config| {
            let mut config = (*config).clone();
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            TlsAcceptor::from(Arc::new(config))
        });
        self.socket.set_nonblocking(true)?;
        Ok(Socket::Tcp(TcpListener::from_std(self.socket)?, tls))
    }
}

/// Serves `router` at `socket` until `stop`; then lets open requests end for a while.
pub(crate) async fn serve(
    authority: Authority,
    door: Door,
    socket: Socket,
    router: Router<Connection>,
    stop: CancellationToken,
) {
    let hall = Hall {
        authority,
        door,
        router,
        tracker: TaskTracker::new(),
        stop: stop.clone(),
        kill: CancellationToken::new(),
    };
    let accepting = async {
        match socket {
            Socket::Tcp(listener, tls) => hall.network(&listener, tls.as_ref()).await,
            Socket::Unix(listener) => hall.machine(&listener).await,
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = accepting => {}
    }
    hall.close().await;
}

#[derive(Clone)]
struct Hall {
    authority: Authority,
    door: Door,
    router: Router<Connection>,
    tracker: TaskTracker,
    stop: CancellationToken,
    kill: CancellationToken,
}

impl Hall {
    /// A network address proves nothing, so all share the places; each network has no more than its
    /// share of them, and is closed without a word beyond.
    async fn network(&self, listener: &TcpListener, tls: Option<&TlsAcceptor>) {
        let all = self.door.connections(self.authority.config().connections);
        let (permits, sources) = (Arc::new(Semaphore::new(all)), Sources::of(all));
        while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, address)) => {
                    // What it saves is a moment; what the system says about it matters to nobody.
                    let _ = stream.set_nodelay(true);
                    let origin = Origin::Network(address);
                    let Some(seat) = sources.take(origin.prefix()) else {
                        continue;
                    };
                    let place = (permit, seat);
                    match tls {
                        Some(tls) => self.shake_hands(tls.accept(stream), origin, place),
                        None => self.receive(Box::new(stream), origin, place, Patience::USUAL),
                    }
                }
                Err(why) => self.pause(&why).await,
            }
        }
    }

    /// Talks with a peer once TLS is agreed on; it has its place from before that.
    fn shake_hands<T: Send + 'static>(&self, accept: Accept<TcpStream>, origin: Origin, place: T) {
        let hall = self.clone();
        self.tracker.spawn(async move {
            let patience = Patience::USUAL;
            let accepted = tokio::select! {
                () = hall.stop.cancelled() => return,
                accepted = tokio::time::timeout(patience.head, accept) => accepted,
            };
            match accepted {
                Ok(Ok(stream)) => hall.receive(Box::new(stream), origin, place, patience),
                Ok(Err(why)) => tracing::debug!(%why, "a TLS handshake failed"),
                Err(_late) => tracing::debug!("a TLS handshake took too long"),
            }
        });
    }

    /// Each user of the machine has places of its own. One that finds none is not waited for: the
    /// next one in the queue can be an operator.
    async fn machine(&self, listener: &UnixListener) {
        let places = Places::of(self.authority.config().connections);
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.welcome(stream, &places),
                Err(why) => self.pause(&why).await,
            }
        }
    }

    fn welcome(&self, stream: UnixStream, places: &Places) {
        let peer = match self.authority.ports().peers.peer(stream.as_fd()) {
            Ok(peer) => Arc::new(peer),
            // It has gone already, say.
            Err(why) => return tracing::debug!(%why, "the kernel names no peer"),
        };
        let (uid, stream) = (peer.uid, Box::new(stream));
        match self.guest(uid) {
            Guest::Stranger => self.refuse(stream, uid, places.take(Guest::Stranger, uid)),
            Guest::Unknown => self.look_up(stream, peer, places),
            guest @ (Guest::Own | Guest::Operator | Guest::Agent | Guest::Gateway) => {
                if let Some(place) = places.take(guest, uid) {
                    let origin = Origin::Process(peer);
                    self.receive(stream, origin, place, Patience::of(guest));
                }
            }
        }
    }

    /// As what the peer comes, as far as that is known without asking anybody.
    fn guest(&self, uid: u32) -> Guest {
        match self.door {
            Door::Control => Guest::Gateway,
            Door::Operators if uid == self.authority.config().own_uid => Guest::Own,
            Door::Operators => match self.authority.names().known(uid) {
                Some(name) => operator(&self.authority, uid, name.as_deref()),
                None if operator(&self.authority, uid, None) == Guest::Operator => Guest::Operator,
                None => Guest::Unknown,
            },
            Door::Agents | Door::Public | Door::Observe => Guest::Agent,
        }
    }

    /// Finds out whether the user's name is an operator's.
    fn look_up(&self, stream: Stream, peer: Arc<PeerProcess>, places: &Places) {
        let Some(unknown) = places.take(Guest::Unknown, peer.uid) else {
            return;
        };
        let (hall, places) = (self.clone(), places.clone());
        self.tracker.spawn(async move {
            let (uid, users) = (peer.uid, hall.authority.ports().users.clone());
            let name = hall.authority.names().of(uid, users).await;
            drop(unknown);
            let guest = operator(&hall.authority, uid, name.as_deref());
            match (guest, places.take(guest, uid)) {
                (Guest::Operator, Some(place)) => {
                    let origin = Origin::Process(peer);
                    hall.receive(stream, origin, place, Patience::of(guest));
                }
                (_, place) => hall.refuse(stream, uid, place),
            }
        });
    }

    /// Tells a user that it is no operator, if there is a place to do it from.
    fn refuse(&self, stream: Stream, uid: u32, place: Option<Place>) {
        let (authority, why) = (&self.authority, OperatorDenial::NoOperator { uid });
        authority.metrics().refused(NO_OPERATOR);
        let (door, now) = (self.door.as_str(), authority.now());
        let prefix = format!("uid {uid}");
        authority.refusals().count(door, NO_OPERATOR, prefix, now);
        let Some(place) = place else { return };
        let no = move || async move { Problem::forbidden(NO_OPERATOR, why.to_string()) };
        let service = Router::new().fallback(no);
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            let told = converse(stream, service, Patience::SHORT, stop);
            // Whoever does not listen is not told.
            let _ = tokio::time::timeout(Patience::SHORT.head * 2, told).await;
            drop(place);
        });
    }

    /// Talks with a peer that has a place until either ends it.
    fn receive<T: Send + 'static>(
        &self,
        stream: Stream,
        origin: Origin,
        place: T,
        patience: Patience,
    ) {
        let connection = Connection {
            authority: self.authority.clone(),
            origin,
            door: self.door,
        };
        let service = self.router.clone().with_state(connection);
        let (stop, kill) = (self.stop.clone(), self.kill.clone());
        self.tracker.spawn(async move {
            tokio::select! {
                () = kill.cancelled() => {}
                () = converse(stream, service, patience, stop) => {}
            }
            drop(place);
        });
    }

    /// Out of descriptors, say: another try at once would spin.
    async fn pause(&self, why: &io::Error) {
        tracing::warn!(door = self.door.as_str(), %why, "a connection was not accepted");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }

    async fn close(&self) {
        self.tracker.close();
        if tokio::time::timeout(GRACE, self.tracker.wait())
            .await
            .is_err()
        {
            self.kill.cancel();
            self.tracker.wait().await;
        }
    }
}

/// Whether the user is an operator of the live bundle, of whatever rights.
fn operator(authority: &Authority, uid: u32, user: Option<&str>) -> Guest {
    let world = authority.world();
    let identity = OperatorIdentity::User { uid, user };
    let may = world.bundle().map(|live| {
        // Any right would do: what is told apart is whether it is declared at all.
        live.bundle.operator_may(identity, Right::Inspect, None)
    });
    match may {
        Some(Ok(_) | Err(OperatorDenial::NoRight { .. })) => Guest::Operator,
        Some(Err(OperatorDenial::NoOperator { .. } | OperatorDenial::NoPerson { .. })) | None => {
            Guest::Stranger
        }
    }
}

/// How long a peer may be silent.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// Until the head of its next request is whole.
    head: Duration,
    /// Whether there is a next request.
    keep_alive: bool,
}

impl Patience {
    /// Who is silent for longer gives its place to others, and connects again at little cost.
    const USUAL: Self = Self {
        head: Duration::from_secs(10),
        keep_alive: true,
    };
    const LONG: Self = Self {
        head: Duration::from_secs(30),
        keep_alive: true,
    };
    const SHORT: Self = Self {
        head: Duration::from_secs(1),
        keep_alive: false,
    };

    fn of(guest: Guest) -> Self {
        match guest {
            Guest::Own | Guest::Operator | Guest::Agent => Self::USUAL,
            Guest::Gateway => Self::LONG,
            Guest::Unknown | Guest::Stranger => Self::SHORT,
        }
    }
}

async fn converse(stream: Stream, service: Router, patience: Patience, stop: CancellationToken) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(patience.head)
        .max_buf_size(MAX_HEAD)
        .keep_alive(patience.keep_alive);
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

/// The rule in records and metrics.
pub(crate) const NO_OPERATOR: &str = "operator.none";
const MAX_HEAD: usize = 64 * 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const GRACE: Duration = Duration::from_secs(10);
