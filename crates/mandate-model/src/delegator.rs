//! Where a task comes from: an agent that delegated or opened it, or an operator.

use crate::{ActorLevel, OperatorName};

/// Who gave a task to the agent that works on it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum Delegator {
    /// An agent: it delegated the task, or opened it for itself.
    Agent(ActorLevel),
    /// An operator, who opened a root task for an agent type. No instance has it yet.
    Operator(OpeningOperator),
}

/// The operator that opened a root task.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpeningOperator {
    /// Its name.
    pub operator: OperatorName,
}

impl Delegator {
    /// The operator `name`.
    pub fn operator(name: OperatorName) -> Self {
        Delegator::Operator(OpeningOperator { operator: name })
    }

    /// The agent, if it is one.
    pub fn agent(&self) -> Option<&ActorLevel> {
        match self {
            Delegator::Agent(level) => Some(level),
            Delegator::Operator(_) => None,
        }
    }
}

impl From<ActorLevel> for Delegator {
    fn from(level: ActorLevel) -> Self {
        Delegator::Agent(level)
    }
}
