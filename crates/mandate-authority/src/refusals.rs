//! Refusals, kept from becoming a weapon (C3).
//!
//! Before authentication anybody can cause them: they are counted, and one record per (door, rule,
//! source prefix) tells of ten seconds of them. After authentication each is recorded, up to a
//! quota per agent, beyond which they are counted too.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};

use governor::clock::DefaultClock;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};
use mandate_audit::{Decision, Event, What};
use mandate_model::{SpiffeId, Timestamp};

/// What happened too often to be recorded one by one.
#[derive(Debug)]
pub(crate) struct Refusals {
    counted: Mutex<Counted>,
    quota: PerCaller,
    /// Ends of tasks and revocations.
    ends: PerCaller,
}

/// A quota for each authenticated caller, by its name in records.
type PerCaller = RateLimiter<String, DefaultKeyedStateStore<String>, DefaultClock>;

#[derive(Debug, Default)]
struct Counted {
    by_source: HashMap<Source, Count>,
    /// Those that no place was left for.
    rest: Option<Count>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Source {
    door: &'static str,
    rule: &'static str,
    prefix: String,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    since: Timestamp,
    count: u64,
}

impl Refusals {
    pub(crate) fn new() -> Self {
        let quota = Quota::per_second(PER_SECOND).allow_burst(BURST);
        let ends = Quota::per_second(ENDS_PER_SECOND).allow_burst(ENDS_AT_ONCE);
        Self {
            counted: Mutex::default(),
            quota: RateLimiter::keyed(quota),
            ends: RateLimiter::keyed(ends),
        }
    }

    /// Whether one more refusal of `caller`, an agent type or an operator, is recorded by itself.
    pub(crate) fn is_recorded(&self, caller: &impl ToString) -> bool {
        self.quota.check_key(&caller.to_string()).is_ok()
    }

    /// Whether `agent` may end one more task or revoke one more token now: each is told to every
    /// gateway, with all that were before it for minutes.
    pub(crate) fn may_end(&self, agent: &SpiffeId) -> bool {
        self.ends.check_key(&agent.to_string()).is_ok()
    }

    /// Counts a refusal. The number of places is bounded; what finds none is counted together.
    pub(crate) fn count(
        &self,
        door: &'static str,
        rule: &'static str,
        prefix: String,
        now: Timestamp,
    ) {
        let mut counted = self.lock();
        let source = Source { door, rule, prefix };
        let is_full = counted.by_source.len() >= PLACES;
        if let Some(count) = counted.by_source.get_mut(&source) {
            count.count = count.count.saturating_add(1);
        } else if is_full {
            let rest = counted.rest.get_or_insert(Count {
                since: now,
                count: 0,
            });
            rest.count = rest.count.saturating_add(1);
        } else {
            counted.by_source.insert(
                source,
                Count {
                    since: now,
                    count: 1,
                },
            );
        }
    }

    /// Takes what was counted, as records.
    pub(crate) fn take(&self, now: Timestamp) -> Vec<Event> {
        let counted = std::mem::take(&mut *self.lock());
        self.quota.retain_recent();
        self.ends.retain_recent();
        let record = |door: &str, rule: &str, source: String, count: Count| {
            tracing::debug!(
                door,
                rule,
                source,
                count = count.count,
                "refusals were counted"
            );
            let what = What::RefusedCount {
                listener: door.to_owned(),
                source,
                count: count.count,
                since: count.since,
            };
            Event {
                rule: Some(rule.to_owned()),
                ..Event::new(now, what, Decision::Denied)
            }
        };
        let of_source = counted.by_source.into_iter();
        let mut events: Vec<Event> = of_source
            .map(|(s, count)| record(s.door, s.rule, s.prefix, count))
            .collect();
        events.extend(
            counted
                .rest
                .map(|count| record("any", "any", "elsewhere".to_owned(), count)),
        );
        events
    }

    /// Short and without await.
    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const PLACES: usize = 256;
const PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);
const BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(49);
/// docs/control-stream.md derives from these how long a line can get.
const ENDS_PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(19);
const ENDS_AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(99);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_nothing_is_lost() {
        let refusals = Refusals::new();
        for n in 0..10_000u64 {
            let now = Timestamp::from_millis(n);
            refusals.count(
                "public",
                "client.none",
                format!("10.0.{}.0/24", n % 1000),
                now,
            );
        }
        let events = refusals.take(Timestamp::from_secs(60));
        assert_eq!(events.len(), PLACES + 1);
        let total: u64 = events
            .iter()
            .map(|event| match event.what {
                What::RefusedCount { count, .. } => count,
                _ => 0,
            })
            .sum();
        assert_eq!(total, 10_000);
        assert!(refusals.take(Timestamp::from_secs(61)).is_empty());
    }

    #[test]
    fn an_agent_that_is_refused_all_the_time_does_not_fill_the_log() {
        let refusals = Refusals::new();
        let agent = SpiffeId::parse("spiffe://a/agent/x").unwrap();
        let recorded = (0..1000).filter(|_| refusals.is_recorded(&agent)).count();
        assert!((50..100).contains(&recorded), "{recorded}");
        let other = SpiffeId::parse("spiffe://a/agent/y").unwrap();
        assert!(refusals.is_recorded(&other));
    }

    #[test]
    fn an_agent_that_ends_tasks_all_the_time_does_not_fill_what_gateways_are_told() {
        let refusals = Refusals::new();
        let agent = SpiffeId::parse("spiffe://a/agent/x").unwrap();
        let ended = (0..10_000).filter(|_| refusals.may_end(&agent)).count();
        assert!((100..1000).contains(&ended), "{ended}");
        assert!(refusals.is_recorded(&agent), "its refusals have their own");
        let other = SpiffeId::parse("spiffe://a/agent/y").unwrap();
        assert!(refusals.may_end(&other));
    }
}
