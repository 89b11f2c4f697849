//! How much of a memory each caller holds.

use std::collections::HashMap;
use std::sync::Arc;

use super::{SeenError, Shower};

/// A memory of a size, and what of it whom belongs to.
#[derive(Debug)]
pub(super) struct Shares {
    most: usize,
    held: usize,
    by_one: HashMap<Arc<Shower>, usize>,
    by_kind: HashMap<String, usize>,
}

impl Shares {
    pub(super) fn of(most: usize) -> Self {
        Self {
            most,
            held: 0,
            by_one: HashMap::new(),
            by_kind: HashMap::new(),
        }
    }

    /// One more for `shower`, if it holds less than half of what is free, and its kind less than that.
    pub(super) fn enter(&mut self, shower: Shower) -> Result<Arc<Shower>, SeenError> {
        let free = self.most.saturating_sub(self.held);
        if free == 0 {
            return Err(SeenError::Full);
        }
        let known = self.by_one.get_key_value(&shower);
        let (by, own) = match known {
            Some((by, own)) => (Arc::clone(by), *own),
            None => (Arc::new(shower), 0),
        };
        let of_kind = self.by_kind.get(&by.kind).copied().unwrap_or_default();
        if own.saturating_mul(2) >= free || of_kind >= free {
            return Err(SeenError::Share);
        }
        self.held += 1;
        self.by_one.insert(Arc::clone(&by), own + 1);
        if let Some(held) = self.by_kind.get_mut(&by.kind) {
            *held += 1;
        } else {
            self.by_kind.insert(by.kind.clone(), 1);
        }
        Ok(by)
    }

    /// One fewer for `shower`. Who holds nothing is not kept.
    pub(super) fn leave(&mut self, shower: &Arc<Shower>) {
        self.held = self.held.saturating_sub(1);
        less(&mut self.by_one, shower);
        less(&mut self.by_kind, &shower.kind);
    }

    #[cfg(test)]
    pub(super) fn callers(&self) -> (usize, usize) {
        (self.by_one.len(), self.by_kind.len())
    }
}

fn less<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}
