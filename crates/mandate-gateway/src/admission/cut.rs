//! Cuts: why, and how many.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why an access may not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cut {
    /// The rule, in the words of the records.
    pub(crate) rule: String,
    /// For people.
    pub(crate) detail: String,
}

impl Cut {
    pub(crate) fn new(rule: &str, detail: impl Into<String>) -> Self {
        Self {
            rule: rule.to_owned(),
            detail: detail.into(),
        }
    }
}

/// One of the two who speak over a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The agent.
    Agent,
    /// The upstream.
    Upstream,
}

impl Side {
    /// That it ended what both had, in the words of the records.
    pub(crate) fn ended_it(self) -> &'static str {
        match self {
            Side::Agent => "the agent ended it",
            Side::Upstream => "the upstream ended it",
        }
    }
}

/// What a decision taken again led to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cuts {
    /// Accesses that were cut.
    pub(crate) cut: u64,
    /// Those of them that had been forwarded and not answered.
    pub(crate) unknown: u64,
}

/// What decisions taken again have cut and nobody has been told of. An access can find out by its
/// own check, and be gone before `Registry::decide_again` comes to it.
#[derive(Debug, Default)]
pub(super) struct Counts {
    cut: AtomicU64,
    unknown: AtomicU64,
}

impl Counts {
    pub(super) fn add(&self, unknown: bool) {
        self.cut.fetch_add(1, Ordering::SeqCst);
        self.unknown.fetch_add(u64::from(unknown), Ordering::SeqCst);
    }

    pub(super) fn take(&self) -> Cuts {
        Cuts {
            cut: self.cut.swap(0, Ordering::SeqCst),
            unknown: self.unknown.swap(0, Ordering::SeqCst),
        }
    }
}
