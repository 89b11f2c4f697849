//! Whose turn it is to have somebody else asked.
//!
//! Anybody can send forged evidence, and some of it only others can tell from good. So that no source uses up
//! what is everybody's, each has a share: of how often, and of how many at once, before everybody's limits
//! come. Of those, one half is kept for sources whose evidence was good before, so that many new ones together
//! do not stop them. Waiting is bounded, and so is what is kept: sources share places by a hash that nobody can
//! foretell.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::DefaultClock;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{Semaphore, SemaphorePermit};

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

/// Sources whose evidence was good, the latest of them.
#[derive(Default)]
struct Known {
    sources: HashSet<u64>,
    /// Oldest first.
    order: VecDeque<u64>,
}

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

    /// Remembers that evidence from `source` was good.
    pub(crate) fn was_good(&self, source: &str) {
        let source = self.hasher.hash_one(source);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.add(source);
    }

    fn is_known(&self, source: u64) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.sources.contains(&source)
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

    /// Whichever has room: who is known is not worse off than who is not.
    async fn either(&self) -> Result<SemaphorePermit<'_>, NoTurn> {
        let (kept, open) = (self.kept.take(), self.open.take());
        tokio::pin!(kept, open);
        tokio::select! {
            biased;
            taken = &mut kept => match taken {
                Ok(permit) => Ok(permit),
                Err(_) => open.await,
            },
            taken = &mut open => match taken {
                Ok(permit) => Ok(permit),
                Err(_) => kept.await,
            },
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

    async fn take(&self) -> Result<SemaphorePermit<'_>, NoTurn> {
        self.rate.check().map_err(|_| NoTurn::All)?;
        self.free.acquire().await.map_err(|_| NoTurn::All)
    }
}

impl Known {
    fn add(&mut self, source: u64) {
        if !self.sources.insert(source) {
            return;
        }
        self.order.push_back(source);
        if self.order.len() > MOST_KNOWN
            && let Some(oldest) = self.order.pop_front()
        {
            self.sources.remove(&oldest);
        }
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
/// Networks and pods that agents come from.
const MOST_KNOWN: usize = 16_384;

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
        turns.was_good(known);
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
            turns.was_good(source);
            for _ in 0..2 {
                held.push(turns.take(source).await.unwrap());
            }
        }
        assert_eq!(held.len(), 8);
    }

    #[test]
    fn of_those_who_were_good_the_oldest_is_forgotten() {
        let mut known = Known::default();
        let most = u64::try_from(MOST_KNOWN).unwrap();
        for source in (0..=most).chain([1, 1]) {
            known.add(source);
        }
        assert_eq!(known.order.len(), MOST_KNOWN);
        assert!(!known.sources.contains(&0) && known.sources.contains(&1));
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
