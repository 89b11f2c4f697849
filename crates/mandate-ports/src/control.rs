//! The messages of the control stream between the authority and its gateways.
//!
//! `docs/control-stream.md` is the specification; these are its shapes. Unknown members are
//! errors: both ends are of one release, or say that they are not ([`PROTOCOL`]).

use mandate_model::stop::{Resumption, StopSet, Suspension};
use mandate_model::{
    BundleVersion, GatewayId, KeyId, KeysVersion, StopVersion, StoreEpoch, TaskId, Thumbprint,
    Timestamp, TokenId, TrustDomain,
};

use crate::{KeyPurpose, KeyState, SpoolHead, SpooledRecord, Versions};

/// The protocol's version, in every path: `/control/v1/…`.
pub const PROTOCOL: u32 = 1;

/// What the authority sends down an open stream, one JSON object a line.
///
/// The first messages are `hello`, `keys`, `bundle` and `stops`, each the whole state. Later ones
/// replace what they name, whole. A gateway that lost the stream begins again from `hello`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "message", rename_all = "snake_case", deny_unknown_fields)]
pub enum ControlMessage {
    /// Who is at the other end.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
        /// The store's birth mark. Another one than before is refused until an operator accepts it.
        epoch: StoreEpoch,
        /// `iss` of the tokens.
        issuer: String,
        /// The trust domain.
        trust_domain: TrustDomain,
    },
    /// The keys that tokens are verified with.
    Keys {
        /// Their version.
        version: KeysVersion,
        /// All that are not retired.
        keys: Vec<PublicKeyRecord>,
    },
    /// The live bundle.
    Bundle {
        /// Its version.
        version: BundleVersion,
        /// Its files: name and text. The gateway compiles them with the same code.
        files: Vec<(String, String)>,
    },
    /// All stops.
    Stops(WireStops),
    /// Nothing new; sent so that a dead connection is noticed.
    Ping,
}

/// A public key, as verifiers need it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicKeyRecord {
    /// Its `kid`.
    pub id: KeyId,
    /// What it signs.
    pub purpose: KeyPurpose,
    /// Where it is in its life.
    pub state: KeyState,
    /// The public key, base64url: an uncompressed P-256 point or an Ed25519 key.
    pub public: String,
}

/// A [`StopSet`] on the wire.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireStops {
    /// The version of all of them.
    pub version: StopVersion,
    /// Suspensions in force.
    pub suspensions: Vec<Suspension>,
    /// What lifted suspensions left void, and until when it matters: one for each subject.
    pub resumptions: Vec<Resumption>,
    /// Ended tasks, and until when they matter.
    pub ended: Vec<(TaskId, Timestamp)>,
    /// Revoked tokens, and until when they matter.
    pub revoked: Vec<(TokenId, Timestamp)>,
    /// Keys that their instances have replaced, and until when they matter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced_keys: Vec<(Thumbprint, Timestamp)>,
}

impl From<&StopSet> for WireStops {
    fn from(stops: &StopSet) -> Self {
        Self {
            version: stops.version(),
            suspensions: stops.suspensions().cloned().collect(),
            resumptions: stops.resumptions().cloned().collect(),
            ended: stops.ended().map(|(task, until)| (*task, *until)).collect(),
            revoked: stops
                .revoked()
                .map(|(token, until)| (*token, *until))
                .collect(),
            replaced_keys: stops
                .replaced_keys()
                .map(|(key, until)| (*key, *until))
                .collect(),
        }
    }
}

impl From<WireStops> for StopSet {
    fn from(wire: WireStops) -> Self {
        StopSet::new(
            wire.version,
            wire.suspensions,
            wire.resumptions,
            wire.ended,
            wire.revoked,
        )
        .with_replaced_keys(wire.replaced_keys)
    }
}

/// `POST /control/v1/lease`: a gateway asks to admit a while longer.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseRequest {
    /// The gateway instance.
    pub gateway: GatewayId,
    /// The stops that it has applied, cuts included: an acknowledgement.
    pub stops: StopVersion,
    /// The bundle that it has applied.
    pub bundle: BundleVersion,
    /// The keys that it has applied.
    pub keys: KeysVersion,
    /// Its spool's head.
    pub head: SpoolHead,
}

/// The answer: a lease, which may be used only after `versions` are applied, cuts included (B2).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseGrant {
    /// How long, in milliseconds, from when the gateway sent its request.
    pub lease_ms: u64,
    /// The versions that the authority read when it granted.
    pub versions: Versions,
}

/// `POST /control/v1/ack`: a gateway has applied a stop version (B1).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledgement {
    /// The gateway instance.
    pub gateway: GatewayId,
    /// The version.
    pub stops: StopVersion,
    /// Connections and streams that it cut for it.
    pub cut: u64,
    /// Accesses under the stopped subject that had been forwarded and not answered: what they did
    /// upstream is not known.
    pub unknown: u64,
}

/// `POST /control/v1/records`: a gateway ships records of its spool.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shipment {
    /// The gateway instance.
    pub gateway: GatewayId,
    /// The spool.
    pub spool: String,
    /// The records, in order, without gaps.
    pub records: Vec<SpooledRecord>,
}

/// The answer: what the authority has durably.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shipped {
    /// The first number that it does not have.
    pub next: u64,
}

/// `POST /control/v1/upstream-token`: a gateway asks for a token to show to an upstream that
/// verifies Mandate's tokens (A4).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamTokenRequest {
    /// The gateway instance.
    pub gateway: GatewayId,
    /// The access token that was shown to it.
    pub access_token: String,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamToken {
    /// The token, with the upstream's own audience.
    pub token: String,
    /// Until when.
    pub expires_at: Timestamp,
}
