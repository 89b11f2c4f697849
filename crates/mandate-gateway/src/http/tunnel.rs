//! A connection that has switched protocols: bytes both ways, each chunk checked right before it is handed on (B1).
//!
//! Both connections belong to the access alone, so a cut resets both, and with them whatever is buffered.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
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
use crate::admission::{Admission, Cut, Go};
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
            idle: server.http.idle_timeout,
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
    let carried = carry(admission, switching.agent, upstream, needles);
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
) -> Result<(), Refusal> {
    let agent = agent.await.map_err(|_| Refusal::AgentGone)?;
    let upstream = upstream.await.map_err(|_| Refusal::UpstreamBroke)?;
    let (from_agent, to_agent) = tokio::io::split(TokioIo::new(agent));
    let (from_upstream, to_upstream) = tokio::io::split(TokioIo::new(upstream));
    let up = Way {
        admission,
        egress: &admission.up,
        sieve: Sieve::new(Needles::default()),
    };
    let down = Way {
        admission,
        egress: &admission.down,
        sieve: Sieve::new(needles),
    };
    let up = std::pin::pin!(up.carry(from_agent, to_upstream));
    let down = std::pin::pin!(down.carry(from_upstream, to_agent));
    match select(up, down).await {
        Either::Left((ended, other)) => rest(ended, other).await,
        Either::Right((ended, other)) => rest(ended, other).await,
    }
    .map_err(Broken::refusal)
}

/// Whoever has ended one direction waits for the end of the other, and not for long: half open
/// connections are of no use to what runs over an upgrade.
async fn rest(
    ended: Result<(), Broken>,
    other: impl Future<Output = Result<(), Broken>>,
) -> Result<(), Broken> {
    ended?;
    tokio::time::timeout(LINGER, other).await.unwrap_or(Ok(()))
}

/// Why bytes go no further.
enum Broken {
    /// Whoever was read from, or written to, is gone.
    Gone,
    /// The access was cut; its own records tell why.
    Cut,
}

impl Broken {
    fn refusal(self) -> Refusal {
        match self {
            // Which of the two ended it first cannot be told, and a reset is how many end a tunnel.
            Broken::Gone => Refusal::AgentGone,
            Broken::Cut => Refusal::UpstreamBroke,
        }
    }
}

/// One direction.
struct Way<'a> {
    admission: &'a Admission,
    egress: &'a Arc<Egress>,
    /// Looks for an echo of the credential.
    sieve: Sieve,
}

impl Way<'_> {
    async fn carry(
        mut self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
    ) -> Result<(), Broken> {
        let mut space = vec![0; CHUNK];
        loop {
            // What may not be handed on is not fetched either: whoever sends it shall notice.
            poll_fn(|cx| self.poll_may(cx)).await?;
            let count = from.read(&mut space).await.map_err(|_| Broken::Gone)?;
            let Some(came) = space.get(..count).filter(|came| !came.is_empty()) else {
                let rest = self.sieve.rest();
                self.hand_on(&mut to, rest).await?;
                return to.shutdown().await.map_err(|_| Broken::Gone);
            };
            let passing = self.sieve.pass(Bytes::copy_from_slice(came)).map_err(|_| {
                let why = "the upstream's bytes echo the credential that this gateway holds";
                self.admission.abort(Cut::new("upstream.echo", why));
                Broken::Cut
            })?;
            self.hand_on(&mut to, passing).await?;
        }
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
                Poll::Ready(written.and_then(not_nothing).map_err(|_| Broken::Gone))
            })
            .await?;
            let length = u64::try_from(written).unwrap_or(u64::MAX);
            self.egress.count(length);
            self.admission.meter.passed(length);
            bytes.advance(written);
        }
        to.flush().await.map_err(|_| Broken::Gone)
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
