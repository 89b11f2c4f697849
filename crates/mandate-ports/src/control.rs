//! The messages of the control stream between the authority and its gateways.
//!
//! `docs/control-stream.md` is the specification; these are its shapes. Unknown members are
//! errors: both ends are of one release, or say that they are not ([`PROTOCOL`]).

use mandate_model::stop::{Resumption, StopSet, Suspension};
use mandate_model::{
    BundleVersion, GatewayId, KeyId, KeysVersion, RunId, StopVersion, StoreEpoch, TaskId,
    Thumbprint, Timestamp, TokenId, TrustDomain,
};

use crate::{KeyPurpose, KeyState, SpoolHead, SpooledRecord, Versions};

/// The version of these messages, which `hello` names. The paths, `/control/v1/…`, are where one finds
/// that out: they stay as they are.
pub const PROTOCOL: u32 = 2;

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
        /// This run of the authority. What a gateway has applied, it has applied of this run.
        run: RunId,
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
    /// How many suspensions are in the authority's memory alone, because its store cannot be written. They
    /// act like all others and are the last that count in `version`; after a crash of the authority the
    /// store is that much behind, and has not gone back.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub undurable: u64,
}

impl WireStops {
    /// The version up to which the store has them.
    pub fn durable(&self) -> StopVersion {
        StopVersion::new(self.version.get().saturating_sub(self.undurable))
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks with a reference"
)]
fn is_zero(n: &u64) -> bool {
    *n == 0
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
            undurable: 0,
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
    /// The run of the authority whose stream told what it has applied.
    pub run: RunId,
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
    /// The run of the authority whose stream told the version: another run may have given the same one to
    /// another suspension.
    pub run: RunId,
    /// The version.
    pub stops: StopVersion,
    /// Connections and streams that it cut for it.
    pub cut: u64,
    /// Accesses under the stopped subject that had been forwarded and not answered: what they did
    /// upstream is not known.
    pub unknown: u64,
}

/// `POST /control/v1/records`: a gateway ships records of its spool.
///
/// On the wire it is lines: what it is of, as JSON, and then a line for each record: the chain's value
/// after it, a space, and its bytes as they are. Canonical JSON has no line breaks, so nothing is
/// escaped, and what is hashed is what is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shipment {
    /// The gateway instance.
    pub gateway: GatewayId,
    /// The spool.
    pub spool: String,
    /// The records, in order, without gaps.
    pub records: Vec<SpooledRecord>,
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ShipmentHead {
    gateway: GatewayId,
    spool: String,
    /// The number of the first record; the others follow without gaps.
    first: u64,
}

/// Why bytes are no [`Shipment`], or one has no bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedShipment {
    /// The first line does not say what it is of.
    #[error("the first line is no head of a shipment: {0}")]
    Head(String),
    /// A line is no record.
    #[error(
        "line {0} is no record: a chain value, a space, and a canonical event, then a line break"
    )]
    Record(usize),
    /// There are none, or they have gaps.
    #[error("a shipment has at least one record, and they come in order, without gaps")]
    Gaps,
}

impl Shipment {
    /// The media type of its lines.
    pub const CONTENT_TYPE: &str = "application/vnd.mandate.records";

    /// Its bytes on the wire.
    pub fn to_lines(&self) -> Result<Vec<u8>, MalformedShipment> {
        let first = self.records.first().ok_or(MalformedShipment::Gaps)?.seq;
        if !self
            .records
            .iter()
            .zip(first..)
            .all(|(record, seq)| record.seq == seq)
        {
            return Err(MalformedShipment::Gaps);
        }
        let head = ShipmentHead {
            gateway: self.gateway.clone(),
            spool: self.spool.clone(),
            first,
        };
        let mut lines =
            serde_json::to_vec(&head).map_err(|e| MalformedShipment::Head(e.to_string()))?;
        lines.push(b'\n');
        for (place, record) in self.records.iter().enumerate() {
            if [&record.chain, &record.event]
                .iter()
                .any(|text| text.contains('\n'))
            {
                return Err(MalformedShipment::Record(place + 2));
            }
            lines.extend_from_slice(record.chain.as_bytes());
            lines.push(b' ');
            lines.extend_from_slice(record.event.as_bytes());
            lines.push(b'\n');
        }
        Ok(lines)
    }

    /// Reads it from the wire.
    pub fn from_lines(bytes: &[u8]) -> Result<Self, MalformedShipment> {
        let text =
            std::str::from_utf8(bytes).map_err(|e| MalformedShipment::Head(e.to_string()))?;
        let (head, rest) = text.split_once('\n').unwrap_or((text, ""));
        let head: ShipmentHead =
            serde_json::from_str(head).map_err(|e| MalformedShipment::Head(e.to_string()))?;
        let mut records = Vec::new();
        for (place, line) in rest.split_inclusive('\n').enumerate() {
            let malformed = MalformedShipment::Record(place + 2);
            let line = line
                .strip_suffix('\n')
                .and_then(|line| line.split_once(' '));
            let (chain, event) = line.ok_or(malformed)?;
            let seq = u64::try_from(place)
                .ok()
                .and_then(|place| head.first.checked_add(place));
            records.push(SpooledRecord {
                seq: seq.ok_or(MalformedShipment::Gaps)?,
                event: event.to_owned(),
                chain: chain.to_owned(),
            });
        }
        if records.is_empty() {
            return Err(MalformedShipment::Gaps);
        }
        Ok(Self {
            gateway: head.gateway,
            spool: head.spool,
            records,
        })
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn shipment(seqs: &[u64]) -> Shipment {
        let record = |seq: &u64| SpooledRecord {
            seq: *seq,
            event: format!("{{\"seq\":{seq},\"text\":\"a b\"}}"),
            chain: format!("chain-{seq}"),
        };
        Shipment {
            gateway: GatewayId::parse("g").unwrap(),
            spool: "s".to_owned(),
            records: seqs.iter().map(record).collect(),
        }
    }

    #[test]
    fn a_shipment_comes_back_from_its_lines() {
        let sent = shipment(&[4, 5, 6]);
        let lines = sent.to_lines().unwrap();
        assert_eq!(lines.split(|b| *b == b'\n').count(), 5);
        assert_eq!(Shipment::from_lines(&lines), Ok(sent));
    }

    #[test]
    fn a_shipment_has_records_in_order_without_gaps() {
        for seqs in [&[][..], &[4, 6], &[5, 4], &[4, 4]] {
            assert_eq!(
                shipment(seqs).to_lines(),
                Err(MalformedShipment::Gaps),
                "{seqs:?}"
            );
        }
        let mut broken = shipment(&[4, 5]);
        broken.records[1].event.push('\n');
        assert_eq!(broken.to_lines(), Err(MalformedShipment::Record(3)));
    }

    #[test]
    fn lines_that_are_no_records_are_named() {
        let head = "{\"gateway\":\"g\",\"spool\":\"s\",\"first\":4}";
        let read = |text: String| Shipment::from_lines(text.as_bytes()).unwrap_err();
        assert_eq!(read(format!("{head}\n")), MalformedShipment::Gaps);
        assert_eq!(read(head.to_owned()), MalformedShipment::Gaps);
        assert_eq!(
            read(format!("{head}\nc {{}}\nc {{}}")),
            MalformedShipment::Record(3)
        );
        assert_eq!(
            read(format!("{head}\nc{{}}\n")),
            MalformedShipment::Record(2)
        );
        assert!(matches!(
            read("{}\nc {}\n".to_owned()),
            MalformedShipment::Head(_)
        ));
        let last = head.replace('4', &u64::MAX.to_string());
        assert_eq!(
            read(format!("{last}\nc {{}}\nc {{}}\n")),
            MalformedShipment::Gaps
        );
    }
}
