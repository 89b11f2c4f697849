//! A clock that stands until it is set.

use std::sync::Mutex;
use std::time::Duration;

use mandate_model::{BootTime, Timestamp};
use mandate_ports::Clock;

/// Both clocks of a machine, each moved by the test alone: together by [`pass`](Self::pass), or
/// apart, as when the wall clock jumps.
#[derive(Debug)]
pub struct FixedClock(Mutex<(Timestamp, BootTime)>);

impl FixedClock {
    /// Stands at `now`, an hour after boot.
    pub fn at(now: Timestamp) -> Self {
        let boot = BootTime::from_nanos(3_600_000_000_000);
        Self(Mutex::new((now, boot)))
    }

    /// Lets time pass on both clocks.
    pub fn pass(&self, span: Duration) {
        let mut both = self.0.lock().unwrap();
        *both = (both.0.plus(span), both.1.plus(span));
    }

    /// Sets the wall clock alone: a jump.
    pub fn set_now(&self, now: Timestamp) {
        self.0.lock().unwrap().0 = now;
    }

    /// Sets the boot clock alone.
    pub fn set_boot(&self, boot: BootTime) {
        self.0.lock().unwrap().1 = boot;
    }
}

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        self.0.lock().unwrap().0
    }

    fn boot(&self) -> BootTime {
        self.0.lock().unwrap().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_the_port_promises() {
        crate::machine_suite::clock(&FixedClock::at(Timestamp::from_secs(100)));
    }

    #[test]
    fn the_clocks_pass_together_and_jump_apart() {
        let clock = FixedClock::at(Timestamp::from_secs(100));
        let boot = clock.boot();
        clock.pass(Duration::from_secs(5));
        assert_eq!(clock.now(), Timestamp::from_secs(105));
        assert_eq!(clock.boot().since(boot), Duration::from_secs(5));
        clock.set_now(Timestamp::from_secs(1));
        assert_eq!(clock.boot().since(boot), Duration::from_secs(5));
    }
}
