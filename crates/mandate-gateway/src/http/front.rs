//! What every request of this gateway works with.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Response};
use mandate_decide::enforce::{Right, right_to_admit};
use mandate_model::{GatewayId, Secret, Timestamp};
use mandate_policy::Bundle;
use mandate_policy::decl::{LeaseLoss, ServerWorkload};
use mandate_ports::Credentials;
use mandate_token::AccessToken;
use tokio::sync::oneshot;

use super::authenticate::TokenCache;
use super::bindings::Bindings;
use super::exchange::Exchanges;
use super::inject::Injections;
use super::manifest::Manifests;
use super::proof::{Proofs, PublicAddress};
use super::refusal::Refusal;
use super::route::Routing;
use super::upstream_token::UpstreamTokens;
use super::verdicts::Verdicts;
use crate::admission::{Admission, Cut, Gate, Registry};
use crate::body::OutBody;
use crate::hmac::hmac_sha256;
use crate::listener::Limits;
use crate::metrics::Metrics;
use crate::record::Recorder;
use crate::refusals::Refusals;
use crate::snapshot::Snapshot;
use crate::socket::Socket;
use crate::spent::Spent;
use crate::upstream::Pool;
use crate::wire::{Fault, Wire};

/// Shared by all listeners.
pub(crate) struct Front {
    pub(crate) gateway: GatewayId,
    pub(crate) gate: Gate,
    pub(crate) registry: Arc<Registry>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) credentials: Arc<dyn Credentials>,
    pub(crate) injections: Injections,
    pub(crate) pool: Pool,
    pub(crate) tokens: TokenCache,
    pub(crate) proofs: Proofs,
    pub(crate) exchanges: Exchanges,
    pub(crate) upstream_tokens: UpstreamTokens,
    pub(crate) verdicts: Verdicts,
    pub(crate) spent: Spent,
    pub(crate) refusals: Refusals,
    pub(crate) metrics: Arc<Metrics>,
    /// Keys the hashes by which records show personal attributes.
    pub(crate) attribute_key: Secret<Vec<u8>>,
    /// Whose is what MCP servers give to agents.
    pub(crate) bindings: Bindings,
    /// What MCP servers say of their tools.
    pub(crate) manifests: Manifests,
    /// What callers can use up.
    pub(crate) limits: Limits,
}

/// Where a request came in.
#[derive(Clone)]
pub(crate) struct Arrival {
    pub(crate) listener: Arc<str>,
    pub(crate) routing: Routing,
    pub(crate) public: Arc<PublicAddress>,
    pub(crate) peer: IpAddr,
    pub(crate) socket: Arc<Socket>,
    /// What is wrong with what came, of which hyper saw nothing.
    pub(crate) fault: Option<Fault>,
    /// The connection, as it is read.
    pub(crate) wire: Arc<Wire>,
}

/// The way back to the agent: one answer, or none.
pub(crate) struct Reply(Option<oneshot::Sender<Response<OutBody>>>);

impl Reply {
    pub(crate) fn new() -> (Self, oneshot::Receiver<Response<OutBody>>) {
        let (sender, receiver) = oneshot::channel();
        (Self(Some(sender)), receiver)
    }

    /// Answers; `false` if nobody is there any more.
    pub(super) fn send(&mut self, response: Response<OutBody>) -> bool {
        self.0
            .take()
            .is_some_and(|reply| reply.send(response).is_ok())
    }

    /// Whether nobody waits for an answer any more.
    pub(super) fn is_gone(&self) -> bool {
        self.0.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    /// Resolves when the agent went away; never after the answer.
    pub(super) async fn gone(&mut self) {
        match &mut self.0 {
            Some(reply) => reply.closed().await,
            None => std::future::pending().await,
        }
    }
}

impl Front {
    /// The state to decide on.
    pub(super) fn snapshot(&self) -> Result<Arc<Snapshot>, Refusal> {
        self.gate.snapshots.load().ok_or(Refusal::NotNow {
            rule: "gateway.not_ready",
            detail: "this gateway has no state of its authority yet",
        })
    }

    /// Whether this gateway may admit for `server` at this moment, and on which ground (B2, B3). Where no
    /// server workload was found, only under a lease: what is known may be too old to say so.
    pub(super) fn right_to_admit(&self, server: Option<&ServerWorkload>) -> Result<Right, Refusal> {
        let on_loss = server.map(|server| server.lease_loss).unwrap_or_default();
        right_to_admit(self.gate.lease.state(), on_loss).ok_or(Refusal::NotNow {
            rule: "gateway.no_lease",
            detail: "this gateway has no lease of its authority now",
        })
    }

    /// Whether this gateway may admit anything at this moment, for whichever server workload.
    pub(super) fn check_lease(&self, bundle: Option<&Bundle>) -> Result<(), Refusal> {
        let state = self.gate.lease.state();
        if right_to_admit(state, LeaseLoss::Stop).is_some() {
            return Ok(());
        }
        let goes_on = |server: &ServerWorkload| server.lease_loss == LeaseLoss::Continue;
        let going_on = bundle.and_then(|bundle| bundle.servers().find(|server| goes_on(server)));
        self.right_to_admit(going_on).map(drop)
    }

    /// Resolves when the wall clock has reached the end of an admission.
    pub(super) async fn expiry(&self, admission: &Admission) {
        loop {
            let left = admission.expires_at().since(self.gate.clock.now());
            if left.is_zero() {
                return;
            }
            // The wall clock may jump while this sleeps.
            tokio::time::sleep(left.min(LOOK_AGAIN)).await;
        }
    }

    /// Ends an admission whose token has expired.
    pub(super) fn expired(&self, admission: &Admission) -> Cut {
        admission.abort(Cut::new("token.expired", "the access token has expired"))
    }

    /// HMAC-SHA-256 of a personal value, in hex.
    pub(super) fn hashed(&self, value: &str) -> String {
        let code = hmac_sha256(self.attribute_key.expose(), value.as_bytes());
        code.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// The nonce for the next proof of an agent that proves a key (RFC 9449 §9).
    pub(super) fn nonce_for(&self, token: &AccessToken) -> Option<HeaderValue> {
        token.agent_key()?;
        self.proofs.nonce(self.gate.clock.boot())
    }

    /// The moment.
    pub(super) fn now(&self) -> Timestamp {
        self.gate.clock.now()
    }
}

const LOOK_AGAIN: Duration = Duration::from_secs(1);
