//! Stops: what may not act any more, and how a token is matched against it (A1).
//!
//! Suspensions, ended tasks and revoked tokens are one versioned set, so that a gateway that
//! acknowledges a version has acknowledged all three.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use crate::{
    ActorLevel, GatewayId, InstanceId, KeyId, Principal, ProviderName, ServerName, SpiffeId,
    StopVersion, TaskId, Thumbprint, Timestamp, TokenId,
};

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

/// Everything about an access or an exchange that a stop could name.
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
    /// The ids of the tokens shown.
    pub tokens: &'a [TokenId],
    /// The key that the token shown is bound to.
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
        tokens: &[],
        holder: None,
    };
}

/// Why something is stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// A suspension matches.
    #[error("{0} is suspended")]
    Suspended(Subject),
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
    suspensions: HashMap<Subject, Suspension>,
    ended: BTreeMap<TaskId, Timestamp>,
    revoked: BTreeMap<TokenId, Timestamp>,
    replaced: BTreeMap<Thumbprint, Timestamp>,
}

impl StopSet {
    /// The stops at `version`.
    ///
    /// An ended task or revoked token comes with the moment after which no token that it concerns
    /// can still be valid, so that it may be forgotten.
    pub fn new(
        version: StopVersion,
        suspensions: impl IntoIterator<Item = Suspension>,
        ended: impl IntoIterator<Item = (TaskId, Timestamp)>,
        revoked: impl IntoIterator<Item = (TokenId, Timestamp)>,
    ) -> Self {
        Self {
            version,
            suspensions: suspensions
                .into_iter()
                .map(|s| (s.subject.clone(), s))
                .collect(),
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

    /// These and more suspensions, at `version`.
    #[must_use]
    pub fn also_suspended(
        &self,
        version: StopVersion,
        more: impl IntoIterator<Item = Suspension>,
    ) -> Self {
        let mut all = self.clone();
        all.version = version;
        let more = more.into_iter().map(|s| (s.subject.clone(), s));
        all.suspensions.extend(more);
        all
    }

    /// Its version.
    pub fn version(&self) -> StopVersion {
        self.version
    }

    /// The suspensions in force, in no order.
    pub fn suspensions(&self) -> impl Iterator<Item = &Suspension> {
        self.suspensions.values()
    }

    /// The suspension of exactly this subject, if there is one.
    pub fn suspension(&self, subject: &Subject) -> Option<&Suspension> {
        self.suspensions.get(subject)
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

    /// Whether `lineage` may go on. The first stop that matches is named.
    ///
    /// The cost grows with the lineage, not with the number of stops.
    pub fn check(&self, lineage: &Lineage<'_>) -> Result<(), Stopped> {
        if !self.suspensions.is_empty() {
            self.check_suspensions(lineage)?;
        }
        if let Some(task) = lineage
            .path
            .iter()
            .find(|task| self.ended.contains_key(task))
        {
            return Err(Stopped::TaskEnded(*task));
        }
        let revoked = |token: &&TokenId| self.revoked.contains_key(token);
        if let Some(token) = lineage.tokens.iter().find(revoked) {
            return Err(Stopped::TokenRevoked(*token));
        }
        match lineage.holder {
            Some(key) if self.replaced.contains_key(key) => Err(Stopped::KeyReplaced),
            Some(_) | None => Ok(()),
        }
    }

    fn check_suspensions(&self, lineage: &Lineage<'_>) -> Result<(), Stopped> {
        self.check_subject(Subject::Everything)?;
        for actor in lineage.actors {
            self.check_subject(Subject::Agent {
                id: actor.sub.clone(),
            })?;
            let (provider, id) = (actor.prv.clone(), actor.inst.clone());
            self.check_subject(Subject::Instance { provider, id })?;
            self.check_subject(Subject::Provider {
                name: actor.prv.clone(),
            })?;
            if let Some(host) = &actor.host {
                self.check_subject(Subject::Agent {
                    id: host.sub.clone(),
                })?;
                let (provider, id) = (actor.prv.clone(), host.inst.clone());
                self.check_subject(Subject::Instance { provider, id })?;
            }
        }
        for id in lineage.path {
            self.check_subject(Subject::Task { id: *id })?;
        }
        for id in lineage.keys {
            self.check_subject(Subject::Key { id: id.clone() })?;
        }
        let rest = [
            lineage
                .principal
                .map(|id| Subject::Principal { id: id.clone() }),
            lineage
                .trigger_provider
                .map(|name| Subject::Provider { name: name.clone() }),
            lineage
                .server
                .map(|name| Subject::Server { name: name.clone() }),
            lineage
                .gateway
                .map(|id| Subject::Gateway { id: id.clone() }),
        ];
        rest.into_iter()
            .flatten()
            .try_for_each(|subject| self.check_subject(subject))
    }

    fn check_subject(&self, subject: Subject) -> Result<(), Stopped> {
        if self.suspensions.contains_key(&subject) {
            Err(Stopped::Suspended(subject))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AttestationKind, Host};

    fn actor(agent: &str, instance: &str, host: Option<&str>) -> ActorLevel {
        let sub = |name: &str| SpiffeId::parse(&format!("spiffe://a/agent/{name}")).unwrap();
        ActorLevel {
            sub: sub(agent),
            inst: InstanceId::parse(instance).unwrap(),
            prv: ProviderName::parse("linux").unwrap(),
            att: if host.is_some() {
                AttestationKind::Hosted
            } else {
                AttestationKind::Process
            },
            host: host.map(|name| Host {
                sub: sub(name),
                inst: InstanceId::parse("h1").unwrap(),
            }),
        }
    }

    fn set_of(subject: Subject) -> StopSet {
        let suspension = Suspension {
            subject,
            reason: "INC-1".to_owned(),
            operator: Principal::parse("operator:root").unwrap(),
            version: StopVersion::new(1),
            at: Timestamp::from_secs(1),
        };
        StopSet::new(StopVersion::new(1), [suspension], [], [])
    }

    #[test]
    fn a_suspension_matches_every_element_of_a_lineage_and_nothing_else() {
        let actors = [
            actor("retriever", "i2", Some("orchestrator")),
            actor("planner", "i1", None),
        ];
        let task = |n: u8| TaskId::new(Timestamp::from_secs(1), [n; 10]);
        let path = [task(1), task(2)];
        let principal = Principal::parse("user:login:alice").unwrap();
        let (trigger, server) = (
            ProviderName::parse("login").unwrap(),
            ServerName::parse("records").unwrap(),
        );
        let gateway = GatewayId::parse("g1").unwrap();
        let keys = [KeyId::parse("k1").unwrap()];
        let lineage = Lineage {
            actors: &actors,
            path: &path,
            principal: Some(&principal),
            trigger_provider: Some(&trigger),
            server: Some(&server),
            gateway: Some(&gateway),
            keys: &keys,
            tokens: &[],
            holder: None,
        };
        let agent = |name: &str| Subject::Agent {
            id: SpiffeId::parse(&format!("spiffe://a/agent/{name}")).unwrap(),
        };
        let instance = |id: &str| Subject::Instance {
            provider: ProviderName::parse("linux").unwrap(),
            id: InstanceId::parse(id).unwrap(),
        };
        let provider = |name: &str| Subject::Provider {
            name: ProviderName::parse(name).unwrap(),
        };
        let server = |name: &str| Subject::Server {
            name: ServerName::parse(name).unwrap(),
        };
        for hit in [
            agent("retriever"),
            agent("planner"),
            agent("orchestrator"),
            instance("i1"),
            instance("i2"),
            instance("h1"),
            provider("linux"),
            provider("login"),
            server("records"),
            Subject::Task { id: task(1) },
            Subject::Task { id: task(2) },
            Subject::Principal {
                id: principal.clone(),
            },
            Subject::Gateway {
                id: gateway.clone(),
            },
            Subject::Key {
                id: keys[0].clone(),
            },
            Subject::Everything,
        ] {
            assert_eq!(
                set_of(hit.clone()).check(&lineage),
                Err(Stopped::Suspended(hit))
            );
        }
        for miss in [
            agent("executor"),
            instance("i3"),
            provider("other"),
            server("other"),
            Subject::Task { id: task(3) },
            Subject::Principal {
                id: Principal::parse("user:login:bob").unwrap(),
            },
            Subject::Gateway {
                id: GatewayId::parse("g2").unwrap(),
            },
            Subject::Key {
                id: KeyId::parse("k2").unwrap(),
            },
        ] {
            assert_eq!(set_of(miss).check(&lineage), Ok(()));
        }
    }

    #[test]
    fn an_ended_ancestor_and_a_revoked_token_stop_a_lineage() {
        let task = |n: u8| TaskId::new(Timestamp::from_secs(1), [n; 10]);
        let token = TokenId::new(Timestamp::from_secs(1), [1; 10]);
        let later = Timestamp::from_secs(9);
        let stops = StopSet::new(
            StopVersion::new(1),
            [],
            [(task(1), later)],
            [(token, later)],
        );
        let path = [task(1), task(2)];
        let of_path = Lineage {
            path: &path,
            ..Lineage::NONE
        };
        assert_eq!(stops.check(&of_path), Err(Stopped::TaskEnded(task(1))));
        let tokens = [token];
        let of_token = Lineage {
            tokens: &tokens,
            ..Lineage::NONE
        };
        assert_eq!(stops.check(&of_token), Err(Stopped::TokenRevoked(token)));
        assert_eq!(stops.check(&Lineage::NONE), Ok(()));
    }

    #[test]
    fn a_token_of_a_replaced_key_is_void_and_others_are_not() {
        let (old, new) = (Thumbprint::new([1; 32]), Thumbprint::new([2; 32]));
        let stops = StopSet::default().with_replaced_keys([(old, Timestamp::from_secs(9))]);
        let bound_to = |key| {
            stops.check(&Lineage {
                holder: key,
                ..Lineage::NONE
            })
        };
        assert_eq!(bound_to(Some(&old)), Err(Stopped::KeyReplaced));
        assert_eq!(bound_to(Some(&new)), Ok(()));
        assert_eq!(bound_to(None), Ok(()));
    }
}
