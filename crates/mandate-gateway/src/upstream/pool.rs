//! A pool of our own: hyper's keeps connections that nobody can name, and a cut must reset exactly
//! the connection that its access uses.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use mandate_model::BootTime;
use mandate_ports::Clock;

use super::connect::{ConnectError, Place, Speaking, Trust, UpstreamTls, connect, trust_in};
use crate::body::Checked;
use crate::lease::Lease;
use crate::socket::Socket;

/// An upstream's answer to come. A request that comes back in the error was not sent.
pub(crate) type Answer = std::pin::Pin<
    Box<dyn Future<Output = Result<Response<Incoming>, TrySendError<Request<Checked>>>> + Send>,
>;

/// The sending half of a connection.
pub(super) enum Sender {
    Http1(http1::SendRequest<Checked>),
    Http2(http2::SendRequest<Checked>),
}

/// How connections are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PoolLimits {
    /// How long an unused one is kept.
    pub(crate) idle: Duration,
    /// How many unused ones are kept per origin.
    pub(crate) idle_per_origin: usize,
}

/// Connections to upstreams that nobody uses now, and HTTP/2 connections that are shared.
pub(crate) struct Pool {
    tls: Arc<dyn UpstreamTls>,
    lease: Arc<Lease>,
    clock: Arc<dyn Clock>,
    limits: PoolLimits,
    idle: Mutex<HashMap<Place, Vec<Idle>>>,
}

struct Idle {
    sender: Sender,
    socket: Arc<Socket>,
    trust: Option<Arc<rustls::ClientConfig>>,
    since: BootTime,
}

/// A connection lent for one access.
pub(crate) struct Lent {
    sender: Sender,
    socket: Arc<Socket>,
    /// What its end has proved itself by.
    trust: Option<Arc<rustls::ClientConfig>>,
    /// Whether it was open before: then the upstream may close it just now.
    pub(crate) reused: bool,
}

impl Pool {
    /// An empty pool.
    pub(crate) fn new(
        tls: Arc<dyn UpstreamTls>,
        lease: Arc<Lease>,
        clock: Arc<dyn Clock>,
        limits: PoolLimits,
    ) -> Self {
        Self {
            tls,
            lease,
            clock,
            limits,
            idle: Mutex::default(),
        }
    }

    /// A connection to `place`: an unused one, a shared one or a new one. One whose end has proved
    /// itself by what is not trusted any more is no other than none.
    pub(crate) async fn lend(&self, place: &Place, limit: Duration) -> Result<Lent, ConnectError> {
        let trust = trust_in(place, &*self.tls)?;
        match self.take_idle(place, trust.as_ref()) {
            Some(lent) => Ok(lent),
            None => self.open(place, limit).await,
        }
    }

    /// A new connection to `place`, TLS included within `limit`.
    pub(crate) async fn open(&self, place: &Place, limit: Duration) -> Result<Lent, ConnectError> {
        self.open_speaking(Speaking::Either, place, limit).await
    }

    /// The same for HTTP/1.1 alone, where another protocol can be switched to.
    pub(crate) async fn open_http1(
        &self,
        place: &Place,
        limit: Duration,
    ) -> Result<Lent, ConnectError> {
        self.open_speaking(Speaking::Http1, place, limit).await
    }

    async fn open_speaking(
        &self,
        speaking: Speaking,
        place: &Place,
        limit: Duration,
    ) -> Result<Lent, ConnectError> {
        let trust = trust_in(place, &*self.tls)?;
        let (sender, socket) = connect(place, trust.as_ref(), &self.lease, speaking, limit).await?;
        let mut lent = Lent {
            sender,
            socket,
            trust,
            reused: false,
        };
        if let Some(shared) = lent.share() {
            self.keep(place, shared);
        }
        if let Sender::Http1(sender) = &mut lent.sender {
            sender.ready().await.map_err(ConnectError::Http)?;
        }
        Ok(lent)
    }

    /// Takes a connection back whose access has ended whole.
    pub(crate) async fn give_back(&self, place: &Place, mut lent: Lent) {
        let Sender::Http1(sender) = &mut lent.sender else {
            return;
        };
        if !lent.socket.is_over() && sender.ready().await.is_ok() {
            self.keep(place, lent);
        }
    }

    fn keep(&self, place: &Place, lent: Lent) {
        let since = self.clock.boot();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let of_origin = idle.entry(place.clone()).or_default();
        let trust = lent.trust.as_ref();
        of_origin.retain(|one| one.is_usable(since, self.limits.idle, trust));
        if of_origin.len() < self.limits.idle_per_origin {
            of_origin.push(Idle {
                sender: lent.sender,
                socket: lent.socket,
                trust: lent.trust,
                since,
            });
        }
    }

    fn take_idle(&self, place: &Place, trust: Trust<'_>) -> Option<Lent> {
        let now = self.clock.boot();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let of_origin = idle.get_mut(place)?;
        while let Some(one) = of_origin.pop() {
            if !one.is_usable(now, self.limits.idle, trust) {
                continue;
            }
            let lent = Lent {
                sender: one.sender,
                socket: one.socket,
                trust: one.trust,
                reused: true,
            };
            if let Some(shared) = lent.share() {
                of_origin.push(Idle {
                    sender: shared.sender,
                    socket: shared.socket,
                    trust: shared.trust,
                    since: now,
                });
            }
            return Some(lent);
        }
        None
    }
}

impl Idle {
    fn is_usable(&self, now: BootTime, idle: Duration, trust: Trust<'_>) -> bool {
        // The very same configuration: what it trusts cannot be looked at from outside.
        let trusted = match (&self.trust, trust) {
            (Some(then), Some(now)) => Arc::ptr_eq(then, now),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let open = match &self.sender {
            Sender::Http1(sender) => !sender.is_closed(),
            Sender::Http2(sender) => !sender.is_closed(),
        };
        open && trusted && !self.socket.is_over() && now.since(self.since) < idle
    }
}

impl Lent {
    /// The socket that the access uses, and whether it has it to itself.
    pub(crate) fn socket(&self) -> (&Arc<Socket>, bool) {
        (&self.socket, matches!(self.sender, Sender::Http1(_)))
    }

    /// Resets the connection if the access has it to itself. On a shared one the stream is reset
    /// when its bodies are dropped.
    pub(crate) fn kill(&self) {
        if let (socket, true) = self.socket() {
            socket.kill();
        }
    }

    /// Whether requests go out as HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Http2(_))
    }

    /// Hands the request to the connection. This queues it before the first await, so that nothing
    /// comes between a check and the handing on.
    pub(crate) fn send(&mut self, request: Request<Checked>) -> Answer {
        match &mut self.sender {
            Sender::Http1(sender) => Box::pin(sender.try_send_request(request)),
            Sender::Http2(sender) => Box::pin(sender.try_send_request(request)),
        }
    }

    fn share(&self) -> Option<Lent> {
        match &self.sender {
            Sender::Http1(_) => None,
            Sender::Http2(sender) => Some(Lent {
                sender: Sender::Http2(sender.clone()),
                socket: Arc::clone(&self.socket),
                trust: self.trust.clone(),
                reused: true,
            }),
        }
    }
}
