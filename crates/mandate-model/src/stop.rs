//! Stops: what may not act any more, and how a token is matched against it (A1).
//!
//! Suspensions, ended tasks and revoked tokens are one versioned set, so that a gateway that
//! acknowledges a version has acknowledged all three.

mod index;

use std::collections::BTreeMap;
use std::fmt;

use crate::{
    ActorLevel, GatewayId, InstanceId, KeyId, Principal, ProviderName, ServerName, SpiffeId,
    StopVersion, TaskId, Thumbprint, Timestamp, TokenId,
};
use index::BySubject;

/// Whom or what a suspension stops.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Subject {
    /// An agent type, everywhere.
    Agent {
        /// Its SPIFFE ID.
        id: SpiffeId,
    },
    /// One instance.
    Instance {
        /// The trust provider that names it.
        provider: ProviderName,
        /// The instance.
        id: InstanceId,
    },
    /// A task and everything below it.
    Task {
        /// The task.
        id: TaskId,
    },
    /// Everything done for one principal.
    Principal {
        /// The principal.
        id: Principal,
    },
    /// A server workload.
    Server {
        /// Its name.
        name: ServerName,
    },
    /// Whatever a trust provider vouched for.
    Provider {
        /// Its name.
        name: ProviderName,
    },
    /// A gateway.
    Gateway {
        /// The instance.
        id: GatewayId,
    },
    /// What a key signed.
    Key {
        /// Its `kid`.
        id: KeyId,
    },
    /// Everything.
    Everything,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Agent { id } => match id.agent_type() {
                Some(name) => write!(f, "agent {name}"),
                None => write!(f, "agent {id}"),
            },
            Subject::Instance { provider, id } => write!(f, "instance {provider}/{id}"),
            Subject::Task { id } => write!(f, "task {id}"),
            Subject::Principal { id } => write!(f, "principal {id}"),
            Subject::Server { name } => write!(f, "server {name}"),
            Subject::Provider { name } => write!(f, "provider {name}"),
            Subject::Gateway { id } => write!(f, "gateway {id}"),
            Subject::Key { id } => write!(f, "key {id}"),
            Subject::Everything => f.write_str("everything"),
        }
    }
}

/// A suspension in force.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suspension {
    /// Whom it stops.
    pub subject: Subject,
    /// Why, in the operator's words.
    pub reason: String,
    /// Who said so.
    pub operator: Principal,
    /// The stop version with which it came.
    pub version: StopVersion,
    /// When it was committed.
    pub at: Timestamp,
}

/// What a suspension that was lifted leaves behind: whatever was issued under its subject before is
/// void for good.
///
/// "Before" is told by stop versions and by no clock. Every token carries the version under which it
/// was issued; the store commits an issuance only if no suspension has begun or ended since that
/// version. So a token issued before the resumption carries a lower version than `version`, one
/// issued after it this or a higher one, and none is ever in doubt.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resumption {
    /// Who goes on.
    pub subject: Subject,
    /// The stop version with which the suspension ended.
    pub version: StopVersion,
    /// When the last token issued before has expired anyway.
    pub until: Timestamp,
}

/// A token that is shown, as stops see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// Its id.
    pub id: TokenId,
    /// The stop version under which it was issued.
    pub stops: StopVersion,
}

/// Everything about an access or an exchange that a stop could name.
///
/// Where several tokens are shown, each has a lineage of its own and is checked by itself: what one
/// was issued under says nothing of the other.
#[derive(Debug, Clone, Copy)]
pub struct Lineage<'a> {
    /// The acting agent, its delegators and so on, latest first. Their hosts count too.
    pub actors: &'a [ActorLevel],
    /// The task path, root to leaf; empty where there is no task yet.
    pub path: &'a [TaskId],
    /// Whom it is for.
    pub principal: Option<&'a Principal>,
    /// The provider that vouched for the trigger.
    pub trigger_provider: Option<&'a ProviderName>,
    /// The server workload.
    pub server: Option<&'a ServerName>,
    /// The gateway.
    pub gateway: Option<&'a GatewayId>,
    /// The keys that signed the tokens shown.
    pub keys: &'a [KeyId],
    /// The agent type that a task token is for (`may_act`): to hold it is to be handed on to.
    pub recipient: Option<&'a SpiffeId>,
    /// Whether it is an operator's session. "Everything" stops what agents do; whoever resumes it
    /// must not be stopped by it.
    pub operates: bool,
    /// The token of which all this is said, if there is one yet.
    pub token: Option<Shown>,
    /// The key that the token is bound to.
    pub holder: Option<&'a Thumbprint>,
}

impl Lineage<'static> {
    /// Nothing known; to be filled in with struct update syntax.
    pub const NONE: Lineage<'static> = Lineage {
        actors: &[],
        path: &[],
        principal: None,
        trigger_provider: None,
        server: None,
        gateway: None,
        keys: &[],
        recipient: None,
        operates: false,
        token: None,
        holder: None,
    };
}

/// Why something is stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// A suspension matches.
    #[error("{0} is suspended")]
    Suspended(Subject),
    /// A token was issued before a suspension of this subject ended.
    #[error("this was issued before {0} was resumed and is void: attest afresh")]
    IssuedBefore(Subject),
    /// A token was issued under stops that the store has never had: the store went back.
    #[error("this was issued under a later state than the authority knows: attest afresh")]
    FromAnotherPast,
    /// A task on the path was closed or cancelled.
    #[error("task {0} has ended")]
    TaskEnded(TaskId),
    /// A token was revoked.
    #[error("token {0} was revoked")]
    TokenRevoked(TokenId),
    /// The instance attested with another key since (A5).
    #[error("the token is bound to a key that its instance has replaced by another one")]
    KeyReplaced,
}

/// All stops at one version. Immutable once published; swapped whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StopSet {
    version: StopVersion,
    by_subject: BySubject,
    ended: BTreeMap<TaskId, Timestamp>,
    revoked: BTreeMap<TokenId, Timestamp>,
    replaced: BTreeMap<Thumbprint, Timestamp>,
}

impl StopSet {
    /// The stops at `version`.
    ///
    /// An ended task or revoked token comes with the moment after which no token that it concerns
    /// can still be valid, so that it may be forgotten; so does a resumption.
    pub fn new(
        version: StopVersion,
        suspensions: impl IntoIterator<Item = Suspension>,
        resumptions: impl IntoIterator<Item = Resumption>,
        ended: impl IntoIterator<Item = (TaskId, Timestamp)>,
        revoked: impl IntoIterator<Item = (TokenId, Timestamp)>,
    ) -> Self {
        Self {
            version,
            by_subject: BySubject::new(suspensions, resumptions),
            ended: ended.into_iter().collect(),
            revoked: revoked.into_iter().collect(),
            replaced: BTreeMap::new(),
        }
    }

    /// These, and keys that were replaced: tokens that are bound to one are void (A5). Each comes
    /// with when it may be forgotten.
    #[must_use]
    pub fn with_replaced_keys(
        mut self,
        keys: impl IntoIterator<Item = (Thumbprint, Timestamp)>,
    ) -> Self {
        self.replaced.extend(keys);
        self
    }

    /// These, without the keys that matter to nobody since before `moment`.
    #[must_use]
    pub fn without_keys_replaced_until(mut self, moment: Timestamp) -> Self {
        self.replaced.retain(|_, until| *until >= moment);
        self
    }

    /// Suspensions alone, at `version`.
    pub fn of_suspensions(
        version: StopVersion,
        suspensions: impl IntoIterator<Item = Suspension>,
    ) -> Self {
        Self::new(version, suspensions, [], [], [])
    }

    /// These stops and `more` suspensions, at `version`.
    #[must_use]
    pub fn with(&self, version: StopVersion, more: impl IntoIterator<Item = Suspension>) -> Self {
        let mut stops = self.clone();
        stops.version = version;
        stops.by_subject.suspend(more);
        stops
    }

    /// Its version.
    pub fn version(&self) -> StopVersion {
        self.version
    }

    /// The suspensions in force, in no order.
    pub fn suspensions(&self) -> impl Iterator<Item = &Suspension> {
        self.by_subject.suspensions()
    }

    /// The suspension of exactly this subject, if there is one.
    pub fn suspension(&self, subject: &Subject) -> Option<&Suspension> {
        self.by_subject.suspension(subject)
    }

    /// What lifted suspensions left void, of each subject the latest, in no order.
    pub fn resumptions(&self) -> impl Iterator<Item = &Resumption> {
        self.by_subject.resumptions()
    }

    /// Ended tasks, each with when it may be forgotten.
    pub fn ended(&self) -> impl Iterator<Item = (&TaskId, &Timestamp)> {
        self.ended.iter()
    }

    /// Revoked tokens, each with when it may be forgotten.
    pub fn revoked(&self) -> impl Iterator<Item = (&TokenId, &Timestamp)> {
        self.revoked.iter()
    }

    /// Keys that were replaced, each with when it may be forgotten.
    pub fn replaced_keys(&self) -> impl Iterator<Item = (&Thumbprint, &Timestamp)> {
        self.replaced.iter()
    }

    /// Whether `lineage` may go on. A suspension that matches is named before anything else.
    ///
    /// The cost grows with the lineage, not with the number of stops.
    pub fn check(&self, lineage: &Lineage<'_>) -> Result<(), Stopped> {
        self.by_subject.check(lineage)?;
        if let Some(task) = lineage
            .path
            .iter()
            .find(|task| self.ended.contains_key(task))
        {
            return Err(Stopped::TaskEnded(*task));
        }
        if let Some(token) = lineage.token
            && self.revoked.contains_key(&token.id)
        {
            return Err(Stopped::TokenRevoked(token.id));
        }
        match lineage.holder {
            Some(key) if self.replaced.contains_key(key) => Err(Stopped::KeyReplaced),
            Some(_) | None => Ok(()),
        }
    }

    /// As [`check`](Self::check), where the stops are kept. There no token can be ahead of them,
    /// unless the store was put back to an earlier state: what it was issued under, and was void by,
    /// nobody knows any more. (A gateway may learn of a version later than an agent of its token.)
    pub fn check_at_home(&self, lineage: &Lineage<'_>) -> Result<(), Stopped> {
        self.check(lineage)?;
        match lineage.token {
            Some(token) if token.stops > self.version => Err(Stopped::FromAnotherPast),
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
