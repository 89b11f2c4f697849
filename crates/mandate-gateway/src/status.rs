//! Health that tells the truth, and the figures behind it.

use std::sync::{Mutex, PoisonError};

/// What the gateway says about itself.
#[derive(Debug, Default)]
pub(crate) struct Status {
    trouble: Mutex<Option<String>>,
}

impl Status {
    /// Something keeps the gateway from its work.
    pub(crate) fn trouble(&self, what: String) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
    }

    /// Nothing does any more.
    pub(crate) fn well(&self) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The last trouble.
    pub(crate) fn what(&self) -> Option<String> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
