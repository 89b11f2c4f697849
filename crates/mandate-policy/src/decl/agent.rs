//! Agent types: how they are recognised, whom they may spawn, how to stop them.

use std::collections::{BTreeMap, BTreeSet};

use mandate_model::{
    ActionName, AgentTypeName, AttestationKind, ProviderName, ServerName, SpiffeId,
};

use super::ClaimTest;

/// A kind of agent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AgentType {
    /// Its name.
    pub name: AgentTypeName,
    /// Its SPIFFE ID: one per type.
    pub id: SpiffeId,
    /// The process rules by which it is recognised; any one of them suffices.
    pub process_rules: Vec<ProcessRule>,
    /// The rules about tokens of platforms; any one of them suffices too.
    pub token_rules: Vec<TokenRule>,
    /// The rules about roles of AWS; any one of them suffices too.
    pub aws_rules: Vec<AwsRule>,
    /// The agent types in whose process it may run (DESIGN §3.3).
    pub hosted_by: BTreeSet<AgentTypeName>,
    /// Whom it may delegate to, and what at most (A6).
    pub may_spawn: BTreeMap<AgentTypeName, SpawnScope>,
    /// Audiences outside of this trust domain for which its JWT-SVIDs may be minted (A4).
    pub federation: BTreeSet<String>,
    /// Whether a task is pinned to the first instance that works on it (A5).
    pub pin: Pin,
    /// Whether it must prove a key (RFC 9449).
    pub proof: Possession,
    /// How to stop it.
    pub break_glass: BreakGlass,
}

impl AgentType {
    /// Whether it is only ever hosted: no evidence proves it.
    pub fn is_only_hosted(&self) -> bool {
        self.process_rules.is_empty() && self.token_rules.is_empty() && self.aws_rules.is_empty()
    }
}

/// What may be delegated to a child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpawnScope {
    /// Whatever the task's mandate covers.
    Any,
    /// These actions at most.
    Only(BTreeSet<(ServerName, ActionName)>),
}

/// Whether a task is pinned to one instance of its agent type (A5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    /// Any instance of the type may work on it.
    None,
    /// The first instance that uses it keeps it.
    Instance,
}

/// Whether tokens must be bound to a key that their holder proves (A5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Possession {
    /// They are where the agent brings a key.
    #[default]
    Optional,
    /// They are, or they are neither issued nor accepted.
    Required,
}

/// The documented break-glass procedure of an agent type.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakGlass {
    /// Whom to call.
    pub contact: String,
    /// What stops working when the agent type is suspended.
    pub impact: String,
    /// What to do, in order.
    pub steps: Vec<String>,
    /// Whether resuming needs an operator other than the one who suspended.
    pub resume_needs_second_operator: bool,
}

/// A process of which the kernel vouches that it is an agent type (C5).
///
/// The boundary is the user or the unit; path and digest only narrow within it. At least one of
/// `user` and `unit` is there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessRule {
    /// The agent type that it proves.
    pub agent: AgentTypeName,
    /// The trust provider, of kind `process`.
    pub provider: ProviderName,
    /// The effective user.
    pub user: Option<UserRule>,
    /// The systemd unit, as root's service manager runs it.
    pub unit: Option<String>,
    /// The executable's absolute path.
    pub path: Option<String>,
    /// SHA-256 of the executable, 64 lower-case hex digits.
    pub sha256: Option<String>,
    /// Whether the bundle says `isolation: none`: other agent types may share its user. What it
    /// proves is stamped `process-weak`.
    pub weak: bool,
}

/// A token of a platform that proves an agent type. Its provider pins issuer and audience; the tests
/// pin at least the subject (FAILURES 14).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenRule {
    /// The agent type that it proves.
    pub agent: AgentTypeName,
    /// The trust provider, one of this kind.
    pub provider: ProviderName,
    /// The platform.
    pub kind: AttestationKind,
    /// What its claims must be; all of it.
    pub tests: Vec<ClaimTest>,
}

/// A role of AWS that proves an agent type.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AwsRule {
    /// The agent type that it proves.
    pub agent: AgentTypeName,
    /// The trust provider, of kind `aws`.
    pub provider: ProviderName,
    /// The partition: `aws`, `aws-cn` or `aws-us-gov`.
    pub partition: String,
    /// The account's number.
    pub account: String,
    /// The role's name, without its path, which STS does not tell.
    pub role: String,
    /// The role's unique id, which a role of the same name that is made later does not have.
    pub role_id: Option<String>,
}

/// A user of the machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UserRule {
    /// By name, as the machine's user database resolves it when evidence is examined.
    Name(String),
    /// By number.
    Uid(u32),
}
