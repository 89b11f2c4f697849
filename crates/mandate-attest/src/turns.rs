//! Whose turn it is to have somebody else asked.
//!
//! Anybody can send forged evidence, and some of it only others can tell from good. So that no source uses up
//! what is everybody's, each has a share: of how often, and of how many at once, before everybody's limits
//! come. Of those, one half is kept for sources whose evidence was good before, so that many new ones together
//! do not stop them. Waiting is bounded, and so is what is kept: sources share places by a hash that nobody can
//! foretell.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::DefaultClock;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};

/// How much of what is everybody's is whose.
pub(crate) struct Shares {
    pub(crate) each_per_second: NonZeroU32,
    pub(crate) each_at_once: NonZeroU32,
    pub(crate) all_per_second: NonZeroU32,
    /// How many of one source are asked about, or wait for that, at the same time.
    pub(crate) turns_of_each: usize,
    pub(crate) turns: usize,
}

/// The turns at one place that is asked.
pub(crate) struct Turns {
    hasher: RandomState,
    each: RateLimiter<u64, DefaultKeyedStateStore<u64>, DefaultClock>,
    turns_of_each: usize,
    taken: Mutex<HashMap<u64, usize>>,
    open: Lane,
    /// For sources that are known alone.
    kept: Lane,
    known: Mutex<Known>,
    wait: Duration,
}

/// A part of what is everybody's.
struct Lane {
    rate: DefaultDirectRateLimiter,
    free: Semaphore,
}

/// Sources whose evidence was good, by whom it attested: nobody makes others unknown, however many sources they
/// use. Of whom and of what was good of late comes last.
#[derive(Default)]
struct Known(VecDeque<(u64, VecDeque<u64>)>);

/// A turn, until it is dropped.
pub(crate) struct Turn<'a> {
    _permit: SemaphorePermit<'a>,
    _seat: Seat<'a>,
}

/// Why there is no turn. For the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoTurn {
    #[error("too much evidence is shown from one source at once")]
    Source,
    #[error("too much evidence is shown at once")]
    All,
}

impl Turns {
    pub(crate) fn new(shares: &Shares) -> Self {
        let each = Quota::per_second(shares.each_per_second).allow_burst(shares.each_at_once);
        Self {
            hasher: RandomState::new(),
            each: RateLimiter::keyed(each),
            turns_of_each: shares.turns_of_each,
            taken: Mutex::default(),
            open: Lane::half_of(shares),
            kept: Lane::half_of(shares),
            known: Mutex::default(),
            wait: WAIT,
        }
    }

    /// Remembers that evidence of `identity` from `source` was good.
    pub(crate) fn was_good(&self, identity: &str, source: &str) {
        let (identity, source) = (self.hasher.hash_one(identity), self.hasher.hash_one(source));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.add(identity, source);
    }

    fn is_known(&self, source: u64) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.has(source)
    }

    /// A turn on behalf of `source`. What is everybody's is touched only within the source's own share.
    pub(crate) async fn take(&self, source: &str) -> Result<Turn<'_>, NoTurn> {
        let source = self.hasher.hash_one(source);
        let place = source % PLACES;
        self.each.check_key(&place).map_err(|_| NoTurn::Source)?;
        let seat = self.sit(place).ok_or(NoTurn::Source)?;
        let permit = if self.is_known(source) {
            tokio::time::timeout(self.wait, self.either()).await
        } else {
            tokio::time::timeout(self.wait, self.open.take()).await
        };
        Ok(Turn {
            _permit: permit.unwrap_or(Err(NoTurn::All))?,
            _seat: seat,
        })
    }

    /// Whichever has room: who is known is not worse off than who is not. What is not taken costs nothing.
    async fn either(&self) -> Result<SemaphorePermit<'_>, NoTurn> {
        let (first, other) = tokio::select! {
            biased;
            permit = self.kept.free.acquire() => (self.kept.rated(permit), &self.open),
            permit = self.open.free.acquire() => (self.open.rated(permit), &self.kept),
        };
        match first {
            Ok(permit) => Ok(permit),
            Err(_) => other.rated(other.free.acquire().await),
        }
    }

    fn sit(&self, place: u64) -> Option<Seat<'_>> {
        let mut taken = self.lock();
        let count = taken.entry(place).or_insert(0);
        // Only those who have a turn are in the map: a share is never zero.
        if *count >= self.turns_of_each {
            return None;
        }
        *count += 1;
        Some(Seat { turns: self, place })
    }

    /// Short and without await.
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane {
    fn half_of(shares: &Shares) -> Self {
        let per_second = NonZeroU32::new(shares.all_per_second.get().div_ceil(2));
        let per_second = per_second.unwrap_or(NonZeroU32::MIN);
        Self {
            rate: RateLimiter::direct(Quota::per_second(per_second)),
            free: Semaphore::new(shares.turns.div_ceil(2)),
        }
    }

    /// Nobody waits for what the rate would refuse.
    async fn take(&self) -> Result<SemaphorePermit<'_>, NoTurn> {
        self.rate.check().map_err(|_| NoTurn::All)?;
        self.free.acquire().await.map_err(|_| NoTurn::All)
    }

    fn rated<'p>(
        &self,
        permit: Result<SemaphorePermit<'p>, AcquireError>,
    ) -> Result<SemaphorePermit<'p>, NoTurn> {
        let permit = permit.map_err(|_| NoTurn::All)?;
        self.rate.check().map_err(|_| NoTurn::All)?;
        Ok(permit)
    }
}

impl Known {
    fn add(&mut self, identity: u64, source: u64) {
        let Self(all) = self;
        let place = all.iter().position(|(of, _)| *of == identity);
        let own = place.and_then(|place| all.remove(place));
        let (_, mut sources) = own.unwrap_or((identity, VecDeque::new()));
        sources.retain(|known| *known != source);
        sources.push_back(source);
        if sources.len() > MOST_OF_ONE {
            sources.pop_front();
        }
        all.push_back((identity, sources));
        if all.len() > MOST_KNOWN {
            all.pop_front();
        }
    }

    fn has(&self, source: u64) -> bool {
        let Self(all) = self;
        all.iter().any(|(_, sources)| sources.contains(&source))
    }
}

/// One of the turns of a source, given back when it is dropped.
struct Seat<'a> {
    turns: &'a Turns,
    place: u64,
}

impl Drop for Seat<'_> {
    /// Only counts.
    fn drop(&mut self) {
        let mut taken = self.turns.lock();
        let left = taken
            .get(&self.place)
            .copied()
            .unwrap_or(1)
            .saturating_sub(1);
        if left == 0 {
            taken.remove(&self.place);
        } else {
            taken.insert(self.place, left);
        }
    }
}

/// `number`, which is not zero.
pub(crate) const fn count(number: u32) -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(number - 1)
}

const WAIT: Duration = Duration::from_secs(5);
/// More than there are sources at once, and a bound of what is kept.
const PLACES: u64 = 4096;
/// Roles and service accounts that are remembered.
const MOST_KNOWN: usize = 1024;
/// Networks and pods of one of them.
const MOST_OF_ONE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn turns() -> Turns {
        let turns = Turns::new(&Shares {
            each_per_second: count(1),
            each_at_once: count(3),
            all_per_second: count(1000),
            turns_of_each: 2,
            turns: 8,
        });
        Turns {
            wait: Duration::from_millis(50),
            ..turns
        }
    }

    /// Names that share no place.
    fn sources(turns: &Turns, count: usize) -> Vec<String> {
        let mut places = std::collections::BTreeSet::new();
        let names = (0..).map(|n| format!("192.0.{n}.0/24"));
        let apart = names.filter(|name| places.insert(turns.hasher.hash_one(name) % PLACES));
        apart.take(count).collect()
    }

    #[tokio::test]
    async fn a_source_has_its_share_and_leaves_the_rest_to_others() {
        let turns = turns();
        let sources = sources(&turns, 2);
        for _ in 0..3 {
            assert!(turns.take(&sources[0]).await.is_ok());
        }
        for _ in 0..1000 {
            assert_eq!(turns.take(&sources[0]).await.err(), Some(NoTurn::Source));
        }
        assert!(turns.take(&sources[1]).await.is_ok());
    }

    #[tokio::test]
    async fn a_source_has_so_many_turns_at_once_and_gives_them_back() {
        let turns = turns();
        let sources = sources(&turns, 2);
        let held = [
            turns.take(&sources[0]).await.unwrap(),
            turns.take(&sources[0]).await.unwrap(),
        ];
        assert_eq!(turns.take(&sources[0]).await.err(), Some(NoTurn::Source));
        assert!(turns.take(&sources[1]).await.is_ok());
        drop(held);
        assert!(turns.lock().is_empty(), "nobody is left behind");
    }

    #[tokio::test]
    async fn nobody_waits_for_a_turn_for_ever() {
        let turns = turns();
        let sources = sources(&turns, 3);
        let mut held = Vec::new();
        for source in [0, 0, 1, 1] {
            held.push(turns.take(&sources[source]).await.unwrap());
        }
        assert_eq!(turns.take(&sources[2]).await.err(), Some(NoTurn::All));
        held.pop();
        assert!(turns.take(&sources[2]).await.is_ok());
    }

    #[tokio::test]
    async fn however_many_new_ones_come_who_was_good_before_has_a_turn() {
        let turns = turns();
        let sources = sources(&turns, 100);
        let (known, others) = sources.split_first().unwrap();
        turns.was_good("role", known);
        let mut held = Vec::new();
        for source in others {
            held.extend(turns.take(source).await.ok());
        }
        assert_eq!(held.len(), 4, "all turns but those that are kept");
        held.push(turns.take(known).await.unwrap());
        held.push(turns.take(known).await.unwrap());
        // Its own share holds all the same.
        assert_eq!(turns.take(known).await.err(), Some(NoTurn::Source));
    }

    #[tokio::test]
    async fn who_was_good_before_takes_what_is_open_as_well() {
        let turns = turns();
        let sources = sources(&turns, 4);
        let mut held = Vec::new();
        for source in &sources {
            turns.was_good("role", source);
            for _ in 0..2 {
                held.push(turns.take(source).await.unwrap());
            }
        }
        assert_eq!(held.len(), 8);
    }

    /// A turn that was waited for at both costs one.
    #[tokio::test]
    async fn what_is_not_taken_costs_nothing() {
        let turns = Turns::new(&Shares {
            each_per_second: count(1),
            each_at_once: count(10),
            all_per_second: count(2),
            turns_of_each: 10,
            turns: 4,
        });
        turns.was_good("role", "192.0.2.0/24");
        drop(turns.take("192.0.2.0/24").await.unwrap());
        drop(turns.take("192.0.2.0/24").await.unwrap());
        assert_eq!(
            turns.take("192.0.2.0/24").await.err(),
            Some(NoTurn::All),
            "one of each half, each second"
        );
    }

    #[test]
    fn nobody_makes_others_unknown() {
        let mut known = Known::default();
        known.add(1, 1);
        known.add(2, 10);
        for source in 100..100_000 {
            known.add(1, source);
        }
        assert!(known.has(10), "of another one");
        assert!(!known.has(1) && known.has(99_999), "of itself the oldest");
        let Known(all) = &known;
        assert!(all.iter().all(|(_, sources)| sources.len() <= MOST_OF_ONE));
        for identity in 0..10_000 {
            known.add(identity, identity);
            known.add(2, 10);
        }
        assert!(known.has(10), "who is good again and again stays");
        let Known(all) = &known;
        assert_eq!(all.len(), MOST_KNOWN);
    }

    #[tokio::test]
    async fn what_is_kept_does_not_grow_with_the_number_of_sources() {
        let turns = turns();
        for n in 0..50_000 {
            let _turn = turns.take(&format!("source {n}")).await;
        }
        assert!(turns.each.len() <= usize::try_from(PLACES).unwrap());
        assert!(turns.lock().is_empty());
    }
}
