//! Access tokens that may be used again, each agent's share of them bounded.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mandate_model::{ActorLevel, ServerName};
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use super::{Got, Wanted};

/// What a token was got with, and for which server workload: under the same two tokens a bundle may give it
/// another resource indicator.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    svid: [u8; 32],
    task: [u8; 32],
    server: ServerName,
    resource: String,
}

impl Key {
    pub(super) fn of(wanted: &Wanted<'_>) -> Self {
        Self {
            svid: Sha256::digest(wanted.brought.svid_text).into(),
            task: Sha256::digest(wanted.brought.task_text).into(),
            server: wanted.server.name.clone(),
            resource: wanted.server.resource.clone(),
        }
    }
}

/// Where a token is, or will be: whoever comes first gets it, the others wait.
pub(super) type Place<T> = Arc<OnceCell<T>>;

/// The places. Too many of one agent make room among its own; too many of all, among those of the agent
/// that has most. What loses its place is got again, and nothing else is lost.
pub(super) struct Kept<T = Got> {
    places: Mutex<Places<T>>,
    most: usize,
    most_of_one: usize,
}

struct Places<T> {
    by_key: HashMap<Key, (Place<T>, ActorLevel)>,
    /// Oldest first.
    by_owner: HashMap<ActorLevel, VecDeque<Key>>,
}

impl<T: Clone> Kept<T> {
    pub(super) fn new(most: usize, most_of_one: usize) -> Self {
        let places = Mutex::new(Places {
            by_key: HashMap::new(),
            by_owner: HashMap::new(),
        });
        Self {
            places,
            most,
            most_of_one,
        }
    }

    /// The place of `key`, which is `owner`'s.
    pub(super) fn place(&self, owner: &ActorLevel, key: &Key) -> Place<T> {
        let mut places = self.lock();
        if let Some((place, _)) = places.by_key.get(key) {
            return Arc::clone(place);
        }
        if places.of(owner) >= self.most_of_one {
            places.forget_oldest_of(owner);
        } else if places.by_key.len() >= self.most {
            let greatest = places.by_owner.iter().max_by_key(|(_, keys)| keys.len());
            if let Some(greatest) = greatest.map(|(owner, _)| owner.clone()) {
                places.forget_oldest_of(&greatest);
            }
        }
        let place = Place::default();
        places
            .by_key
            .insert(key.clone(), (Arc::clone(&place), owner.clone()));
        let own = places.by_owner.entry(owner.clone()).or_default();
        own.push_back(key.clone());
        place
    }

    /// Forgets `key`, if `place` is still its.
    pub(super) fn forget(&self, key: &Key, place: &Place<T>) {
        let mut places = self.lock();
        let known = places.by_key.get(key);
        if known.is_some_and(|(known, _)| Arc::ptr_eq(known, place)) {
            places.forget(key);
        }
    }

    /// Keeps what is `good`, and what is being got.
    pub(super) fn retain(&self, good: impl Fn(&T) -> bool) {
        let all: Vec<(Key, Place<T>)> = {
            let places = self.lock();
            let all = places.by_key.iter();
            all.map(|(key, (place, _))| (key.clone(), Arc::clone(place)))
                .collect()
        };
        for (key, place) in all {
            // Two have it: the map, and this list. Whoever was to get it has given up.
            let given_up = place.get().is_none() && Arc::strong_count(&place) <= 2;
            if given_up || place.get().is_some_and(|got| !good(got)) {
                self.forget(&key, &place);
            }
        }
    }

    /// Short and without await.
    fn lock(&self) -> MutexGuard<'_, Places<T>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Places<T> {
    fn of(&self, owner: &ActorLevel) -> usize {
        self.by_owner.get(owner).map_or(0, VecDeque::len)
    }

    fn forget_oldest_of(&mut self, owner: &ActorLevel) {
        let oldest = self.by_owner.get(owner).and_then(VecDeque::front).cloned();
        if let Some(oldest) = oldest {
            self.forget(&oldest);
        }
    }

    fn forget(&mut self, key: &Key) {
        let Some((_, owner)) = self.by_key.remove(key) else {
            return;
        };
        if let Some(own) = self.by_owner.get_mut(&owner) {
            own.retain(|other| other != key);
            if own.is_empty() {
                self.by_owner.remove(&owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use mandate_model::{AttestationKind, InstanceId, ProviderName, SpiffeId};

    use super::*;

    fn agent(n: u8) -> ActorLevel {
        ActorLevel {
            sub: SpiffeId::parse("spiffe://acme.example/agent/a").unwrap(),
            inst: InstanceId::parse(&format!("i-{n}")).unwrap(),
            prv: ProviderName::parse("prod").unwrap(),
            att: AttestationKind::Process,
            host: None,
        }
    }

    fn key(n: u8) -> Key {
        Key {
            svid: [n; 32],
            task: [0; 32],
            server: ServerName::parse("records").unwrap(),
            resource: "https://records.acme.example".to_owned(),
        }
    }

    async fn put(kept: &Kept<u8>, owner: u8, n: u8) {
        let place = kept.place(&agent(owner), &key(n));
        place.get_or_init(|| async { n }).await;
    }

    /// Which of `keys` are there, without taking a place.
    fn there(kept: &Kept<u8>, keys: impl IntoIterator<Item = u8>) -> Vec<u8> {
        let places = kept.lock();
        let is_there = |n: &u8| places.by_key.contains_key(&key(*n));
        keys.into_iter().filter(is_there).collect()
    }

    #[tokio::test]
    async fn an_agent_beyond_its_share_makes_room_among_its_own() {
        let kept = Kept::new(100, 3);
        put(&kept, 1, 1).await;
        for n in 10..15 {
            put(&kept, 2, n).await;
        }
        assert_eq!(there(&kept, 0..20), [1, 12, 13, 14]);
    }

    #[tokio::test]
    async fn where_all_is_full_the_one_that_has_most_makes_room() {
        let kept = Kept::new(4, 3);
        for n in 10..13 {
            put(&kept, 2, n).await;
        }
        put(&kept, 1, 1).await;
        put(&kept, 3, 3).await;
        assert_eq!(there(&kept, 0..20), [1, 3, 11, 12]);
    }

    #[tokio::test]
    async fn of_several_that_want_the_same_one_gets_it_and_all_have_it() {
        let kept: Kept<u8> = Kept::new(4, 3);
        let asked = std::sync::atomic::AtomicU8::new(0);
        let get = || async {
            let place = kept.place(&agent(1), &key(1));
            let ask = || async {
                tokio::task::yield_now().await;
                asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst)
            };
            *place.get_or_init(ask).await
        };
        let all = futures_util::future::join_all((0..10).map(|_| get())).await;
        assert_eq!(all, [0; 10]);
    }

    #[tokio::test]
    async fn what_is_forgotten_is_forgotten_once_and_by_its_own_place() {
        let kept = Kept::new(4, 3);
        put(&kept, 1, 1).await;
        let old = kept.place(&agent(1), &key(1));
        kept.forget(&key(1), &old);
        put(&kept, 1, 1).await;
        kept.forget(&key(1), &old);
        assert_eq!(there(&kept, [1]), [1], "another one has the place by now");
        let waiting = kept.place(&agent(1), &key(2));
        kept.retain(|_| false);
        assert_eq!(there(&kept, 0..9), [2], "one that is being got stays");
        drop(waiting);
        assert_eq!(kept.lock().of(&agent(1)), 1);
    }

    #[tokio::test]
    async fn a_place_that_nobody_fills_any_more_is_given_up() {
        let kept = Kept::new(100, 3);
        put(&kept, 1, 1).await;
        drop(kept.place(&agent(1), &key(2)));
        let being_got = kept.place(&agent(1), &key(3));
        kept.retain(|_| true);
        assert_eq!(there(&kept, 0..5), [1, 3]);
        drop(being_got);
        kept.retain(|_| true);
        assert_eq!(there(&kept, 0..5), [1]);
    }
}
