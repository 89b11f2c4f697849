//! Task policies: who may open which kind of root task, for which trigger, with which mandate at most.

use std::collections::BTreeMap;
use std::time::Duration;

use mandate_model::mandate::{Budget, Entries};
use mandate_model::{AgentTypeName, AttributeName, PolicyName, ProviderName, Trigger};

/// Who may open a kind of root task, and the ceiling of its mandate.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskPolicy {
    /// Its name.
    pub name: PolicyName,
    /// The agent type that opens.
    pub opener: AgentTypeName,
    /// For which purpose; the policy's own name, if nothing else is said.
    pub purpose: String,
    /// What has to begin it.
    pub trigger: TriggerRule,
    /// The widest mandate, before claims are bound.
    pub ceiling: Entries,
    /// How long the task may live.
    pub max_duration: Duration,
    /// The longest task path, the root included.
    pub max_depth: u8,
    /// How often it may act.
    pub budget: Budget,
    /// Whether any instance of the opener's type may resume the task, not only the one that
    /// opened it (A3).
    pub resume_by_type: bool,
}

/// What has to begin a root task (A2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TriggerRule {
    /// A person who proves themself by an ID token.
    User(PersonRule),
    /// A schedule.
    Schedule(OccurrenceRule),
    /// An event.
    Event(OccurrenceRule),
    /// An operator.
    Operator,
}

impl TriggerRule {
    /// `user`, `schedule`, `event` or `operator`.
    pub fn kind(&self) -> &'static str {
        match self {
            TriggerRule::User(_) => "user",
            TriggerRule::Schedule(_) => "schedule",
            TriggerRule::Event(_) => "event",
            TriggerRule::Operator => "operator",
        }
    }

    /// The trust provider that has to vouch, where a person begins.
    pub fn provider(&self) -> Option<&ProviderName> {
        match self {
            TriggerRule::User(rule) => Some(&rule.provider),
            TriggerRule::Schedule(_) | TriggerRule::Event(_) | TriggerRule::Operator => None,
        }
    }

    /// Whether it is the rule for a trigger like this one: of its kind and, for a person, of its
    /// trust provider. Opener, purpose and this name one task policy.
    pub fn is_for(&self, trigger: &Trigger) -> bool {
        self.kind() == trigger.kind.as_str() && self.provider() == trigger.provider.as_ref()
    }
}

/// Which people, and how their claims bind the mandate.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PersonRule {
    /// The OIDC provider that vouches.
    pub provider: ProviderName,
    /// Claims that the ID token must have: the claim is this text, or a list that holds it.
    pub claims: BTreeMap<String, String>,
    /// Attributes whose value is that of a verified claim.
    pub bind: BTreeMap<AttributeName, String>,
    /// Whether the bundle says that no claim is bound: anybody at the provider gets the whole
    /// ceiling.
    pub any_user: bool,
}

/// Which schedule or event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OccurrenceRule {
    /// Its name.
    pub name: String,
    /// Whether an item id must be said.
    pub item_required: bool,
    /// Whether the agent's own word for it is enough.
    pub unverified_allowed: bool,
}
