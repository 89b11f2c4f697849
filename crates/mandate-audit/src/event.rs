//! What a record says.

mod names;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use mandate_model::stop::Subject;
use mandate_model::task::{TaskChain, TaskPath, TaskState, WireMandate};
use mandate_model::{
    ActionName, ActorLevel, AttributeName, AttributeValue, BundleVersion, GatewayId, KeyId,
    PolicyName, Principal, ServerName, SpiffeId, StopVersion, TaskId, Thumbprint, Timestamp,
    TokenId, Trigger,
};

use crate::Usage;

/// One record of the log: who did what, why, and who let them.
///
/// Members that are absent were not known or do not apply. A token is named by its id, never shown.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// When it was decided, on the clock of who decided it.
    pub at: Timestamp,
    /// What happened.
    pub what: What,
    /// Whether it was let happen.
    pub decision: Decision,
    /// The rule that decided, in the words of `docs/`: `mandate.unfit`, `policy.default_deny`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// More on it for people. Never a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The policies that permitted or forbade.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicyName>,
    /// The acting agent, its delegators and so on, the latest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actors: Vec<ActorLevel>,
    /// The task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskPath>,
    /// Whom the task is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Principal>,
    /// What began the root task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,
    /// The server workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerName>,
    /// The action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<ActionName>,
    /// The request's resource attributes, or keyed hashes of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<AttributeName, Vec<AttributeValue>>,
    /// The bundle that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<BundleVersion>,
    /// The stops that were known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stops: Option<StopVersion>,
    /// The token shown or issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenId>,
    /// The key that the caller proved to hold, by its thumbprint (RFC 9449 §6.1); absent where the
    /// token was shown and nothing proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jkt: Option<Thumbprint>,
    /// The trace that the caller says this belongs to (W3C `traceparent`). Correlation, never
    /// attribution: anyone can write anything there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// The caller's own span in that trace, as it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<String>,
    /// The gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayId>,
    /// The gateway that got the access token for the acting agent, which brought it an SVID and a task
    /// token (A9).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<GatewayId>,
    /// The gateway let it happen, or decided it, without a lease: the server workload goes on without
    /// one (B3).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_lease: bool,
    /// Where a gateway's spool has it; present on what a gateway recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spool: Option<SpoolKey>,
}

/// Whether it was let happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Yes.
    Allowed,
    /// No.
    Denied,
    /// A server workload in `observe` mode let it pass; otherwise it would have been denied.
    WouldDeny,
    /// Nothing was decided: the record reports.
    Noted,
}

/// The name of a record in a gateway's spool: same key, same record, or an alarm (C2).
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct SpoolKey {
    /// The gateway instance.
    pub gateway: GatewayId,
    /// The spool, named at random when it was made.
    pub spool: String,
    /// The record's number in it, from 0.
    pub seq: u64,
}

impl SpoolKey {
    /// Whether the two name records of one spool.
    pub fn is_of_spool(&self, other: &SpoolKey) -> bool {
        self.gateway == other.gateway && self.spool == other.spool
    }
}

/// What happened. Adding a variant: see `docs/recipes/event.md`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum What {
    /// An agent proved what it is.
    Attested {
        /// What the platform vouched for.
        facts: BTreeMap<String, String>,
    },
    /// A token was issued.
    Issued {
        /// `jwt-svid`, `task`, `access` or `upstream`.
        token_kind: String,
        /// For whom it is valid.
        audience: String,
        /// Until when.
        expires_at: Timestamp,
        /// The key that signed it.
        key: KeyId,
        /// The entries that an access token carries, or the scope in words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scope: Option<String>,
    },
    /// An exchange or an operator's request was refused after the caller was authenticated.
    Refused {
        /// What was asked for: `attest`, `open`, `delegate`, `renew`, `access`, …
        step: String,
        /// The OAuth error.
        error: String,
    },
    /// Refusals before authentication, counted (C3).
    RefusedCount {
        /// Where they came in.
        listener: String,
        /// Where from: a /24, a /48 or a local user.
        source: String,
        /// How many.
        count: u64,
        /// Since when.
        since: Timestamp,
    },
    /// A root task began.
    TaskOpened {
        /// For which purpose.
        purpose: String,
        /// With which mandate.
        mandate: WireMandate,
        /// The commitment (A3).
        chain: TaskChain,
        /// Under which task policy.
        policy: PolicyName,
        /// For which agent type, where an operator opened it and the actors do not say so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        may_act: Option<SpiffeId>,
    },
    /// A task was delegated.
    TaskDelegated {
        /// To which agent type.
        may_act: SpiffeId,
        /// With which mandate.
        mandate: WireMandate,
        /// The commitment (A3).
        chain: TaskChain,
    },
    /// A task ended.
    TaskEnded {
        /// The task; everything below it ended with it.
        task: TaskId,
        /// How.
        state: TaskState,
        /// How many tasks ended.
        count: u64,
    },
    /// A gateway decided an access. When it is allowed, this record is durable before the effect.
    AccessDecided {
        /// The method and path shape, never the query: `GET /customers/{customer}`. Of a request that
        /// is no action: method and path as they came, escaped and cut to what a record has room for.
        request: String,
    },
    /// An admitted stream goes on.
    AccessProgress {
        /// The number of the record of the decision.
        admitted: u64,
        /// The spool that numbered it; the record's own where this is missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        admitted_in: Option<String>,
        /// Bytes towards the upstream so far.
        bytes_up: u64,
        /// Bytes towards the agent so far.
        bytes_down: u64,
    },
    /// An admitted access ended.
    AccessCompleted {
        /// The number of the record of the decision.
        admitted: u64,
        /// The spool that numbered it: another one than this record's own, if the gateway had to begin
        /// one meanwhile. The record's own where this is missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        admitted_in: Option<String>,
        /// How it ended.
        outcome: Outcome,
        /// The upstream's status, if it answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// Bytes towards the upstream.
        bytes_up: u64,
        /// Bytes towards the agent.
        bytes_down: u64,
        /// Of an LLM: the tokens that its reply said were used.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        usage: Option<Usage>,
    },
    /// A suspension was committed.
    Suspended {
        /// Whom it stops.
        subject: Subject,
        /// Its version.
        version: StopVersion,
        /// Why.
        reason: String,
    },
    /// A suspension became effective everywhere (B1), or was bounded.
    SuspensionEffective {
        /// Its version.
        version: StopVersion,
        /// From commit to effect, in milliseconds.
        after_ms: u64,
        /// Gateways that acknowledged.
        acknowledged: u64,
        /// Gateways whose lease ran out instead.
        lease_bounded: u64,
        /// Connections and streams cut.
        cut: u64,
    },
    /// A suspension acts wherever the authority is heard; gateways that did not acknowledge it may go on
    /// without a lease (B3).
    SuspensionNotEffective {
        /// Its version.
        version: StopVersion,
        /// When it is effective at the latest; absent where only those gateways can tell.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        /// Gateways that acknowledged.
        acknowledged: u64,
        /// Gateways that did not, and may go on.
        going_on: u64,
        /// Connections and streams cut.
        cut: u64,
    },
    /// A suspension was lifted.
    Resumed {
        /// Whom it stopped.
        subject: Subject,
        /// The version without it.
        version: StopVersion,
        /// Why.
        reason: String,
    },
    /// A token was revoked (RFC 7009).
    Revoked {
        /// The token.
        token: TokenId,
    },
    /// A bundle became live.
    BundleApplied {
        /// Its version.
        version: BundleVersion,
        /// SHA-256 of its canonical documents, in hex.
        digest: String,
        /// The version whose documents were applied again, where an operator went back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        back_to: Option<BundleVersion>,
    },
    /// A key changed its state (C7).
    KeyChanged {
        /// The key.
        key: KeyId,
        /// `svid`, `oauth` or `log`.
        purpose: String,
        /// `announced`, `signing`, `verifying` or `retired`.
        state: String,
    },
    /// An instance attested with another key than before: what it had got with the former one is
    /// void (A5).
    Rekeyed {
        /// The key that it had, by its thumbprint.
        from: Thumbprint,
        /// The key that it has.
        to: Thumbprint,
    },
    /// A gateway said hello, or was refused.
    GatewayConnected {
        /// Its spool.
        spool: String,
    },
    /// An operator asked for something that no other event tells of.
    OperatorActed {
        /// What: `status`, `log_search`, …
        operation: String,
    },
    /// Something that an operator should look at: a record that came twice with different content,
    /// a gap in a spool, a clock that jumped.
    Alarm {
        /// What.
        message: String,
    },
}

impl What {
    /// The event's name, as `kind` on the wire.
    pub fn kind(&self) -> &'static str {
        match self {
            What::Attested { .. } => "attested",
            What::Issued { .. } => "issued",
            What::Refused { .. } => "refused",
            What::RefusedCount { .. } => "refused_count",
            What::TaskOpened { .. } => "task_opened",
            What::TaskDelegated { .. } => "task_delegated",
            What::TaskEnded { .. } => "task_ended",
            What::AccessDecided { .. } => "access_decided",
            What::AccessProgress { .. } => "access_progress",
            What::AccessCompleted { .. } => "access_completed",
            What::Suspended { .. } => "suspended",
            What::SuspensionEffective { .. } => "suspension_effective",
            What::SuspensionNotEffective { .. } => "suspension_not_effective",
            What::Resumed { .. } => "resumed",
            What::Revoked { .. } => "revoked",
            What::BundleApplied { .. } => "bundle_applied",
            What::KeyChanged { .. } => "key_changed",
            What::Rekeyed { .. } => "rekeyed",
            What::GatewayConnected { .. } => "gateway_connected",
            What::OperatorActed { .. } => "operator_acted",
            What::Alarm { .. } => "alarm",
        }
    }
}

/// How an admitted access ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The upstream's answer was handed on whole.
    Completed,
    /// It was admitted and recorded, and stopped before anything was forwarded or released.
    Aborted,
    /// It was under way and cut.
    Cut,
    /// The agent went away.
    AgentGone,
    /// The upstream could not be reached, failed or answered what is not HTTP.
    UpstreamFailed,
    /// It was forwarded, and no answer came before the gateway stopped: what it did is not known.
    Unknown,
}

impl Event {
    /// A record of `what` at `at`, to be filled in with struct update syntax.
    pub fn new(at: Timestamp, what: What, decision: Decision) -> Self {
        Self {
            at,
            what,
            decision,
            rule: None,
            detail: None,
            policies: Vec::new(),
            actors: Vec::new(),
            task: None,
            principal: None,
            trigger: None,
            server: None,
            action: None,
            attributes: BTreeMap::new(),
            bundle: None,
            stops: None,
            token: None,
            jkt: None,
            trace: None,
            span: None,
            gateway: None,
            via: None,
            without_lease: false,
            spool: None,
        }
    }

    /// The event's one encoding, which the log hashes: canonical JSON.
    pub fn canonical(&self) -> Result<Vec<u8>, EncodeError> {
        let mut bytes = Vec::with_capacity(USUAL_BYTES);
        mandate_model::write_canonical_json(self, &mut bytes)
            .map_err(|_| EncodeError::Unrepresentable)?;
        if bytes.len() > MAX_EVENT_BYTES {
            Err(EncodeError::TooLarge)
        } else {
            Ok(bytes)
        }
    }

    /// Reads an event back.
    pub fn parse(bytes: &[u8]) -> Result<Self, DecodeError> {
        serde_json::from_slice(bytes).map_err(|e| DecodeError(e.to_string()))
    }
}

/// An event that cannot be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// It is longer than a tile entry may be (C2SP tlog-tiles: 64 KiB).
    #[error("a record has at most {MAX_EVENT_BYTES} bytes")]
    TooLarge,
    /// It has no JSON form.
    #[error("a record could not be written as JSON")]
    Unrepresentable,
}

/// Bytes that are no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a record: {0}")]
pub struct DecodeError(String);

/// The longest encoded event: an entry of a C2SP tile has a 16-bit length.
pub const MAX_EVENT_BYTES: usize = 65_535;
/// Most records fit.
const USUAL_BYTES: usize = 1024;
