use std::sync::atomic::AtomicU64;

use mandate_model::stop::StopSet;
use mandate_model::{BootTime, BundleVersion, KeysVersion, RunId, StopVersion, StoreEpoch};
use mandate_ports::Versions;
use mandate_token::{Issuer, KeySet};

use super::*;
use crate::lease::LeaseKeeper;

struct Hands(AtomicU64);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
    fn boot(&self) -> BootTime {
        BootTime::from_nanos(self.0.load(Ordering::SeqCst) * 1_000_000)
    }
}

/// Stands until the stop version is the first; the second is what happens when the lease ends.
struct Until(u64, LeaseLoss);

impl Standing for Until {
    fn stands(&self, snapshot: &Snapshot, _now: Timestamp) -> Result<LeaseLoss, Cut> {
        if snapshot.versions.stops.get() < self.0 {
            Ok(self.1)
        } else {
            Err(Cut::new("stopped", "it is"))
        }
    }
    fn task(&self) -> Option<TaskId> {
        None
    }
}

fn snapshot(n: u64) -> Arc<Snapshot> {
    Arc::new(Snapshot {
        generation: n,
        run: RunId::from_random([1; 16]),
        versions: Versions {
            epoch: StoreEpoch::from_random([1; 16]),
            stops: StopVersion::new(n),
            bundle: BundleVersion::new(1),
            keys: KeysVersion::new(1),
        },
        issuer: Issuer::parse("https://id.acme.example").unwrap(),
        bundle: None,
        durable_stops: StopVersion::new(n),
        stops: Arc::new(StopSet::default()),
        keys: Arc::new(KeySet::default()),
    })
}

fn setup() -> (Gate, Arc<Registry>, Arc<Hands>) {
    let hands = Arc::new(Hands(AtomicU64::new(1_000)));
    let gate = Gate {
        snapshots: Arc::default(),
        lease: Lease::none(hands.clone()),
        clock: hands.clone(),
    };
    gate.snapshots.publish(snapshot(1));
    let mut keeper = LeaseKeeper::new(gate.lease.clone());
    let versions = snapshot(1).versions;
    let grant = mandate_ports::control::LeaseGrant {
        lease_ms: 15_000,
        versions,
    };
    keeper.granted(keeper.sending(), &grant, Some(&versions));
    (gate, Arc::default(), hands)
}

fn admit(gate: &Gate, registry: &Arc<Registry>, fails_at: u64) -> Admitted {
    let end = Timestamp::from_millis(60_000);
    let standing = Box::new(Until(fails_at, LeaseLoss::Stop));
    registry.admit(gate.clone(), standing, LeaseLoss::Stop, end, 1)
}

#[test]
fn a_check_passes_waits_for_a_lease_and_fails_at_the_end_of_the_token() {
    let (gate, registry, hands) = setup();
    let admitted = admit(&gate, &registry, 99);
    assert_eq!(admitted.admission().check(), Ok(Go::Now));
    hands.0.store(20_000, Ordering::SeqCst);
    assert_eq!(admitted.admission().check(), Ok(Go::WhenLeased));
    hands.0.store(60_000, Ordering::SeqCst);
    assert_eq!(
        admitted.admission().check().unwrap_err().rule,
        "token.expired"
    );
}

#[test]
fn what_goes_on_passes_without_a_lease_until_its_token_ends_or_the_bundle_says_otherwise() {
    let (gate, registry, hands) = setup();
    let admit = |standing| {
        let end = Timestamp::from_millis(60_000);
        registry.admit(
            gate.clone(),
            Box::new(standing),
            LeaseLoss::Continue,
            end,
            1,
        )
    };
    let goes_on = admit(Until(99, LeaseLoss::Continue));
    let stops_later = admit(Until(99, LeaseLoss::Stop));
    assert_eq!(goes_on.admission().check(), Ok(Go::Now));
    assert!(!goes_on.admission().went_without_lease());
    hands.0.store(20_000, Ordering::SeqCst);
    for admitted in [&goes_on, &stops_later] {
        assert_eq!(admitted.admission().check(), Ok(Go::Now));
        assert!(admitted.admission().went_without_lease());
    }
    gate.snapshots.publish(snapshot(2));
    assert_eq!(goes_on.admission().check(), Ok(Go::Now));
    assert_eq!(stops_later.admission().check(), Ok(Go::WhenLeased));
    assert!(stops_later.admission().is_paused());
    hands.0.store(60_000, Ordering::SeqCst);
    let cut = goes_on.admission().check().unwrap_err();
    assert_eq!(cut.rule, "token.expired");
}

#[tokio::test]
async fn the_end_of_the_grace_cuts_only_what_waits_for_a_lease() {
    let (gate, registry, hands) = setup();
    let end = Timestamp::from_millis(60_000);
    let goes_on = registry.admit(
        gate.clone(),
        Box::new(Until(99, LeaseLoss::Continue)),
        LeaseLoss::Continue,
        end,
        1,
    );
    let paused = admit(&gate, &registry, 99);
    let cut = Cut::new("gateway.lease_ended", "the gateway has no lease");
    assert_eq!(registry.cut_paused(&cut).await, 0, "there is a lease");
    hands.0.store(20_000, Ordering::SeqCst);
    let ending = tokio::spawn(async move {
        paused.admission().cancelled().await;
        paused.end();
    });
    assert_eq!(registry.cut_paused(&cut).await, 1);
    ending.await.unwrap();
    assert_eq!(goes_on.admission().check(), Ok(Go::Now));
}

#[test]
fn admission_is_checked_again_before_the_first_byte() {
    let (gate, registry, _) = setup();
    let (stays, fails) = (admit(&gate, &registry, 99), admit(&gate, &registry, 2));
    gate.snapshots.publish(snapshot(2));
    assert_eq!(stays.admission().check(), Ok(Go::Now));
    assert_eq!(fails.admission().check().unwrap_err().rule, "stopped");
    gate.snapshots.publish(snapshot(1));
    assert!(fails.admission().check().is_err(), "a cut is for good");
}

#[tokio::test]
async fn deciding_again_cuts_those_that_fail_and_waits_until_they_are_gone() {
    let (gate, registry, _) = setup();
    let (stays, fails) = (admit(&gate, &registry, 99), admit(&gate, &registry, 2));
    fails.admission().mark_forwarded();
    gate.snapshots.publish(snapshot(2));
    let ending = tokio::spawn(async move {
        fails.admission().cancelled().await;
        fails.end();
    });
    let now = gate.clock.now();
    let cuts = registry.decide_again(&snapshot(2), now).await;
    assert_eq!(cuts, Cuts { cut: 1, unknown: 1 });
    assert_eq!(registry.len(), 1);
    ending.await.unwrap();
    assert_eq!(stays.admission().check(), Ok(Go::Now));
}

#[test]
fn a_dropped_guard_leaves_nothing_behind_that_could_go_on() {
    let (gate, registry, _) = setup();
    let admitted = admit(&gate, &registry, 99);
    let admission = Arc::clone(admitted.admission());
    drop(admitted);
    assert_eq!(registry.len(), 0);
    assert!(admission.check().is_err());
}
