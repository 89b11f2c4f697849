//! How far a bundle has come: from the commit that makes it live to the gateways that decide by it.
//!
//! A gateway says what it has applied with each lease request, and asks for a lease at once when it
//! has applied a bundle. One whose lease has run out admits nothing and is not waited for.

use std::collections::BTreeMap;
use std::time::Duration;

use mandate_model::{BundleVersion, GatewayId};

use crate::Authority;
use crate::gateways::GatewayView;

/// How far it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Rollout {
    /// Whether every gateway that has a lease decides by it.
    pub(crate) effective: bool,
    /// Each gateway that has a lease.
    pub(crate) gateways: Vec<Reached>,
}

/// How far it is at one gateway.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Reached {
    /// The gateway.
    pub(crate) id: GatewayId,
    /// Whether it decides by it.
    pub(crate) effective: bool,
    /// From the commit until the authority knew, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) after_ms: Option<u64>,
    /// The bundle that it decides by, as far as it has said.
    pub(crate) bundle: BundleVersion,
}

/// Waits until `version`, which was committed just now, is effective, and at most `limit`.
pub(crate) async fn follow(
    authority: &Authority,
    version: BundleVersion,
    limit: Duration,
) -> Rollout {
    let began = authority.boot();
    let mut moved = authority.gateways().watch();
    let mut times = BTreeMap::new();
    loop {
        // What moves from here on wakes: it is looked at after this.
        moved.mark_unchanged();
        let now = authority.boot();
        let passed = now.since(began);
        let view = authority.gateways().view(now);
        let rollout = Rollout::of(&view, version, passed, &mut times);
        if rollout.effective || passed >= limit {
            return rollout;
        }
        // A lease that runs out wakes nobody.
        let nap = limit.saturating_sub(passed).min(LOOK_AGAIN);
        // Either way the loop looks again.
        let _ = tokio::time::timeout(nap, moved.changed()).await;
    }
}

impl Rollout {
    /// As the gateways stand after `passed`; `times` keeps when each was first seen to have it.
    fn of(
        view: &[GatewayView],
        version: BundleVersion,
        passed: Duration,
        times: &mut BTreeMap<GatewayId, u64>,
    ) -> Self {
        let passed = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        let leased = view.iter().filter(|gateway| gateway.leased);
        let gateways: Vec<Reached> = leased
            .map(|gateway| {
                let effective = gateway.bundle >= version;
                let since = effective.then(|| *times.entry(gateway.id.clone()).or_insert(passed));
                Reached {
                    id: gateway.id.clone(),
                    effective,
                    after_ms: since,
                    bundle: gateway.bundle,
                }
            })
            .collect();
        Self {
            effective: gateways.iter().all(|gateway| gateway.effective),
            gateways,
        }
    }
}

const LOOK_AGAIN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use mandate_model::StopVersion;

    use super::*;

    fn gateway(name: &str, bundle: u64, leased: bool) -> GatewayView {
        GatewayView {
            id: GatewayId::parse(name).unwrap(),
            stops: StopVersion::default(),
            bundle: BundleVersion::new(bundle),
            leased,
            streaming: true,
        }
    }

    fn rollout(view: &[GatewayView]) -> Rollout {
        let passed = Duration::from_millis(7);
        Rollout::of(view, BundleVersion::new(4), passed, &mut BTreeMap::new())
    }

    #[test]
    fn it_is_effective_when_every_gateway_with_a_lease_decides_by_it() {
        let all = [gateway("g-1", 4, true), gateway("g-2", 5, true)];
        let rollout = rollout(&all);
        assert!(rollout.effective);
        let times: Vec<_> = rollout.gateways.iter().map(|g| g.after_ms).collect();
        assert_eq!(times, [Some(7), Some(7)]);
    }

    #[test]
    fn one_gateway_with_an_older_bundle_is_named() {
        let rollout = rollout(&[gateway("g-1", 4, true), gateway("g-2", 3, true)]);
        assert!(!rollout.effective);
        let late = &rollout.gateways[1];
        assert_eq!(
            (late.id.as_str(), late.effective, late.after_ms),
            ("g-2", false, None)
        );
    }

    #[test]
    fn a_gateway_without_a_lease_admits_nothing_and_is_not_waited_for() {
        assert!(rollout(&[gateway("g-1", 3, false)]).effective);
        assert!(!rollout(&[gateway("g-1", 3, true)]).effective);
    }

    #[test]
    fn a_gateways_time_is_that_of_when_it_was_first_seen() {
        let mut times = BTreeMap::new();
        let view = [gateway("g-1", 4, true), gateway("g-2", 3, true)];
        let (version, ms) = (BundleVersion::new(4), Duration::from_millis);
        let first = Rollout::of(&view, version, ms(3), &mut times);
        let again = Rollout::of(&view, version, ms(90), &mut times);
        assert_eq!(first, again);
        assert_eq!(again.gateways[0].after_ms, Some(3));
    }
}
