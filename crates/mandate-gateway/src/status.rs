//! Health that tells the truth, and the figures behind it.

use std::sync::{Mutex, PoisonError};

/// What the gateway says about itself.
#[derive(Debug, Default)]
pub(crate) struct Status {
    trouble: Mutex<Option<String>>,
    /// Why what was seen of the store is not on disk, if it is not.
    forgetful: Mutex<Option<String>>,
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

    /// What was seen of the store is durable, or not: a gateway that went on after a crash would then
    /// not notice a store that went back.
    pub(crate) fn marks(&self, failed: Option<String>) {
        *self
            .forgetful
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = failed;
    }

    /// The last trouble.
    pub(crate) fn what(&self) -> Option<String> {
        let of = |what: &Mutex<Option<String>>| {
            let what = what.lock().unwrap_or_else(PoisonError::into_inner);
            what.clone()
        };
        of(&self.forgetful).or_else(|| of(&self.trouble))
    }
}
