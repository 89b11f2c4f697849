//! Places at a network door, counted by where callers come from: no network takes all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The places that are taken at one door.
#[derive(Debug, Clone)]
pub(super) struct Sources {
    each: usize,
    taken: Arc<Mutex<HashMap<String, usize>>>,
}

/// A place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    sources: Sources,
    prefix: String,
}

impl Sources {
    /// Of a door with `all` places.
    pub(super) fn of(all: usize) -> Self {
        Self {
            each: (all / SHARES).max(FEWEST),
            taken: Arc::default(),
        }
    }

    /// A place for a caller of the network `prefix`, if it has one left.
    pub(super) fn take(&self, prefix: String) -> Option<Seat> {
        let mut taken = self.lock();
        let count = taken.entry(prefix.clone()).or_insert(0);
        // Only those who have a place are in the map: `each` is never zero.
        if *count >= self.each {
            return None;
        }
        *count += 1;
        let sources = self.clone();
        Some(Seat { sources, prefix })
    }

    /// Short and without await.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    /// Only counts.
    fn drop(&mut self) {
        let mut taken = self.sources.lock();
        let left = taken.get(&self.prefix).copied().unwrap_or(1) - 1;
        if left == 0 {
            taken.remove(&self.prefix);
        } else {
            taken.insert(self.prefix.clone(), left);
        }
    }
}

const SHARES: usize = 4;
const FEWEST: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_takes_no_more_than_its_share_and_gives_it_back() {
        let sources = Sources::of(400);
        let take = |prefix: &str| sources.take(prefix.to_owned());
        let all: Vec<_> = (0..400).filter_map(|_| take("192.0.2.0/24")).collect();
        assert_eq!(all.len(), 100);
        assert!(take("198.51.100.0/24").is_some());
        drop(all);
        assert!(take("192.0.2.0/24").is_some());
        assert!(sources.lock().is_empty(), "nobody is left behind");
    }
}
