//! Whether a root task may go on: what was allowed when it began may not be any more (A3).

use mandate_model::mandate::{Budget, Mandate};
use mandate_model::{AgentTypeName, Timestamp, Trigger, TriggerKind};

use super::OpenDenial;
use crate::Bundle;
use crate::decl::{OccurrenceRule, PersonRule, TaskPolicy, TriggerRule};

/// A root task that is open.
#[derive(Debug, Clone, Copy)]
pub struct StandingTask<'a> {
    /// The agent type that opened it.
    pub opener: &'a AgentTypeName,
    /// For which purpose.
    pub purpose: &'a str,
    /// What began it.
    pub trigger: &'a Trigger,
    /// When.
    pub opened_at: Timestamp,
    /// What it was opened with.
    pub mandate: &'a Mandate,
}

impl Bundle {
    /// Whether the task policy by which `task` would be opened today still covers what it was opened
    /// with: its trigger, entries, life, depth and budget.
    ///
    /// The claims of a person are not kept, so a changed `claims` is not noticed; of `bind` it is
    /// asked that each entry still pins each bound attribute to one value.
    pub fn still_opens(&self, task: &StandingTask<'_>) -> Result<(), OpenDenial> {
        let cause = (task.trigger.kind.as_str(), task.trigger.provider.as_ref());
        let policy = self.opening(task.opener, task.purpose, cause)?;
        check_trigger(policy, task.trigger)?;
        let mandate = task.mandate;
        let beyond = |what| OpenDenial::Beyond {
            policy: policy.name.clone(),
            what,
        };
        if !mandate.entries.are_within(&policy.ceiling) || !is_bound(policy, mandate) {
            return Err(beyond("ceiling"));
        }
        if mandate.expires_at > task.opened_at.plus(policy.max_duration) {
            return Err(beyond("maxDuration"));
        }
        if mandate.max_depth > policy.max_depth {
            return Err(beyond("maxDepth"));
        }
        if !is_within(&mandate.budget, &policy.budget) {
            return Err(beyond("budget"));
        }
        Ok(())
    }
}

fn check_trigger(policy: &TaskPolicy, trigger: &Trigger) -> Result<(), OpenDenial> {
    let named = || policy.name.clone();
    match (&policy.trigger, &trigger.kind) {
        (TriggerRule::User(rule), TriggerKind::User) => {
            match trigger.provider.as_ref() == Some(&rule.provider) {
                true => Ok(()),
                false => Err(OpenDenial::Provider { policy: named() }),
            }
        }
        (TriggerRule::Schedule(rule), TriggerKind::Schedule { name })
        | (TriggerRule::Event(rule), TriggerKind::Event { name }) => {
            check_occurrence(policy, rule, name, trigger.item.as_deref())
        }
        (TriggerRule::Operator, TriggerKind::Operator) => Ok(()),
        (
            TriggerRule::User(_)
            | TriggerRule::Schedule(_)
            | TriggerRule::Event(_)
            | TriggerRule::Operator,
            other,
        ) => Err(OpenDenial::TriggerKind {
            given: other.as_str(),
        }),
    }
}

/// What a rule asks of a schedule or event that only the agent speaks of.
pub(super) fn check_occurrence(
    policy: &TaskPolicy,
    rule: &OccurrenceRule,
    name: &str,
    item: Option<&str>,
) -> Result<(), OpenDenial> {
    let named = || policy.name.clone();
    if name != rule.name {
        return Err(OpenDenial::Name { policy: named() });
    }
    if !rule.unverified_allowed {
        return Err(OpenDenial::Unverified { policy: named() });
    }
    if rule.item_required && item.is_none() {
        return Err(OpenDenial::NoItem { policy: named() });
    }
    Ok(())
}

/// Whether each entry pins each attribute that the policy binds to a claim.
fn is_bound(policy: &TaskPolicy, mandate: &Mandate) -> bool {
    let TriggerRule::User(PersonRule { bind, .. }) = &policy.trigger else {
        return true;
    };
    mandate.entries.iter().all(|entry| {
        let pinned = |name| entry.constraints.get(name)?.single_value();
        bind.keys().all(|name| pinned(name).is_some())
    })
}

fn is_within(budget: &Budget, limit: &Budget) -> bool {
    let within = |count: Option<u64>, limit: Option<u64>| {
        limit.is_none_or(|limit| count.is_some_and(|count| count <= limit))
    };
    within(budget.max_accesses, limit.max_accesses)
        && within(budget.max_children, limit.max_children)
}
