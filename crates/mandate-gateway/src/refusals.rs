//! Refusals must not be a weapon (C3): they are counted before they are recorded.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mandate_audit::{Decision, Event, What};
use mandate_model::{SpiffeId, Timestamp};

use crate::record::Recorder;

/// Counts of refusals that get no record of their own.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    counts: Mutex<HashMap<Key, Count>>,
    agents: Mutex<HashMap<SpiffeId, Quota>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    listener: String,
    rule: String,
    source: String,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    count: u64,
    since: Timestamp,
}

#[derive(Debug, Clone, Copy)]
struct Quota {
    used: u32,
    since: Timestamp,
}

impl Refusals {
    /// Counts a refusal before authentication.
    pub(crate) fn unauthenticated(
        &self,
        listener: &str,
        rule: &str,
        source: IpAddr,
        now: Timestamp,
    ) {
        self.count(listener, rule, prefix(source), now);
    }

    /// Whether the denial of an authenticated `agent` gets a record of its own. Otherwise it is
    /// counted here.
    pub(crate) fn has_quota(
        &self,
        listener: &str,
        rule: &str,
        agent: &SpiffeId,
        now: Timestamp,
    ) -> bool {
        if self.use_quota(agent, now) {
            return true;
        }
        self.count(listener, rule, agent.to_string(), now);
        false
    }

    fn use_quota(&self, agent: &SpiffeId, now: Timestamp) -> bool {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        agents.retain(|_, quota| now.since(quota.since) < WINDOW);
        let known = agents.len() < MAX_AGENTS || agents.contains_key(agent);
        if !known {
            return false;
        }
        let quota = agents.entry(agent.clone()).or_insert(Quota {
            used: 0,
            since: now,
        });
        quota.used = quota.used.saturating_add(1);
        quota.used <= RECORDS_PER_WINDOW
    }

    fn count(&self, listener: &str, rule: &str, source: String, now: Timestamp) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = Key {
            listener: listener.to_owned(),
            rule: rule.to_owned(),
            source,
        };
        if counts.len() >= MAX_KEYS && !counts.contains_key(&key) {
            key.source = "elsewhere".to_owned();
        }
        let fresh = Count {
            count: 0,
            since: now,
        };
        counts.entry(key).or_insert(fresh).count += 1;
    }

    fn take(&self) -> HashMap<Key, Count> {
        std::mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records what was counted, one record per listener, rule and source.
    pub(crate) async fn flush(&self, recorder: &Recorder) {
        for (key, count) in self.take() {
            let what = What::RefusedCount {
                listener: key.listener,
                source: key.source,
                count: count.count,
                since: count.since,
            };
            let event = Event {
                rule: Some(key.rule),
                ..Event::new(recorder.clock.now(), what, Decision::Denied)
            };
            recorder.note(event).await;
        }
    }
}

/// The /24 or /48 of an address: one caller cannot make many records by changing its address.
fn prefix(source: IpAddr) -> String {
    match source.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(ip) => {
            let [a, b, c, ..] = ip.segments();
            format!("{a:x}:{b:x}:{c:x}::/48")
        }
    }
}

/// How long refusals are counted into one record.
pub(crate) const WINDOW: Duration = Duration::from_secs(10);
/// Denials of one agent type that get records of their own in one window.
const RECORDS_PER_WINDOW: u32 = 100;
const MAX_KEYS: usize = 1024;
const MAX_AGENTS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_one_prefix_are_one_record() {
        let refusals = Refusals::default();
        let now = Timestamp::from_secs(1);
        for last in 1..=9 {
            refusals.unauthenticated("dev", "token.missing", [10, 0, 0, last].into(), now);
        }
        let counts = refusals.take();
        assert_eq!(counts.len(), 1);
        assert_eq!(counts.values().map(|c| c.count).sum::<u64>(), 9);
    }

    #[test]
    fn the_number_of_records_is_bounded_and_nothing_goes_uncounted() {
        let refusals = Refusals::default();
        let now = Timestamp::from_secs(1);
        for a in 0..8_u8 {
            for b in 0..=255 {
                refusals.unauthenticated("dev", "token.missing", [10, a, b, 1].into(), now);
            }
        }
        let counts = refusals.take();
        assert_eq!(counts.len(), MAX_KEYS + 1);
        assert_eq!(counts.values().map(|c| c.count).sum::<u64>(), 8 * 256);
    }

    #[test]
    fn an_agent_beyond_its_quota_is_counted_until_the_window_ends() {
        let refusals = Refusals::default();
        let agent = SpiffeId::parse("spiffe://a/agent/x").unwrap();
        let now = Timestamp::from_secs(1);
        let recorded = (0..RECORDS_PER_WINDOW + 5)
            .filter(|_| refusals.has_quota("dev", "policy.default_deny", &agent, now))
            .count();
        assert_eq!(recorded, 100);
        assert_eq!(refusals.take().values().map(|c| c.count).sum::<u64>(), 5);
        assert!(refusals.has_quota("dev", "x", &agent, now.plus(WINDOW)));
    }
}
