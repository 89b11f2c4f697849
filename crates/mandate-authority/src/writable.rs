//! Whether the store took the last thing that it was given.

use std::sync::{Mutex, MutexGuard, PoisonError};

use mandate_model::Timestamp;

/// The outcome of the last commits.
#[derive(Debug)]
pub(crate) struct Writable(Mutex<Option<Failing>>);

/// A store that fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failing {
    /// Since when.
    pub(crate) since: Timestamp,
    /// With what.
    pub(crate) why: String,
}

impl Writable {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// A commit succeeded.
    pub(crate) fn worked(&self) {
        *self.lock() = None;
    }

    /// A commit failed at `now`.
    pub(crate) fn failed(&self, now: Timestamp, why: String) {
        let mut failing = self.lock();
        let since = failing.as_ref().map_or(now, |earlier| earlier.since);
        *failing = Some(Failing { since, why });
    }

    /// Since when and with what it fails, if it does.
    pub(crate) fn failing(&self) -> Option<Failing> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Failing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
