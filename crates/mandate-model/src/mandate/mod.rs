//! Mandates: the authority that a task carries, and the one function that hands on a part of it.
//!
//! A mandate is a closed world: what no entry covers is denied. It is kept in normal form (A7):
//! one action per entry, sorted, without entries that another one dominates.

mod constraint;
mod entry;
mod narrow;
mod wire;

pub use constraint::{Constraint, MalformedConstraint};
pub use entry::{Constraints, Entries, Entry, MAX_ENTRIES, MAX_VALUES, TooLarge, Uncovered};
pub use narrow::{Widening, narrow};
pub use wire::{MalformedEntry, RawEntry, parse_entries};

use crate::Timestamp;

/// The deepest task tree: a root task and seven generations below it (A1).
pub const MAX_DEPTH: u8 = 8;

/// How often a task may act. `None` is "not limited here"; a parent's limit still holds.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// The most accesses, of this task and of all below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_accesses: Option<u64>,
    /// The most tasks that may be delegated, by this task and by all below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_children: Option<u64>,
}

/// The authority of a task. Its entries are in normal form; its depth never passes [`MAX_DEPTH`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mandate {
    /// What may be done.
    pub entries: Entries,
    /// From when, where it does not begin at once.
    pub not_before: Option<Timestamp>,
    /// Until when.
    pub expires_at: Timestamp,
    /// How often.
    pub budget: Budget,
    /// The longest `task.path` below and including this task.
    pub max_depth: u8,
}

/// A part of a mandate that somebody asks for. `None` asks for what the parent has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MandateRequest {
    /// What may be done.
    pub entries: Option<Entries>,
    /// From when.
    pub not_before: Option<Timestamp>,
    /// Until when.
    pub expires_at: Option<Timestamp>,
    /// How often. Must be said where the parent is limited.
    pub budget: Budget,
    /// How deep.
    pub max_depth: Option<u8>,
}

impl Mandate {
    /// The request that asks for exactly this mandate.
    pub fn to_request(&self) -> MandateRequest {
        MandateRequest {
            entries: Some(self.entries.clone()),
            not_before: self.not_before,
            expires_at: Some(self.expires_at),
            budget: self.budget,
            max_depth: Some(self.max_depth),
        }
    }

    /// Whether the mandate is in force at `now`. The first moment counts, the last does not.
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.not_before.is_none_or(|from| from <= now) && now < self.expires_at
    }
}

#[cfg(test)]
mod tests;
