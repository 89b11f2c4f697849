//! Evidence in, attested facts out.

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};

use async_trait::async_trait;
use mandate_model::{AgentTypeName, AttestationKind, InstanceId, ProviderName, Secret, Timestamp};
use mandate_policy::Bundle;
use mandate_token::IdToken;

/// What a caller brings to prove what it is.
#[derive(Debug)]
pub enum Evidence {
    /// The process at the other end of a Unix socket.
    Process(PeerProcess),
    /// A token that a platform gave to the caller.
    Token(Secret<String>),
    /// A request to AWS that the caller has signed, and this authority is to send.
    Aws(Secret<String>),
}

/// A process that the kernel named as the peer of a socket.
///
/// It is held by a pidfd, so that a pid that is used again is noticed and never believed.
#[derive(Debug)]
pub struct PeerProcess {
    /// Refers to the process itself (`SO_PEERPIDFD`).
    pub pidfd: OwnedFd,
    /// Its pid when it connected. A label, never evidence.
    pub pid: i32,
    /// Its effective user when it connected.
    pub uid: u32,
    /// Its effective group when it connected.
    pub gid: u32,
}

/// Asks the kernel who is at the other end of a Unix socket.
pub trait Peers: Send + Sync {
    /// The peer of `socket`. An error if the kernel cannot name it by a pidfd.
    fn peer(&self, socket: BorrowedFd<'_>) -> std::io::Result<PeerProcess>;
}

/// The machine's user database.
pub trait Users: Send + Sync {
    /// The name of the user numbered `uid`; `None` if it has none.
    fn name(&self, uid: u32) -> std::io::Result<Option<String>>;
}

/// From where evidence was shown: a network or a local user, in the words of whoever keeps the door. It
/// proves nothing; quotas go by it, so that nobody's forgeries use up what is everybody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownFrom(String);

impl ShownFrom {
    /// What was shown from `source`.
    pub fn new(source: impl Into<String>) -> Self {
        Self(source.into())
    }

    /// The source.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What an attestor found out, matched against the bundle's rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attested {
    /// The one agent type that the evidence fits.
    pub agent: AgentTypeName,
    /// The provider that vouched.
    pub provider: ProviderName,
    /// The instance, unique per provider and never used again.
    pub instance: InstanceId,
    /// How sure it is.
    pub kind: AttestationKind,
    /// What else is known, for the record.
    pub facts: BTreeMap<String, String>,
    /// What makes this evidence good for one use, where it is: whoever issues on it uses it up in
    /// the same transaction, or does not issue.
    pub once: Option<Once>,
}

/// An identifier that may be used once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// The kind of identifier.
    pub scope: &'static str,
    /// The identifier.
    pub id: String,
    /// When it may be forgotten.
    pub until: Timestamp,
}

/// Why evidence is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttestRefusal {
    /// No rule of any agent type fits it. `nearest` names the check that the closest rule failed,
    /// for the log alone.
    #[error("no agent type's attestation rule fits this evidence")]
    NoRule {
        /// For the log: which check failed.
        nearest: String,
    },
    /// Rules of several agent types fit it.
    #[error("the attestation rules of several agent types fit this evidence")]
    Ambiguous,
    /// It changed while it was examined, or is gone.
    #[error("the process ended or changed while it was examined")]
    Gone,
    /// It cannot be examined.
    #[error("the evidence could not be examined")]
    Unreadable(String),
    /// The evidence itself breaks a rule, which the message names.
    #[error("the evidence is refused: {0}")]
    Broken(String),
    /// Whoever would have to be asked cannot be asked now. Why, is for the log.
    #[error("the trust provider of this evidence cannot be asked now; try again")]
    Unavailable(String),
}

/// A number that this authority chose, for a caller to sign (FAILURES 28).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The number, as text of `A-Z a-z 0-9 - _`.
    pub value: String,
    /// For how many seconds it is good.
    pub expires_in: u64,
}

/// Makes challenges. Whether one is ours and how old it is, is known without keeping it; that it is
/// used once is the store's to see to ([`Once`]).
pub trait Challenges: Send + Sync {
    /// A new challenge.
    fn challenge(&self) -> Challenge;
}

/// Turns evidence into attested facts, or refuses.
///
/// A name that the caller claims is no argument: the result follows from evidence and rules alone.
#[async_trait]
pub trait Attestor: Send + Sync {
    /// Examines `evidence` against the attestation rules of `bundle`. Where somebody else has to be asked,
    /// no source of evidence may keep others from being asked for.
    async fn attest(
        &self,
        evidence: Evidence,
        from: &ShownFrom,
        bundle: &Bundle,
    ) -> Result<Attested, AttestRefusal>;
}

/// Why a person's token is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PersonRefusal {
    /// No declared provider has this issuer, or the token is not for its audience, or is too old…
    #[error("{0}")]
    Token(String),
    /// The issuer's keys cannot be had now.
    #[error("the keys of trust provider `{0}` cannot be fetched now; try again")]
    Unavailable(ProviderName),
}

/// Verifies ID tokens of people against declared OIDC providers.
#[async_trait]
pub trait PersonVerifier: Send + Sync {
    /// Checks signature, issuer, audience and times of `token` for the provider of `bundle` named
    /// `provider`. Keys come from that provider's declared issuer, never from an address that the
    /// token names. Single use is the caller's to enforce, with the store.
    async fn verify(
        &self,
        provider: &ProviderName,
        token: &str,
        bundle: &Bundle,
        now: Timestamp,
    ) -> Result<IdToken, PersonRefusal>;
}
