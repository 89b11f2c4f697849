//! Places at a Unix socket, counted per user: no user of the machine takes another's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// As what a peer has its place. Places of one kind are never taken by another kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Guest {
    /// The server's own user, at the operators' socket.
    Own,
    /// A user that the live bundle declares as an operator.
    Operator,
    /// A user whose name is being looked up.
    Unknown,
    /// A user that is no operator, and is told so.
    Stranger,
    /// Whoever asks at the agents' socket.
    Agent,
    /// Whoever asks at the gateways' socket.
    Gateway,
}

impl Guest {
    /// The most places of one user and of all together, of which `agents` are for agents.
    fn limits(self, agents: usize) -> (usize, usize) {
        match self {
            Guest::Own => (16, 16),
            Guest::Operator => (8, 64),
            Guest::Unknown => (4, 32),
            Guest::Stranger => (4, 16),
            Guest::Agent => (agents.min(64), agents),
            Guest::Gateway => (512, 512),
        }
    }
}

/// The places that are taken at one socket.
#[derive(Debug, Clone)]
pub(super) struct Places {
    agents: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    by_user: HashMap<(Guest, u32), usize>,
    by_kind: HashMap<Guest, usize>,
}

/// A place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    guest: Guest,
    uid: u32,
}

impl Places {
    /// None taken, of which `agents` are for agents.
    pub(super) fn of(agents: usize) -> Self {
        Self {
            agents,
            taken: Arc::default(),
        }
    }

    /// A place for user `uid` as `guest`, if one is left.
    pub(super) fn take(&self, guest: Guest, uid: u32) -> Option<Place> {
        let (each, all) = guest.limits(self.agents);
        let mut taken = self.lock();
        let of_user = taken.by_user.get(&(guest, uid)).copied().unwrap_or(0);
        let of_kind = taken.by_kind.get(&guest).copied().unwrap_or(0);
        if of_user >= each || of_kind >= all {
            return None;
        }
        taken.by_user.insert((guest, uid), of_user + 1);
        taken.by_kind.insert(guest, of_kind + 1);
        let places = self.clone();
        Some(Place { places, guest, uid })
    }

    /// Short and without await.
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    /// Only counts.
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        let user = (self.guest, self.uid);
        let left = taken.by_user.get(&user).copied().unwrap_or(1) - 1;
        if left == 0 {
            taken.by_user.remove(&user);
        } else {
            taken.by_user.insert(user, left);
        }
        let kind = taken.by_kind.entry(self.guest).or_insert(1);
        *kind = kind.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_takes_no_place_of_another_or_of_another_kind() {
        let places = Places::of(4096);
        let own: Vec<_> = (0..20)
            .filter_map(|_| places.take(Guest::Stranger, 7))
            .collect();
        assert_eq!(own.len(), 4);
        assert!(places.take(Guest::Stranger, 8).is_some());
        assert!(places.take(Guest::Operator, 7).is_some());
        drop(own);
        assert!(places.take(Guest::Stranger, 7).is_some());
    }

    #[test]
    fn many_users_together_take_no_place_of_an_operator() {
        let places = Places::of(4096);
        let strangers: Vec<_> = (0..100)
            .filter_map(|uid| places.take(Guest::Stranger, uid))
            .collect();
        assert_eq!(strangers.len(), 16);
        assert!(places.take(Guest::Operator, 200).is_some());
        assert!(places.take(Guest::Own, 0).is_some());
    }
    #[test]
    fn agents_have_as_many_places_as_the_process_can_hold() {
        let places = Places::of(100);
        let take = |uid: u32| places.take(Guest::Agent, uid);
        let of_one: Vec<_> = (0..100).filter_map(|_| take(7)).collect();
        assert_eq!(of_one.len(), 64);
        let of_others: Vec<_> = (100..200).filter_map(take).collect();
        assert_eq!(of_others.len(), 36);
        assert!(places.take(Guest::Operator, 200).is_some());
    }
}
