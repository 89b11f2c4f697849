//! Who acts, and who let them: the levels of `act` (RFC 8693 §4.1, A1).

use crate::{InstanceId, ProviderName, SpiffeId};

/// The most `act` levels that a token carries.
pub const MAX_ACT_LEVELS: usize = 8;

/// How an agent's identity was established.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum AttestationKind {
    /// The kernel vouches for a process of a user or unit that only this agent type has.
    Process,
    /// The kernel vouches for a process, but other agent types share its user (C5).
    ProcessWeak,
    /// The host's attested identity vouches for it (DESIGN §3.3).
    Hosted,
    /// A cluster's API server reviewed its service account token, and found it good then.
    Kubernetes,
    /// A cluster signed its service account token. Whether its pod still exists, nobody asked.
    KubernetesOffline,
    /// A token of an OpenID provider.
    Oidc,
    /// An identity token of Google's, for a Cloud Run service or a Compute Engine instance.
    Google,
    /// A token of a GitHub Actions job.
    Github,
    /// A token of a GitLab job.
    Gitlab,
    /// A token of Azure for a managed identity.
    Azure,
    /// A web identity token of an AWS account, for one of its roles.
    AwsToken,
    /// AWS named the role that signed a request (`GetCallerIdentity`).
    Aws,
    /// A JWT-SVID of another SPIFFE trust domain.
    Spiffe,
}

impl AttestationKind {
    /// Every kind.
    pub const ALL: [AttestationKind; 13] = [
        AttestationKind::Process,
        AttestationKind::ProcessWeak,
        AttestationKind::Hosted,
        AttestationKind::Kubernetes,
        AttestationKind::KubernetesOffline,
        AttestationKind::Oidc,
        AttestationKind::Google,
        AttestationKind::Github,
        AttestationKind::Gitlab,
        AttestationKind::Azure,
        AttestationKind::AwsToken,
        AttestationKind::Aws,
        AttestationKind::Spiffe,
    ];

    /// Its name in tokens, records and policy contexts.
    pub fn as_str(self) -> &'static str {
        match self {
            AttestationKind::Process => "process",
            AttestationKind::ProcessWeak => "process-weak",
            AttestationKind::Hosted => "hosted",
            AttestationKind::Kubernetes => "kubernetes",
            AttestationKind::KubernetesOffline => "kubernetes-offline",
            AttestationKind::Oidc => "oidc",
            AttestationKind::Google => "google",
            AttestationKind::Github => "github",
            AttestationKind::Gitlab => "gitlab",
            AttestationKind::Azure => "azure",
            AttestationKind::AwsToken => "aws-token",
            AttestationKind::Aws => "aws",
            AttestationKind::Spiffe => "spiffe",
        }
    }

    /// The kind of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// The agent in whose process a hosted agent runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// The host's agent type.
    pub sub: SpiffeId,
    /// The host's instance.
    pub inst: InstanceId,
}

/// One agent of a chain, with everything a suspension could name about it (A1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActorLevel {
    /// The agent type.
    pub sub: SpiffeId,
    /// The instance.
    pub inst: InstanceId,
    /// The trust provider that vouched for it.
    pub prv: ProviderName,
    /// How.
    pub att: AttestationKind,
    /// Its host, where it is hosted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
}

/// An instance by its full name: two providers may call different things by one id.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// The trust provider that vouches for it.
    pub provider: ProviderName,
    /// What that provider calls it.
    pub id: InstanceId,
}

impl ActorLevel {
    /// The instance, by its full name.
    pub fn instance(&self) -> Instance {
        Instance {
            provider: self.prv.clone(),
            id: self.inst.clone(),
        }
    }
}

/// The agents of a chain, the latest first. Never more than [`MAX_ACT_LEVELS`].
///
/// Nested levels may only deny, never permit (RFC 8693 §4.1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ActChain(Vec<ActorLevel>);

impl ActChain {
    /// No one: the chain of a root task, which nobody delegated.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The chain of `levels`, latest first; `None` if there are too many.
    pub fn from_levels(levels: Vec<ActorLevel>) -> Option<Self> {
        (levels.len() <= MAX_ACT_LEVELS).then_some(Self(levels))
    }

    /// This chain with `actor` as its latest level; `None` if it would be too long.
    pub fn pushed(&self, actor: ActorLevel) -> Option<Self> {
        let mut levels = Vec::with_capacity(self.0.len() + 1);
        levels.push(actor);
        levels.extend(self.0.iter().cloned());
        Self::from_levels(levels)
    }

    /// The levels, latest first.
    pub fn levels(&self) -> &[ActorLevel] {
        &self.0
    }

    /// The latest level.
    pub fn latest(&self) -> Option<&ActorLevel> {
        self.0.first()
    }

    /// Whether there is no level.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_attestation_has_one_name_in_tokens_and_in_policies() {
        for kind in AttestationKind::ALL {
            let written = serde_json::to_string(&kind).unwrap();
            assert_eq!(written, format!("\"{}\"", kind.as_str()));
            assert_eq!(AttestationKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(AttestationKind::parse("nobody"), None);
    }
}
