use std::sync::atomic::AtomicU64;

use mandate_model::{BundleVersion, KeysVersion, StopVersion, StoreEpoch};

use super::*;

struct Hands {
    boot_ms: AtomicU64,
    wall_ms: AtomicU64,
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.wall_ms.load(Ordering::SeqCst))
    }
    fn boot(&self) -> BootTime {
        BootTime::from_nanos(self.boot_ms.load(Ordering::SeqCst) * 1_000_000)
    }
}

impl Hands {
    fn pass(&self, ms: u64) {
        self.boot_ms.fetch_add(ms, Ordering::SeqCst);
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

fn setup() -> (Arc<Hands>, Arc<Lease>, LeaseKeeper) {
    let hands = Arc::new(Hands {
        boot_ms: AtomicU64::new(1_000_000),
        wall_ms: AtomicU64::new(1_700_000_000_000),
    });
    let clock: Arc<dyn Clock> = hands.clone();
    let lease = Lease::none(clock);
    let keeper = LeaseKeeper::new(lease.clone());
    (hands, lease, keeper)
}

fn versions(stops: u64, bundle: u64, keys: u64) -> Versions {
    Versions {
        epoch: StoreEpoch::from_random([1; 16]),
        stops: StopVersion::new(stops),
        bundle: BundleVersion::new(bundle),
        keys: KeysVersion::new(keys),
    }
}

fn grant(versions: Versions) -> LeaseGrant {
    LeaseGrant {
        lease_ms: 15_000,
        versions,
    }
}

#[test]
fn nothing_holds_before_the_first_grant() {
    let (_, lease, _) = setup();
    assert!(!lease.holds());
    assert_eq!(lease.remaining(), Duration::ZERO);
}

#[test]
fn lease_is_counted_from_sending() {
    let (hands, lease, mut keeper) = setup();
    let sent = keeper.sending();
    hands.pass(4_000);
    let at = versions(1, 1, 1);
    assert_eq!(keeper.granted(sent, &grant(at), Some(&at)), Use::Now);
    assert_eq!(lease.remaining(), Duration::from_millis(14_850 - 4_000));
    hands.pass(10_849);
    assert!(lease.holds());
    hands.pass(1);
    assert!(!lease.holds(), "the last moment does not count");
}

#[test]
fn a_grant_is_used_only_when_each_version_that_it_names_is_applied() {
    for missing in [versions(1, 2, 2), versions(2, 1, 2), versions(2, 2, 1)] {
        let (_, lease, mut keeper) = setup();
        let sent = keeper.sending();
        let grant = grant(versions(2, 2, 2));
        assert_eq!(
            keeper.granted(sent, &grant, Some(&missing)),
            Use::WhenApplied
        );
        assert!(!lease.holds());
        assert_eq!(keeper.applied(Some(&versions(3, 2, 2))), Use::Now);
        assert!(lease.holds());
    }
}

#[test]
fn a_grant_of_another_epoch_ends_the_lease() {
    let (_, lease, mut keeper) = setup();
    let at = versions(1, 1, 1);
    keeper.granted(keeper.sending(), &grant(at), Some(&at));
    let mut other = at;
    other.epoch = StoreEpoch::from_random([2; 16]);
    assert_eq!(
        keeper.granted(keeper.sending(), &grant(other), Some(&at)),
        Use::Never
    );
    assert!(!lease.holds());
}

#[test]
fn a_late_grant_never_shortens_a_lease() {
    let (hands, lease, mut keeper) = setup();
    let at = versions(1, 1, 1);
    let early = keeper.sending();
    hands.pass(2_000);
    keeper.granted(keeper.sending(), &grant(at), Some(&at));
    let before = lease.remaining();
    keeper.granted(early, &grant(at), Some(&at));
    assert_eq!(lease.remaining(), before);
}

#[test]
fn a_jump_of_the_wall_clock_drops_the_lease_both_ways() {
    for (boot, wall) in [(500, 1_501), (2_000, 999)] {
        let (hands, lease, mut keeper) = setup();
        let at = versions(1, 1, 1);
        keeper.granted(keeper.sending(), &grant(at), Some(&at));
        hands.boot_ms.fetch_add(boot, Ordering::SeqCst);
        hands.wall_ms.fetch_add(wall, Ordering::SeqCst);
        assert_eq!(keeper.clocks_jumped(), Some(Duration::from_millis(1_001)));
        assert!(!lease.holds());
    }
}

#[test]
fn a_drift_of_one_second_is_no_jump() {
    let (hands, lease, mut keeper) = setup();
    let at = versions(1, 1, 1);
    keeper.granted(keeper.sending(), &grant(at), Some(&at));
    hands.boot_ms.fetch_add(500, Ordering::SeqCst);
    hands.wall_ms.fetch_add(1_500, Ordering::SeqCst);
    assert_eq!(keeper.clocks_jumped(), None);
    assert!(lease.holds());
}

#[test]
fn sleep_counts_against_a_lease() {
    let (hands, lease, mut keeper) = setup();
    let at = versions(1, 1, 1);
    keeper.granted(keeper.sending(), &grant(at), Some(&at));
    // Boot time runs on while a machine sleeps, and so does the wall clock.
    hands.pass(3_600_000);
    assert_eq!(keeper.clocks_jumped(), None);
    assert!(!lease.holds());
}

#[test]
fn a_lease_that_ran_out_is_lost_and_one_that_was_dropped_is_none() {
    let (hands, lease, mut keeper) = setup();
    assert_eq!(lease.state(), LeaseState::None, "there never was one");
    let at = versions(1, 1, 1);
    keeper.granted(keeper.sending(), &grant(at), Some(&at));
    assert_eq!(lease.state(), LeaseState::Held);
    hands.pass(20_000);
    assert_eq!(lease.state(), LeaseState::Lost);
    keeper.drop_lease();
    assert_eq!(lease.state(), LeaseState::None);
    keeper.granted(keeper.sending(), &grant(at), Some(&at));
    hands.pass(20_000);
    hands.wall_ms.fetch_add(1_001, Ordering::SeqCst);
    keeper.clocks_jumped().unwrap();
    hands.wall_ms.fetch_sub(1_001, Ordering::SeqCst);
    assert_eq!(lease.state(), LeaseState::None, "a jump is for good");
}

#[test]
fn what_is_newer_and_known_ends_a_lost_lease_until_it_is_applied() {
    for newer in [versions(2, 1, 1), versions(1, 2, 1), versions(1, 1, 2)] {
        let (hands, lease, mut keeper) = setup();
        let at = versions(1, 1, 1);
        keeper.granted(keeper.sending(), &grant(at), Some(&at));
        let early = keeper.sending();
        keeper.granted(keeper.sending(), &grant(newer), Some(&at));
        // One of before that comes late changes nothing about that.
        keeper.granted(early, &grant(at), Some(&at));
        hands.pass(20_000);
        assert_eq!(lease.state(), LeaseState::None);
        keeper.granted(keeper.sending(), &grant(newer), Some(&newer));
        hands.pass(20_000);
        assert_eq!(lease.state(), LeaseState::Lost);
    }
}

#[test]
fn a_refused_bundle_and_an_answer_of_no_end_a_lost_lease() {
    let (hands, lease, mut keeper) = setup();
    let at = versions(1, 1, 1);
    keeper.bundle_refused(BundleVersion::new(2));
    keeper.granted(keeper.sending(), &grant(at), Some(&at));
    hands.pass(20_000);
    assert_eq!(lease.state(), LeaseState::None);
    let good = versions(1, 3, 1);
    keeper.granted(keeper.sending(), &grant(good), Some(&good));
    hands.pass(20_000);
    assert_eq!(lease.state(), LeaseState::Lost);
    keeper.answered_no();
    assert_eq!(lease.state(), LeaseState::None);
}

#[test]
fn clocks_that_drift_apart_slowly_end_a_lost_lease() {
    for (step, ends) in [(50, false), (51, true), (-50, false), (-51, true)] {
        let (hands, lease, mut keeper) = setup();
        let at = versions(1, 1, 1);
        keeper.granted(keeper.sending(), &grant(at), Some(&at));
        for _ in 0..20 {
            hands.pass(1_000);
            let wall = hands.wall_ms.load(Ordering::SeqCst);
            hands
                .wall_ms
                .store(wall.checked_add_signed(step).unwrap(), Ordering::SeqCst);
            assert_eq!(keeper.clocks_jumped(), None);
        }
        assert_eq!(lease.state() == LeaseState::None, ends, "{step}");
    }
}

#[test]
fn a_renewal_wakes_paused_writers() {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (_, lease, mut keeper) = setup();
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(count.clone());
    lease.wake_when_renewed(&waker);
    lease.wake_when_renewed(&waker);
    let at = versions(1, 1, 1);
    keeper.granted(keeper.sending(), &grant(at), Some(&at));
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
}
