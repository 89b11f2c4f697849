//! What a change of the bundle does to access: who gains and loses what, never only a text diff.

mod describe;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use mandate_model::{PolicyName, ProviderName};

use crate::Bundle;
use crate::table::{AccessRow, Way, key};

/// What would change if a bundle became live.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// Changed upstreams and credentials, to be shown first: they redirect secrets (C4). And trust
    /// providers that were there and are another one's word now: whoever was known by them, agent,
    /// person or operator, is somebody else, in declarations that stay as they are (FAILURES 8).
    pub upstreams: Vec<Change>,
    /// Server workloads that a gateway would go on with without a lease: a suspension may then not be
    /// effective at once (B3). And trust providers whose ID tokens begin operators' sessions without
    /// being bound to this authority.
    pub weakens: Vec<Change>,
    /// Access that comes to be.
    pub gains: Vec<AccessRow>,
    /// Access that ceases to be.
    pub losses: Vec<AccessRow>,
    /// Access whose conditions change. Whether that widens or narrows it is not guessed.
    pub conditions: Vec<ConditionChange>,
    /// Every other changed declaration.
    pub others: Vec<Change>,
}

/// A changed field of a declaration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Change {
    /// The kind of declaration.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// The field.
    pub field: String,
    /// What it said; `None` if it said nothing.
    pub before: Option<String>,
    /// What it says; `None` if it says nothing.
    pub after: Option<String>,
}

/// Access whose conditions change.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConditionChange {
    /// The access as it would be.
    pub row: AccessRow,
    /// The ways to it as they are.
    pub before: Vec<Way>,
    /// The guardrails about it as they are.
    pub guardrails_before: Vec<PolicyName>,
    /// The task policies under whose tasks it can come about as they are.
    pub tasks_before: Vec<PolicyName>,
    /// Those among them that anybody at a trust provider can begin.
    pub any_user_before: Vec<PolicyName>,
}

impl Plan {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether applying needs the right `upstreams` beside `apply` (C4).
    pub fn touches_upstreams(&self) -> bool {
        !self.upstreams.is_empty()
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}` {}: ", self.kind, self.name, self.field)?;
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => write!(f, "{before} → {after}"),
            (None, Some(after)) => write!(f, "new, {after}"),
            (Some(before), None) => write!(f, "removed, was {before}"),
            (None, None) => Ok(()),
        }
    }
}

/// What changes from `old`, or from nothing, to `new`. Heads are compared exactly.
pub fn plan(old: Option<&Bundle>, new: &Bundle) -> Plan {
    let before = old.map(Bundle::access_table).unwrap_or_default();
    let after = new.access_table();
    let mut plan = Plan::default();
    let known: BTreeMap<_, _> = before.iter().map(|row| (key(row), row)).collect();
    for row in &after {
        match known.get(&key(row)) {
            None => plan.gains.push(row.clone()),
            Some(was) if is_the_same_access(was, row) => {}
            Some(was) => plan.conditions.push(ConditionChange {
                row: row.clone(),
                before: was.ways.clone(),
                guardrails_before: was.guardrails.clone(),
                tasks_before: was.tasks.clone(),
                any_user_before: was.any_user.clone(),
            }),
        }
    }
    let kept: BTreeMap<_, _> = after.iter().map(|row| (key(row), row)).collect();
    let lost = before.iter().filter(|row| !kept.contains_key(&key(row)));
    plan.losses = lost.cloned().collect();
    let changes = changes(
        &old.map(describe::all).unwrap_or_default(),
        &describe::all(new),
    );
    let stayed: BTreeSet<&ProviderName> = match old {
        Some(old) => old.providers().map(|provider| &provider.name).collect(),
        None => BTreeSet::new(),
    };
    let stays = |name: &str| {
        let mut kept = new.providers().map(|provider| &provider.name);
        kept.any(|kept| kept.as_str() == name && stayed.contains(kept))
    };
    let moves = |change: &Change| redirects(change) || repoints(change) && stays(&change.name);
    let (upstreams, others) = changes.into_iter().partition(moves);
    plan.upstreams = upstreams;
    (plan.weakens, plan.others) = Vec::into_iter(others).partition(weakens);
    plan
}

fn is_the_same_access(a: &AccessRow, b: &AccessRow) -> bool {
    (&a.ways, &a.guardrails, &a.effect) == (&b.ways, &b.guardrails, &b.effect)
        && (&a.tasks, &a.any_user, &a.upgrade) == (&b.tasks, &b.any_user, &b.upgrade)
}

fn redirects(change: &Change) -> bool {
    change.kind == "ServerWorkload" && describe::REDIRECTING.contains(&change.field.as_str())
}

/// Of a provider that comes or goes every field changes, and nobody is known by it yet, or any more.
fn repoints(change: &Change) -> bool {
    change.kind == "TrustProvider" && describe::PINNING.contains(&change.field.as_str())
}

fn weakens(change: &Change) -> bool {
    let says = |kind, field| change.kind == kind && change.field == field && change.after.is_some();
    says("ServerWorkload", describe::WEAKENING) || says("TrustProvider", describe::UNBOUND)
}

fn changes(before: &describe::Fields, after: &describe::Fields) -> Vec<Change> {
    let keys: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    keys.into_iter()
        .filter(|key| before.get(*key) != after.get(*key))
        .map(|key| Change {
            kind: key.0,
            name: key.1.clone(),
            field: key.2.clone(),
            before: before.get(key).cloned(),
            after: after.get(key).cloned(),
        })
        .collect()
}

#[cfg(test)]
mod tests;
