//! What this process knows of gateways: leases, acknowledgements, open streams.
//!
//! It compares nothing but its own boot clock: no timestamp that a gateway sent or that an earlier
//! process wrote counts (B2).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mandate_model::{BootTime, BundleVersion, GatewayId, StopVersion};
use mandate_ports::GatewayRecord;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The gateways.
#[derive(Debug)]
pub(crate) struct Gateways {
    seen: Mutex<Seen>,
    acknowledged: watch::Sender<u64>,
}

#[derive(Debug)]
struct Seen {
    /// The longest lease that was ever granted, by anybody.
    longest: Duration,
    gateways: BTreeMap<GatewayId, Gateway>,
}

#[derive(Debug, Default)]
struct Gateway {
    /// The highest stop version that it applied.
    stops: StopVersion,
    /// The bundle that it decides by, as its last lease request said: what it applied last is this one
    /// or a later one.
    bundle: BundleVersion,
    /// When it last got a lease from this process; for gateways of an earlier process, when this
    /// one began.
    granted: Option<BootTime>,
    /// The longest lease that it ever got.
    lease: Duration,
    /// What it said with each first acknowledgement.
    figures: BTreeMap<StopVersion, Figures>,
    /// Ends its open stream.
    stream: Option<(u64, CancellationToken)>,
}

/// What a gateway has applied, as it says when it asks for a lease.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) stops: StopVersion,
    pub(crate) bundle: BundleVersion,
}

/// What a gateway cut for a version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) cut: u64,
    pub(crate) unknown: u64,
}

/// Gateways that could admit something at the moment of a suspension.
#[derive(Debug, Clone)]
pub(crate) struct Holders {
    gateways: BTreeSet<GatewayId>,
    /// After so long, on the boot clock, no lease of before the suspension lives.
    pub(crate) bound: Duration,
}

/// Gateways that may let something happen without a lease: each had one once, and has not said that it
/// knows of the suspension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Silent {
    pub(crate) gateways: BTreeSet<GatewayId>,
    /// The oldest bundle that one of them may have applied last.
    pub(crate) bundle: BundleVersion,
}

/// How far a suspension is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) holders: u64,
    pub(crate) acknowledged: u64,
    /// Of these, those that have not said what they cut: a lease request names the version alone.
    pub(crate) untold: u64,
    pub(crate) figures: Figures,
}

/// A gateway as `status` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GatewayView {
    pub(crate) id: GatewayId,
    pub(crate) stops: StopVersion,
    pub(crate) bundle: BundleVersion,
    pub(crate) leased: bool,
    pub(crate) streaming: bool,
}

impl Gateways {
    /// What an earlier process left behind: any of these may hold a lease that began just before
    /// `start`.
    pub(crate) fn after_restart(
        records: Vec<GatewayRecord>,
        lease: Duration,
        start: BootTime,
    ) -> Self {
        let mut seen = Seen {
            longest: lease,
            gateways: BTreeMap::new(),
        };
        for record in records {
            let lease = Duration::from_millis(record.lease_ms);
            seen.longest = seen.longest.max(lease);
            let gateway = Gateway {
                granted: Some(start),
                lease,
                ..Gateway::default()
            };
            seen.gateways.insert(record.id, gateway);
        }
        Self {
            seen: Mutex::new(seen),
            acknowledged: watch::Sender::new(0),
        }
    }

    /// The lease to put down for `id` when it gets one of `lease`: the longest that it ever got,
    /// since the answer to a shorter one can be lost, and the longer one then goes on.
    pub(crate) fn lease_on_record(&self, id: &GatewayId, lease: Duration) -> Duration {
        let seen = self.lock();
        seen.gateways
            .get(id)
            .map_or(lease, |gateway| gateway.lease.max(lease))
    }

    /// `id` has a lease of `lease` since `now`, and said what it has `applied`.
    pub(crate) fn granted(&self, id: &GatewayId, lease: Duration, applied: Applied, now: BootTime) {
        let mut seen = self.lock();
        seen.longest = seen.longest.max(lease);
        let gateway = seen.gateways.entry(id.clone()).or_default();
        gateway.granted = Some(now);
        gateway.lease = gateway.lease.max(lease);
        gateway.stops = gateway.stops.max(applied.stops);
        gateway.bundle = gateway.bundle.max(applied.bundle);
        drop(seen);
        self.wake();
    }

    /// `id` has applied `stops`. Figures of a repeated acknowledgement are not counted again.
    pub(crate) fn acknowledged(&self, id: &GatewayId, stops: StopVersion, figures: Figures) {
        let mut seen = self.lock();
        let gateway = seen.gateways.entry(id.clone()).or_default();
        gateway.stops = gateway.stops.max(stops);
        gateway.figures.entry(stops).or_insert(figures);
        while gateway.figures.len() > KEPT_FIGURES {
            gateway.figures.pop_first();
        }
        drop(seen);
        self.wake();
    }

    /// A stream of `id` begins; an earlier one ends. The token ends this one.
    pub(crate) fn stream(&self, id: &GatewayId, serial: u64) -> CancellationToken {
        let token = CancellationToken::new();
        let mut seen = self.lock();
        let gateway = seen.gateways.entry(id.clone()).or_default();
        if let Some((_, earlier)) = gateway.stream.replace((serial, token.clone())) {
            earlier.cancel();
        }
        token
    }

    /// The stream `serial` of `id` is over.
    pub(crate) fn stream_over(&self, id: &GatewayId, serial: u64) {
        let mut seen = self.lock();
        if let Some(gateway) = seen.gateways.get_mut(id) {
            gateway.stream.take_if(|(open, _)| *open == serial);
        }
    }

    /// Who could admit something at `now`.
    pub(crate) fn holders(&self, now: BootTime) -> Holders {
        let seen = self.lock();
        let holds = |gateway: &Gateway| gateway.may_hold_lease(now);
        let gateways = seen.gateways.iter().filter(|(_, g)| holds(g));
        let gateways = gateways.map(|(id, _)| id.clone()).collect();
        Holders {
            gateways,
            bound: with_margin(seen.longest),
        }
    }

    /// How many of `holders` have applied `version`.
    pub(crate) fn progress(&self, holders: &Holders, version: StopVersion) -> Progress {
        let seen = self.lock();
        let mut progress = Progress::default();
        for id in &holders.gateways {
            progress.holders += 1;
            let Some(gateway) = seen.gateways.get(id).filter(|g| g.stops >= version) else {
                continue;
            };
            progress.acknowledged += 1;
            // Figures are those since the acknowledgement before: the first one that reaches the
            // version tells what was cut for it.
            if let Some((_, figures)) = gateway.figures.range(version..).next() {
                progress.figures.cut += figures.cut;
                progress.figures.unknown += figures.unknown;
            } else {
                progress.untold += 1;
            }
        }
        progress
    }

    /// Which gateways have not applied `version`, of all that ever had a lease. One of an earlier
    /// process may have any bundle.
    pub(crate) fn silent(&self, version: StopVersion) -> Silent {
        let seen = self.lock();
        let silent = seen.gateways.iter();
        let silent = silent.filter(|(_, g)| g.granted.is_some() && g.stops < version);
        let bundle = silent.clone().map(|(_, g)| g.bundle).min();
        Silent {
            gateways: silent.map(|(id, _)| id.clone()).collect(),
            bundle: bundle.unwrap_or_default(),
        }
    }

    /// Wakes whenever a gateway has acknowledged something or got a lease.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.acknowledged.subscribe()
    }

    /// All gateways.
    pub(crate) fn view(&self, now: BootTime) -> Vec<GatewayView> {
        let seen = self.lock();
        let view = |(id, gateway): (&GatewayId, &Gateway)| GatewayView {
            id: id.clone(),
            stops: gateway.stops,
            bundle: gateway.bundle,
            leased: gateway.may_hold_lease(now),
            streaming: gateway.stream.is_some(),
        };
        seen.gateways.iter().map(view).collect()
    }

    fn wake(&self) {
        self.acknowledged.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Short and without await. A panic while it was held left whole entries behind: they count.
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gateway {
    fn may_hold_lease(&self, now: BootTime) -> bool {
        self.granted
            .is_some_and(|since| now < since.plus(with_margin(self.lease)))
    }
}

/// Clocks of two machines drift: one in a hundred is far more than any does (B2).
fn with_margin(lease: Duration) -> Duration {
    lease + lease / 100
}

const KEPT_FIGURES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(10);
    fn at(secs: u64) -> BootTime {
        BootTime::from_nanos(secs * 1_000_000_000)
    }

    fn applied(stops: u64) -> Applied {
        Applied {
            stops: StopVersion::new(stops),
            bundle: BundleVersion::new(1),
        }
    }

    fn id(name: &str) -> GatewayId {
        GatewayId::parse(name).unwrap()
    }

    #[test]
    fn a_lease_counts_for_one_hundredth_more_than_its_length() {
        let gateways = Gateways::after_restart(Vec::new(), LEASE, at(0));
        gateways.granted(&id("g"), LEASE, applied(1), at(100));
        let ms = |n: u64| BootTime::from_nanos(n * 1_000_000);
        assert_eq!(gateways.holders(ms(110_099)).gateways.len(), 1);
        assert_eq!(gateways.holders(ms(110_100)).gateways.len(), 0);
    }

    #[test]
    fn a_shorter_lease_does_not_make_a_longer_one_forgotten() {
        let gateways = Gateways::after_restart(Vec::new(), LEASE, at(0));
        gateways.granted(&id("g"), LEASE * 6, applied(1), at(100));
        assert_eq!(gateways.lease_on_record(&id("g"), LEASE), LEASE * 6);
        gateways.granted(&id("g"), LEASE, applied(1), at(101));
        let holders = gateways.holders(at(150));
        assert_eq!(holders.gateways.len(), 1);
        assert_eq!(holders.bound, Duration::from_millis(60_600));
    }

    #[test]
    fn figures_of_a_repeated_acknowledgement_are_counted_once() {
        let gateways = Gateways::after_restart(Vec::new(), LEASE, at(0));
        gateways.granted(&id("g"), LEASE, applied(1), at(1));
        let holders = gateways.holders(at(2));
        let two = StopVersion::new(2);
        assert_eq!(gateways.progress(&holders, two).acknowledged, 0);
        gateways.acknowledged(&id("g"), two, Figures { cut: 3, unknown: 1 });
        gateways.acknowledged(&id("g"), two, Figures { cut: 3, unknown: 1 });
        let progress = gateways.progress(&holders, two);
        let figures = Figures { cut: 3, unknown: 1 };
        assert_eq!(
            progress,
            Progress {
                holders: 1,
                acknowledged: 1,
                untold: 0,
                figures
            }
        );
    }

    #[test]
    fn a_lease_that_names_the_version_tells_no_figures() {
        let gateways = Gateways::after_restart(Vec::new(), LEASE, at(0));
        gateways.granted(&id("g"), LEASE, applied(1), at(1));
        let holders = gateways.holders(at(2));
        let two = StopVersion::new(2);
        gateways.granted(&id("g"), LEASE, applied(2), at(3));
        let progress = gateways.progress(&holders, two);
        assert_eq!((progress.acknowledged, progress.untold), (1, 1));
        gateways.acknowledged(&id("g"), two, Figures { cut: 3, unknown: 1 });
        let progress = gateways.progress(&holders, two);
        assert_eq!((progress.untold, progress.figures.cut), (0, 3));
    }

    #[test]
    fn whoever_ever_had_a_lease_and_has_not_applied_a_version_is_silent_about_it() {
        let record = |name: &str| GatewayRecord {
            id: id(name),
            lease_ms: 10_000,
            at: mandate_model::Timestamp::from_secs(1),
            stops: StopVersion::new(9),
            head: mandate_ports::SpoolHead {
                spool: "s".to_owned(),
                next: 0,
                chain: String::new(),
            },
        };
        let gateways = Gateways::after_restart(vec![record("old")], LEASE, at(0));
        gateways.granted(&id("new"), LEASE, applied(1), at(1));
        drop(gateways.stream(&id("guest"), 1));
        // However long ago: its lease is not what counts here.
        let silent = gateways.silent(StopVersion::new(2));
        assert_eq!(silent.gateways, [id("new"), id("old")].into());
        assert_eq!(silent.bundle, BundleVersion::default());
        gateways.acknowledged(&id("old"), StopVersion::new(2), Figures::default());
        let silent = gateways.silent(StopVersion::new(2));
        assert_eq!(silent.gateways, [id("new")].into());
        assert_eq!(silent.bundle, applied(1).bundle);
        assert!(gateways.silent(StopVersion::new(1)).gateways.is_empty());
    }

    #[test]
    fn a_second_stream_of_one_gateway_ends_the_first() {
        let gateways = Gateways::after_restart(Vec::new(), LEASE, at(0));
        let first = gateways.stream(&id("g"), 1);
        let second = gateways.stream(&id("g"), 2);
        assert!(first.is_cancelled() && !second.is_cancelled());
        gateways.stream_over(&id("g"), 1);
        assert!(gateways.view(at(1)).iter().all(|g| g.streaming));
        gateways.stream_over(&id("g"), 2);
        assert!(gateways.view(at(1)).iter().all(|g| !g.streaming));
    }
}
