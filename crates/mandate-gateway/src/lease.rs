//! The right to admit, measured on the boot clock alone (B2).

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

use mandate_decide::enforce::LeaseState;
use mandate_model::{BootTime, BundleVersion, KeysVersion, StopVersion, Timestamp};
use mandate_ports::control::LeaseGrant;
use mandate_ports::{Clock, Versions};

/// Whether this gateway may hand on a byte now. Reading it is one atomic load and one clock read.
pub(crate) struct Lease {
    clock: Arc<dyn Clock>,
    /// The end, in nanoseconds since boot; 0 is "none".
    until: AtomicU64,
    /// Whether nothing but silence speaks against what was known under it: then server workloads that say
    /// so go on after its end.
    outlived: AtomicBool,
    /// By how many milliseconds the wall clock was ahead of the boot clock when it was last renewed.
    ahead_ms: AtomicI64,
    /// Writers that wait for a renewal (B3: streams pause).
    paused: Mutex<Vec<Waker>>,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

impl Lease {
    /// No lease yet: nothing is admitted before the first grant.
    pub(crate) fn none(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            clock,
            until: AtomicU64::new(0),
            outlived: AtomicBool::new(false),
            ahead_ms: AtomicI64::new(0),
            paused: Mutex::new(Vec::new()),
        })
    }

    /// Whether it holds at this moment.
    pub(crate) fn holds(&self) -> bool {
        self.clock.boot().as_nanos() < self.until.load(Ordering::SeqCst)
    }

    /// How it stands at this moment.
    ///
    /// What goes on after its end is bounded by the end of tokens alone, which is read from the wall
    /// clock. So the clocks are compared here too, and over the whole time since the renewal: one that was
    /// set back must not make an expired token valid again until the next tick.
    pub(crate) fn state(&self) -> LeaseState {
        if self.holds() {
            LeaseState::Held
        } else if self.outlived.load(Ordering::SeqCst) && self.clocks_stand_as_they_did() {
            LeaseState::Lost
        } else {
            LeaseState::None
        }
    }

    fn clocks_stand_as_they_did(&self) -> bool {
        let moved = ahead_ms(&*self.clock).abs_diff(self.ahead_ms.load(Ordering::SeqCst));
        u128::from(moved) <= MAX_JUMP.as_millis()
    }

    /// How much of it is left; zero without one.
    pub(crate) fn remaining(&self) -> Duration {
        self.end().since(self.clock.boot())
    }

    /// When it ends or ended; the boot itself if there never was one.
    pub(crate) fn end(&self) -> BootTime {
        BootTime::from_nanos(self.until.load(Ordering::SeqCst))
    }

    /// Has `waker` woken at the next renewal.
    pub(crate) fn wake_when_renewed(&self, waker: &Waker) {
        let mut paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        if !paused.iter().any(|known| known.will_wake(waker)) {
            paused.push(waker.clone());
        }
    }

    fn set(&self, until: BootTime) {
        self.ahead_ms
            .store(ahead_ms(&*self.clock), Ordering::SeqCst);
        self.until.store(until.as_nanos(), Ordering::SeqCst);
        let woken =
            std::mem::take(&mut *self.paused.lock().unwrap_or_else(PoisonError::into_inner));
        woken.into_iter().for_each(Waker::wake);
    }

    /// Ends it now, for everybody.
    pub(crate) fn drop_now(&self) {
        self.outlived.store(false, Ordering::SeqCst);
        self.until.store(0, Ordering::SeqCst);
    }
}

/// By how much the wall clock is ahead of the boot clock, in milliseconds.
fn ahead_ms(clock: &dyn Clock) -> i64 {
    let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    signed(clock.now().as_millis()) - signed(clock.boot().as_nanos() / 1_000_000)
}

/// The moment before a renewal was sent: leases are counted from there (B2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent(BootTime);

/// A grant that is not used yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Granted {
    until: BootTime,
    versions: Versions,
}

/// The highest version of each kind that the authority has named.
#[derive(Debug, Clone, Copy, Default)]
struct Named {
    stops: StopVersion,
    bundle: BundleVersion,
    keys: KeysVersion,
}

impl Named {
    fn add(&mut self, versions: &Versions) {
        self.stops = self.stops.max(versions.stops);
        self.bundle = self.bundle.max(versions.bundle);
        self.keys = self.keys.max(versions.keys);
    }

    fn are_in(&self, applied: &Versions) -> bool {
        applied.stops >= self.stops && applied.bundle >= self.bundle && applied.keys >= self.keys
    }
}

/// What became of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// It is in use.
    Now,
    /// It waits until its versions are applied.
    WhenApplied,
    /// It can never be used.
    Never,
}

/// Decides which grants may be used, and notices clocks that jump. Owned by the control task alone.
#[derive(Debug)]
pub(crate) struct LeaseKeeper {
    lease: Arc<Lease>,
    waiting: Option<Granted>,
    /// The highest versions that the authority has named, applied or not.
    named: Named,
    /// Where the two clocks stood when they were last compared.
    clocks: (BootTime, Timestamp),
}

impl LeaseKeeper {
    /// Keeps `lease`; both clocks read now.
    pub(crate) fn new(lease: Arc<Lease>) -> Self {
        let clocks = (lease.clock.boot(), lease.clock.now());
        Self {
            lease,
            waiting: None,
            named: Named::default(),
            clocks,
        }
    }

    /// To be called right before a renewal is written.
    pub(crate) fn sending(&self) -> Sent {
        Sent(self.lease.clock.boot())
    }

    /// Takes a grant. It is used at once if `applied` covers it, otherwise when it does.
    ///
    /// A grant that another renewal outlived changes nothing: a lease is never shortened by one.
    pub(crate) fn granted(
        &mut self,
        sent: Sent,
        grant: &LeaseGrant,
        applied: Option<&Versions>,
    ) -> Use {
        if self.clocks_jumped().is_some() {
            return Use::Never;
        }
        // lease × 0.99, in whole microseconds, rounded down.
        let length = Duration::from_micros(grant.lease_ms.min(MAX_LEASE_MS).saturating_mul(990));
        self.waiting = Some(Granted {
            until: sent.0.plus(length),
            versions: grant.versions,
        });
        self.named.add(&grant.versions);
        self.applied(applied)
    }

    /// The authority has a bundle that cannot be applied: the state of before is not gone on with.
    pub(crate) fn bundle_refused(&mut self, version: BundleVersion) {
        self.named.bundle = self.named.bundle.max(version);
        self.lease.outlived.store(false, Ordering::SeqCst);
    }

    /// The authority says no, or what cannot be taken: that is no silence, so nothing is gone on with when
    /// the lease ends. Until another grant is used.
    pub(crate) fn answered_no(&mut self) {
        self.lease.outlived.store(false, Ordering::SeqCst);
    }

    /// Uses the waiting grant if `applied` covers the versions that it names.
    pub(crate) fn applied(&mut self, applied: Option<&Versions>) -> Use {
        let (Some(granted), Some(applied)) = (self.waiting, applied) else {
            return Use::WhenApplied;
        };
        if granted.versions.epoch != applied.epoch {
            self.drop_lease();
            return Use::Never;
        }
        if !covers(applied, &granted.versions) {
            // There is something newer, and this gateway knows that.
            self.lease.outlived.store(false, Ordering::SeqCst);
            return Use::WhenApplied;
        }
        self.waiting = None;
        if granted.until > self.lease.end() {
            self.lease.set(granted.until);
        }
        let up_to_date = self.named.are_in(applied);
        self.lease.outlived.store(up_to_date, Ordering::SeqCst);
        Use::Now
    }

    /// Compares the clocks. If they have drifted apart by more than a second since the last
    /// comparison, the lease and any waiting grant are dropped, and the difference is told.
    pub(crate) fn clocks_jumped(&mut self) -> Option<Duration> {
        let now = (self.lease.clock.boot(), self.lease.clock.now());
        let booted = now.0.since(self.clocks.0);
        let expected = self.clocks.1.plus(booted);
        let jump = now.1.since(expected).max(expected.since(now.1));
        self.clocks = now;
        (jump > MAX_JUMP).then(|| {
            self.drop_lease();
            jump
        })
    }

    /// Ends the lease and forgets what waits.
    pub(crate) fn drop_lease(&mut self) {
        self.waiting = None;
        self.named = Named::default();
        self.lease.drop_now();
    }
}

fn covers(applied: &Versions, named: &Versions) -> bool {
    applied.stops >= named.stops && applied.bundle >= named.bundle && applied.keys >= named.keys
}

const MAX_JUMP: Duration = Duration::from_secs(1);
/// Longer than anybody should ever wait for an unreachable gateway.
const MAX_LEASE_MS: u64 = 600_000;

#[cfg(test)]
mod tests;
