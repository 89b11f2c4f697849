//! How often keys are replaced, kept from becoming a weapon (A5, C3).
//!
//! A key that an instance replaces is told to every gateway, for as long as something bound to it
//! lives. Nobody needs to replace many: a process has its key for life.

use std::num::NonZeroU32;

use governor::clock::DefaultClock;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};
use mandate_model::{Instance, SpiffeId};

/// The quotas of instances and of agent types.
#[derive(Debug)]
pub(crate) struct Rekeys {
    instances: PerCaller<(String, String)>,
    types: PerCaller<String>,
}

type PerCaller<K> = RateLimiter<K, DefaultKeyedStateStore<K>, DefaultClock>;

impl Rekeys {
    pub(crate) fn new() -> Self {
        let instance = Quota::per_minute(PER_MINUTE).allow_burst(AT_ONCE);
        let kind = Quota::per_second(TYPE_PER_SECOND).allow_burst(TYPE_AT_ONCE);
        Self {
            instances: RateLimiter::keyed(instance),
            types: RateLimiter::keyed(kind),
        }
    }

    /// Whether `instance` of the type `agent` may replace its key once more now. One that is beyond
    /// its own quota takes nothing of its type's.
    pub(crate) fn may_replace(&self, agent: &SpiffeId, instance: &Instance) -> bool {
        let one = (instance.provider.to_string(), instance.id.to_string());
        self.instances.check_key(&one).is_ok() && self.types.check_key(&agent.to_string()).is_ok()
    }

    /// Forgets who has all of their quota again.
    pub(crate) fn forget(&self) {
        self.instances.retain_recent();
        self.types.retain_recent();
    }
}

const PER_MINUTE: NonZeroU32 = NonZeroU32::MIN.saturating_add(5);
const AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(5);
/// docs/control-stream.md derives from these how long a line can get.
const TYPE_PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);
const TYPE_AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(49);

#[cfg(test)]
mod tests {
    use mandate_model::{InstanceId, ProviderName};

    use super::*;

    fn instance(n: u32) -> Instance {
        Instance {
            provider: ProviderName::parse("prod").unwrap(),
            id: InstanceId::parse(&format!("i-{n}")).unwrap(),
        }
    }

    fn agent(name: &str) -> SpiffeId {
        SpiffeId::parse(&format!("spiffe://a.example/agent/{name}")).unwrap()
    }

    #[test]
    fn an_instance_that_replaces_its_key_all_the_time_is_stopped_and_others_are_not() {
        let rekeys = Rekeys::new();
        let of = |name, n, times| {
            let may = |_: &i32| rekeys.may_replace(&agent(name), &instance(n));
            (0..times).filter(may).count()
        };
        assert!((6..9).contains(&of("x", 1, 1_000)));
        assert_eq!(of("x", 2, 1), 1, "another instance");
        assert_eq!(of("y", 3, 1), 1, "another type");
    }

    #[test]
    fn many_instances_of_one_type_are_stopped_together() {
        let rekeys = Rekeys::new();
        let may = |n: &u32| rekeys.may_replace(&agent("x"), &instance(*n));
        let replaced = (0..1_000).filter(may).count();
        assert!((50..100).contains(&replaced), "{replaced}");
        assert!(rekeys.may_replace(&agent("y"), &instance(2_000)));
    }
}
