//! Access policies and guardrails.

use std::collections::BTreeSet;
use std::time::Duration;

use mandate_model::mandate::Constraints;
use mandate_model::{ActionName, AgentTypeName, AttributeName, PolicyName, ServerName};

/// Which agent types may do what with a server workload.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccessPolicy {
    /// Its name.
    pub name: PolicyName,
    /// The acting agent types.
    pub agents: BTreeSet<AgentTypeName>,
    /// The server workload.
    pub server: ServerName,
    /// The actions.
    pub actions: BTreeSet<ActionName>,
    /// Attributes that the task's mandate must pin to exactly one value each.
    pub task_must_fix: BTreeSet<AttributeName>,
    /// What the request's attributes may be.
    pub limits: Constraints,
    /// A further Cedar condition.
    pub when: Option<String>,
    /// The longest life of an access token for this, if shorter than usual.
    pub max_token_lifetime: Option<Duration>,
}

/// A `forbid` that no access policy overrides.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Guardrail {
    /// Its name.
    pub name: PolicyName,
    /// The Cedar condition under which access is forbidden.
    pub forbid: String,
    /// The agent types that it is about; all, if `None`.
    pub agents: Option<BTreeSet<AgentTypeName>>,
    /// The server workloads that it is about; all, if `None`.
    pub servers: Option<BTreeSet<ServerName>>,
}
