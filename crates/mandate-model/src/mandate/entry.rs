//! One line of a mandate, and the antichain of them.

use std::collections::BTreeMap;

use super::Constraint;
use crate::{ActionName, AttributeName, RequestAttributes, ServerName};

/// The most entries, each with one action, that a mandate in normal form has.
pub const MAX_ENTRIES: usize = 64;

/// The most values that all `in` constraints of a mandate list together.
pub const MAX_VALUES: usize = 1024;

/// The constraints of an entry, by attribute.
pub type Constraints = BTreeMap<AttributeName, Constraint>;

/// One action of one server, for the requests whose attributes fit every constraint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// The server workload.
    pub server: ServerName,
    /// The action.
    pub action: ActionName,
    /// What the request's attributes may be. An attribute that is not named here is free.
    pub constraints: Constraints,
}

/// Why a request is not covered by a mandate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Uncovered {
    /// No entry names this server and action.
    #[error("the task's mandate has no entry for `{server}:{action}`")]
    NoEntry {
        /// The server asked for.
        server: ServerName,
        /// The action asked for.
        action: ActionName,
    },
    /// An entry constrains an attribute that the request does not have.
    #[error("the task's mandate constrains `{0}`, and the request has none")]
    Missing(AttributeName),
    /// A value of the request does not fit.
    #[error("the task's mandate does not admit this value of `{0}`")]
    Unfit(AttributeName),
}

impl Entry {
    /// Whether every request that this entry covers is covered by `outer`.
    ///
    /// The child may add keys; it may not drop one.
    pub fn is_within(&self, outer: &Entry) -> bool {
        self.server == outer.server
            && self.action == outer.action
            && outer.constraints.iter().all(|(key, outer)| {
                self.constraints
                    .get(key)
                    .is_some_and(|inner| inner.is_within(outer))
            })
    }

    /// Checks a request's attributes: for each key at least one value, and all values fit (A7).
    pub fn check(&self, attributes: &RequestAttributes) -> Result<(), Uncovered> {
        for (key, constraint) in &self.constraints {
            let values = attributes.values(key);
            if values.is_empty() {
                return Err(Uncovered::Missing(key.clone()));
            }
            if !values.iter().all(|value| constraint.admits(value)) {
                return Err(Uncovered::Unfit(key.clone()));
            }
        }
        Ok(())
    }
}

/// More than a mandate may hold. Says which limit was hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    /// More than [`MAX_ENTRIES`] after splitting per action.
    #[error("a mandate has at most {MAX_ENTRIES} entries of one action each")]
    Entries,
    /// More than [`MAX_VALUES`].
    #[error("a mandate lists at most {MAX_VALUES} values in all")]
    Values,
}

/// Entries in normal form: sorted, and none within another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Entries(Vec<Entry>);

impl Entries {
    /// The normal form of `entries`: dominated ones are dropped, the rest sorted.
    pub fn normalize(mut entries: Vec<Entry>) -> Result<Self, TooLarge> {
        if entries.len() > MAX_ENTRIES {
            return Err(TooLarge::Entries);
        }
        if entries.iter().map(values_listed).sum::<usize>() > MAX_VALUES {
            return Err(TooLarge::Values);
        }
        entries.sort();
        entries.dedup();
        let dominated: Vec<bool> = entries
            .iter()
            .map(|entry| {
                entries
                    .iter()
                    .any(|other| other != entry && entry.is_within(other))
            })
            .collect();
        let mut keep = dominated.into_iter().map(|dominated| !dominated);
        entries.retain(|_| keep.next().unwrap_or(true));
        Ok(Self(entries))
    }

    /// The entries, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter()
    }

    /// Whether there is none, so that nothing is permitted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The entries for one server alone.
    pub fn for_server(&self, server: &ServerName) -> Entries {
        Entries(
            self.0
                .iter()
                .filter(|e| e.server == *server)
                .cloned()
                .collect(),
        )
    }

    /// The entries for one action of one server.
    pub fn for_action(
        &self,
        server: &ServerName,
        action: &ActionName,
    ) -> impl Iterator<Item = &Entry> {
        self.0
            .iter()
            .filter(move |e| e.server == *server && e.action == *action)
    }

    /// Whether each entry is within *one* entry of `outer`; two of them are never combined.
    pub fn are_within(&self, outer: &Entries) -> bool {
        self.first_outside(outer).is_none()
    }

    /// The first entry that is not within one entry of `outer`.
    pub fn first_outside(&self, outer: &Entries) -> Option<&Entry> {
        self.0
            .iter()
            .find(|inner| !outer.0.iter().any(|o| inner.is_within(o)))
    }

    /// The entry that covers a request; or why none does, from the entry that came closest.
    pub fn cover(
        &self,
        server: &ServerName,
        action: &ActionName,
        attributes: &RequestAttributes,
    ) -> Result<&Entry, Uncovered> {
        let mut why = None;
        for entry in self.for_action(server, action) {
            match entry.check(attributes) {
                Ok(()) => return Ok(entry),
                Err(reason) => why = why.or(Some(reason)),
            }
        }
        Err(why.unwrap_or_else(|| Uncovered::NoEntry {
            server: server.clone(),
            action: action.clone(),
        }))
    }
}

fn values_listed(entry: &Entry) -> usize {
    let listed = |constraint: &Constraint| match constraint {
        Constraint::In(set) => set.len(),
        Constraint::Prefix(_) | Constraint::Max(_) => 1,
    };
    entry.constraints.values().map(listed).sum()
}
