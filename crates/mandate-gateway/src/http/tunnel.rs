//! A connection that has switched protocols: bytes both ways, each chunk checked right before it is handed on (B1).
//!
//! Both connections belong to the access alone, so a cut resets both, and with them whatever is buffered.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::future::{Either, select};
use http::{HeaderMap, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use mandate_policy::decl::{Credential, ServerWorkload};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::echo::{Needles, Sieve};
use super::forward::may_go;
use super::front::{Arrival, Front, Reply};
use super::headers::strip_response;
use super::outcome::standstill;
use super::refusal::Refusal;
use super::upgrade::Upgrade;
use crate::admission::{Admission, Cut, Go, Side};
use crate::body::{Checked, OutBody, full};
use crate::egress::Egress;

/// What an agent switches from and to.
pub(super) struct Switching {
    pub(super) upgrade: Upgrade,
    /// The agent's connection, once it has been told.
    pub(super) agent: OnUpgrade,
    /// Whether extensions were asked for.
    pub(super) extensions: bool,
    /// How long nothing may pass.
    pub(super) idle: Duration,
    /// The most that may pass.
    pub(super) most: u64,
}

impl Switching {
    /// What `server` may switch to, if anything.
    pub(super) fn of(
        server: &ServerWorkload,
        upgrade: Option<Upgrade>,
        agent: Option<OnUpgrade>,
    ) -> Option<Self> {
        Some(Self {
            upgrade: upgrade?,
            agent: agent?,
            extensions: server.credential == Credential::None,
            idle: server.http.upgrade_idle_timeout,
            most: server.http.max_upgrade_bytes,
        })
    }
}

/// Tells the agent that the upstream has switched, and carries bytes until either side ends it, or it is cut.
pub(super) async fn switch(
    front: &Front,
    arrival: &Arrival,
    admission: &Arc<Admission>,
    answered: Response<Incoming>,
    needles: Needles,
    switching: Switching,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    switching
        .upgrade
        .check(answered.headers(), switching.extensions)?;
    let response = agreement(&answered, &needles, &switching.upgrade, admission)?;
    may_go(admission)?;
    admission.down.leaves_by(&arrival.socket);
    // From here on what the agent sends is no HTTP, and nobody reads it as such.
    arrival.wire.agree();
    if !reply.send(response) {
        return Err(Refusal::AgentGone);
    }
    let upstream = hyper::upgrade::on(answered);
    let left = AtomicU64::new(switching.most);
    let carried = carry(admission, switching.agent, upstream, needles, &left);
    tokio::select! {
        carried = carried => carried,
        () = admission.cancelled() => Ok(()),
        () = front.expiry(admission) => {
            front.expired(admission);
            Ok(())
        }
        () = standstill(front, admission, switching.idle) => {
            admission.abort(Cut::new("http.idle", "nothing passed for too long"));
            Ok(())
        }
    }
}

/// The 101 as the agent gets it.
fn agreement(
    answered: &Response<Incoming>,
    needles: &Needles,
    upgrade: &Upgrade,
    admission: &Arc<Admission>,
) -> Result<Response<OutBody>, Refusal> {
    let mut headers: HeaderMap = answered.headers().clone();
    strip_response(&mut headers);
    headers.remove(http::header::CONTENT_LENGTH);
    needles.check_headers(&headers).map_err(|_| Refusal::Echo)?;
    upgrade.name_in(&mut headers)?;
    let nothing = Checked::new(admission, &admission.down, full(Bytes::new()));
    let mut response = Response::new(OutBody::Access(Box::new(nothing)));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.version_mut() = Version::HTTP_11;
    *response.headers_mut() = headers;
    Ok(response)
}

async fn carry(
    admission: &Admission,
    agent: OnUpgrade,
    upstream: OnUpgrade,
    needles: Needles,
    left: &AtomicU64,
) -> Result<(), Refusal> {
    let agent = agent.await.map_err(|_| Refusal::AgentGone)?;
    let upstream = upstream.await.map_err(|_| Refusal::UpstreamBroke)?;
    let (from_agent, to_agent) = tokio::io::split(TokioIo::new(agent));
    let (from_upstream, to_upstream) = tokio::io::split(TokioIo::new(upstream));
    let up = Way {
        admission,
        egress: &admission.up,
        left,
        ends: (Side::Agent, Side::Upstream),
        sieve: Sieve::new(Needles::default()),
    };
    let down = Way {
        admission,
        egress: &admission.down,
        left,
        ends: (Side::Upstream, Side::Agent),
        sieve: Sieve::new(needles),
    };
    let up = std::pin::pin!(up.carry(from_agent, to_upstream));
    let down = std::pin::pin!(down.carry(from_upstream, to_agent));
    match select(up, down).await {
        Either::Left((ended, other)) => rest(admission, Side::Agent, ended, other).await,
        Either::Right((ended, other)) => rest(admission, Side::Upstream, ended, other).await,
    }
    .map_err(Broken::refusal)
}

/// Whoever has ended one direction waits for the end of the other, and not for long: half open
/// connections are of no use to what runs over an upgrade. That the other side then breaks off is how
/// many answer an end; the first one has ended it.
async fn rest(
    admission: &Admission,
    first: Side,
    ended: Result<(), Broken>,
    other: impl Future<Output = Result<(), Broken>>,
) -> Result<(), Broken> {
    ended?;
    admission.ends_by(first);
    match tokio::time::timeout(LINGER, other).await {
        Ok(Err(Broken::Gone(side))) if side != first => Ok(()),
        Ok(other) => other,
        Err(_) => Ok(()),
    }
}

/// Why bytes go no further.
enum Broken {
    /// Who was read from, or written to, is gone.
    Gone(Side),
    /// The access was cut; its own records tell why.
    Cut,
}

impl Broken {
    fn refusal(self) -> Refusal {
        match self {
            Broken::Gone(Side::Agent) => Refusal::AgentGone,
            Broken::Gone(Side::Upstream) | Broken::Cut => Refusal::UpstreamBroke,
        }
    }
}

/// One direction.
struct Way<'a> {
    admission: &'a Admission,
    egress: &'a Arc<Egress>,
    /// How much may still pass, both ways together.
    left: &'a AtomicU64,
    /// From whom, and to whom.
    ends: (Side, Side),
    /// Looks for an echo of the credential.
    sieve: Sieve,
}

impl Way<'_> {
    async fn carry(
        mut self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
    ) -> Result<(), Broken> {
        let (sender, receiver) = self.ends;
        let mut space = vec![0; CHUNK];
        loop {
            // What may not be handed on is not fetched either: whoever sends it shall notice.
            poll_fn(|cx| self.poll_may(cx)).await?;
            let read = from.read(&mut space).await;
            let count = read.map_err(|_| Broken::Gone(sender))?;
            let Some(came) = space.get(..count).filter(|came| !came.is_empty()) else {
                let rest = self.sieve.rest();
                self.hand_on(&mut to, rest).await?;
                return to.shutdown().await.map_err(|_| Broken::Gone(receiver));
            };
            self.take(count)?;
            let passing = self.sieve.pass(Bytes::copy_from_slice(came)).map_err(|_| {
                let why = "the upstream's bytes echo the credential that this gateway holds";
                self.admission.abort(Cut::new("upstream.echo", why));
                Broken::Cut
            })?;
            self.hand_on(&mut to, passing).await?;
        }
    }

    /// Takes `count` from what may still pass; a chunk that is more does not pass at all.
    fn take(&self, count: usize) -> Result<(), Broken> {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let less = |left: u64| left.checked_sub(count);
        let taken = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        taken.map(drop).map_err(|_| {
            let why = "more would have passed than the server workload's `maxUpgradeBytes`";
            self.admission.abort(Cut::new("http.upgrade_bytes", why));
            Broken::Cut
        })
    }

    async fn hand_on(
        &self,
        to: &mut (impl AsyncWrite + Unpin),
        mut bytes: Bytes,
    ) -> Result<(), Broken> {
        while bytes.has_remaining() {
            let written = poll_fn(|cx| {
                ready!(self.poll_may(cx))?;
                // B1: nothing is awaited between the check and this.
                let written = ready!(Pin::new(&mut *to).poll_write(cx, bytes.chunk()));
                let gone = |_| Broken::Gone(self.ends.1);
                Poll::Ready(written.and_then(not_nothing).map_err(gone))
            })
            .await?;
            let length = u64::try_from(written).unwrap_or(u64::MAX);
            self.egress.count(length);
            self.admission.meter.passed(length);
            bytes.advance(written);
        }
        to.flush().await.map_err(|_| Broken::Gone(self.ends.1))
    }

    /// Ready while the access stands, has a lease where it needs one, and is in records so far (C1).
    fn poll_may(&self, cx: &Context<'_>) -> Poll<Result<(), Broken>> {
        match self.admission.check() {
            Err(_told_elsewhere) => return Poll::Ready(Err(Broken::Cut)),
            Ok(Go::WhenLeased) => {
                self.admission.lease().wake_when_renewed(cx.waker());
                if self.admission.is_paused() {
                    return Poll::Pending;
                }
            }
            Ok(Go::Now) => {}
        }
        self.admission.meter.poll_room(cx).map(Ok)
    }
}

fn not_nothing(written: usize) -> io::Result<usize> {
    if written == 0 {
        Err(io::ErrorKind::WriteZero.into())
    } else {
        Ok(written)
    }
}

const CHUNK: usize = 16 * 1024;
const LINGER: Duration = Duration::from_secs(5);
